"""Reading a CSV or JSONL file row by row, of any size, in bounded memory.

A row that cannot be read (a quote that is never closed, a line without end, bytes that are not in the file's
encoding) is a row with a problem, so that it never keeps the others from being read.

    ImportProblem       the file or the options are wrong as a whole; the message says what to do
"""

import csv
import gzip
import io
import json
import re
import zlib
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

from shared.errors import KlankbordError
from shared.events import RejectionCode

Format = Literal["csv", "jsonl"]

MAX_LINE = 1_048_576
"""Characters in one line of the file."""
MAX_FIELD = 262_144
"""Characters in one CSV value; where a quote is not closed, so much at most is lost."""
SAMPLE = 65_536
DELIMITERS = ",;\t|"
_EXTENSIONS: dict[str, Format] = {
    ".csv": "csv", ".tsv": "csv", ".txt": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl"
}  # fmt: skip
# Excel's own hint, which it writes and reads as the first line.
_SEPARATOR_HINT = re.compile(r"\ufeff?sep=(.)\r?\n", re.I)
# What "surrogateescape" makes of bytes that the encoding does not know.
_UNDECODABLE = re.compile("[\udc80-\udcff]")


class ImportProblem(KlankbordError):
    """The import cannot begin or go on."""


@dataclass(frozen=True)
class RowProblem:
    """Why a row is refused before it is sent; `code` and `field` as in a rejection by ingest."""

    field: str
    code: RejectionCode
    reason: str


@dataclass(frozen=True)
class Row:
    """One row: the line on which it begins (1-based), and its values by column, or what is wrong with it.

    A JSONL line that is no object has neither: `original` is sent as it is, for ingest to say why not.
    """

    line: int
    original: Any
    values: dict[str, Any] | None = None
    problem: RowProblem | None = None


class LineTooLong(Exception):
    """A line of the file is longer than MAX_LINE characters."""


class _Lines:
    """The lines of a text, one at a time; csv.reader can go on with it after LineTooLong."""

    def __init__(self, text: io.TextIOBase) -> None:
        self._text = text
        self.number = 0

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> str:
        line = self._text.readline(MAX_LINE + 1)
        if not line:
            raise StopIteration
        self.number += 1
        if len(line) > MAX_LINE:
            while line and not line.endswith(("\n", "\r")):
                line = self._text.readline(MAX_LINE)
            raise LineTooLong
        return line


class Source:
    """A file of rows: a context manager that is read once, from begin to end."""

    def __init__(self, path: Path, file_format: Format, encoding: str, delimiter: str | None = None) -> None:
        self.path = path
        self.file_format = file_format
        self.encoding = encoding
        self.delimiter = delimiter
        self.columns: tuple[str, ...] = ()

    def __enter__(self) -> Self:
        with ExitStack() as opened:
            try:
                self._raw = opened.enter_context(self.path.open("rb"))
            except OSError as error:
                raise ImportProblem(f"{self.path} cannot be read: {error.strerror}.") from None
            # Only what csv needs or JSONL needs ends a line: a text may contain U+2028 or a lone \r.
            newline = "" if self.file_format == "csv" else "\n"
            self._lines = _Lines(opened.enter_context(_open_text(self._raw, newline, self.encoding)))
            if self.file_format == "csv":
                self._start_csv()
            self._opened = opened.pop_all()
        return self

    def __exit__(self, *_error: object) -> None:
        self._opened.close()

    @property
    def position(self) -> int:
        """How many bytes of the file were read so far (of a compressed file: compressed ones)."""
        return self._raw.tell()

    def rows(self) -> Iterator[Row]:
        """Yield every row. Raises ImportProblem when the file cannot be read any further."""
        try:
            yield from self._csv_rows() if self.file_format == "csv" else self._jsonl_rows()
        except (OSError, EOFError, zlib.error, UnicodeError) as error:
            reason = f"{self.path} cannot be read beyond line {self._lines.number:,}: {error}."
            raise ImportProblem(reason) from None

    def _start_csv(self) -> None:
        csv.field_size_limit(MAX_FIELD)
        try:
            sample, hinted = _sample(self.path, self.encoding)
            self.delimiter = self.delimiter or hinted or sniff_delimiter(sample)
            if hinted:
                next(self._lines)
            self._reader = csv.reader(self._lines, delimiter=self.delimiter)
            header = next(self._reader, [])
        except (LineTooLong, csv.Error, UnicodeError, OSError, EOFError, zlib.error) as error:
            reason = f"The first line of {self.path} cannot be read as CSV: {error or 'it is too long'}."
            raise ImportProblem(reason) from None
        if _UNDECODABLE.search("".join(header)) or "\0" in "".join(header):
            message = (
                f"The first line of {self.path} is not {self.encoding}: say what it is with --encoding, "
                "e.g. cp1252 (older Excel) or utf-16."
            )
            raise ImportProblem(message)
        self.columns = unique_columns(header)

    def _csv_rows(self) -> Iterator[Row]:
        while True:
            line = self._lines.number + 1
            try:
                values = next(self._reader)
            except StopIteration:
                return
            except LineTooLong:
                yield Row(line, None, problem=_too_long())
            except csv.Error as error:
                # The limit on one value is met where a quote is opened and not closed.
                reason = f"cannot be read up to line {self._lines.number}; is a quote not closed? ({error})"
                yield Row(line, None, problem=RowProblem("", RejectionCode.INVALID, reason))
            else:
                if values:
                    yield self._csv_row(line, values)

    def _csv_row(self, line: int, values: list[str]) -> Row:
        by_column = dict(zip(self.columns, values, strict=False))
        problem = self._undecodable("\n".join(values))
        if len(values) > len(self.columns) and any(values[len(self.columns) :]):
            reason = f"has {len(values)} values, and the header names {len(self.columns)} columns"
            problem = RowProblem("", RejectionCode.INVALID, reason)
            return Row(line, values, problem=problem)
        return Row(line, by_column, values=by_column, problem=problem)

    def _jsonl_rows(self) -> Iterator[Row]:
        while True:
            try:
                text = next(self._lines)
            except StopIteration:
                return
            except LineTooLong:
                yield Row(self._lines.number, None, problem=_too_long())
                continue
            if text := text.strip("\ufeff \t\r\n"):
                yield self._jsonl_row(self._lines.number, text)

    def _jsonl_row(self, line: int, text: str) -> Row:
        if (problem := self._undecodable(text)) is not None:
            return Row(line, text, problem=problem)
        try:
            values = json.loads(text)
        except (ValueError, RecursionError):
            return Row(line, text)
        return Row(line, values, values=values) if isinstance(values, dict) else Row(line, text)

    def _undecodable(self, text: str) -> RowProblem | None:
        if text.isascii() or (found := _UNDECODABLE.search(text)) is None:
            return None
        reason = f"has the byte 0x{ord(found[0]) - 0xDC00:02X}, which is not {self.encoding}; try --encoding"
        return RowProblem("", RejectionCode.INVALID, reason)


def _open_text(raw: io.BufferedReader, newline: str, encoding: str) -> io.TextIOWrapper:
    """Return `raw` as text, unpacked when it is gzip; bytes that are not in the encoding are kept apart."""
    start = raw.read(4)
    raw.seek(0)
    if start.startswith(b"PK\x03\x04"):
        raise ImportProblem(f"{raw.name} is a workbook or archive: save it as CSV and import that.")
    if start.startswith((b"\xff\xfe", b"\xfe\xff")) and encoding == "utf-8-sig":
        encoding = "utf-16"
    binary = gzip.GzipFile(fileobj=raw) if start.startswith(b"\x1f\x8b") else raw
    try:
        return io.TextIOWrapper(binary, encoding=encoding, errors="surrogateescape", newline=newline)
    except LookupError:
        message = f"{encoding!r} is not an encoding that is known here; try utf-8, utf-16 or cp1252."
        raise ImportProblem(message) from None


def _too_long() -> RowProblem:
    return RowProblem("", RejectionCode.TOO_LARGE, f"the line is longer than {MAX_LINE:,} characters")


def _sample(path: Path, encoding: str) -> tuple[str, str | None]:
    """Return the beginning of the text without Excel's hint line, and the delimiter that the hint names."""
    with path.open("rb") as raw, _open_text(raw, "", encoding) as text:
        sample = text.read(SAMPLE)
    hint = _SEPARATOR_HINT.match(sample)
    return (sample[hint.end() :], hint[1]) if hint else (sample, None)


def format_of(path: Path) -> Format:
    """Return the format that the file's name tells. Raises ImportProblem when it tells none."""
    suffixes = [suffix.lower() for suffix in path.suffixes if suffix.lower() != ".gz"]
    found = _EXTENSIONS.get(suffixes[-1] if suffixes else "")
    if found is None:
        raise ImportProblem(f"The name {path.name} does not tell the format: add --format csv or jsonl.")
    return found


def sniff_delimiter(sample: str) -> str:
    """Return the delimiter by which the rows of `sample` agree best on their number of values. Pure.

    One that splits the header, and most rows into as many values, wins; of those the one with most columns.
    A comma when none does.
    """
    return max(DELIMITERS, key=lambda delimiter: _agreement(sample, delimiter))


def _agreement(sample: str, delimiter: str) -> tuple[float, int]:
    """Return (the share of rows that are as wide as the header, its width), zeros when it is one column."""
    lines = sample.splitlines(keepends=True)
    # The last line of a full sample is probably cut in two.
    whole = lines if len(sample) < SAMPLE or len(lines) < 3 else lines[:-1]
    try:
        widths = [len(row) for row in csv.reader(whole, delimiter=delimiter) if row]
    except csv.Error:
        return (0.0, 0)
    if not widths or widths[0] < 2:
        return (0.0, 0)
    return (round(Counter(widths)[widths[0]] / len(widths), 1), widths[0])


def unique_columns(header: list[str]) -> tuple[str, ...]:
    """Return the header's names, each once: a second "name" is "name (2)", an empty one "column 4"."""
    seen: Counter[str] = Counter()
    names = []
    for number, given in enumerate(header, 1):
        name = given.strip().lstrip("\ufeff") or f"column {number}"
        seen[name] += 1
        names.append(name if seen[name] == 1 else f"{name} ({seen[name]})")
    return tuple(names)
