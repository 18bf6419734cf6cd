"""Reading CSV and JSONL files as they come."""

import gzip
from pathlib import Path

import pytest

from services.ingest import import_rows
from services.ingest.import_rows import ImportProblem, Row, Source, format_of, sniff_delimiter
from shared.events import RejectionCode


def read(path: Path, encoding: str = "utf-8-sig", delimiter: str | None = None) -> list[Row]:
    with Source(path, format_of(path), encoding, delimiter) as source:
        return list(source.rows())


def csv_file(folder: Path, data: bytes | str) -> Path:
    path = folder / "reviews.csv"
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return path


def jsonl_file(folder: Path, data: bytes | str) -> Path:
    path = folder / "reviews.jsonl"
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return path


def test_a_csv_row_has_its_values_by_column_and_the_line_it_begins_on(tmp_path: Path) -> None:
    path = csv_file(tmp_path, 'id,text\r\n1,"over twee\r\nregels, ""echt"""\r\n\r\n2,kort\r\n')

    assert read(path) == [
        Row(2, values := {"id": "1", "text": 'over twee\r\nregels, "echt"'}, values=values),
        Row(5, values := {"id": "2", "text": "kort"}, values=values),
    ]


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_the_delimiter_is_found_out(tmp_path: Path, delimiter: str) -> None:
    rows = [["id", "text", "date"], ["1", '"ja, nee; misschien | toch"', "2026-03-29"], ["2", "b", "c"]]
    path = csv_file(tmp_path, "\n".join(delimiter.join(row) for row in rows))

    assert [row.values for row in read(path)] == [
        {"id": "1", "text": "ja, nee; misschien | toch", "date": "2026-03-29"},
        {"id": "2", "text": "b", "date": "c"},
    ]


@pytest.mark.parametrize(
    ("sample", "delimiter"),
    [
        ("a;b\n1,5;x, y, z\n2,5;p\n", ";"),
        ("a,b;c\n1,2;3\n", ","),
        ("text\nja, nee\nnee; ja; ja\n", ","),
        ("", ","),
        ('a|b\n"x\ny"|2\n', "|"),
    ],
)
def test_the_delimiter_is_that_by_which_rows_agree(sample: str, delimiter: str) -> None:
    assert sniff_delimiter(sample) == delimiter


def test_excels_separator_hint_is_followed_and_is_no_row(tmp_path: Path) -> None:
    path = csv_file(tmp_path, "\ufeffsep=;\r\nid;text\r\n1;a,b,c\r\n")

    assert [(row.line, row.values) for row in read(path)] == [(3, {"id": "1", "text": "a,b,c"})]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_byte_order_mark_is_not_part_of_the_first_column(tmp_path: Path, encoding: str) -> None:
    path = csv_file(tmp_path, "id,text\n1,café €\n".encode(encoding))

    assert [row.values for row in read(path)] == [{"id": "1", "text": "café €"}]


def test_another_encoding_is_read_when_it_is_named(tmp_path: Path) -> None:
    path = csv_file(tmp_path, "id,text\n1,café €\n".encode("cp1252"))

    assert [row.values for row in read(path, "cp1252")] == [{"id": "1", "text": "café €"}]


def test_bytes_that_are_not_in_the_encoding_are_a_problem_of_their_row(tmp_path: Path) -> None:
    good, bad = read(csv_file(tmp_path, b"id,text\n1,fine\n2,caf\xe9\n"))

    assert good.problem is None
    assert bad.problem is not None
    assert (bad.line, bad.problem.code) == (3, RejectionCode.INVALID)
    assert "0xE9" in bad.problem.reason
    assert "--encoding" in bad.problem.reason


@pytest.mark.parametrize("data", [b"caf\xe9,text\n1,a\n", "id,text\n1,a\n".encode("utf-16")[2:]])
def test_a_header_in_another_encoding_is_told_at_once(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(ImportProblem, match="--encoding"):
        read(csv_file(tmp_path, data))


def test_a_row_with_fewer_values_is_taken_and_one_with_more_is_not(tmp_path: Path) -> None:
    path = csv_file(tmp_path, "id,text,note\n1,a\n2,b,c,d\n3,c,d,,\n")

    short, long, padded = read(path)

    assert short.values == {"id": "1", "text": "a"}
    assert (long.values, long.original) == (None, ["2", "b", "c", "d"])
    assert long.problem is not None
    assert "4 values" in long.problem.reason
    assert padded.values == {"id": "3", "text": "c", "note": "d"}


def test_a_quote_that_is_never_closed_does_not_take_the_whole_file_along(tmp_path: Path) -> None:
    rows = "".join(f"{n},{'x' * 100}\n" for n in range(10_000))
    path = csv_file(tmp_path, f'id,text\n0,"open\n{rows}')

    broken, *rest = read(path, delimiter=",")

    assert broken.problem is not None
    assert (broken.line, broken.problem.code) == (2, RejectionCode.INVALID)
    assert len(rest) > 7_000
    assert rest[-1].values == {"id": "9999", "text": "x" * 100}


def test_a_line_without_end_is_a_problem_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(import_rows, "MAX_LINE", 1_000)
    expected = [None, RejectionCode.TOO_LARGE, None]
    data = "a,b\n", f"{'x' * 5_000},y\n", "c,d\n"

    rows = read(csv_file(tmp_path, "id,text\n" + "".join(data)))
    assert [row.problem and row.problem.code for row in rows] == expected
    assert [row.line for row in rows] == [2, 3, 4]

    lines = read(jsonl_file(tmp_path, '{"a":1}\n' + f'"{"x" * 5_000}"\n' + '{"b":2}\n'))
    assert [row.problem and row.problem.code for row in lines] == expected
    assert lines[2].values == {"b": 2}


def test_columns_without_a_name_or_with_the_same_name_are_told_apart(tmp_path: Path) -> None:
    (row,) = read(csv_file(tmp_path, "note,, note \na,b,c\n"))

    assert row.values == {"note": "a", "column 2": "b", "note (2)": "c"}


def test_jsonl_gives_objects_and_leaves_the_rest_for_ingest_to_judge(tmp_path: Path) -> None:
    path = jsonl_file(tmp_path, '\ufeff{"text":"a\u2028b"}\r\n\n  \n[1]\n{"cut":\n{"s":"\\ud83d"}')

    assert read(path) == [
        Row(1, values := {"text": "a\u2028b"}, values=values),
        Row(4, "[1]"),
        Row(5, '{"cut":'),
        Row(6, values := {"s": "\ud83d"}, values=values),
    ]


@pytest.mark.parametrize("line", ["[" * 100_000, '{"n": ' + "9" * 5_000 + "}"])
def test_a_line_that_python_cannot_parse_is_for_ingest_to_judge(tmp_path: Path, line: str) -> None:
    assert read(jsonl_file(tmp_path, line)) == [Row(1, line)]


def test_gzip_is_read_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "reviews.csv.gz"
    path.write_bytes(gzip.compress(b"id,text\n1,a\n"))

    assert [row.values for row in read(path)] == [{"id": "1", "text": "a"}]


def test_gzip_that_is_cut_off_says_how_far_it_went(tmp_path: Path) -> None:
    path = tmp_path / "reviews.jsonl.gz"
    path.write_bytes(gzip.compress(b'{"a":1}\n' * 100_000)[:-50])

    with (
        Source(path, "jsonl", "utf-8-sig") as source,
        pytest.raises(ImportProblem, match="beyond line"),
    ):
        list(source.rows())


def test_a_workbook_is_told_to_be_saved_as_csv(tmp_path: Path) -> None:
    with pytest.raises(ImportProblem, match="save it as CSV"):
        read(csv_file(tmp_path, b"PK\x03\x04rest"))


def test_an_encoding_that_is_not_known_is_told(tmp_path: Path) -> None:
    with pytest.raises(ImportProblem, match="klingon"):
        read(csv_file(tmp_path, "a,b\n"), "klingon")


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(ImportProblem, match=r"nowhere\.csv cannot be read"):
        read(tmp_path / "nowhere.csv")


@pytest.mark.parametrize(
    ("name", "file_format"),
    [
        ("a.csv", "csv"),
        ("A.CSV.GZ", "csv"),
        ("a.b.tsv", "csv"),
        ("a.jsonl", "jsonl"),
        ("a.ndjson.gz", "jsonl"),
    ],
)
def test_the_name_tells_the_format(name: str, file_format: str) -> None:
    assert format_of(Path(name)) == file_format


@pytest.mark.parametrize("name", ["a", "a.json", "a.xlsx", "a.gz"])
def test_a_name_that_does_not_tell_the_format_asks_for_it(name: str) -> None:
    with pytest.raises(ImportProblem, match="--format"):
        format_of(Path(name))
