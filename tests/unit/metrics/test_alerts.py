"""What Alertmanager is told of a spike."""

import json
from datetime import timedelta

import httpx
import pytest

from services.metrics.alerts import KEEP_SECONDS, send, to_send
from services.metrics.episodes import Episodes
from shared.spike_events import Severity, Spike, SpikeKind
from tests.unit.metrics.test_spikes import NOW, burst, look, monday_noon, raised


@pytest.fixture
def spike() -> Spike:
    _, (one,) = raised(Episodes({}), look(monday_noon(), burst(monday_noon(), 40)), 0)
    return one


def test_an_alert_says_who_where_about_what_how_far_above_normal_and_gives_examples(spike: Spike) -> None:
    (alert,) = to_send([spike], NOW)
    told = alert["annotations"]
    assert alert["labels"] | {"alertname": "ComplaintSpike", "brand": "Acme"} == alert["labels"]
    assert alert["labels"]["severity"] == Severity.CRITICAL
    assert f"Acme: {spike.distinct_authors} people complain, most in the stage silence; " in told["summary"]
    assert f"{spike.ratio:.1f} times what is usual: {spike.expected:.2g} are" in told["summary"]
    assert f"{spike.expected_high:.0f} at most" in told["summary"]
    assert "response time" in told["description"]
    assert all(str(example.id) in told["description"] for example in spike.examples)


def test_where_hardly_any_is_usual_an_alert_does_not_say_how_many_times_that_it_was(spike: Spike) -> None:
    quiet = spike.model_copy(update={"expected": 0.024, "expected_high": 1.0})
    told = to_send([quiet], NOW)[0]["annotations"]["summary"]
    assert "times" not in told
    assert "; 0.024 are usual, 1 at most" in told


def test_an_alert_lasts_while_it_is_sent_and_ends_when_the_spike_does(spike: Spike) -> None:
    over = spike.model_copy(update={"ended_at": NOW})
    assert to_send([spike], NOW)[0]["endsAt"] == (NOW + timedelta(seconds=KEEP_SECONDS)).isoformat()
    assert to_send([over], NOW)[0]["endsAt"] == NOW.isoformat()
    assert to_send([over], NOW + timedelta(seconds=KEEP_SECONDS + 1)) == []


def test_a_silent_source_is_left_to_prometheus(spike: Spike) -> None:
    silent = spike.model_copy(update={"kind": SpikeKind.SOURCE_SILENT, "brand": None, "source": "linkedin"})
    assert to_send([silent], NOW) == []


async def test_alerts_go_to_version_2_of_the_api_and_a_refusal_is_noticed(spike: Spike) -> None:
    requests: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        requests.append(request)
        return httpx.Response(200 if len(requests) == 1 else 400)

    async with httpx.AsyncClient(transport=httpx.MockTransport(answer)) as client:
        await send(client, "http://alertmanager:9093/", to_send([spike], NOW))
        with pytest.raises(httpx.HTTPStatusError):
            await send(client, "http://alertmanager:9093", to_send([spike], NOW))
        await send(client, "http://alertmanager:9093", [])
    assert [str(one.url) for one in requests] == ["http://alertmanager:9093/api/v2/alerts"] * 2
    assert json.loads(requests[0].content)[0]["labels"]["alertname"] == "ComplaintSpike"
