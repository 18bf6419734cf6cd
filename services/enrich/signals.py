"""Whether a text is a #fail (an unmet expectation that is voiced) and whether it asks something."""

from collections.abc import Iterable
from typing import NamedTuple

from services.enrich.cues import Cues, Span, merged
from services.enrich.lexicon import Signal
from services.enrich.reading import Reading
from services.enrich.sentiment import Sentiment
from services.enrich.terms import shown

MAX_FAIL_TERMS = 10
MAX_TERM_LENGTH = 120
_SPANS_SHOWN = 30
_BLAME_SCORE = -0.3
_PRAISE_SCORE = 0.6
_HINTED_SCORE = 0.3
_ENOUGH_HINTS = 2


class Fail(NamedTuple):
    """Whether a text is a #fail, and the words that made it so."""

    is_fail: bool
    terms: tuple[str, ...]


NO_FAIL = Fail(False, ())


def advertises(cues: Cues) -> bool:
    """Whether a text speaks as an employer does of its own vacancies."""
    vacancy = len(cues.of(Signal.OWN_VACANCY))
    return vacancy >= 2 and vacancy > len(cues.of(Signal.FAIL)) + len(cues.of(Signal.PERSONAL))


def reports(cues: Cues) -> bool:
    """Whether a text speaks as the press does: of others."""
    return bool(cues.of(Signal.NEWS)) and not cues.of(Signal.PERSONAL)


def fail_of(reading: Reading, cues: Cues, sentiment: Sentiment, *, about_work: bool, asks: bool) -> Fail:
    """Return whether a text voices an unmet expectation about the employer, a vacancy or the process.

    Its words say so, or several hint at it (more are needed where it asks, or is not about work or applying),
    or it blames. The writer's own feelings, news, and praise that denies a complaint do not count.
    """
    unmet = cues.of(Signal.FAIL)
    if unmet and any(reading.line[start + 1] == "#" for start, _ in unmet):
        return Fail(True, _terms(reading, unmet))
    if reports(cues) or sentiment.score >= _PRAISE_SCORE:
        return NO_FAIL
    if unmet:
        return Fail(True, _terms(reading, unmet))
    hints = merged(cues.of(Signal.HINT))
    if (
        about_work
        and sentiment.blame
        and (sentiment.score <= _BLAME_SCORE or (hints and sentiment.score < 0))
    ):
        return Fail(True, _terms(reading, [*sentiment.blame, *hints]))
    if len(hints) >= _ENOUGH_HINTS + asks + (not about_work) and sentiment.score < _HINTED_SCORE:
        return Fail(True, _terms(reading, hints))
    return NO_FAIL


def _terms(reading: Reading, spans: Iterable[Span]) -> tuple[str, ...]:
    some = merged(spans)[:_SPANS_SHOWN]
    words = (shown(reading.line, reading.tokens, start, end)[:MAX_TERM_LENGTH] for start, end in some)
    return tuple(dict.fromkeys(filter(None, words)))[:MAX_FAIL_TERMS]


def is_question(line: str, cues: Cues) -> bool:
    """Whether a text asks for information or an answer, with or without a question mark; not rhetorically."""
    asking = cues.of(Signal.QUESTION)
    if not asking and " ? " not in line:
        return False
    rhetorical = {_sentence_end(line, end) for _, end in cues.of(Signal.RHETORICAL)}
    rhetorical |= {start for start, _ in cues.of(Signal.RHETORICAL) if line.startswith(" ? ", start)}
    mark = line.find(" ? ")
    while mark >= 0:
        if mark not in rhetorical:
            return True
        mark = line.find(" ? ", mark + 1)
    return any(_sentence_end(line, end) not in rhetorical for _, end in asking)


def _sentence_end(line: str, end: int) -> int:
    """Return where the sentence ends of a term that ends at `end`: at its "?", else at its "."."""
    stop = line.find(" . ", end - 3)
    return stop - 3 if stop >= 3 and line.startswith(" ? ", stop - 3) else stop
