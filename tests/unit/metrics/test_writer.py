"""Once each, the newest, counted right: whatever comes twice, late, in another order or half-way."""

from collections.abc import Sequence
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.metrics.positions import HOUR_MS, Hour, hour_of, newest, resolve
from services.metrics.rows import Event
from services.metrics.writer import deduplication_token, write
from shared.dead_letters import DeadReason
from shared.errors import DependencyUnavailable
from tests.unit.metrics.events import PUBLISHED, MemoryStore, column, event, message

START = int(PUBLISHED.timestamp()) * 1_000


def _done(store: MemoryStore, *events: Event) -> int:
    written = write(events, store)
    store.recount(written.hours)
    return written.rows


def _shown(store: MemoryStore) -> list[tuple[str, str]]:
    return sorted((column(row, "brand"), column(row, "text")) for row in store.shown())


def test_a_message_written_twice_counts_once() -> None:
    store = MemoryStore()
    a, b = event(message("a"), 0), event(message("b"), 1)
    assert [_done(store, a, b), _done(store, a, b), _done(store, b)] == [2, 2, 1]
    assert len(store.shown()) == 2
    assert store.rollup == {Hour("Acme Zorg", START): 2}


def test_a_replay_in_the_same_batches_is_inserted_once() -> None:
    store = MemoryStore()
    batch = [event(message("a"), 0), event(message("b"), 1)]
    for _ in range(3):
        _done(store, *batch)
    assert len(store.rows) == 2


def test_an_edit_of_the_brand_moves_the_mention() -> None:
    store = MemoryStore()
    _done(store, event(message("a", brand="Acme Zorg")))
    _done(store, event(message("a", version=1, brand="Beta Bouw")))
    assert _shown(store) == [("Beta Bouw", "Nog niets gehoord, a 1")]
    assert store.rollup == {Hour("Acme Zorg", START): 0, Hour("Beta Bouw", START): 1}


def test_an_edit_of_the_time_moves_the_mention_and_back() -> None:
    store = MemoryStore()
    for version, hour in enumerate((0, 1, 0)):
        _done(store, event(message("a", version=version, hour=hour)))
    assert _shown(store) == [("Acme Zorg", "Nog niets gehoord, a 2")]
    assert store.rollup == {Hour("Acme Zorg", START): 1, Hour("Acme Zorg", START + HOUR_MS): 0}


def test_an_older_event_does_not_bring_the_old_place_back() -> None:
    store = MemoryStore()
    old, new = event(message("a", version=0), 0), event(message("a", version=1, brand="Beta Bouw"), 1)
    _done(store, new)
    written = write([old], store)
    assert (written.rows, written.stale) == (0, 1)
    assert _shown(store) == [("Beta Bouw", "Nog niets gehoord, a 1")]


def test_a_slower_worker_does_not_bring_the_old_place_back() -> None:
    """Both have noted their places; the one with the older event inserts last."""
    store = MemoryStore()
    old, new = event(message("a", version=0), 0), event(message("a", version=1, brand="Beta Bouw"), 1)
    seen_by_old = store.note_places([old.position])
    assert seen_by_old == {}
    _done(store, new)
    store.insert([old.row], "late")
    assert _shown(store) == [("Beta Bouw", "Nog niets gehoord, a 1")]


def test_the_newest_of_a_batch_is_written_the_later_of_equals() -> None:
    first, second = (
        event(message("a", version=1, text="first"), 0),
        event(message("a", version=1, text="second"), 1),
    )
    old = event(message("a", version=0), 2)
    assert newest([first, second, old]) == [second]


def test_workers_agree_on_equal_versions() -> None:
    a, b = event(message("a", brand="Acme Zorg")), event(message("a", brand="Beta Bouw"))
    contested = {a.position.id: [a.position, b.position]}
    assert resolve([b], contested).shown == (b,)
    assert resolve([a], contested).shown == ()
    assert resolve([a], contested).hidden == resolve([b], contested).hidden == (a.position,)


def test_an_hour_begins_on_the_hour_also_of_other_time_zones() -> None:
    position = event(message("a", published_at="2026-09-01T05:59:59.999+05:30")).position
    assert hour_of(position) == Hour("Acme Zorg", START)


def test_nothing_is_written_for_no_events() -> None:
    store = MemoryStore()
    assert _done(store) == 0
    assert store.positions == []


def test_a_refused_row_is_found_and_the_others_go_in() -> None:
    store = MemoryStore()
    store.refused_texts = {"bad 3", "bad 8"}
    names = {number: f"bad {number}" if number in {3, 8} else f"good {number}" for number in range(10)}
    events = [event(message(str(n), text=text), offset=n) for n, text in names.items()]
    written = write(events, store)
    assert [(bad.record.offset, bad.reason) for bad in written.refused] == [
        (3, DeadReason.REFUSED_BY_STORE),
        (8, DeadReason.REFUSED_BY_STORE),
    ]
    assert written.rows == 8
    assert sorted(column(row, "text") for row in store.shown()) == sorted(
        set(names.values()) - store.refused_texts
    )


class TestToken:
    """An insert whose token is known is dropped, so the token must tell inserts apart."""

    def test_names_topic_partitions_and_offsets(self) -> None:
        events = [event(message("a"), 7, 1), event(message("b"), 5, 0), event(message("c"), 9, 1)]
        ranges, digest = deduplication_token(resolve(events, {})).split("#")
        assert ranges == "mentions.enriched/0:5-5,mentions.enriched/1:7-9"
        assert len(digest) == 32

    def test_is_the_same_for_the_same(self) -> None:
        first, again = ([event(message("a"), 1), event(message("b"), 2)] for _ in range(2))
        assert deduplication_token(resolve(first, {})) == deduplication_token(resolve(again, {}))

    def test_differs_with_the_content_at_the_same_offsets(self) -> None:
        one, other = event(message("a", model="lexicon 1"), 1), event(message("a", model="lexicon 2"), 1)
        assert deduplication_token(resolve([one], {})) != deduplication_token(resolve([other], {}))

    def test_differs_when_there_is_more_to_hide(self) -> None:
        new = event(message("a", version=1), 1)
        old = event(message("a", brand="Beta Bouw"), 0)
        contested = {new.position.id: [new.position, old.position]}
        assert deduplication_token(resolve([new], {})) != deduplication_token(resolve([new], contested))


# A log of one partition: each line an id, a version, a brand and an hour; versions do not always rise.
_LINE = st.tuples(
    st.sampled_from("abc"), st.integers(0, 5), st.sampled_from(("Acme Zorg", "Beta Bouw")), st.integers(0, 2)
)


@st.composite
def _logs(draw: st.DrawFn) -> list[Event]:
    # A version belongs to one content: ingest gives no two mentions the same.
    lines = draw(st.lists(_LINE, max_size=12, unique_by=lambda line: line[:2]))
    return [event(message(*line), offset=offset) for offset, line in enumerate(lines)]


def _consume(log: Sequence[Event], store: MemoryStore, data: st.DataObject) -> None:
    """Read `log` as the sink does: in batches, with crashes, from the last committed offset on."""
    committed, crashes = 0, data.draw(st.integers(0, 4), "crashes")
    while committed < len(log):
        store.crash_after = data.draw(st.integers(0, 6), "crash_after") if crashes > 0 else None
        crashes -= 1
        position = committed
        try:
            while position < len(log):
                size = data.draw(st.integers(1, 5), "batch")
                written = write(log[position : position + size], store)
                store.recount(written.hours)
                position += size
                if data.draw(st.booleans(), "commit"):
                    committed = position
            committed = len(log)
        except DependencyUnavailable:
            continue
    store.crash_after = None


@given(_logs(), st.data())
def test_any_log_read_with_crashes_and_replays_ends_right(log: list[Event], data: st.DataObject) -> None:
    store = MemoryStore()
    for _ in range(data.draw(st.integers(1, 2), "readings")):
        _consume(log, store, data)
    expected = {}
    for one in sorted(log, key=lambda event: event.position.version):
        expected[one.position.id] = one.row
    assert {UUID(column(row, "id")): row for row in store.shown()} == expected
    assert len(store.shown()) == len(expected)
    assert {hour: count for hour, count in store.rollup.items() if count} == store.recounted()


@given(_logs(), st.data())
def test_workers_that_read_in_any_order_end_the_same(log: list[Event], data: st.DataObject) -> None:
    """A mention may change its conversation, so its partition; those are read at different speeds."""
    one, other = MemoryStore(), MemoryStore()
    _consume(log, one, data)
    _consume(data.draw(st.permutations(log)), other, data)
    assert sorted(one.shown(), key=repr) == sorted(other.shown(), key=repr)
    assert one.recounted() == {hour: count for hour, count in other.rollup.items() if count}


def test_an_outage_is_not_taken_for_a_refusal() -> None:
    store = MemoryStore()
    store.crash_after = 1
    with pytest.raises(DependencyUnavailable):
        write([event(message("a"))], store)
