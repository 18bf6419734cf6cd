"""The cues of a text, by what they are signs of, without the complaints that the text denies."""

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from services.enrich.lexicon import Cue, Signal, StageCue
from services.enrich.terms import Hit

Span = tuple[int, int]
"""Where a term was found in the line: [start, end)."""


class Cues(NamedTuple):
    """What was found in one text."""

    signals: Mapping[Signal, Sequence[Span]]
    stages: Sequence[Hit[StageCue]]
    topics: Sequence[str]
    """A slug for each term that was found."""

    def of(self, signal: Signal) -> Sequence[Span]:
        """Return where the signs of `signal` are, by where they end."""
        return self.signals.get(signal, ())


NO_CUES = Cues({}, (), ())


def sort_cues(hits: Sequence[Hit[Cue]]) -> Cues:
    """Return the cues in `hits`; signs of a #fail that overlap a denial ("geen klachten") are left out."""
    stages: list[Hit[StageCue]] = []
    topics: list[str] = []
    spans: dict[Signal, list[Span]] = {}
    for value, start, end in hits:
        if isinstance(value, Signal):
            spans.setdefault(value, []).append((start, end))
        elif isinstance(value, StageCue):
            stages.append((value, start, end))
        else:
            topics.append(value.slug)
    if Signal.NO_FAIL in spans:
        denials = merged(spans[Signal.NO_FAIL])
        for signal in spans.keys() & {Signal.FAIL, Signal.HINT}:
            spans[signal] = [span for span in spans[signal] if not _overlaps(span, denials)]
    return Cues(spans, stages, topics)


def merged(spans: Iterable[Span]) -> list[Span]:
    """Return `spans` in order, overlapping ones as one."""
    joined: list[Span] = []
    for start, end in sorted(spans):
        if joined and start < joined[-1][1]:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((start, end))
    return joined


def _overlaps(span: Span, apart: Sequence[Span]) -> bool:
    """Whether `span` shares a character with one of `apart`, which are in order and do not overlap."""
    after = bisect_left(apart, (span[1], 0))
    return after > 0 and apart[after - 1][1] > span[0]
