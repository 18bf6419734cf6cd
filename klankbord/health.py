"""Asks the services on this machine how they are: what a container's health check runs."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.error import HTTPError, URLError
from urllib.request import ProxyHandler, build_opener

from shared.settings import Settings

TIMEOUT_SECONDS = 3.0
# A server can listen on all addresses; nobody can go there.
_LOCAL = {"0.0.0.0": "127.0.0.1", "::": "::1"}
# What answers is on this machine, so never behind a proxy.
_OPENER = build_opener(ProxyHandler({}))


@dataclass(frozen=True)
class Health:
    """How one service is; `answers` is False when nothing listens where it should."""

    service: str
    answers: bool
    well: bool
    detail: str


def probe(service: str, settings: Settings, path: str) -> Health:
    """Ask `service` on `path` of its port, /healthz or /readyz. Raises nothing."""
    url = probe_url(service, settings, path)
    try:
        with _OPENER.open(url, timeout=TIMEOUT_SECONDS):
            return Health(service, answers=True, well=True, detail="ok")
    except HTTPError as refusal:
        return Health(service, answers=True, well=False, detail=_reason(refusal))
    except (URLError, OSError) as error:
        reason = getattr(error, "reason", error)
        return Health(service, answers=False, well=False, detail=f"does not answer on {url}: {reason}")


def probe_url(service: str, settings: Settings, path: str) -> str:
    """Return where to ask `service`, which listens where the settings say."""
    host = _LOCAL.get(settings.host, settings.host)
    port = getattr(settings, f"{service}_port")
    return f"http://{f'[{host}]' if ':' in host else host}:{port}{path}"


def verdict(healths: Sequence[Health], wanted: str | None) -> bool:
    """Whether all is well: with `wanted`, that one; without, each that runs here, and at least one does."""
    if wanted is not None:
        return all(health.well for health in healths)
    here = [health for health in healths if health.answers]
    return bool(here) and all(health.well for health in here)


def _reason(refusal: HTTPError) -> str:
    """Say what /readyz says it waits for."""
    try:
        waiting: Mapping[str, str] = json.loads(refusal.read(65_536))["waiting_for"]
    except (ValueError, KeyError, TypeError):
        return f"HTTP status {refusal.code}"
    return "waits for " + "; ".join(f"{what}: {why}" for what, why in waiting.items())
