"""`klankbord import`: streams a file of mentions through ingest, and goes on where it was interrupted.

Rows are read one by one (import_rows), made into mentions (import_mapping), sent in chunks to the same HTTP
door that everybody uses, so that the same rules hold (import_client), and each acknowledged chunk is written
down (import_journal). A chunk that is sent again, after a crash between those two, counts once: a mention's
id follows from what it is.

Exit codes: 0 when rows were accepted (what was refused stands in FILE.rejected.jsonl), 1 when none were or it
could not be done, 130 when interrupted.
"""

import fcntl
import json
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from services.ingest.import_client import Answer, IngestClient
from services.ingest.import_journal import Journal, Rejected
from services.ingest.import_mapping import (
    RowMapping,
    listed,
    parse_constants,
    parse_dates,
    resolve_columns,
)
from services.ingest.import_rows import Format, ImportProblem, Row, RowProblem, Source, format_of

CHUNK_ROWS = 2_000
CHUNK_BYTES = 1_048_576
LOOKED_AT_FIRST = 100
"""So many rows are looked at before anything is sent, to tell at once what could never work."""
PLAIN_PROGRESS_SECONDS = 10.0
DEFAULT_INGEST_URL = "http://127.0.0.1:8081"
ADDRESSES = Path(".klankbord/addresses.json")


@dataclass(frozen=True)
class ImportOptions:
    """What `klankbord import` was asked."""

    file: Path
    file_format: str | None = None
    mapping: tuple[str, ...] = ()
    assignments: tuple[str, ...] = ()
    timezone: str | None = None
    date_format: str | None = None
    encoding: str = "utf-8-sig"
    delimiter: str | None = None
    ingest_url: str | None = None
    restart: bool = False


class Sender(Protocol):
    """What takes lines of NDJSON, as IngestClient does."""

    def send(self, lines: list[bytes]) -> Answer:
        """Return what came of `lines`, all acknowledged."""
        ...


@dataclass(frozen=True)
class Chunk:
    """Rows that go together, in their order: the line of each that is sent, or why it is not."""

    rows: tuple[tuple[Row, bytes | RowProblem], ...]


def run_import(options: ImportOptions) -> int:
    """Import the file; return the exit code. Raises ImportProblem, which says what to do."""
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    url = options.ingest_url or found_ingest_url(ADDRESSES)
    with _locked(options.file):
        journal = Journal(options.file, _what_is_asked(options, url))
        with open_source(options) as source:
            mapping = plan(source, options)
        _show_plan(console, options.file, mapping, url)
        if note := journal.open(restart=options.restart):
            console.print(escape(note))
        before, began = journal.progress.rows, time.monotonic()
        client = IngestClient(url, lambda message: console.print(escape(message), style="yellow"))
        try:
            with closing(client), open_source(options) as source, _bar(console, options.file) as advance:
                transfer(source, mapping, client, journal, lambda: advance(source, journal))
        except KeyboardInterrupt:
            console.print("Interrupted. Run the same command again to go on where it stopped.")
            return 130
        journal.finish()
        _show_summary(console, journal, before, time.monotonic() - began)
        return 0 if journal.progress.accepted else 1


def open_source(options: ImportOptions) -> Source:
    """Return the file to read, not opened yet. Raises ImportProblem when its format is not told."""
    file_format: Format = "csv" if options.file_format == "csv" else "jsonl"
    if options.file_format is None:
        file_format = format_of(options.file)
    if options.delimiter is not None and len(options.delimiter) != 1:
        raise ImportProblem("--delimiter is one character, such as ';' (a tab: $'\\t').")
    return Source(options.file, file_format, options.encoding, options.delimiter)


def plan(source: Source, options: ImportOptions) -> RowMapping:
    """Return what to make of the columns of `source`, which is just opened, after a look at its first rows.

    Raises ImportProblem when no row of it can become a mention, telling which option mends that.
    """
    constants = parse_constants(options.assignments)
    dates = parse_dates(options.timezone, options.date_format)
    first = list(islice(source.rows(), LOOKED_AT_FIRST))
    closed = source.file_format == "csv"
    columns = (
        source.columns if closed else tuple(dict.fromkeys(key for row in first for key in row.values or ()))
    )
    targets = resolve_columns(columns, options.mapping, constants, closed=closed)
    mapping = RowMapping(targets, constants, dates, from_text=closed)
    if not first:
        raise ImportProblem(f"{options.file} has no rows.")
    if not columns:
        hint = "One object a line is needed; an array becomes that with: jq -c '.[]'"
        raise ImportProblem(f"None of the first lines of {options.file} is a JSON object. {hint}")
    _require_fields(mapping, columns, options.file)
    _require_a_date(mapping, first)
    return mapping


def _require_fields(mapping: RowMapping, columns: tuple[str, ...], file: Path) -> None:
    missing = mapping.missing()
    if not missing:
        return
    stem = file.name.split(".")[0]
    advice = {
        "source": f"say where it was said with --set source={stem}",
        "text": "say which column is the text with --map 'COLUMN=text'",
        "published_at": "say which column is the date with --map 'COLUMN=published_at'",
    }
    told = "; ".join(f"{name}: {advice[name]}" for name in missing)
    raise ImportProblem(f"Every mention needs more than {file} gives. {told}. {listed(columns)}")


def _require_a_date(mapping: RowMapping, rows: list[Row]) -> None:
    """Raise ImportProblem when all of `rows` fail on how their date is written."""
    made = [mapping.mention_of(row) for row in rows]
    wrong = [one for one in made if isinstance(one, RowProblem) and one.field == "published_at"]
    if wrong and len(wrong) == len(made):
        raise ImportProblem(f"The dates cannot be read: {wrong[0].reason}.")


def transfer(
    source: Source, mapping: RowMapping, sender: Sender, journal: Journal, advance: Callable[[], None]
) -> None:
    """Send every row that `journal` does not have yet, in chunks, each written down when it is done."""
    remaining = islice(source.rows(), journal.progress.rows, None)
    for chunk in chunks(remaining, mapping):
        accepted, rejected = deliver(chunk, sender)
        journal.record(len(chunk.rows), accepted, rejected)
        advance()


def chunks(rows: Iterator[Row], mapping: RowMapping) -> Iterator[Chunk]:
    """Yield the rows, made into mentions, in chunks of at most CHUNK_ROWS rows and about CHUNK_BYTES."""
    held: list[tuple[Row, bytes | RowProblem]] = []
    size = 0
    for row in rows:
        made = mapping.mention_of(row)
        held.append((row, made))
        size += len(made) if isinstance(made, bytes) else 1_000
        if len(held) >= CHUNK_ROWS or size >= CHUNK_BYTES:
            yield Chunk(tuple(held))
            held, size = [], 0
    if held:
        yield Chunk(tuple(held))


def deliver(chunk: Chunk, sender: Sender) -> tuple[int, list[Rejected]]:
    """Send the lines of `chunk`; return how many were accepted, and every row that was refused."""
    sent = [(row, made) for row, made in chunk.rows if isinstance(made, bytes)]
    answer = sender.send([line for _, line in sent]) if sent else Answer(0)
    rejected = [
        Rejected(row.line, made.field, made.code, made.reason, row.original)
        for row, made in chunk.rows
        if isinstance(made, RowProblem)
    ]
    for refusal in answer.refused:
        row = sent[refusal.index][0]
        rejected.append(Rejected(row.line, refusal.field, refusal.code, refusal.reason, row.original))
    return answer.accepted, rejected


def found_ingest_url(addresses: Path) -> str:
    """Return the ingest of the `klankbord up` that runs here, else the usual address.

    Raises ImportProblem when the file that `up` keeps does not make sense.
    """
    try:
        return str(json.loads(addresses.read_text(encoding="utf-8"))["ingest_url"])
    except FileNotFoundError:
        return DEFAULT_INGEST_URL
    except (OSError, ValueError, KeyError, TypeError) as error:
        message = f"{addresses} cannot be read ({error!r}); say where ingest is with --ingest-url."
        raise ImportProblem(message) from None


def _what_is_asked(options: ImportOptions, url: str) -> dict[str, Any]:
    """Return the options that decide what is sent and where to; another run may go on only with the same."""
    asked = asdict(options) | {"ingest_url": url}
    del asked["file"], asked["restart"]
    return asked


@contextmanager
def _locked(file: Path) -> Iterator[None]:
    """Keep another import of the same file out: two would write the same two files beside it."""
    try:
        handle = file.open("rb")
    except OSError as error:
        raise ImportProblem(f"{file} cannot be read: {error.strerror}.") from None
    with handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise ImportProblem(f"{file} is being imported already by another process.") from None
        yield


@contextmanager
def _bar(console: Console, file: Path) -> Iterator[Callable[[Source, Journal], None]]:
    """Show how far it is: a bar on a terminal, elsewhere a line now and then."""
    size = file.stat().st_size
    counts = TextColumn("{task.fields[accepted]:,} accepted, {task.fields[rejected]:,} refused")
    progress = Progress(
        BarColumn(), DownloadColumn(), counts, TimeRemainingColumn(), console=console, transient=True
    )
    task = progress.add_task("import", total=size, accepted=0, rejected=0)
    last = time.monotonic()

    def advance(source: Source, journal: Journal) -> None:
        nonlocal last
        done = journal.progress
        progress.update(task, completed=source.position, accepted=done.accepted, rejected=done.rejected)
        if not console.is_terminal and time.monotonic() - last > PLAIN_PROGRESS_SECONDS:
            last = time.monotonic()
            percent = 100 * source.position / max(size, 1)
            console.print(f"{percent:.0f}%: {done.accepted:,} accepted, {done.rejected:,} refused")

    if not console.is_terminal:
        yield advance
        return
    with progress:
        yield advance


def _show_plan(console: Console, file: Path, mapping: RowMapping, url: str) -> None:
    fields = [
        f"{column} → {'.'.join(target) or 'left out'}"
        for column, target in mapping.targets.items()
        if not target or target[0] != "metadata"
    ]
    fields += [f"{'.'.join(target)} = {value}" for target, value in mapping.constants.items()]
    others = [column for column, target in mapping.targets.items() if target[:1] == ("metadata",)]
    console.print(escape(f"Importing {file} into {url}: {', '.join(fields)}"))
    if others:
        console.print(escape(f"Under metadata: {', '.join(others[:40])}{' …' if len(others) > 40 else ''}"))


def _show_summary(console: Console, journal: Journal, before: int, seconds: float) -> None:
    done = journal.progress
    rate = (done.rows - before) / max(seconds, 0.001)
    console.print(
        f"{done.rows:,} rows read: {done.accepted:,} accepted, {done.rejected:,} refused, "
        f"in {seconds:.1f} s ({rate:,.0f} rows/s)"
    )
    if done.rejected:
        for reason, count in sorted(done.reasons.items(), key=lambda item: -item[1])[:5]:
            console.print(escape(f"  {count:,} × {reason}"))
        console.print(escape(f"Every refused row, with its reason, is in {journal.rejected_path}"))
