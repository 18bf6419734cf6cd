"""What people are told of a spike: an alert for Alertmanager (API v2), with the reason in its annotations.

Prometheus could only say that a spike is on; its labels hold no texts (docs/decisions: spikes that explain
themselves). A silent source is an alert of Prometheus, which says all there is to say.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

import httpx

from shared.spike_events import Spike, SpikeKind

KEEP_SECONDS = 300
"""An alert that is not sent again for so long resolves; one that is over is sent for as long."""
NAMES = {SpikeKind.SPIKE: "ComplaintSpike", SpikeKind.DROP: "ComplaintDrop"}
TIMEOUT_SECONDS = 5.0


def alert(spike: Spike, now: datetime) -> dict[str, Any]:
    """Return the alert for a spike or a drop, as Alertmanager takes it."""
    return {
        "labels": {
            "alertname": NAMES[spike.kind],
            "brand": spike.brand or "",
            "severity": spike.severity.value,
            "spike": str(spike.id),
            "service": "klankbord",
        },
        "annotations": {
            "summary": summary(spike),
            "description": description(spike),
            "stage": spike.stage or "",
            "topics": ", ".join(spike.topics),
            "runbook_url": "docs/operations.md#complaint-spike",
        },
        "startsAt": spike.raised_at.isoformat(),
        "endsAt": (spike.ended_at or now + timedelta(seconds=KEEP_SECONDS)).isoformat(),
    }


def summary(spike: Spike) -> str:
    """Return one line: who, how many, how far above or below what is usual.

    Where less than one is usual, how many times that it was would say more than is known.
    """
    where = f", most in the stage {spike.stage}" if spike.stage else ""
    times = f"{spike.ratio:.1f} times what is usual: " if spike.expected >= 1 else ""
    usual = f"{spike.expected:.2g} are usual, {spike.expected_high:.0f} at most in 99 of 100 such windows"
    return f"{spike.brand}: {spike.distinct_authors} people complain{where}; {times}{usual}"


def description(spike: Spike) -> str:
    """Return the reason: what about, since when, and three of the mentions."""
    topics = ", ".join(spike.topics) or "none stands out"
    lines = [
        f"Stage: {spike.stage or 'not one in particular'}. Topics: {topics}.",
        f"{spike.observed} #fails by {spike.distinct_authors} people from {spike.window_from:%Y-%m-%d %H:%M} "
        f"to {spike.window_to:%H:%M} UTC.",
    ]
    lines += [f"- {one.excerpt} {one.url or ''} (mention {one.id})" for one in spike.examples]
    return "\n".join(lines)


def to_send(spikes: Iterable[Spike], now: datetime) -> list[dict[str, Any]]:
    """Return the alerts for what is on, or was over a moment ago."""
    keep = timedelta(seconds=KEEP_SECONDS)
    return [
        alert(spike, now)
        for spike in spikes
        if spike.kind in NAMES and (spike.ended_at is None or now - spike.ended_at <= keep)
    ]


async def send(client: httpx.AsyncClient, url: str, alerts: Sequence[dict[str, Any]]) -> None:
    """Post alerts to the Alertmanager at `url`. Raises httpx.HTTPError when it does not take them."""
    if alerts:
        response = await client.post(
            f"{url.rstrip('/')}/api/v2/alerts", json=list(alerts), timeout=TIMEOUT_SECONDS
        )
        response.raise_for_status()
