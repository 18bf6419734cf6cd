"""How good the labels are: `make eval`. Every labelled set at hand, next to simple baselines.

Sets are JSON lines {"text", "lang", "label", "task"} in the folder that KLANKBORD_EVAL_DATA names (without
it: ../shared/data, if it is there), and the sample's gold labels. A set whose labels know no "neutral" is
judged by the sign of the score. docs/accuracy.md says what the figures mean.
"""

import json
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from rich.table import Table

from bench.lexicon_peers import lexicon_peers
from services.enrich.model import shipped
from services.enrich.steps import Enricher
from services.enrich.training.data import SOURCES, is_dev
from shared.brands import Enrichment, load_brands
from shared.events import EnrichedMention, Language, Mention, RawMention, SentimentLabel

DATA_VARIABLE = "KLANKBORD_EVAL_DATA"
MODEL_VARIABLE = "KLANKBORD_EVAL_MODEL"
DEFAULT_DATA = Path("../shared/data")
SAMPLE = Path("deploy/local/sample/mentions.jsonl")
SAMPLE_CONFIG = Path("deploy/local/sample/klankbord.toml")
SAMPLE_LABELS = Path("tests/data/sample_labels.jsonl")
_LABELS = {"neg": SentimentLabel.NEGATIVE, "neu": SentimentLabel.NEUTRAL, "pos": SentimentLabel.POSITIVE}
RECRUITMENT, SECOND_LABELS = Path("tests/data/hr_mentions.jsonl"), Path("tests/data/hr_labels_second.jsonl")
RECRUITMENT_TASKS = {
    "sentiment_label": "sentiment",
    "is_fail": "fail",
    "is_question": "question",
    "stage": "stage",
    "author_kind": "author_kind",
    "lang": "lang",
}
"""By task, the name that the set has for it."""
_BATCH = 1_000
_TRAINED_ON = frozenset(source.file for source in SOURCES)
_WHEN = datetime(2026, 1, 1, tzinfo=UTC)


class Case(NamedTuple):
    """A text and its gold label for one task."""

    mention: RawMention
    gold: str


class LabelledSet(NamedTuple):
    """Cases of one task from one file."""

    name: str
    task: str
    cases: tuple[Case, ...]
    language: str | None = None
    """nl or en, where all are of one."""


class Score(NamedTuple):
    """How well one way of labelling does on one set."""

    accuracy: float
    macro_f1: float
    precision: float
    recall: float
    """Precision and recall of the positive class; 0 where a task has none."""
    f1: float
    mentions_per_second: float


Labeller = Callable[[Sequence[RawMention]], list[str]]


def main() -> int:
    """Print the table; return 0, also when there is no data (it says so)."""
    console = Console(width=150)
    others = [*labelled_sets(Path(os.environ.get(DATA_VARIABLE, DEFAULT_DATA)))]
    sets = [*recruitment_sets(), *others, *filter(None, map(first_words, others)), *sample_sets()]
    if not sets:
        console.print(f"No labelled data in {DEFAULT_DATA}: name its folder with {DATA_VARIABLE}.")
        return 0
    if "--markdown" in sys.argv[1:]:
        console.print(markdown(sets, _enricher()), soft_wrap=True, markup=False)
        return 0
    console.print(f"Accuracy of {shipped().name}; F1, precision and recall are of the positive class.")
    enricher = _enricher()
    console.print(_table(sets, enricher))
    for labelled in recruitment_sets():
        if labelled.language is None:
            console.print(_confusion_table(labelled, enricher))
    console.print(_kappa_table(agreement()))
    console.print("Confidence of sentiment labels: how often one of about this confidence is right.")
    console.print(_calibration_table(calibration(sets, enricher)))
    return 0


def _enricher() -> Enricher:
    """Return what is judged: ours, or with a sentiment model of one's own."""
    book = load_brands(SAMPLE_CONFIG)
    if folder := os.environ.get(MODEL_VARIABLE):
        book = book.model_copy(update={"enrich": Enrichment(model=f"onnx:{folder}")})
    return Enricher(book)


def labelled_sets(folder: Path) -> Iterator[LabelledSet]:
    """Yield the sets in `folder`; none when there is no such folder.

    Of sets that the model was trained on, the tenth that was left out.
    """
    for path in sorted(folder.glob("*.jsonl")):
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        if path.stem in _TRAINED_ON:
            rows = [row for row in rows if is_dev(row["text"])]
        cases = tuple(Case(mention_of(row["text"]), _gold(row["task"], row["label"])) for row in rows)
        languages = {row["lang"] for row in rows}
        name = f"{path.stem} (tenth)" if path.stem in _TRAINED_ON else path.stem
        yield LabelledSet(name, rows[0]["task"], cases, *(languages if len(languages) == 1 else ()))


def recruitment_sets() -> Iterator[LabelledSet]:
    """Yield the kept-back part of our own recruitment mentions, a set a task, whole and by language.

    No text of it was trained on or chosen by.
    """
    if not RECRUITMENT.exists():
        return
    rows = [json.loads(line) for line in RECRUITMENT.read_text(encoding="utf-8").splitlines()]
    kept_back = [row for row in rows if row["split"] == "test"]
    for task, key in RECRUITMENT_TASKS.items():
        for language in (None, "nl", "en"):
            some = [row for row in kept_back if language in {None, row["lang"]}]
            if task == "lang" and language:
                continue
            cases = tuple(Case(_recruitment_mention(row), _recruitment_gold(task, row[key])) for row in some)
            yield LabelledSet(f"hr_mentions test {language or 'all'}", task, cases, language)


def _recruitment_mention(row: dict[str, object]) -> RawMention:
    fields = {key: row[key] for key in ("text", "kind", "rating", "rating_scale") if row[key] is not None}
    return RawMention.of(Mention.model_validate(fields | {"source": "eval", "published_at": _WHEN}), _WHEN)


def _recruitment_gold(task: str, label: object) -> str:
    return _gold(task, str(label)) if task == "lang" else str(label)


def first_words(labelled: LabelledSet) -> LabelledSet | None:
    """Return a set of sentences of which only the first five words are left; None of any other set."""
    if labelled.task != "lang" or "sentences" not in labelled.name:
        return None
    cases = [Case(mention_of(" ".join(case.mention.text.split()[:5])), case.gold) for case in labelled.cases]
    return LabelledSet(f"{labelled.name}, 5 words", "lang", tuple(cases))


def agreement() -> dict[str, tuple[int, float, float]]:
    """Return, by label, how far two blind labellings of our own set agree: n, share, Cohen's kappa."""
    if not (RECRUITMENT.exists() and SECOND_LABELS.exists()):
        return {}
    first = {row["id"]: row for row in map(json.loads, RECRUITMENT.read_text(encoding="utf-8").splitlines())}
    second = [json.loads(line) for line in SECOND_LABELS.read_text(encoding="utf-8").splitlines()]
    found = {}
    for key in RECRUITMENT_TASKS.values():
        pairs = [(str(first[row["id"]][key]), str(row[key])) for row in second if key in row]
        found[key] = len(pairs), *kappa(pairs)
    return found


def kappa(pairs: Sequence[tuple[str, str]]) -> tuple[float, float]:
    """Return the share of pairs that agree, and Cohen's kappa: that, less what chance alone would give."""
    agreed = sum(one == other for one, other in pairs) / len(pairs)
    ones, others = Counter(one for one, _ in pairs), Counter(other for _, other in pairs)
    chance = sum(ones[name] * others[name] for name in ones) / len(pairs) ** 2
    return agreed, (agreed - chance) / (1 - chance) if chance < 1 else 1.0


def sample_sets() -> Iterator[LabelledSet]:
    """Yield the sample's mentions against its gold labels, a set a task."""
    if not (SAMPLE.exists() and SAMPLE_LABELS.exists()):
        return
    mentions = {
        row["external_id"]: row for row in map(json.loads, SAMPLE.read_text(encoding="utf-8").splitlines())
    }
    labels = [json.loads(line) for line in SAMPLE_LABELS.read_text(encoding="utf-8").splitlines()]
    for task in ("language", "sentiment_label", "is_fail", "is_question", "stage"):
        cases = tuple(Case(_sample_mention(mentions[row["external_id"]]), str(row[task])) for row in labels)
        yield LabelledSet("sample", task, cases)


def mention_of(text: str) -> RawMention:
    """Return `text` as a mention of nobody in particular, without hints."""
    return RawMention.of(Mention(source="eval", text=text, published_at=_WHEN), _WHEN)


def _sample_mention(row: dict[str, object]) -> RawMention:
    known = {key: value for key, value in row.items() if key in Mention.model_fields}
    return RawMention.of(Mention.model_validate(known | {"published_at": _WHEN}), _WHEN)


def _gold(task: str, label: str | int) -> str:
    if task == "sentiment":
        return _LABELS[str(label)].value
    if task == "lang":
        return str(label) if label in ("nl", "en") else Language.OTHER.value
    return str(str(label) == "1")


def answer(task: str, mention: EnrichedMention, *, two_classes: bool) -> str:
    """Return what `mention`'s labels answer to the question of `task`, spelt as the gold labels are."""
    match task:
        case "sentiment" | "sentiment_label" if two_classes:
            label = (SentimentLabel.POSITIVE if mention.sentiment > 0 else SentimentLabel.NEGATIVE).value
        case "sentiment" | "sentiment_label":
            label = mention.sentiment_label.value
        case "complaint" | "is_fail":
            label = str(mention.is_fail)
        case "question" | "is_question":
            label = str(mention.is_question)
        case "lang" | "language":
            label = mention.language.value
        case "stage":
            label = mention.stage.value
        case "author_kind":
            label = mention.author_kind.value
        case _:
            raise ValueError(f"no label answers the task {task!r}")
    return label


def score(gold: Sequence[str], labels: Sequence[str], seconds: float) -> Score:
    """Return how well `labels` agree with `gold`; both of one length, not empty."""
    counts = Counter(zip(gold, labels, strict=True))
    agreed = sum(count for (wanted, got), count in counts.items() if wanted == got)
    by_class = [_precision_recall_f1(counts, name) for name in sorted(set(gold))]
    positive = _precision_recall_f1(counts, "True") if set(gold) == {"True", "False"} else (0.0, 0.0, 0.0)
    macro = sum(f1 for _, _, f1 in by_class) / len(by_class)
    return Score(agreed / len(gold), macro, *positive, len(gold) / seconds if seconds else 0.0)


def _precision_recall_f1(counts: Counter[tuple[str, str]], name: str) -> tuple[float, float, float]:
    right = counts[name, name]
    if not right:
        return 0.0, 0.0, 0.0
    precision = right / sum(count for (_, got), count in counts.items() if got == name)
    recall = right / sum(count for (wanted, _), count in counts.items() if wanted == name)
    return precision, recall, 2 * precision * recall / (precision + recall)


def labellers(labelled: LabelledSet, enricher: Enricher) -> dict[str, Labeller]:
    """Return the ways of labelling to compare on a set: ours, the majority, and "?" where it makes sense."""
    gold = [case.gold for case in labelled.cases]
    majority = Counter(gold).most_common(1)[0][0]
    two_classes = SentimentLabel.NEUTRAL.value not in gold

    def ours(mentions: Sequence[RawMention]) -> list[str]:
        batches = [mentions[at : at + _BATCH] for at in range(0, len(mentions), _BATCH)]
        labelled_mentions = [mention for batch in batches for mention in enricher.label_batch(batch)]
        return [answer(labelled.task, mention, two_classes=two_classes) for mention in labelled_mentions]

    ways: dict[str, Labeller] = {"klankbord": ours, "majority": lambda mentions: [majority] * len(mentions)}
    if labelled.task in {"question", "complaint", "is_question", "is_fail"}:
        ways['"?" in text'] = lambda mentions: [str("?" in m.text) for m in mentions]
    if labelled.task in {"sentiment", "sentiment_label"}:
        ways |= lexicon_peers(labelled.language, two_classes=two_classes)
    return ways


def evaluate(labelled: LabelledSet, way: Labeller) -> Score:
    """Return the score of one way of labelling on a set."""
    mentions = [case.mention for case in labelled.cases]
    begin = time.perf_counter()
    labels = way(mentions)
    return score([case.gold for case in labelled.cases], labels, time.perf_counter() - begin)


def calibration(sets: Iterable[LabelledSet], enricher: Enricher) -> dict[float, tuple[int, int]]:
    """Return, by confidence rounded down to tenths, how many sentiment labels were right, and of how many.

    Only sets with all three labels count: elsewhere "neutral" could not be right.
    """
    counts: dict[float, tuple[int, int]] = {}
    for labelled in sets:
        if (
            labelled.task in {"sentiment", "sentiment_label"}
            and len({case.gold for case in labelled.cases}) == 3
        ):
            mentions = enricher.label_batch([case.mention for case in labelled.cases])
            for case, mention in zip(labelled.cases, mentions, strict=True):
                tenth = int(mention.confidence * 10) / 10
                right, all_ = counts.get(tenth, (0, 0))
                counts[tenth] = (right + (mention.sentiment_label.value == case.gold), all_ + 1)
    return dict(sorted(counts.items()))


def markdown(sets: Sequence[LabelledSet], enricher: Enricher) -> str:
    """Return the table of docs/accuracy.md: a set a row, ours beside the best of the others' ways."""
    lines = [
        "| set | label | n | accuracy | macro-F1 | precision, recall, F1 of yes | others | texts/s |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for labelled in sets:
        scores = {by: evaluate(labelled, way) for by, way in labellers(labelled, enricher).items()}
        ours = scores.pop("klankbord")
        of_yes = f"{ours.precision:.2f}, {ours.recall:.2f}, {ours.f1:.3f}" if ours.f1 else "–"
        others = ", ".join(f"{by} {result.macro_f1:.3f}" for by, result in scores.items())
        cells = (
            labelled.name,
            labelled.task,
            f"{len(labelled.cases):,}",
            f"{ours.accuracy:.3f}",
            f"{ours.macro_f1:.3f}",
            of_yes,
            others,
            f"{ours.mentions_per_second:,.0f}",
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _confusion_table(labelled: LabelledSet, enricher: Enricher) -> Table:
    """Return how often which right answer (rows) got which label (columns)."""
    got = labellers(labelled, enricher)["klankbord"]([case.mention for case in labelled.cases])
    counts = Counter(zip([case.gold for case in labelled.cases], got, strict=True))
    names = sorted({name for pair in counts for name in pair})
    table = Table(labelled.task, title=f"{labelled.name}: gold (down), ours (across)")
    for name in names:
        table.add_column(name, justify="right")
    for gold in names:
        table.add_row(gold, *(str(counts[gold, name] or "") for name in names))
    return table


def _kappa_table(found: dict[str, tuple[int, float, float]]) -> Table:
    table = Table("label", title="hr_mentions: how far two blind labellings agree")
    for heading in ("n", "agree", "kappa"):
        table.add_column(heading, justify="right")
    for label, (n, agreed, value) in found.items():
        table.add_row(label, f"{n:,}", f"{agreed:.3f}", f"{value:.3f}")
    return table


def _calibration_table(counts: dict[float, tuple[int, int]]) -> Table:
    table = Table("confidence")
    for heading in ("n", "right"):
        table.add_column(heading, justify="right")
    for tenth, (right, labels) in counts.items():
        table.add_row(f"{tenth:.1f} ...", f"{labels:,}", f"{right / labels:.3f}")
    return table


def _table(sets: Sequence[LabelledSet], enricher: Enricher) -> Table:
    table = Table()
    for heading in ("set", "task", "by"):
        table.add_column(heading, no_wrap=True)
    for heading in ("n", "accuracy", "macro-F1", "precision", "recall", "F1", "texts/s"):
        table.add_column(heading, justify="right")
    for labelled in sets:
        for by, way in labellers(labelled, enricher).items():
            table.add_row(labelled.name, labelled.task, by, *_cells(labelled, evaluate(labelled, way), by))
    return table


def _cells(labelled: LabelledSet, result: Score, by: str) -> list[str]:
    of_positive = [result.precision, result.recall, result.f1]
    return [
        f"{len(labelled.cases):,}",
        f"{result.accuracy:.3f}",
        f"{result.macro_f1:.3f}",
        *(f"{value:.3f}" if any(of_positive) else "" for value in of_positive),
        f"{result.mentions_per_second:,.0f}" if by == "klankbord" else "",
    ]


if __name__ == "__main__":
    raise SystemExit(main())
