"""Writes deploy/grafana/dashboards/*.json."""

from deploy.grafana import DASHBOARDS
from deploy.grafana.dashboards_code import rendered

for name, text in rendered().items():
    (DASHBOARDS / name).write_text(text, encoding="utf-8")
    print(f"written: {DASHBOARDS / name}")
