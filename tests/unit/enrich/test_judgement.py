"""From scores to labels: what decides on a #fail, besides the words."""

import numpy as np
import pytest

from services.enrich.judgement import FAIL, SENTIMENT, Case, judged
from services.enrich.model import Model, shipped


def is_fail(says: float, feels: float) -> bool:
    """Judge a text whose logits are all nothing but yes of #fail (`says`) and negative (`feels`)."""
    weights = shipped()
    scores = np.zeros((1, sum(len(head.answers) for head in weights.heads)))
    for name, answer, logit in ((FAIL, "yes", says), (SENTIMENT, "negative", feels)):
        head = weights.head(name)
        scores[0, head.columns.start + head.answers.index(answer)] = logit * head.temperature
    model = Model(weights)
    (judgement,) = judged(model, model.words_of([["tekst"]]), scores, [Case(["tekst"], (), None, False)])
    return judgement.is_fail


# With two other answers at nothing, negative is as likely as not at log 2.
@pytest.mark.parametrize(
    ("says", "feels", "expected"),
    [
        (0.5, np.log(2), True),
        (-0.5, np.log(2), False),
        (-0.5, np.log(2) + 1, True),
        (0.5, np.log(2) - 1, False),
        (4, -2, True),
        (-4, 2, False),
    ],
)
def test_a_fail_is_said_and_felt(says: float, feels: float, *, expected: bool) -> None:
    assert is_fail(says, feels) is expected
