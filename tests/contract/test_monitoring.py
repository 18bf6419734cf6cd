"""The rules and routes that are shipped: right by their own tools, about metrics and docs that exist."""

import copy
import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.local.monitoring import ALERTMANAGER_CONFIG, RULES, alertmanager_config, prometheus_config
from shared.metrics_catalogue import describe_metrics
from tests.prepare import needed

ROOT = Path(__file__).parents[2]
TESTS = ROOT / "deploy/prometheus/tests"
# What Prometheus and the client libraries bring.
FOREIGN = {"up", "process_start_time_seconds"}


def rules() -> list[dict[str, Any]]:
    groups = [
        group for path in sorted(RULES.glob("*.yml")) for group in yaml.safe_load(path.read_text())["groups"]
    ]
    return [rule for group in groups for rule in group["rules"]]


def alerts() -> list[dict[str, Any]]:
    return [rule for rule in rules() if "alert" in rule]


def anchors(markdown: str) -> set[str]:
    titles = re.findall(r"^#+ (.+)$", markdown, re.M)
    return {re.sub(r"[^\w\- ]", "", title).strip().lower().replace(" ", "-") for title in titles}


def test_every_metric_of_a_rule_is_in_the_catalogue_or_recorded() -> None:
    known = set(re.findall(r"`(klankbord_\w+)`", describe_metrics()))
    recorded = {rule["record"] for rule in rules() if "record" in rule}
    for rule in rules():
        for name in re.findall(r"\b(?:klankbord[_:][\w:]+|up|process_\w+)\b", rule["expr"]):
            base = re.sub(r"_(bucket|count|sum)$", "", name)
            assert name in known | recorded | FOREIGN or base in known, (rule, name)


@pytest.mark.parametrize("alert", alerts(), ids=lambda alert: str(alert["alert"]))
def test_an_alert_says_what_it_means_and_where_to_read_on(alert: dict[str, Any]) -> None:
    assert alert["annotations"]["summary"]
    assert alert["annotations"]["description"]
    page, anchor = alert["annotations"]["runbook_url"].split("#")
    assert anchor in anchors((ROOT / page).read_text())
    assert "severity" in alert.get("labels", {}) or "severity" in alert["expr"]


def test_every_alert_is_tested_firing_and_not_firing() -> None:
    tested: dict[str, set[bool]] = {}
    for path in TESTS.glob("*.yml"):
        for test in yaml.safe_load(path.read_text())["tests"]:
            for case in test["alert_rule_test"]:
                tested.setdefault(case["alertname"], set()).add(bool(case["exp_alerts"]))
    assert tested == {alert["alert"]: {True, False} for alert in alerts()}


def test_no_address_of_a_receiver_is_in_the_file() -> None:
    for receiver in yaml.safe_load(ALERTMANAGER_CONFIG.read_text())["receivers"]:
        for webhook in receiver["webhook_configs"]:
            assert webhook.keys() == {"url_file", "send_resolved"}


def test_the_local_configuration_posts_to_the_given_address_or_nowhere() -> None:
    given = yaml.safe_load(alertmanager_config("http://127.0.0.1:1/x"))
    assert {w["url"] for r in given["receivers"] for w in r["webhook_configs"]} == {"http://127.0.0.1:1/x"}
    nowhere = yaml.safe_load(alertmanager_config(None))
    assert [receiver.keys() for receiver in nowhere["receivers"]] == [{"name"}, {"name"}]
    assert nowhere["route"] == given["route"]
    local = json.loads(prometheus_config({"api": ("127.0.0.1:1",)}, 2))
    assert local["scrape_configs"][0]["job_name"] == "klankbord-api"


def run(*argv: str) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.io
def test_promtool_takes_the_rules_and_their_tests_pass() -> None:
    promtool = needed("promtool")
    run(promtool, "check", "rules", *map(str, sorted(RULES.glob("*.yml"))))
    run(promtool, "check", "config", "--syntax-only", str(ROOT / "deploy/prometheus/prometheus.yml"))
    run(promtool, "test", "rules", *map(str, sorted(TESTS.glob("*.yml"))))


@pytest.mark.io
def test_amtool_takes_the_routes_and_they_lead_where_they_should(tmp_path: Path) -> None:
    amtool = needed("amtool")
    config = tmp_path / "alertmanager.yml"
    # Debian's amtool (0.25) does not know url_file, which came with 0.26.
    config.write_text(alertmanager_config("http://127.0.0.1:1/x"))
    run(amtool, "check-config", str(config))

    def receiver(*labels: str) -> str:
        return run(amtool, "config", "routes", "test", f"--config.file={config}", *labels).strip()

    assert receiver("alertname=ComplaintSpike", "severity=critical", "brand=Acme") == "webcare"
    assert receiver("alertname=SourceSilent", "severity=warning") == "webcare"
    assert receiver("alertname=ServiceDown", "severity=critical") == "operations"
    assert receiver("alertname=EndToEndLatency", "severity=warning") == "operations"


@pytest.mark.io
def test_a_route_of_a_brands_own_leads_to_its_people_and_takes_nothing_from_others(tmp_path: Path) -> None:
    amtool = needed("amtool")
    wanted = yaml.safe_load(alertmanager_config("http://127.0.0.1:1/x"))
    own = copy.deepcopy(wanted["route"]["routes"][0])
    own["matchers"].append('brand="Acme Zorg"')
    own["receiver"] = own["routes"][0]["receiver"] = "acme"
    wanted["route"]["routes"].insert(0, own)
    wanted["receivers"].append({"name": "acme", "webhook_configs": [{"url": "http://127.0.0.1:1/acme"}]})
    config = tmp_path / "alertmanager.yml"
    config.write_text(yaml.safe_dump(wanted))
    run(amtool, "check-config", str(config))

    def receiver(*labels: str) -> str:
        return run(amtool, "config", "routes", "test", f"--config.file={config}", *labels).strip()

    for severity in ("critical", "warning"):
        labels = ("alertname=ComplaintSpike", f"severity={severity}")
        assert receiver(*labels, "brand=Acme Zorg") == "acme"
        assert receiver(*labels, "brand=Beta Bouw") == "webcare"
    assert receiver("alertname=EndToEndLatency", "severity=warning", "brand=Acme Zorg") == "operations"
