"""Where in the candidate's journey the experience or the question of a text sits."""

from services.enrich.cues import Cues
from services.enrich.lexicon import Signal
from shared.events import Stage

PRECEDENCE = (
    Stage.SILENCE,
    Stage.REJECTION,
    Stage.OFFER,
    Stage.ONBOARDING,
    Stage.INTERVIEW,
    Stage.EMPLOYEE,
    Stage.APPLICATION,
    Stage.VACANCY,
)
"""Between stages with as much evidence, the earlier here: who waits for an answer has also applied."""
_ADVERTISED = 2
_MAX_PER_STAGE = 3
"""Terms that count for one stage, so that a long text is not decided by its most frequent word."""


def stage_of(line: str, cues: Cues, *, review: bool = False) -> Stage:
    """Return the stage that most is said about; "other" without a sign of any, of a `review` "employee"."""
    advertised = len(cues.of(Signal.OWN_VACANCY))
    if not cues.stages and not advertised:
        return Stage.EMPLOYEE if review else Stage.OTHER
    weights: dict[Stage, dict[str, int]] = {}
    for (stage, weight), start, end in cues.stages:
        weights.setdefault(stage, {})[line[start:end]] = weight
    totals = {stage: sum(list(terms.values())[:_MAX_PER_STAGE]) for stage, terms in weights.items()}
    if advertised:
        totals[Stage.VACANCY] = totals.get(Stage.VACANCY, 0) + _ADVERTISED * advertised
    return min(totals, key=lambda stage: (-totals[stage], PRECEDENCE.index(stage)))
