"""Telling the mentions that are accepted from those that are refused. Pure."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple, TypeVar

from pydantic_core import from_json

from shared.errors import InvalidMention
from shared.events import MAX_MENTION_BYTES, Mention, RejectionCode, parse_mention, repair_surrogates

# A sender may name a field as long as it likes; it is told back no more than this.
MAX_FIELD = 100
MAX_REASON = 300

T = TypeVar("T")


class Rejection(NamedTuple):
    """One mention that is refused. `place` is its index in an array or its line, as the request has it."""

    place: int
    field: str
    code: str
    reason: str

    @property
    def size(self) -> int:
        """About how many bytes of memory it takes."""
        return 300 + len(self.field) + len(self.reason)


@dataclass(frozen=True, slots=True)
class Sifted:
    """What came of some lines or items, in their order."""

    accepted: tuple[Mention, ...]
    rejected: tuple[Rejection, ...]


def sift_lines(lines: Iterable[bytes | None], first_line: int, now: datetime) -> Sifted:
    """Return what came of `lines`, of which the first is line `first_line`.

    None stands for a line that was longer than MAX_MENTION_BYTES; blank lines are passed over.
    """
    numbered = ((n, line) for n, line in enumerate(lines, first_line) if line is None or line.strip())
    return _sift(numbered, _parse_line, now)


def sift_items(items: Iterable[object], first_index: int, now: datetime) -> Sifted:
    """Return what came of the `items` of a JSON array, of which the first has index `first_index`."""
    return _sift(enumerate(items, first_index), _parse_item, now)


def sift_object(body: bytes, now: datetime) -> Sifted:
    """Return what came of a body that holds one JSON object."""
    return _sift([(0, body)], _parse_line, now)


def parse_array(body: bytes) -> list[object]:
    """Return the items of the JSON array in `body`.

    Raises InvalidMention (not_json) when it is not JSON; one lone surrogate does not spoil the rest.
    """
    try:
        return _array(body)
    except ValueError:
        try:
            return _array(repair_surrogates(body))
        except ValueError as error:
            raise InvalidMention("", RejectionCode.NOT_JSON, f"is not JSON: {error}") from None


def _array(body: bytes) -> list[object]:
    # Called for bodies that begin with "[" only; what parses is an array.
    items: list[object] = from_json(body)
    return items


def _sift(
    numbered: Iterable[tuple[int, T]], parse: Callable[[T, datetime], Mention], now: datetime
) -> Sifted:
    accepted: list[Mention] = []
    rejected: list[Rejection] = []
    for place, raw in numbered:
        try:
            accepted.append(parse(raw, now))
        except InvalidMention as error:
            rejected.append(
                Rejection(place, _cut(error.field, MAX_FIELD), error.code, _cut(error.reason, MAX_REASON))
            )
    return Sifted(tuple(accepted), tuple(rejected))


def _parse_line(line: bytes | None, now: datetime) -> Mention:
    if line is None:
        reason = f"is longer than {MAX_MENTION_BYTES:,} bytes, the most that is taken"
        raise InvalidMention("", RejectionCode.TOO_LARGE, reason)
    return parse_mention(line, now)


def _parse_item(item: object, now: datetime) -> Mention:
    if not isinstance(item, dict):
        raise InvalidMention("", RejectionCode.NOT_AN_OBJECT, "must be a JSON object")
    fields: Mapping[str, Any] = item
    return parse_mention(fields, now)


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"
