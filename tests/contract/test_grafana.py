"""The dashboards that are committed: made by the code, about metrics that exist, and readable by people."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.grafana import DASHBOARDS
from deploy.grafana.dashboards_code import rendered
from deploy.grafana.panels import PLUGIN_VERSION
from shared.metrics_catalogue import describe_metrics

ROOT = Path(__file__).parents[2]
MADE = rendered()
PROVISIONING = ROOT / "deploy/grafana/provisioning"


def panels(text: str) -> list[dict[str, Any]]:
    return [panel for panel in json.loads(text)["panels"] if panel["type"] != "row"]


def test_the_files_are_what_the_code_makes() -> None:
    assert {path.name: path.read_text(encoding="utf-8") for path in DASHBOARDS.glob("*.json")} == MADE


@pytest.mark.parametrize("name", MADE)
def test_every_metric_is_in_the_catalogue(name: str) -> None:
    known = set(re.findall(r"`(klankbord_\w+)`", describe_metrics()))
    for metric in re.findall(
        r"klankbord_\w+", " ".join(t.get("expr", "") for p in panels(MADE[name]) for t in p["targets"])
    ):
        assert metric in known or re.sub(r"_(bucket|count|sum)$", "", metric) in known, metric


@pytest.mark.parametrize("name", MADE)
def test_a_panel_says_what_it_shows_in_which_unit_from_where(name: str) -> None:
    uids = {
        one["uid"]
        for one in yaml.safe_load((PROVISIONING / "datasources/klankbord.yml").read_text())["datasources"]
    }
    for panel in panels(MADE[name]):
        assert panel["title"] and panel["description"]
        assert panel["datasource"]["uid"] in uids
        assert panel["type"] == "table" or panel["fieldConfig"]["defaults"]["unit"]
        for target in panel["targets"]:
            assert target["datasource"]["uid"] in uids
            if "rawSql" in target:
                assert {"editorType", "format", "queryType", "pluginVersion", "refId"} <= target.keys()


def test_the_dashboards_link_to_each_other_and_know_brand_and_period() -> None:
    for text in MADE.values():
        dashboard = json.loads(text)
        assert dashboard["links"][0]["tags"] == dashboard["tags"]
        assert dashboard["time"]["to"] == "now"
    variables = json.loads(MADE["voice.json"])["templating"]["list"]
    assert [variable["name"] for variable in variables] == ["brand"]


def test_no_password_stands_in_the_data_sources() -> None:
    text = (PROVISIONING / "datasources/klankbord.yml").read_text()
    assert "password: $CLICKHOUSE_PASSWORD" in text


def test_compose_installs_the_plugin_whose_queries_these_are() -> None:
    assert f"grafana-clickhouse-datasource@{PLUGIN_VERSION}" in (ROOT / "docker-compose.yml").read_text()
