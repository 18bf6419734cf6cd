"""Turning a row of somebody's file into a mention as ingest takes it. Pure.

A column is the field that its name is, ignoring case and with blanks, dots and hyphens as underscores; some
usual names stand for a field (ALIASES); --map says otherwise; the rest goes under metadata. What is set with
--set is the same for all rows. Whether the outcome is a valid mention is for ingest to say.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from difflib import get_close_matches
from types import MappingProxyType
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from services.ingest.import_rows import ImportProblem, Row, RowProblem
from shared.events import Mention, RejectionCode

ALIASES: Mapping[str, str] = MappingProxyType(
    {
        "language": "language_hint",
        "id": "external_id",
        "date": "published_at",
        "datetime": "published_at",
        "created_at": "published_at",
        "datum": "published_at",
        "bron": "source",
        "tekst": "text",
        "taal": "language_hint",
        "merk": "brand",
        "auteur": "author",
    }
)
REQUIRED = ("source", "text", "published_at")
_SCALARS = tuple(name for name in Mention.model_fields if name not in {"author", "metadata"})
FIELDS = (*_SCALARS, "author", "author.name", "author.handle", "metadata")
_BY_NAME = {name.replace(".", "_"): name for name in FIELDS}
_DECIMAL_COMMA = re.compile(r"\d+,\d+")

Target = tuple[str, ...]
"""Where a value goes: ("text",), ("author", "name"), ("metadata", "Afdeling"); empty: nowhere."""


@dataclass(frozen=True)
class Dates:
    """How the file writes its dates."""

    zone: ZoneInfo | None = None
    pattern: str | None = None

    def to_rfc3339(self, value: str) -> str:
        """Return `value` as RFC 3339 in UTC; an hour that occurs twice is its first occurrence.

        Raises ValueError, whose message tells which option is missing.
        """
        moment = self._read(value.strip())
        if moment.tzinfo is None:
            if self.zone is None:
                raise ValueError(f"{value!r:.60} has no UTC offset; add e.g. --timezone Europe/Amsterdam")
            moment = moment.replace(tzinfo=self.zone)
        try:
            return moment.astimezone(UTC).isoformat()
        except OverflowError:
            raise ValueError(f"{value!r:.60} is not a date that exists") from None

    def _read(self, value: str) -> datetime:
        if self.pattern is not None:
            try:
                return datetime.strptime(value, self.pattern)  # noqa: DTZ007 - the zone is looked at after
            except ValueError:
                raise ValueError(f"{value!r:.60} is not written as {self.pattern!r}") from None
        try:
            return datetime.fromisoformat(value.upper())
        except ValueError:
            hint = "add --date-format, e.g. '%d-%m-%Y %H:%M'"
            raise ValueError(f"{value!r:.60} is not a date and time as in ISO 8601; {hint}") from None


@dataclass(frozen=True)
class RowMapping:
    """What to make of a file's columns."""

    targets: Mapping[str, Target]
    constants: Mapping[Target, str] = field(default_factory=dict)
    dates: Dates = Dates()
    from_text: bool = True
    """Whether all values are text (CSV), so that an empty one means none."""

    def mention_of(self, row: Row) -> bytes | RowProblem:
        """Return the row as one line of NDJSON without its newline, or what is wrong with it."""
        if row.problem is not None:
            return row.problem
        if row.values is None:
            return str(row.original).encode("utf-8", "replace")
        mention: dict[str, Any] = {}
        for column, value in row.values.items():
            target = self.targets.get(column)
            if target is None:
                target = self._of_late(column)
            if target and value is not None and not (self.from_text and value == ""):
                _put(mention, target, _with_decimal_point(target, value))
        for target, value in self.constants.items():
            _put(mention, target, value)
        try:
            self._write_date(mention)
        except ValueError as error:
            return RowProblem("published_at", RejectionCode.INVALID, str(error))
        return json.dumps(mention, separators=(",", ":")).encode()

    def missing(self) -> tuple[str, ...]:
        """Return the required fields that no column and no constant gives."""
        given = {target[0] for target in (*self.targets.values(), *self.constants) if target}
        return tuple(name for name in REQUIRED if name not in given)

    def _of_late(self, column: str) -> Target:
        """Return where a key goes that the first lines of a JSONL file did not have."""
        target = tuple(_BY_NAME.get(_normal(column), "").split("."))
        taken = target in self.targets.values() or target in self.constants
        return _own_metadata(column) if taken or not target[0] else target

    def _write_date(self, mention: dict[str, Any]) -> None:
        if isinstance(written := mention.get("published_at"), str):
            mention["published_at"] = self.dates.to_rfc3339(written)


def _with_decimal_point(target: Target, value: Any) -> Any:
    if target[0] in {"rating", "rating_scale"} and isinstance(value, str) and _DECIMAL_COMMA.fullmatch(value):
        return value.replace(",", ".")
    return value


def _put(mention: dict[str, Any], target: Target, value: Any) -> None:
    if len(target) == 2:
        outer = mention.setdefault(target[0], {})
        # Whatever else stands there is refused by ingest, which says why.
        if isinstance(outer, dict):
            outer[target[1]] = value
        return
    there = mention.get(target[0])
    # Metadata of the row's own, beside columns that go under metadata.
    merge = isinstance(there, dict) and isinstance(value, dict)
    mention[target[0]] = {**value, **(there or {})} if merge else value


def parse_dates(timezone: str | None, pattern: str | None) -> Dates:
    """Return how dates are written. Raises ImportProblem on a time zone that is not known."""
    if timezone is None:
        return Dates(None, pattern)
    try:
        return Dates(ZoneInfo(timezone), pattern)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        message = f"--timezone {timezone} is not a time zone; write it like Europe/Amsterdam or UTC."
        raise ImportProblem(message) from None


def parse_constants(assignments: Iterable[str]) -> dict[Target, str]:
    """Return what --set gives: {("source",): "glassdoor"}. Raises ImportProblem."""
    constants: dict[Target, str] = {}
    for assignment in assignments:
        name, sign, value = assignment.partition("=")
        if not sign or not value.strip():
            raise ImportProblem(f"--set {assignment} is not FIELD=VALUE, such as source=glassdoor.")
        constants[_target(name, f"--set {assignment}")] = value
    return constants


def resolve_columns(
    columns: Sequence[str], mapping: Iterable[str], constants: Iterable[Target] = (), *, closed: bool = True
) -> dict[str, Target]:
    """Return where each column goes. Raises ImportProblem when `mapping` (COLUMN=FIELD …) is wrong.

    `closed` says that `columns` are all there are (CSV); otherwise one that is mapped may come later.
    """
    mapped = _explicit(columns, mapping, closed)
    taken = {target for target in mapped.values() if target} | set(constants)
    if closed:
        # A whole object does not fit in a value that is text.
        taken.add(("metadata",))
    for names in (_BY_NAME, ALIASES):
        for column in columns:
            name = names.get(_normal(column))
            if name is not None and column not in mapped and (target := tuple(name.split("."))) not in taken:
                mapped[column] = target
                taken.add(target)
    rest = {column: _own_metadata(column) for column in columns if column not in mapped}
    return _with_author_in_parts({**mapped, **rest})


def _with_author_in_parts(targets: dict[str, Target]) -> dict[str, Target]:
    """Make a column "author" the author's name when another column is a part of the author."""
    parts = {target for target in targets.values() if target[:1] == ("author",) and len(target) == 2}
    whole = next((column for column, target in targets.items() if target == ("author",)), None)
    if not parts or whole is None:
        return targets
    name = ("author", "name")
    return {**targets, whole: _own_metadata(whole) if name in parts else name}


def _own_metadata(column: str) -> Target:
    prefix, _, key = column.partition(".")
    return ("metadata", key if prefix.strip().lower() == "metadata" and key else column)


def _explicit(columns: Sequence[str], mapping: Iterable[str], closed: bool) -> dict[str, Target]:
    mapped: dict[str, Target] = {}
    for one in mapping:
        # The last =, so that a column may have one in its name.
        name, sign, field_name = one.rpartition("=")
        if not sign or not name.strip():
            raise ImportProblem(f"--map {one} is not COLUMN=FIELD, such as --map 'Review text=text'.")
        column = _find(name, columns)
        if column is None and closed:
            raise ImportProblem(f"--map {one}: there is no column {name!r}. {listed(columns)}")
        target = _target(field_name, f"--map {one}") if field_name.strip() else ()
        if target and target in mapped.values():
            raise ImportProblem(f"--map {one}: another column is {field_name} already; choose one of them.")
        mapped[column or name] = target
    return mapped


def _find(name: str, columns: Sequence[str]) -> str | None:
    if name in columns:
        return name
    return next((column for column in columns if _normal(column) == _normal(name)), None)


def _target(name: str, where: str) -> Target:
    wanted = name.strip()
    if wanted.lower().startswith("metadata.") and wanted[9:]:
        return ("metadata", wanted[9:])
    known = _BY_NAME.get(_normal(wanted)) or ("language_hint" if _normal(wanted) == "language" else None)
    if known is None:
        close = get_close_matches(_normal(wanted), _BY_NAME, n=1)
        hint = f"did you mean {_BY_NAME[close[0]]}?" if close else f"The fields are: {', '.join(FIELDS)}."
        raise ImportProblem(f"{where}: {wanted!r} is not a field of a mention; {hint}")
    return tuple(known.split("."))


def _normal(name: str) -> str:
    return re.sub(r"[\s._-]+", "_", name.strip().casefold())


def listed(columns: Sequence[str], most: int = 40) -> str:
    """Return a sentence that names the columns of the file."""
    more = f" and {len(columns) - most} more" if len(columns) > most else ""
    return f"The columns are: {', '.join(column[:60] for column in columns[:most])}{more}."
