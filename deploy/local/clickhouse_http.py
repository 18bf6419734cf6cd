"""What ClickHouse's HTTP interface says, as pure functions: requests taken apart, answers put together.

Follows ClickHouse's src/Server/HTTPHandler.cpp as far as clickhouse-connect and curl use it. What is not
supported is refused with ClickHouse's own code 48 (NOT_IMPLEMENTED) where ignoring it could lose data;
session_id is ignored: each request stands alone.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from email.parser import BytesParser
from email.policy import HTTP

NOT_IMPLEMENTED = 48
UNKNOWN_EXCEPTION = 1002
TOO_LARGE = 307  # TOO_MANY_BYTES
BAD_ARGUMENTS = 36

# Parameters that steer the transport, not the engine.
_TRANSPORT = frozenset(
    {
        *("query", "database", "default_format", "query_id", "user", "password", "role", "quota_key"),
        *("session_id", "session_timeout", "session_check", "client_protocol_version"),
        *("compress", "decompress", "wait_end_of_query", "buffer_size"),
    }
)
_NAME = re.compile(r"[A-Za-z_]\w*\Z")

# Which statuses ClickHouse gives to its codes: src/Server/HTTP/exceptionCodeToHTTPStatus.cpp.
_STATUSES: dict[int, Iterable[int]] = {
    400: (6, 26, 27, 36, 38, 41, 42, 43, 44, 53, 62, 69, 70, 72, 108, 115, 131, 169, 349, 386, 440, 456, 457),
    401: (194,),
    403: (164, 192, 193, 495, 497, 516),
    404: (46, 47, 60, 81, 218, 16),
    408: (159, 209),
    411: (381,),
    413: (307, 161, 162, 223),
    501: (NOT_IMPLEMENTED,),
    503: (202,),
}
_STATUS_OF_CODE = {code: status for status, codes in _STATUSES.items() for code in codes}


class EngineError(Exception):
    """A statement that is refused: ClickHouse's code, and its text ("Code: 60. DB::Exception: ...")."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code

    @property
    def status(self) -> int:
        """The HTTP status of the answer."""
        return _STATUS_OF_CODE.get(self.code, 500)


@dataclass(frozen=True)
class ExternalTable:
    """A table that comes with the query: temporary, of this request only."""

    name: str
    structure: str
    data_format: str
    data: bytes


@dataclass(frozen=True)
class Request:
    """One request: what to run, and with what around it. `query` is what the URL or the form said."""

    query: str
    database: str = ""
    settings: Mapping[str, str] = field(default_factory=dict)
    parameters: Mapping[str, str] = field(default_factory=dict)
    query_id: str = ""
    default_format: str = ""
    tables: Sequence[ExternalTable] = ()


@dataclass(frozen=True)
class InsertHead:
    """An INSERT whose data follow, taken apart: the data begin at `data_at`.

    `settings` is its SETTINGS clause (empty when it has none), which has to follow where the data come from.
    """

    statement: str
    data_format: str
    data_at: int
    settings: str = ""


def refuse(code: int, reason: str, name: str) -> EngineError:
    """Return an error in ClickHouse's own words."""
    return EngineError(code, f"Code: {code}. DB::Exception: {reason} ({name})")


def engine_error(message: str) -> EngineError:
    """Return the error that the engine's message tells, cut to begin at "Code: "."""
    found = re.search(r"Code: (\d+)\. ", message)
    if found is None:
        return EngineError(UNKNOWN_EXCEPTION, f"Code: {UNKNOWN_EXCEPTION}. DB::Exception: {message}")
    return EngineError(int(found.group(1)), message[found.start() :].strip())


def read_request(pairs: Iterable[tuple[str, str]], default_format: str = "", database: str = "") -> Request:
    """Return the request that the URL's `pairs` describe; the others come from X-ClickHouse-* headers.

    Raises EngineError on a setting whose name cannot be one, and on what is not supported.
    """
    given = dict(pairs)
    for unsupported in ("compress", "decompress"):
        if given.get(unsupported, "0") not in {"0", ""}:
            raise refuse(
                NOT_IMPLEMENTED,
                f"{unsupported}=1 is not supported here; use Content-Encoding",
                "NOT_IMPLEMENTED",
            )
    settings = {
        name: value
        for name, value in given.items()
        if name not in _TRANSPORT and not name.startswith("param_")
    }
    for name in settings:
        if not _NAME.match(name):
            raise refuse(BAD_ARGUMENTS, f"{name!r} cannot be the name of a setting", "BAD_ARGUMENTS")
    return Request(
        query=given.get("query", ""),
        database=given.get("database", database),
        settings=settings,
        parameters=_parameters(given),
        query_id=given.get("query_id", ""),
        default_format=given.get("default_format", default_format),
    )


def with_form(request: Request, url: Mapping[str, str], content_type: str, body: bytes) -> Request:
    """Return `request` with what a multipart form adds: the query, parameters, and tables of its own."""
    message = BytesParser(policy=HTTP).parsebytes(f"Content-Type: {content_type}\r\n\r\n".encode() + body)
    values: dict[str, str] = {}
    tables = []
    for part in message.iter_parts():
        name = str(part.get_param("name", "", header="content-disposition"))
        content = part.get_payload(decode=True)
        data = content if isinstance(content, bytes) else b""
        if f"{name}_structure" in url:
            tables.append(
                ExternalTable(name, url[f"{name}_structure"], url.get(f"{name}_format", "TabSeparated"), data)
            )
        else:
            values[name] = data.decode()
    described = {f"{table.name}_{what}" for table in tables for what in ("structure", "format", "types")}
    return Request(
        query=values.get("query", request.query),
        database=request.database,
        settings={name: value for name, value in request.settings.items() if name not in described},
        parameters={**request.parameters, **_parameters(values)},
        query_id=request.query_id,
        default_format=request.default_format,
        tables=tables,
    )


def _parameters(values: Mapping[str, str]) -> dict[str, str]:
    return {name[len("param_") :]: value for name, value in values.items() if name.startswith("param_")}


# Strings, quoted names and comments are skipped as one piece, so that nothing in them is taken for syntax.
_PIECE = re.compile(
    rb"""'(?:[^'\\]|\\.|'')*' | "(?:[^"\\]|\\.)*" | `(?:[^`\\]|\\.)*` | --[^\n]* | /\*.*?\*/ | [()] | \w+""",
    re.DOTALL | re.VERBOSE,
)
_SETTING = re.compile(rb"\s+\w+\s*=")
_FORMAT_NAME = re.compile(rb"\s+(\w+)[ \t\f]*(?:\r?\n)?")


def insert_head(text: bytes) -> InsertHead | None:
    """Return how `text` begins when it is an INSERT ... FORMAT whose data follow, else None.

    Raises EngineError for INSERT ... SELECT ... FROM input(), which the engine would run on no data.
    """
    depth = 0
    first = True
    selects = False
    settings_at: int | None = None
    for piece in _PIECE.finditer(text):
        word = piece.group().upper()
        if word[:2] in {b"--", b"/*"}:
            continue
        if first and word != b"INSERT":
            return None
        first = False
        depth += {b"(": 1, b")": -1}.get(word, 0)
        if word == b"INPUT" and selects:
            raise refuse(NOT_IMPLEMENTED, "INSERT from input() is not supported here", "NOT_IMPLEMENTED")
        if depth:
            continue
        if word == b"VALUES":
            return None
        selects = selects or word in {b"SELECT", b"WITH"}
        if word == b"SETTINGS" and _SETTING.match(text, piece.end()):
            settings_at = piece.start()
        name = _FORMAT_NAME.match(text, piece.end()) if word == b"FORMAT" and not selects else None
        if name:
            end = piece.start() if settings_at is None else settings_at
            return InsertHead(
                statement=text[:end].decode(),
                data_format=name.group(1).decode(),
                data_at=name.end(),
                settings=text[end : piece.start()].decode(),
            )
    return None


_TRAILING_FORMAT = re.compile(r"\bFORMAT\s+(\w+)\s*(?:SETTINGS\b[^()]*)?;?\s*\Z", re.IGNORECASE)


def format_of(statement: str) -> str:
    """Return the output format that `statement` itself asks for; empty when it does not say."""
    found = _TRAILING_FORMAT.search(statement)
    return found.group(1) if found else ""


def quoted(value: str) -> str:
    """Return `value` as a string literal."""
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def identifier(name: str) -> str:
    """Return `name` as a quoted identifier."""
    escaped = name.replace("\\", "\\\\").replace("`", "\\`")
    return f"`{escaped}`"


def summary(*, read_rows: int, read_bytes: int, written_rows: int, written_bytes: int, seconds: float) -> str:
    """Return the value of X-ClickHouse-Summary."""
    numbers = {
        "read_rows": read_rows,
        "read_bytes": read_bytes,
        "written_rows": written_rows,
        "written_bytes": written_bytes,
        "elapsed_ns": int(seconds * 1_000_000_000),
    }
    return json.dumps({name: str(number) for name, number in numbers.items()})
