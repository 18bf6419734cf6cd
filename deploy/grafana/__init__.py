"""Grafana: data sources and dashboards. `python -m deploy.grafana` writes dashboards/*.json anew."""

from pathlib import Path

DASHBOARDS = Path(__file__).parent / "dashboards"
