"""Prometheus and Alertmanager beside the local stack, where they are installed, with the shipped rules."""

import json
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from deploy.local.ports import LOOPBACK

DEPLOY = Path(__file__).parents[1]
RULES = DEPLOY / "prometheus" / "rules"
ALERTMANAGER_CONFIG = DEPLOY / "alertmanager" / "alertmanager.yml"
HOW_TO_INSTALL = (
    "Prometheus and Alertmanager are not installed, so there is no monitoring. On Debian or Ubuntu: "
    "apt-get install prometheus prometheus-alertmanager"
)
SCRAPE_SECONDS = 5
RETENTION = "15d"


@dataclass(frozen=True)
class Tools:
    """Where the two programs are."""

    prometheus: str
    alertmanager: str


def installed() -> Tools | None:
    """Return the programs on the PATH, None when one of them is not there."""
    prometheus = shutil.which("prometheus")
    # Debian's name, and that of the project's own packages.
    alertmanager = shutil.which("prometheus-alertmanager") or shutil.which("alertmanager")
    return Tools(prometheus, alertmanager) if prometheus and alertmanager else None


def prometheus_config(targets: Mapping[str, tuple[str, ...]], alertmanager_port: int) -> str:
    """Return Prometheus' configuration (JSON, which is YAML): `targets` are addresses by service."""
    return json.dumps(
        {
            "global": {"scrape_interval": f"{SCRAPE_SECONDS}s", "evaluation_interval": f"{SCRAPE_SECONDS}s"},
            "rule_files": [str(RULES / "*.yml")],
            "alerting": {
                "alertmanagers": [{"static_configs": [{"targets": [f"{LOOPBACK}:{alertmanager_port}"]}]}]
            },
            "scrape_configs": [
                {"job_name": f"klankbord-{service}", "static_configs": [{"targets": list(addresses)}]}
                for service, addresses in targets.items()
            ],
        },
        indent=2,
    )


def alertmanager_config(webhook: str | None) -> str:
    """Return the routes that are shipped; every receiver posts to `webhook`, or to nobody when it is None."""
    shipped = ALERTMANAGER_CONFIG.read_text(encoding="utf-8")
    if webhook is None:
        return re.sub(r"    webhook_configs:\n(?: {6,}.*\n?)+", "", shipped)
    return re.sub(r"url_file: .*", f"url: {json.dumps(webhook)}", shipped)


def prometheus_argv(tools: Tools, directory: Path, port: int) -> tuple[str, ...]:
    """Return how to run Prometheus with its data in `directory`."""
    return (
        tools.prometheus,
        f"--config.file={directory / 'prometheus.yml'}",
        f"--storage.tsdb.path={directory / 'prometheus'}",
        f"--storage.tsdb.retention.time={RETENTION}",
        f"--web.listen-address={LOOPBACK}:{port}",
        "--log.level=warn",
    )


def alertmanager_argv(tools: Tools, directory: Path, port: int) -> tuple[str, ...]:
    """Return how to run Alertmanager with its data in `directory`."""
    return (
        tools.alertmanager,
        f"--config.file={directory / 'alertmanager.yml'}",
        f"--storage.path={directory / 'alertmanager'}",
        f"--web.listen-address={LOOPBACK}:{port}",
        # One of its kind: it need not look for others.
        "--cluster.listen-address=",
        "--log.level=warn",
    )
