"""The labelled texts that training reads, what each set may teach, and which part of it does.

Our own: tests/data/hr_mentions.jsonl (its split is written in it; "test" is never used for choosing or
training), the written examples beside this file, corrections that people made. Others': the train_* sets of
the folder that is given, whose licences allow it (docs/accuracy.md). A set that is not there is left out,
and said so.
"""

import json
from collections.abc import Iterator, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple
from zlib import crc32

from shared.errors import ConfigError
from shared.events import AuthorKind, Kind, SentimentLabel, Stage

OWN = Path("tests/data/hr_mentions.jsonl")
SAMPLE, SAMPLE_LABELS = Path("deploy/local/sample/mentions.jsonl"), Path("tests/data/sample_labels.jsonl")
WRITTEN = Path(__file__).parent / "written.jsonl"
GENERAL_WRITTEN = Path(__file__).parent / "general.jsonl"
OUR_LABELS = Path(__file__).parent / "labels_of_others.jsonl"
"""Sentiments that we gave to texts of others' sets, by digest: the texts themselves are not ours to ship."""
_SENTIMENTS = {"neg": SentimentLabel.NEGATIVE, "neu": SentimentLabel.NEUTRAL, "pos": SentimentLabel.POSITIVE}
CORRECTION = (
    'a line is {"text", "lang", and of sentiment, fail, question, stage, author_kind those that are right}'
)
"""What a file of corrections holds."""
_OUR_IMPORTANCE = 3.0
"""What an answer that we gave counts, in answers of others: it is by our guidelines."""
_DEV_TENTHS = 1

ANSWERS: dict[str, tuple[str, ...]] = {
    "sentiment": tuple(label.value for label in SentimentLabel),
    "fail": ("no", "yes"),
    "question": ("no", "yes"),
    "stage": tuple(stage.value for stage in Stage),
    "author_kind": tuple(kind.value for kind in AuthorKind),
    "language": ("nl", "en", "other"),
    "domain": ("general", "recruitment"),
    "general_sentiment": tuple(label.value for label in SentimentLabel),
    "general_question": ("no", "yes"),
}
GENERAL = "general_"
"""How the heads for talk that is not about recruitment begin."""
_GENERAL_IMPORTANCE = 0.1
"""What one of our mentions counts for the heads of talk in general."""


class Source(NamedTuple):
    """One of others' sets: its file, and how much an example counts."""

    file: str
    importance: float
    two_classes: bool = False


SOURCES = (
    Source("train_en_sent_vader_tweets", 1.0),
    Source("train_nl_sent_ecosent_train", 1.0),
    Source("train_nl_sent_bolcom", 1.0, two_classes=True),
    Source("train_nl_sent_xed_silver", 0.3, two_classes=True),
    Source("train_en_q_tweetact", 1.0),
    Source("train_nl_q_subs_nomark", 1.0),
    Source("train_en_q_subs_nomark", 1.0),
    Source("train_lid_lingua_sentences", 1.0),
    Source("train_lid_lingua_word_pairs", 1.0),
)


class Example(NamedTuple):
    """One labelled text."""

    text: str
    source: str
    part: str
    """train, dev or test."""
    gold: dict[str, str]
    """By head, the right answer."""
    importance: float = 1.0
    """What an answer of others counts."""
    ours: frozenset[str] = frozenset()
    """The heads whose answers we gave."""
    two_classes: bool = False
    language: str = "other"
    """nl, en or other."""
    kind: Kind = Kind.POST
    rating: float | None = None
    rating_scale: float = 5.0

    @property
    def own(self) -> bool:
        """Whether it is one of ours, about recruitment."""
        return self.gold.get("domain") == "recruitment"

    def importance_for(self, head: str) -> float:
        """Return what its answer for `head` counts, in answers of others."""
        if self.own and (head.startswith(GENERAL) or head == "language"):
            # So many mentions in our own manner would push aside how other people write.
            return _GENERAL_IMPORTANCE
        return _OUR_IMPORTANCE if head in self.ours else self.importance


def own_examples(folder: Path) -> list[Example]:
    """Return our labelled recruitment mentions, below `folder` (the repository).

    Raises ConfigError when they are not there: training needs a checkout.
    """
    path = folder / OWN
    if not path.exists():
        raise ConfigError(f"{path} is not there: run this in a checkout of Klankbord.")
    return [_own(row, path.stem, row["split"]) for row in _rows(path)]


def sample_examples(folder: Path) -> list[Example]:
    """Return the sample mentions with their gold labels, below `folder`; none when they are not there."""
    labels, mentions = folder / SAMPLE_LABELS, folder / SAMPLE
    if not (labels.exists() and mentions.exists()):
        return []
    by_id = {row["external_id"]: row for row in _rows(mentions)}
    return [_own(by_id[row["external_id"]] | _renamed(row), "sample", "train") for row in _rows(labels)]


def _renamed(row: dict[str, Any]) -> dict[str, Any]:
    names = {"language": "lang", "sentiment_label": "sentiment", "is_fail": "fail", "is_question": "question"}
    return {names.get(name, name): value for name, value in row.items()}


def written_examples() -> list[Example]:
    """Return the examples written to learn from: mentions, and talk that is not about recruitment."""
    mentions = [_own(row, WRITTEN.stem, "train") for row in _rows(WRITTEN)]
    return mentions + [_general(row) for row in _rows(GENERAL_WRITTEN)]


def corrected_examples(path: Path) -> list[Example]:
    """Return what people corrected: JSON lines with the text, its language and the labels that are right.

    Raises ConfigError, which names the line, when the file is not such.
    """
    examples = []
    for number, row in enumerate(_rows(path), 1):
        if not isinstance(row.get("text"), str):
            raise ConfigError(
                f"{path}, line {number}: has no text; make it with klankbord corrections export."
            )
        examples.append(_own(row, "corrections", "train"))
    return examples


def others_examples(folder: Path) -> tuple[list[Example], list[str]]:
    """Return the examples of others' sets in `folder`, and the names of the sets that are not there."""
    examples: list[Example] = []
    missing = []
    ours = {row["text_sha256"]: row["sentiment"] for row in _rows(OUR_LABELS)}
    for source in SOURCES:
        path = folder / f"{source.file}.jsonl"
        if path.exists():
            examples += [_others(row, source, ours) for row in _rows(path)]
        else:
            missing.append(source.file)
    return examples, missing


def _own(row: dict[str, Any], source: str, part: str) -> Example:
    language = _language(row["lang"])
    gold = _with_general(_labels(row) | {"language": language, "domain": "recruitment"})
    return Example(
        row["text"],
        source,
        part,
        gold,
        ours=frozenset(gold),
        language=language,
        kind=Kind(row.get("kind") or "post"),
        rating=row.get("rating"),
        rating_scale=row.get("rating_scale") or 5.0,
    )


def _general(row: dict[str, Any]) -> Example:
    language = _language(row["lang"])
    gold = _with_general(_labels(row) | {"language": language, "domain": "general"})
    return Example(row["text"], GENERAL_WRITTEN.stem, "train", gold, ours=frozenset(gold), language=language)


def _labels(row: dict[str, Any]) -> dict[str, str]:
    """Return the right answers that a row of ours gives."""
    gold = {
        head: str(row[head]) for head in ("sentiment", "stage", "author_kind") if row.get(head) is not None
    }
    yes_or_no = (head for head in ("fail", "question") if row.get(head) is not None)
    return gold | {head: "yes" if row[head] else "no" for head in yes_or_no}


def is_dev(text: str) -> bool:
    """Whether a text of one of others' sets is in the tenth that is not learned from."""
    return crc32(text.encode()) % 10 < _DEV_TENTHS


def digest(text: str) -> str:
    """Return what names a text of others in the file of our labels: 16 hexadecimal digits."""
    return sha256(text.encode()).hexdigest()[:16]


def _others(row: dict[str, Any], source: Source, ours: Mapping[str, str]) -> Example:
    part = "dev" if is_dev(row["text"]) else "train"
    language = _language(row["lang"])
    # Among the subtitles are lines in other languages: they do not teach which one is which.
    gold = {} if "subs" in source.file else {"language": language}
    match row["task"]:
        case "sentiment":
            gold |= {"domain": "general", "sentiment": _SENTIMENTS[row["label"]].value}
        case "question":
            gold |= {"domain": "general", "question": "yes" if row["label"] else "no"}
    labelled = ours.get(digest(row["text"]))
    if labelled:
        gold["sentiment"] = _SENTIMENTS[labelled].value
    return Example(
        row["text"],
        source.file,
        part,
        _with_general(gold),
        source.importance,
        frozenset({"sentiment", f"{GENERAL}sentiment"} if labelled else ()),
        source.two_classes,
        language,
    )


def _with_general(gold: dict[str, str]) -> dict[str, str]:
    """Return right answers with those of the heads for general talk, which learn from all."""
    return gold | {f"{GENERAL}{head}": gold[head] for head in ("sentiment", "question") if head in gold}


def _language(language: str) -> str:
    return language if language in {"nl", "en"} else "other"


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        try:
            row = json.loads(line)
        except ValueError as error:
            raise ConfigError(f"{path}, line {number}: is no JSON: {error}.") from None
        if not isinstance(row, dict):
            raise ConfigError(f"{path}, line {number}: must be a JSON object.")
        yield row
