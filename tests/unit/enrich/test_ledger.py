"""The promise behind every commit: never past an unfinished run, and always caught up in the end."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from services.enrich.ledger import OffsetLedger, Ticket


def test_runs_that_finish_out_of_order_are_committed_in_order() -> None:
    ledger: OffsetLedger[str] = OffsetLedger()
    ledger.assign("p", 10)
    first, second = ledger.fetched("p", 10, 20), ledger.fetched("p", 20, 30)
    assert first and second

    assert ledger.finish(second)
    assert ledger.committable() == {}
    assert ledger.finish(first)
    assert ledger.committable() == {"p": 30}


def test_a_gap_in_the_offsets_does_not_block() -> None:
    ledger: OffsetLedger[str] = OffsetLedger()
    ledger.assign("p", 0)
    for first, after in ((5, 8), (100, 101)):
        ticket = ledger.fetched("p", first, after)
        assert ticket
        ledger.finish(ticket)
    assert ledger.committable() == {"p": 101}


def test_a_failed_commit_is_offered_again_and_a_successful_one_is_not() -> None:
    ledger: OffsetLedger[str] = OffsetLedger()
    ledger.assign("p", None)
    ticket = ledger.fetched("p", 3, 7)
    assert ticket
    ledger.finish(ticket)
    assert ledger.committable() == {"p": 7}
    assert ledger.committable() == {"p": 7}
    ledger.committed({"p": 7})
    assert ledger.committable() == {}


def test_a_run_from_before_a_seek_is_stale() -> None:
    ledger: OffsetLedger[str] = OffsetLedger()
    ledger.assign("p", 0)
    ticket = ledger.fetched("p", 0, 10)
    assert ticket and ledger.start(ticket)
    ledger.assign("p", 0)

    assert ledger.is_stale(ticket)
    assert not ledger.finish(ticket)
    assert ledger.committable() == {}
    assert not ledger.working()


def test_records_from_before_the_position_or_of_a_strange_partition_are_not_taken() -> None:
    ledger: OffsetLedger[str] = OffsetLedger()
    ledger.assign("p", 10)
    assert ledger.fetched("p", 9, 12) is None
    assert ledger.fetched("q", 0, 5) is None


class LedgerMachine(RuleBasedStateMachine):
    """Any interleaving of fetch, start, finish, commit (that fails or not), seek, revoke and assign."""

    def __init__(self) -> None:
        super().__init__()
        self.ledger: OffsetLedger[str] = OffsetLedger()
        # The model, kept apart from the ledger: what was read and finished, offset by offset.
        self.position: dict[str, int] = {}
        self.kafka: dict[str, int] = {}
        self.open: list[Ticket[str]] = []
        self.stale: list[Ticket[str]] = []
        self.finished: dict[str, set[int]] = {}
        self.read: dict[str, list[int]] = {}

    @rule(partition=st.sampled_from("ab"))
    def assign(self, partition: str) -> None:
        start = self.kafka.get(partition, 0)
        self.ledger.assign(partition, start)
        self._forget(partition)
        self.position[partition] = start
        self.finished[partition], self.read[partition] = set(), []

    @rule(partition=st.sampled_from("ab"))
    def revoke(self, partition: str) -> None:
        self.ledger.revoke([partition])
        self._forget(partition)
        self.position.pop(partition, None)

    @rule(partition=st.sampled_from("ab"), gap=st.integers(0, 3), size=st.integers(1, 5))
    def fetch(self, partition: str, gap: int, size: int) -> None:
        first = self.position.get(partition, 0) + gap
        ticket = self.ledger.fetched(partition, first, first + size)
        assert (ticket is not None) == (partition in self.position)
        if ticket:
            self.open.append(ticket)
            self.read[partition] += range(first, first + size)
            self.position[partition] = first + size

    @precondition(lambda self: self.open)
    @rule(data=st.data())
    def finish(self, data: st.DataObject) -> None:
        ticket = data.draw(st.sampled_from(self.open))
        self.open.remove(ticket)
        assert self.ledger.start(ticket)
        assert self.ledger.working()
        assert self.ledger.finish(ticket)
        self.finished[ticket.partition] |= set(range(ticket.first, ticket.after))

    @precondition(lambda self: self.stale)
    @rule(data=st.data())
    def finish_too_late(self, data: st.DataObject) -> None:
        ticket = data.draw(st.sampled_from(self.stale))
        assert not self.ledger.start(ticket)
        assert not self.ledger.finish(ticket)

    @rule(succeeds=st.booleans())
    def commit(self, succeeds: bool) -> None:
        offsets = self.ledger.committable()
        if succeeds:
            self.kafka |= offsets
            self.ledger.committed(offsets)

    @invariant()
    def never_past_an_unfinished_record(self) -> None:
        for partition, offset in self.ledger.committable().items():
            unfinished = [o for o in self.read[partition] if o not in self.finished[partition]]
            assert all(o >= offset for o in unfinished)

    @invariant()
    def catches_up(self) -> None:
        for partition in self.position:
            if self.read[partition] and set(self.read[partition]) <= self.finished[partition]:
                reached = self.ledger.committable().get(partition, self.kafka.get(partition, 0))
                assert reached == self.position[partition]

    def _forget(self, partition: str) -> None:
        self.stale += [t for t in self.open if t.partition == partition]
        self.open = [t for t in self.open if t.partition != partition]


TestLedger = LedgerMachine.TestCase
TestLedger.settings = settings(max_examples=200, stateful_step_count=40)
