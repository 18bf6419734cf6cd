import json

import pytest

from deploy.local.clickhouse_http import (
    EngineError,
    InsertHead,
    engine_error,
    format_of,
    identifier,
    insert_head,
    quoted,
    read_request,
    summary,
    with_form,
)


def test_settings_parameters_and_transport_are_told_apart() -> None:
    request = read_request(
        [
            ("query", "SELECT {x:String}"),
            ("param_x", "it's"),
            ("database", "klankbord"),
            ("max_threads", "2"),
            ("wait_end_of_query", "1"),
            ("query_id", "q1"),
            ("session_id", "s1"),
        ]
    )
    assert request.query == "SELECT {x:String}"
    assert request.parameters == {"x": "it's"}
    assert request.settings == {"max_threads": "2"}
    assert (request.database, request.query_id, request.default_format) == ("klankbord", "q1", "")


def test_the_headers_give_format_and_database_where_the_url_does_not() -> None:
    request = read_request([], "JSONEachRow", "other")
    assert (request.default_format, request.database) == ("JSONEachRow", "other")
    request = read_request([("default_format", "CSV"), ("database", "k")], "JSONEachRow", "other")
    assert (request.default_format, request.database) == ("CSV", "k")


@pytest.mark.parametrize("name", ["max threads", "a=1,b", "1st", ""])
def test_a_name_that_cannot_be_a_setting_is_refused(name: str) -> None:
    with pytest.raises(EngineError, match="cannot be the name of a setting") as refused:
        read_request([(name, "1")])
    assert (refused.value.code, refused.value.status) == (36, 400)


@pytest.mark.parametrize("name", ["compress", "decompress"])
def test_native_compression_is_refused_and_not_ignored(name: str) -> None:
    with pytest.raises(EngineError, match="not supported here") as refused:
        read_request([(name, "1")])
    assert (refused.value.code, refused.value.status) == (48, 501)
    assert read_request([(name, "0")]).settings == {}


@pytest.mark.parametrize(
    ("text", "statement", "data_format", "data"),
    [
        (b"INSERT INTO t FORMAT Native\n\x01\x02", "INSERT INTO t ", "Native", b"\x01\x02"),
        (b"insert into t (a) format CSV\r\n1\n", "insert into t (a) ", "CSV", b"1\n"),
        (b"INSERT INTO t (`format x`, b) FORMAT TSV\n1", "INSERT INTO t (`format x`, b) ", "TSV", b"1"),
        (
            b"/* FORMAT a */ -- FORMAT b\n INSERT INTO settings FORMAT JSONEachRow {}",
            "/* FORMAT a */ -- FORMAT b\n INSERT INTO settings ",
            "JSONEachRow",
            b"{}",
        ),
        (b"INSERT INTO t FORMAT Native \n\n\x00", "INSERT INTO t ", "Native", b"\n\x00"),
        (b"INSERT INTO t FORMAT Native", "INSERT INTO t ", "Native", b""),
    ],
)
def test_an_insert_is_taken_apart_where_its_data_begin(
    text: bytes, statement: str, data_format: str, data: bytes
) -> None:
    head = insert_head(text)
    assert head == InsertHead(statement, data_format, len(text) - len(data))


def test_its_settings_are_set_apart() -> None:
    text = b"INSERT INTO t (a) SETTINGS x = 'FORMAT c', y=1 FORMAT CSV\n1\n"
    assert insert_head(text) == InsertHead(
        "INSERT INTO t (a) ", "CSV", len(text) - 2, "SETTINGS x = 'FORMAT c', y=1 "
    )


@pytest.mark.parametrize(
    "text",
    [
        b"SELECT 1 FORMAT Native",
        b"INSERT INTO t VALUES (1, ' FORMAT Native\n')",
        b"INSERT INTO t SELECT * FROM u",
        b"INSERT INTO t (a) SELECT a FROM u FORMAT Null",
        b"CREATE TABLE t (a Int8) ENGINE = Memory",
        b"",
    ],
)
def test_what_carries_no_data_is_no_such_insert(text: bytes) -> None:
    assert insert_head(text) is None


def test_an_insert_from_input_is_refused_because_the_engine_would_lose_it() -> None:
    with pytest.raises(EngineError, match=r"INSERT from input\(\)") as refused:
        insert_head(b"INSERT INTO t SELECT a + 1 FROM input('a Int8') FORMAT CSV\n1")
    assert refused.value.code == 48


def test_an_error_keeps_its_code_and_gets_its_status() -> None:
    error = engine_error("Streaming query failed: Code: 60. DB::Exception: Unknown table (UNKNOWN_TABLE)")
    assert str(error) == "Code: 60. DB::Exception: Unknown table (UNKNOWN_TABLE)"
    assert (error.code, error.status) == (60, 404)
    assert engine_error("Code: 395. DB::Exception: thrown").status == 500
    assert engine_error("something else").code == 1002


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ("SELECT 1", ""),
        ("SELECT 1 FORMAT Native", "Native"),
        ("SELECT 1\n FORMAT JSON ;", "JSON"),
        ("SELECT 1 FORMAT CSV SETTINGS max_threads = 1", "CSV"),
        ("SELECT format x FROM t", ""),
    ],
)
def test_the_format_that_a_statement_asks_for(statement: str, expected: str) -> None:
    assert format_of(statement) == expected


def test_quoting() -> None:
    assert quoted("it's \\ so") == "'it\\'s \\\\ so'"
    assert identifier("a`b\\c") == "`a\\`b\\\\c`"


def test_a_form_carries_the_query_its_parameters_and_tables() -> None:
    url = {"ids_structure": "id UInt32", "ids_format": "CSV", "max_threads": "2"}
    body = (
        b'--b\r\nContent-Disposition: form-data; name="query"\r\n\r\nSELECT \xc3\xab, {x:String}\r\n'
        b'--b\r\nContent-Disposition: form-data; name="param_x"\r\n\r\na\nb\r\n'
        b'--b\r\nContent-Disposition: form-data; name="ids"; filename="ids.csv"\r\n'
        b"Content-Type: application/octet-stream\r\n\r\n1\n2\n\r\n--b--\r\n"
    )
    request = with_form(read_request(url.items()), url, "multipart/form-data; boundary=b", body)
    assert request.query == "SELECT ë, {x:String}"
    assert request.parameters == {"x": "a\nb"}
    assert request.settings == {"max_threads": "2"}
    (table,) = request.tables
    assert (table.name, table.structure, table.data_format, table.data) == (
        "ids",
        "id UInt32",
        "CSV",
        b"1\n2\n",
    )


def test_the_summary_is_json_of_strings() -> None:
    text = summary(read_rows=1, read_bytes=2, written_rows=3, written_bytes=4, seconds=0.5)
    assert json.loads(text) == {
        "read_rows": "1",
        "read_bytes": "2",
        "written_rows": "3",
        "written_bytes": "4",
        "elapsed_ns": "500000000",
    }
