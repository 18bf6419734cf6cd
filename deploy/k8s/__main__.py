"""Writes deploy/k8s/base/prometheus-rule.yaml."""

from deploy.k8s import PROMETHEUS_RULE, prometheus_rule

PROMETHEUS_RULE.write_text(prometheus_rule(), encoding="utf-8")
print(f"written: {PROMETHEUS_RULE}")
