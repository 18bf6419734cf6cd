"""docker-compose.yml: valid, pinned, closed, and in step with the code."""

import json
import re
from typing import Any

import pytest
from compose_spec import PyCompose

from shared.settings import Settings
from tests.deployment import (
    KNOWN_VARIABLES,
    ROOT,
    MissingVariable,
    compose,
    example_environment,
    strings,
)

ENVIRONMENT = example_environment()
COMPOSE = compose(ENVIRONMENT)
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = {name: each for name, each in SERVICES.items() if each["image"].startswith("klankbord:")}
FOUR = ("ingest", "enrich", "metrics", "api")


def validate(document: dict[str, Any]) -> None:
    PyCompose.from_json(json.dumps(document))


def test_it_is_what_the_compose_specification_allows() -> None:
    validate(COMPOSE)


@pytest.mark.parametrize(
    "wrong",
    [
        {"heathcheck": {}},
        {"depends_on": {"migrate": {"condition": "service_done"}}},
        {"ports": ["http:8080"]},
        {"deploy": {"resources": {"limits": {"memory": "lots"}}}},
    ],
)
def test_what_the_specification_does_not_allow_is_found(wrong: dict[str, Any]) -> None:
    api = {**SERVICES["api"], **wrong}
    with pytest.raises(ValueError):
        validate({**COMPOSE, "services": {**SERVICES, "api": api}})


@pytest.mark.parametrize("name", ENVIRONMENT)
def test_it_refuses_to_start_without_a_password_and_names_it(name: str) -> None:
    with pytest.raises(MissingVariable, match=f"^{name}: set it in .env, as .env.example shows$"):
        compose({**ENVIRONMENT, name: ""})


def test_the_example_asks_for_all_that_is_asked_for_and_gives_no_password() -> None:
    text = (ROOT / "docker-compose.yml").read_text()
    assert set(re.findall(r"\$\{(\w+):\?", text)) == set(ENVIRONMENT)
    for line in (ROOT / ".env.example").read_text().splitlines():
        assert not re.match(r"\w*PASSWORD=.", line)


def test_no_password_stands_in_it() -> None:
    for name, service in SERVICES.items():
        for variable, value in service.get("environment", {}).items():
            if "PASSWORD" in variable:
                assert value in {f"secret of {asked}=" for asked in ENVIRONMENT}, (name, variable)


@pytest.mark.parametrize("name", OURS)
def test_settings_knows_each_variable_and_takes_its_value(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    environment = OURS[name]["environment"]
    assert set(environment) <= KNOWN_VARIABLES
    for variable, value in environment.items():
        monkeypatch.setenv(variable, value)
    Settings()


@pytest.mark.parametrize("name", SERVICES)
def test_each_container_is_pinned_bounded_and_can_do_little(name: str) -> None:
    service = SERVICES[name]
    assert re.fullmatch(r"[\w./-]+:v?\d+\.\d+\.\d+(\.\d+)*", service["image"])
    user, _, group = service["user"].partition(":")
    assert int(user) > 0 and group
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"] and "cap_add" not in service
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert "privileged" not in service and "network_mode" not in service
    assert {"cpus", "memory", "pids"} <= service["deploy"]["resources"]["limits"].keys()
    assert service["healthcheck"] == {"disable": True} or "test" in service["healthcheck"]


def test_ports_are_those_of_the_settings_and_open_on_this_host_only() -> None:
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    for ports in published.values():
        assert all(port.startswith("127.0.0.1:") for port in ports)
    defaults = Settings()
    for name in ("ingest", "api"):
        port = getattr(defaults, f"{name}_port")
        assert published[name] == [f"127.0.0.1:{port}:{port}"]


@pytest.mark.parametrize("name", FOUR)
def test_each_of_the_four_runs_itself_and_asks_itself_how_it_is(name: str) -> None:
    assert OURS[name]["command"] == ["serve", name]
    assert OURS[name]["healthcheck"]["test"] == ["CMD", "klankbord", "health", name]


def test_who_waits_for_what() -> None:
    waits = {name: service.get("depends_on", {}) for name, service in OURS.items()}
    healthy = {"condition": "service_healthy"}
    done = {"condition": "service_completed_successfully"}
    assert waits == {
        "topics": {"kafka": healthy},
        "migrate": {"clickhouse": healthy},
        "ingest": {"topics": done},
        "enrich": {"topics": done},
        "metrics": {"topics": done, "migrate": done},
        "api": {"migrate": done},
    }


def test_networks_are_the_arrows_of_the_design() -> None:
    who = {
        network: {name for name, service in SERVICES.items() if network in service["networks"]}
        for network in COMPOSE["networks"]
    }
    assert who["kafka"] == {"kafka", "topics", "ingest", "enrich", "metrics", "api"}
    assert who["store"] == {"clickhouse", "migrate", "metrics", "api", "grafana"}
    assert {name for name, network in COMPOSE["networks"].items() if network.get("internal")} == {
        "kafka", "store", "monitoring",
    }  # fmt: skip


def test_each_account_of_clickhouse_is_its_own_and_made() -> None:
    users = (ROOT / "deploy/clickhouse/users.xml").read_text()
    used = {service["environment"].get("KLANKBORD_CLICKHOUSE_USER") for service in OURS.values()} - {None}
    used.add(SERVICES["grafana"]["environment"]["CLICKHOUSE_USER"])
    assert used == {"klankbord_migrate", "klankbord_metrics", "klankbord_api", "klankbord_grafana"}
    for user in used:
        variable = user.replace("klankbord_", "CLICKHOUSE_").upper() + "_PASSWORD"
        assert f'<{user}>\n            <password from_env="{variable}"/>' in users
        assert variable in SERVICES["clickhouse"]["environment"]


def test_every_file_that_is_mounted_is_there() -> None:
    missing = [
        source
        for text in strings([service.get("volumes", []) for service in SERVICES.values()])
        if (source := text.split(":")[0]).startswith("./")
        and (ROOT / source).parent.exists()
        and not (ROOT / source).exists()
    ]
    assert missing == []
