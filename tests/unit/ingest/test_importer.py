"""An import as a whole, without a network: early refusals, the two files beside it, and interruptions."""

import contextlib
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.ingest import import_journal, importer
from services.ingest.import_client import Answer, Refusal
from services.ingest.import_journal import Journal
from services.ingest.import_rows import ImportProblem
from services.ingest.importer import ImportOptions, found_ingest_url, open_source, plan, transfer
from services.ingest.sift import sift_lines

NOW = datetime(2026, 6, 1, tzinfo=UTC)
HEADER = "id,source,text,published_at\n"


class Ingest:
    """Judges lines as the real one does."""

    def __init__(self) -> None:
        self.ids: list[str] = []

    def send(self, lines: Sequence[bytes]) -> Answer:
        sifted = sift_lines(lines, 0, NOW)
        self.ids += [mention.external_id or "" for mention in sifted.accepted]
        return Answer(len(sifted.accepted), tuple(Refusal(*rejection) for rejection in sifted.rejected))


class Crash(BaseException):
    """Not an Exception: nothing may catch it."""


class CrashingIngest(Ingest):
    """Breaks down before or after it took the chunk that comes after `chunks`."""

    def __init__(self, chunks: int, *, after: bool) -> None:
        super().__init__()
        self.chunks = chunks
        self.after = after

    def send(self, lines: Sequence[bytes]) -> Answer:
        if self.chunks == 0 and not self.after:
            raise Crash
        answer = super().send(lines)
        if self.chunks == 0:
            raise Crash
        self.chunks -= 1
        return answer


def write(path: Path, *rows: str) -> ImportOptions:
    path.write_text(HEADER + "".join(f"{row}\n" for row in rows), encoding="utf-8")
    return ImportOptions(path)


def good(number: int) -> str:
    return f"{number},mail,tekst {number},2026-03-29T10:00:00Z"


def bad(number: int) -> str:
    return f"{number},mail,,2026-03-29T10:00:00Z"


def run(options: ImportOptions, ingest: Ingest) -> Journal:
    journal = Journal(options.file, {})
    with open_source(options) as source:
        mapping = plan(source, options)
    journal.open(restart=options.restart)
    with open_source(options) as source:
        transfer(source, mapping, ingest, journal, lambda: None)
    journal.finish()
    return journal


def rejected_lines(file: Path) -> list[int]:
    path = file.with_name(f"{file.name}.rejected.jsonl")
    if not path.exists():
        return []
    return [json.loads(line)["line"] for line in path.read_text().splitlines()]


def test_a_file_is_sent_and_what_is_refused_is_written_down(tmp_path: Path) -> None:
    options = write(tmp_path / "mails.csv", good(1), bad(2), f"{good(3)},too,many")
    ingest = Ingest()

    journal = run(options, ingest)

    assert ingest.ids == ["1"]
    assert [json.loads(line) for line in journal.rejected_path.read_text().splitlines()] == [
        {
            "line": 3,
            "field": "text",
            "code": "missing",
            "reason": "is required",
            "row": {"id": "2", "source": "mail", "text": "", "published_at": "2026-03-29T10:00:00Z"},
        },
        {
            "line": 4,
            "field": "",
            "code": "invalid",
            "reason": "has 6 values, and the header names 4 columns",
            "row": ["3", "mail", "tekst 3", "2026-03-29T10:00:00Z", "too", "many"],
        },
    ]
    assert journal.progress.reasons == {"text: missing": 1, "row: invalid": 1}
    assert not journal.state_path.exists()


def test_no_rejected_file_is_left_when_nothing_was_refused(tmp_path: Path) -> None:
    options = write(tmp_path / "mails.csv", good(1))
    stale = tmp_path / "mails.csv.rejected.jsonl"
    stale.write_text("of an earlier run\n")

    run(options, Ingest())

    assert sorted(path.name for path in tmp_path.iterdir()) == ["mails.csv"]


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(st.booleans(), min_size=1, max_size=20),
    crashes=st.lists(
        st.tuples(st.integers(0, 6), st.sampled_from(["before", "after", "unsaved"])), max_size=5
    ),
)
def test_whatever_interrupts_it_every_row_arrives_and_is_refused_once(
    tmp_path_factory: pytest.TempPathFactory, rows: list[bool], crashes: list[tuple[int, str]]
) -> None:
    file = tmp_path_factory.mktemp("import") / "mails.csv"
    options = write(file, *(good(n) if is_good else bad(n) for n, is_good in enumerate(rows)))
    arrived: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(importer, "CHUNK_ROWS", 3)
        for chunks, when in crashes:
            ingest = CrashingIngest(chunks, after=when == "after")
            with pytest.MonkeyPatch.context() as unsaved:
                if when == "unsaved":
                    ingest.chunks = -1
                    _crash_at_save(unsaved, chunks + 2)
                with contextlib.suppress(Crash):
                    run(options, ingest)
            arrived += ingest.ids
        last = Ingest()
        journal = run(options, last)
        arrived += last.ids

    assert {str(n) for n, is_good in enumerate(rows) if is_good} == set(arrived)
    assert rejected_lines(file) == [n + 2 for n, is_good in enumerate(rows) if not is_good]
    assert journal.progress.rows == len(rows)
    assert journal.progress.accepted == sum(rows)
    assert journal.progress.rejected == len(rows) - sum(rows)


def _crash_at_save(patch: pytest.MonkeyPatch, number: int) -> None:
    """Break down when the state is written for the `number`-th time: the rejected file is ahead of it."""
    saves = iter(range(1, 1_000))
    save = Journal._save

    def crashing(journal: Journal) -> None:
        if next(saves) == number:
            raise Crash
        save(journal)

    patch.setattr(Journal, "_save", crashing)


def interrupted(options: ImportOptions, monkeypatch: pytest.MonkeyPatch) -> Journal:
    monkeypatch.setattr(importer, "CHUNK_ROWS", 2)
    with pytest.raises(Crash):
        run(options, CrashingIngest(1, after=False))
    return Journal(options.file, {})


def test_another_run_goes_on_after_what_was_acknowledged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = write(tmp_path / "mails.csv", *(good(n) for n in range(5)))

    journal = interrupted(options, monkeypatch)

    assert journal.open(restart=False) == "Going on after the 2 rows of an earlier run."
    ingest = Ingest()
    run(options, ingest)
    assert ingest.ids == ["2", "3", "4"]


def test_a_run_that_was_told_to_begins_at_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = write(tmp_path / "mails.csv", *(good(n) for n in range(5)))
    interrupted(options, monkeypatch)
    ingest = Ingest()

    run(ImportOptions(options.file, restart=True), ingest)

    assert ingest.ids == ["0", "1", "2", "3", "4"]


def test_a_file_that_changed_begins_at_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = write(tmp_path / "mails.csv", *(good(n) for n in range(5)))
    interrupted(options, monkeypatch)
    write(options.file, *(good(n) for n in range(10, 15)))

    journal = Journal(options.file, {})

    assert journal.open(restart=False).startswith("The file is not the same")
    assert journal.progress.rows == 0


def test_other_options_begin_at_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = write(tmp_path / "mails.csv", *(good(n) for n in range(5)))
    interrupted(options, monkeypatch)

    journal = Journal(options.file, {"timezone": "UTC"})

    assert journal.open(restart=False).startswith("What is asked is not the same")
    assert journal.progress.rows == 0


def test_a_state_that_cannot_be_read_begins_at_the_start(tmp_path: Path) -> None:
    options = write(tmp_path / "mails.csv", good(1))
    (tmp_path / "mails.csv.import-state.json").write_text("{")

    assert run(options, Ingest()).progress.accepted == 1


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = write(tmp_path / "mails.csv", good(1))

    def refuse(_journal: Journal) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(import_journal.Journal, "_save", refuse)

    with pytest.raises(ImportProblem, match="which resuming needs: Permission denied"):
        run(options, Ingest())


def test_chunks_are_bounded_in_rows_and_in_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []

    class Counting(Ingest):
        def send(self, lines: Sequence[bytes]) -> Answer:
            sizes.append(len(lines))
            return super().send(lines)

    monkeypatch.setattr(importer, "CHUNK_ROWS", 4)
    run(write(tmp_path / "a.csv", *(good(n) for n in range(10))), Counting())
    assert sizes == [4, 4, 2]

    sizes.clear()
    monkeypatch.setattr(importer, "CHUNK_BYTES", 250)
    run(write(tmp_path / "b.csv", *(good(n) for n in range(10))), Counting())
    assert sizes == [3, 3, 3, 1]


def refusal_of(options: ImportOptions) -> str:
    with pytest.raises(ImportProblem) as caught, open_source(options) as source:
        plan(source, options)
    return str(caught.value)


def test_columns_that_are_missing_are_told_before_anything_is_sent(tmp_path: Path) -> None:
    path = tmp_path / "glassdoor.2026.csv"
    path.write_text("Review;Stars\nx;4,5\n")

    told = refusal_of(ImportOptions(path))

    assert "--set source=glassdoor" in told
    assert "--map 'COLUMN=text'" in told
    assert "--map 'COLUMN=published_at'" in told
    assert "The columns are: Review, Stars." in told


def test_dates_that_cannot_be_read_are_told_before_anything_is_sent(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("source,text,date\nx,y,2026-03-29 10:00\nx,y,2026-03-29 11:00\n")
    assert "--timezone" in refusal_of(ImportOptions(path))

    path.write_text("source,text,date\nx,y,29-03-2026\n")
    assert "--date-format" in refusal_of(ImportOptions(path))

    path.write_text("source,text,date\nx,y,2026-03-29 10:00\nx,y,2026-03-29T11:00Z\n")
    assert run(ImportOptions(path), Ingest()).progress.accepted == 1


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("a.csv", "", "has no rows"),
        ("a.csv", HEADER, "has no rows"),
        ("a.jsonl", "", "has no rows"),
        ("a.jsonl", '[\n{"text": 1},\n{"text": 2}\n]\n', "--set source=a"),
        ("a.jsonl", '[{"text": 1}]', "jq -c"),
        ("a.csv", "just words\nand more\n", "The columns are: just words"),
    ],
)
def test_a_file_that_holds_no_mentions_is_told(tmp_path: Path, name: str, content: str, told: str) -> None:
    (tmp_path / name).write_text(content)

    assert told in refusal_of(ImportOptions(tmp_path / name))


def test_jsonl_is_sent_with_what_is_set(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"id":"1","body":"hoi","date":"2026-03-29 10:00","x":1}\n{"id":"2"}\nnonsense\n')
    options = ImportOptions(
        path, mapping=("body=text",), assignments=("source=mail",), timezone="Europe/Amsterdam"
    )
    ingest = Ingest()

    journal = run(options, ingest)

    assert ingest.ids == ["1"]
    assert journal.progress.reasons == {"text: missing": 1, "row: not_json": 1}
    assert rejected_lines(path) == [2, 3]


def test_ingest_is_found_where_up_says_it_is(tmp_path: Path) -> None:
    addresses = tmp_path / "addresses.json"
    assert found_ingest_url(addresses) == "http://127.0.0.1:8081"

    addresses.write_text('{"ingest_url": "http://127.0.0.1:9999"}')
    assert found_ingest_url(addresses) == "http://127.0.0.1:9999"


@pytest.mark.parametrize("content", ["", "{}", "[]", "\x00"])
def test_addresses_that_make_no_sense_are_told(tmp_path: Path, content: str) -> None:
    addresses = tmp_path / "addresses.json"
    addresses.write_text(content)

    with pytest.raises(ImportProblem, match="--ingest-url"):
        found_ingest_url(addresses)


def test_a_delimiter_is_one_character(tmp_path: Path) -> None:
    options = write(tmp_path / "a.csv", good(1))

    with pytest.raises(ImportProblem, match="one character"):
        open_source(ImportOptions(options.file, delimiter=";;"))


def option_fields() -> set[str]:
    return set(ImportOptions.__dataclass_fields__)


def test_what_decides_the_outcome_decides_whether_a_run_goes_on(tmp_path: Path) -> None:
    asked: dict[str, Any] = importer._what_is_asked(ImportOptions(tmp_path / "a.csv"), "http://x")

    assert asked.keys() == option_fields() - {"file", "restart"}
    assert asked["ingest_url"] == "http://x"
