"""`klankbord train`: a new model beside the present one on the fixed test set, and into use if no worse."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from services.enrich.model import PATH, Weights, load, save, version_of
from services.enrich.steps import Enricher
from services.enrich.training.data import (
    Example,
    corrected_examples,
    others_examples,
    own_examples,
    sample_examples,
    written_examples,
)
from services.enrich.training.train import mention_of, train
from shared.brands import BrandBook
from shared.errors import ConfigError
from shared.events import EnrichedMention

TOLERANCE = 0.02
"""How much lower a figure may be and still count as no worse: less is chance in a test set of 356 texts."""


class TrainOptions(NamedTuple):
    """What the command was given."""

    data: Path
    corrections: Path | None
    out: Path | None
    force: bool


class Figure(NamedTuple):
    """How well a model does on one label of the test set."""

    label: str
    measure: str
    value: float


def run_train(options: TrainOptions, tell: Callable[[str], None]) -> int:
    """Train and compare; return 0 when the model is taken into use, 1 when it is worse and was not.

    Raises ConfigError when the data are not there or malformed.
    """
    own = own_examples(Path())
    others, missing = others_examples(options.data)
    if missing:
        tell(f"Not in {options.data}, so left out: {', '.join(missing)}.")
    corrected = corrected_examples(options.corrections) if options.corrections else []
    if options.corrections:
        tell(f"{len(corrected):,} corrections.")
    test = [example for example in own if example.part == "test"]
    examples = [*own, *sample_examples(Path()), *written_examples(), *corrected, *others]
    weights = train(examples, tell)
    path = options.out or PATH
    before = _present(path)
    new, old = figures(weights, test), figures(before, test) if before else []
    for line in side_by_side(old, new):
        tell(line)
    worse = [figure.label for figure, earlier in zip(new, old, strict=False) if _is_worse(figure, earlier)]
    if worse and not options.force:
        tell(f"Not taken into use: worse on {', '.join(worse)}. Use --force to take it all the same.")
        return 1
    save(path, weights)
    tell(f"{version_of(weights)} written to {path} ({path.stat().st_size / 1e6:.1f} MB).")
    return 0


def _present(path: Path) -> Weights | None:
    try:
        return load(path if path.exists() else PATH)
    except ConfigError:
        return None


def _is_worse(figure: Figure, earlier: Figure) -> bool:
    return figure.value < earlier.value - TOLERANCE


def figures(weights: Weights, test: Sequence[Example]) -> list[Figure]:
    """Return macro-F1 (of stage and language also the accuracy) on the test set, by label."""
    labelled = Enricher(BrandBook(), weights).label_batch([mention_of(example) for example in test])
    found = []
    for label, answer in _ANSWERS.items():
        gold = [example.gold[label] for example in test]
        got = [answer(mention) for mention in labelled]
        found.append(Figure(label, "macro-F1", macro_f1(gold, got)))
        if label in {"stage", "language"}:
            right = sum(wanted == given for wanted, given in zip(gold, got, strict=True))
            found.append(Figure(label, "accuracy", right / len(gold)))
    return found


_ANSWERS: dict[str, Callable[[EnrichedMention], str]] = {
    "sentiment": lambda mention: mention.sentiment_label.value,
    "fail": lambda mention: "yes" if mention.is_fail else "no",
    "question": lambda mention: "yes" if mention.is_question else "no",
    "stage": lambda mention: mention.stage.value,
    "author_kind": lambda mention: mention.author_kind.value,
    "language": lambda mention: mention.language.value,
}


def macro_f1(gold: Sequence[str], got: Sequence[str]) -> float:
    """Return the mean over the classes of `gold` of the F1 of each."""
    scores = []
    for name in sorted(set(gold)):
        right = sum(wanted == given == name for wanted, given in zip(gold, got, strict=True))
        scores.append(2 * right / (gold.count(name) + got.count(name)))
    return sum(scores) / len(scores)


def side_by_side(old: Sequence[Figure], new: Sequence[Figure]) -> list[str]:
    """Return a table of two models' figures."""
    lines = [f"{'label':12} {'measure':9} {'present':>8} {'new':>8}"]
    for number, (label, measure, value) in enumerate(new):
        before = f"{old[number].value:.3f}" if old else "-"
        lines.append(f"{label:12} {measure:9} {before:>8} {value:>8.3f}")
    return lines
