"""Kubernetes: a Kustomize base and overlays. `python -m deploy.k8s` writes what is made from other files."""

from pathlib import Path

import yaml

FOLDER = Path(__file__).parent
RULES = FOLDER.parent / "prometheus" / "rules"
PROMETHEUS_RULE = FOLDER / "base" / "prometheus-rule.yaml"
_HEAD = "# Made by `python -m deploy.k8s` from deploy/prometheus/rules; edit those.\n"


def prometheus_rule() -> str:
    """Return the rule files as the Prometheus operator's resource (YAML)."""
    groups = [
        group for path in sorted(RULES.glob("*.yml")) for group in yaml.safe_load(path.read_text())["groups"]
    ]
    resource = {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {"name": "klankbord"},
        "spec": {"groups": groups},
    }
    return _HEAD + yaml.safe_dump(resource, sort_keys=False, width=120)
