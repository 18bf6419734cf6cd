"""deploy/k8s as Kustomize builds it: valid, closed, and in step with the code, the image and the rules."""

import re
import subprocess
from functools import lru_cache
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from deploy.grafana import DASHBOARDS
from deploy.k8s import PROMETHEUS_RULE, prometheus_rule
from services.enrich.app import GROUP as ENRICH_GROUP
from services.metrics.sink import GROUP_ID as METRICS_GROUP
from shared.settings import Settings
from shared.topics import Topic
from tests.deployment import KNOWN_VARIABLES, ROOT, strings
from tests.prepare import needed

pytestmark = pytest.mark.io
OVERLAYS = ("dev", "production", "operators")
FOUR = ("ingest", "enrich", "metrics", "api")
# Of operators; their schemas are theirs.
FOREIGN = ("monitoring.coreos.com", "keda.sh", "kafka.strimzi.io", "clickhouse")
Manifest = dict[str, Any]


@lru_cache
def built(overlay: str) -> tuple[Manifest, ...]:
    done = subprocess.run(
        [needed("kustomize"), "build", str(ROOT / "deploy/k8s/overlays" / overlay)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return tuple(yaml.safe_load_all(done.stdout))


def of(overlay: str, *kinds: str) -> list[Manifest]:
    return [one for one in built(overlay) if one["kind"] in kinds]


def pods(overlay: str) -> list[tuple[str, Manifest, Manifest]]:
    """Return (name, pod's metadata, pod's spec) of all that runs pods of ours."""
    found = of(overlay, "Deployment", "Job")
    return [
        (one["metadata"]["name"], *(one["spec"]["template"][k] for k in ("metadata", "spec")))
        for one in found
    ]


def config(overlay: str) -> dict[str, str]:
    (only,) = [
        one
        for one in of(overlay, "ConfigMap")
        if re.fullmatch(r"klankbord-[a-z0-9]{10}", one["metadata"]["name"])
    ]
    data: dict[str, str] = only["data"]
    return data


def matches(selector: dict[str, str], labels: dict[str, str]) -> bool:
    return selector.items() <= labels.items()


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_all_that_is_built_in_is_valid(overlay: str) -> None:
    for one in built(overlay):
        if not one["apiVersion"].startswith(FOREIGN):
            kubernetes_validate.validate(one, "1.37", strict=True)


def test_what_is_not_valid_is_found() -> None:
    deployment = of("dev", "Deployment")[0]
    wrong = {**deployment, "spec": {**deployment["spec"], "replica": 1}}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, "1.37", strict=True)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_variable_is_one_that_settings_knows_and_takes(
    overlay: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, _, spec in pods(overlay):
        own = {
            each["name"]: each.get("value", "from a secret") for each in spec["containers"][0].get("env", [])
        }
        variables = config(overlay) | own
        assert variables.keys() <= KNOWN_VARIABLES, name
        for variable, value in variables.items():
            monkeypatch.setenv(variable, value)
        Settings()


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_ports_are_those_of_the_settings_and_each_service_finds_its_pods(overlay: str) -> None:
    labels = {name: metadata["labels"] for name, metadata, _ in pods(overlay)}
    for service in of(overlay, "Service"):
        name, (port,) = service["metadata"]["name"], service["spec"]["ports"]
        (spec,) = [spec for other, _, spec in pods(overlay) if other == name]
        (container_port,) = spec["containers"][0]["ports"]
        assert port["port"] == container_port["containerPort"] == getattr(Settings(), f"{name}_port")
        assert port["targetPort"] == container_port["name"]
        found = [other for other, its in labels.items() if matches(service["spec"]["selector"], its)]
        assert found == [name]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_each_of_the_four_runs_itself_is_probed_bounded_and_can_do_little(overlay: str) -> None:
    assert {name for name, _, _ in pods(overlay)} == {*FOUR, "topics", "migrate"}
    for name, _, spec in pods(overlay):
        (container,) = spec["containers"]
        on_cluster = ["--cluster", "klankbord"] if (overlay, name) == ("operators", "migrate") else []
        assert container["args"] == (["serve", name] if name in FOUR else [name, *on_cluster])
        assert re.fullmatch(r"[\w./-]+:\d+\.\d+\.\d+", container["image"])
        assert spec["automountServiceAccountToken"] is False
        security, own = spec["securityContext"], container["securityContext"]
        assert security["runAsNonRoot"] is True and security["runAsUser"] > 0
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}
        assert own["readOnlyRootFilesystem"] is True and own["allowPrivilegeEscalation"] is False
        assert own["capabilities"] == {"drop": ["ALL"]}
        assert {"cpu", "memory"} <= container["resources"]["requests"].keys()
        assert "memory" in container["resources"]["limits"]
        if name in FOUR:
            assert container["livenessProbe"]["httpGet"]["path"] == "/healthz"
            assert container["readinessProbe"]["httpGet"]["path"] == "/readyz"


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_disruption_budgets_and_spread_are_about_pods_that_there_are(overlay: str) -> None:
    labels = {name: metadata["labels"] for name, metadata, _ in pods(overlay)}
    budgets = of(overlay, "PodDisruptionBudget")
    assert {budget["metadata"]["name"] for budget in budgets} == set(FOUR)
    for budget in budgets:
        name = budget["metadata"]["name"]
        assert matches(budget["spec"]["selector"]["matchLabels"], labels[name])
    for name, metadata, spec in pods(overlay):
        for spread in spec.get("topologySpreadConstraints", []):
            assert matches(spread["labelSelector"]["matchLabels"], metadata["labels"]), name


@pytest.mark.parametrize("overlay", ("production", "operators"))
def test_scaling_is_about_deployments_topics_and_groups_that_there_are(overlay: str) -> None:
    names = {one["metadata"]["name"] for one in of(overlay, "Deployment")}
    scaled = {one["metadata"]["name"]: one["spec"] for one in of(overlay, "ScaledObject")}
    assert {spec["scaleTargetRef"]["name"] for spec in scaled.values()} == {"enrich", "metrics"}
    for name, group, topic in (
        ("enrich", ENRICH_GROUP, Topic.RAW),
        ("metrics", METRICS_GROUP, Topic.ENRICHED),
    ):
        (trigger,) = scaled[name]["triggers"]
        assert trigger["type"] == "apache-kafka"
        assert trigger["metadata"]["consumerGroup"] == group
        assert trigger["metadata"]["topic"] == topic.value
        assert trigger["metadata"]["bootstrapServers"] == config(overlay)["KLANKBORD_KAFKA_BOOTSTRAP_SERVERS"]
        assert scaled[name]["maxReplicaCount"] == int(config(overlay)["KLANKBORD_KAFKA_PARTITIONS"])
    targets = {one["spec"]["scaleTargetRef"]["name"] for one in of(overlay, "HorizontalPodAutoscaler")}
    assert targets == {"ingest", "api"} <= names


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_all_is_closed_but_for_the_arrows_of_the_design(overlay: str) -> None:
    policies = {one["metadata"]["name"]: one["spec"] for one in of(overlay, "NetworkPolicy")}
    assert policies["nothing-else"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}

    def reaches(name: str, role: str) -> bool:
        return any(
            to.get("podSelector", {}).get("matchLabels") == {"klankbord.io/role": role}
            for rule in policies[name].get("egress", [])
            for to in rule.get("to", [])
        )

    everybody = (*FOUR, "topics", "migrate")
    assert {name for name in everybody if reaches(name, "kafka")} == {*FOUR, "topics"}
    assert {name for name in everybody if reaches(name, "clickhouse")} == {"metrics", "api", "migrate"}
    outside = {name for name in everybody if "0.0.0.0/0" in set(strings(policies[name]))}
    assert outside == {"ingest"}
    for name, metadata, _ in pods(overlay):
        assert matches(policies[name]["podSelector"]["matchLabels"], metadata["labels"])


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_no_secret_stands_in_it(overlay: str) -> None:
    assert of(overlay, "Secret") == []
    for name, _, spec in pods(overlay):
        for each in spec["containers"][0].get("env", []):
            if "PASSWORD" in each["name"]:
                assert "secretKeyRef" in each["valueFrom"], name


def test_what_prometheus_scrapes_and_its_rules_are_those_of_deploy_prometheus() -> None:
    assert PROMETHEUS_RULE.read_text() == prometheus_rule()
    monitors = of("production", "ServiceMonitor")
    jobs = {m["spec"]["endpoints"][0]["relabelings"][0]["replacement"] for m in monitors}
    config_file = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text())
    assert jobs == {one["job_name"] for one in config_file["scrape_configs"]}
    labels = {one["metadata"]["name"]: one["metadata"]["labels"] for one in of("production", "Service")}
    for monitor in monitors:
        assert matches(monitor["spec"]["selector"]["matchLabels"], labels[monitor["metadata"]["name"]])


def test_the_dashboards_are_those_of_deploy_grafana() -> None:
    (only,) = [one for one in of("production", "ConfigMap") if "dashboards" in one["metadata"]["name"]]
    assert only["metadata"]["labels"]["grafana_dashboard"] == "1"
    assert only["data"] == {path.name: path.read_text() for path in DASHBOARDS.glob("*.json")}


def test_operators_are_asked_for_what_they_know() -> None:
    kinds = {
        (one["apiVersion"], one["kind"])
        for one in built("operators")
        if one["apiVersion"].startswith(FOREIGN)
    }
    assert {("kafka.strimzi.io/v1", kind) for kind in ("Kafka", "KafkaNodePool", "KafkaUser")} <= kinds
    assert ("clickhouse.altinity.com/v1", "ClickHouseInstallation") in kinds
    named = {
        (acl["resource"]["type"], acl["resource"]["name"])
        for user in of("operators", "KafkaUser")
        for acl in user["spec"]["authorization"]["acls"]
    }
    assert named == {("topic", topic.value) for topic in Topic} | {
        ("group", ENRICH_GROUP),
        ("group", METRICS_GROUP),
    }


def test_each_service_asks_kafka_as_a_user_of_its_own() -> None:
    users = {user["metadata"]["name"] for user in of("operators", "KafkaUser")}
    asked: dict[str, str] = {}
    for name, _, spec in pods("operators"):
        env = {one["name"]: one for one in spec["containers"][0].get("env", [])}
        if user := env.get("KLANKBORD_KAFKA_SASL_USERNAME"):
            asked[name] = user["value"]
            secret = env["KLANKBORD_KAFKA_SASL_PASSWORD"]["valueFrom"]["secretKeyRef"]
            assert secret["name"] == user["value"]
    assert asked == {
        **{name: f"klankbord-{name}" for name in ("ingest", "enrich", "metrics", "api")},
        "topics": "klankbord",
    }
    assert set(asked.values()) <= users


def test_replicas_have_their_tables_made_on_the_cluster_that_there_is() -> None:
    (store,) = of("operators", "ClickHouseInstallation")
    (cluster,) = store["spec"]["configuration"]["clusters"]
    (migrate,) = [spec for name, _, spec in pods("operators") if name == "migrate"]
    assert cluster["layout"]["replicasCount"] > 1
    assert migrate["containers"][0]["args"][1:] == ["--cluster", cluster["name"]]


def test_what_the_operators_start_may_speak_too() -> None:
    policies = {one["metadata"]["name"]: one["spec"] for one in of("operators", "NetworkPolicy")}
    (keeper,) = of("operators", "ClickHouseKeeperInstallation")
    (store,) = of("operators", "ClickHouseInstallation")
    # The labels that the operators give to pods.
    its = {"clickhouse-keeper.altinity.com/chk": keeper["metadata"]["name"]}
    asks = {"clickhouse.altinity.com/chi": store["metadata"]["name"]}
    assert policies["keeper"]["podSelector"]["matchLabels"] == its
    (rule,) = policies["keeper"]["ingress"]
    callers = [each["podSelector"]["matchLabels"] for each in rule["from"] if "podSelector" in each]
    assert callers == [its, asks]
    assert {"podSelector": {"matchLabels": its}} in policies["clickhouse"]["egress"][0]["to"]
    assert policies["entity-operator"]["egress"][0]["ports"] == [{"port": 9091}]


def test_the_api_may_choose_its_limits_but_not_write_as_in_users_xml() -> None:
    (store,) = of("operators", "ClickHouseInstallation")
    configuration = store["spec"]["configuration"]
    assert configuration["users"]["klankbord_api/profile"] == "reader"
    assert configuration["profiles"]["reader/readonly"] == 2
    users = (ROOT / "deploy/clickhouse/users.xml").read_text()
    for grant in configuration["users"]["klankbord_metrics/grants/query"]:
        assert "system" in grant or f"<query>{grant}</query>" in users


def test_every_file_belongs_to_something() -> None:
    for folder in (ROOT / "deploy/k8s").rglob("kustomization.yaml"):
        named = set(strings(yaml.safe_load(folder.read_text())))
        for path in Path(folder.parent).glob("*.yaml"):
            assert path.name == "kustomization.yaml" or path.name in named, path
