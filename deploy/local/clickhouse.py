"""ClickHouse's own engine (chdb) behind ClickHouse's HTTP interface, as one process.

chdb runs the whole engine inside a process, one process per data directory; clickhouse-connect's HTTP client,
curl and our services talk to this one as they would to a ClickHouse server.

    python -m deploy.local.clickhouse --path DIR --port 8123

It has no accounts, like a fresh ClickHouse server: everybody on this machine may do everything, so it should
listen on 127.0.0.1 only. What a web page sends by way of a browser is refused.
"""

import argparse
import gzip
import io
import os
import tempfile
import uuid
import zlib
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

# Before the engine is loaded: a naive datetime means UTC, as in ClickHouse's container images.
os.environ["TZ"] = "UTC"

import chdb
import lz4.frame  # type: ignore[import-untyped]
import structlog
import uvicorn
from anyio import CapacityLimiter, to_thread
from backports import zstd
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect
from starlette.requests import Request as HttpRequest
from starlette.responses import Response
from starlette.routing import Route

from deploy.local.clickhouse_http import (
    BAD_ARGUMENTS,
    NOT_IMPLEMENTED,
    TOO_LARGE,
    EngineError,
    ExternalTable,
    InsertHead,
    Request,
    engine_error,
    format_of,
    identifier,
    insert_head,
    quoted,
    read_request,
    refuse,
    summary,
    with_form,
)
from shared.settings import load_settings
from shared.telemetry import configure_logging

MAX_BODY_BYTES = 268_435_456
MAX_STATEMENT_BYTES = 16_777_216
MAX_RESULT_BYTES = 536_870_912
MAX_CONCURRENT_REQUESTS = 8
MAX_CONNECTIONS = 256
_PIECE_BYTES = 1_048_576
_STOP_SECONDS = 3

log: structlog.stdlib.BoundLogger = structlog.get_logger()

_READERS: dict[str, Callable[[io.BytesIO], Any]] = {
    "": lambda body: body,
    "identity": lambda body: body,
    "lz4": lz4.frame.LZ4FrameFile,
    "zstd": zstd.ZstdFile,
    "gzip": lambda body: gzip.GzipFile(fileobj=body),
}


@dataclass(frozen=True)
class Answer:
    """What a statement gave: bytes in `data_format` (empty: it gives no result), and the summary header."""

    data: bytes
    data_format: str
    summary: str


class Engine:
    """The engine on one directory. Any number of threads may call `run` at once."""

    def __init__(self, path: Path) -> None:
        path.mkdir(parents=True, exist_ok=True)
        self._path = str(path.resolve())
        # The engine lives as long as a handle is open.
        self._keeper = self._connect()
        self.timezone = str(self._keeper.query("SELECT timezone()", "TabSeparated").bytes().decode().strip())

    def close(self) -> None:
        """Close the engine; what was acknowledged is on disk."""
        self._keeper.close()

    def run(self, request: Request, body: bytes, encoding: str, read_only: bool) -> Answer:
        """Run the one statement of a request.

        Raises EngineError: what ClickHouse answers with an error.
        """
        source = _opened(body, encoding)
        try:
            with self._handle(request, read_only) as handle:
                head = request.query.encode()
                insert = insert_head(head)
                if insert is None and not head:
                    # The statement leads the body; of an INSERT the data follow.
                    head = _read_piece(source)
                    insert = insert_head(head)
                if insert is not None:
                    return _insert(handle, insert, head, source)
                return _query(handle, request, _statement(head, source, request.query != ""))
        except (RuntimeError, chdb.ChdbError) as error:
            raise engine_error(str(error)) from error

    def _connect(self) -> Any:
        return chdb.connect(self._path)  # type: ignore[no-untyped-call]

    @contextmanager
    def _handle(self, request: Request, read_only: bool) -> Iterator[Any]:
        # A handle of its own per request (0.3 ms): USE, SET and temporary tables end with it.
        handle = self._connect()
        try:
            if request.database:
                handle.query(f"USE {identifier(request.database)}", "TabSeparated")
            for table in request.tables:
                _load(handle, table)
            settings = {"max_result_bytes": str(MAX_RESULT_BYTES), **request.settings}
            if read_only:
                settings["readonly"] = "2"
            assignments = ", ".join(f"{name} = {quoted(value)}" for name, value in settings.items())
            handle.query(f"SET {assignments}", "TabSeparated")
            yield handle
        finally:
            handle.close()


def _opened(body: bytes, encoding: str) -> Any:
    if encoding not in _READERS:
        known = ", ".join(name for name in _READERS if name)
        raise refuse(NOT_IMPLEMENTED, f"Content-Encoding {encoding} is none of {known}", "NOT_IMPLEMENTED")
    return _READERS[encoding](io.BytesIO(body))


def _statement(head: bytes, source: Any, data_follow: bool) -> str:
    # As ClickHouse does: what the URL says, then what the body says.
    rest = _read_piece(source, MAX_STATEMENT_BYTES + 1)
    whole = head + b"\n" + rest if data_follow and rest else head + rest
    if len(whole) > MAX_STATEMENT_BYTES:
        raise refuse(TOO_LARGE, f"The statement is longer than {MAX_STATEMENT_BYTES} bytes", "TOO_MANY_BYTES")
    return _decoded(whole)


def _decoded(text: bytes) -> str:
    try:
        return text.decode()
    except UnicodeDecodeError as error:
        raise refuse(BAD_ARGUMENTS, f"The statement is not UTF-8: {error}", "BAD_ARGUMENTS") from error


def _read_piece(source: Any, size: int = _PIECE_BYTES) -> bytes:
    try:
        piece: bytes = source.read(size)
    except (OSError, EOFError, RuntimeError, zlib.error, zstd.ZstdError) as error:
        # RuntimeError is lz4's.
        raise refuse(BAD_ARGUMENTS, f"The body cannot be read: {error}", "BAD_ARGUMENTS") from error
    return piece


def _insert(handle: Any, insert: InsertHead, head: bytes, source: Any) -> Answer:
    def pieces() -> Iterator[bytes]:
        yield head[insert.data_at :]
        while piece := _read_piece(source):
            yield piece

    result = _insert_pieces(handle, insert, pieces())
    rows, size = result.rows_written(), result.bytes_written()
    return Answer(
        b"",
        "",
        summary(
            read_rows=rows,
            read_bytes=size,
            written_rows=rows,
            written_bytes=size,
            seconds=result.elapsed(),
        ),
    )


def _insert_pieces(handle: Any, insert: InsertHead, pieces: Iterator[bytes]) -> Any:
    """Insert by way of a file, and raise what the engine says against it.

    chdb's own insert stream (send_insert) hides it when the write fails after the data was read: a violated
    constraint or too many parts would be acknowledged, and lost.
    """
    with tempfile.NamedTemporaryFile(prefix="klankbord-", suffix=".insert") as spool:
        for piece in pieces:
            spool.write(piece)
        spool.flush()
        source = f"FROM INFILE {quoted(spool.name)}"
        return handle.query(
            f"{insert.statement} {source} {insert.settings} FORMAT {insert.data_format}", "TabSeparated"
        )


def _query(handle: Any, request: Request, statement: str) -> Answer:
    wanted = format_of(statement) or request.default_format
    # A statement that gives a result gives at least the line of names, also when no row follows.
    result = handle.query(statement, wanted or "TabSeparatedWithNames", params=dict(request.parameters))
    data = result.bytes() or b""
    if not wanted and data:
        wanted = "TabSeparated"
        data = data[data.find(b"\n") + 1 :]
    return Answer(
        data,
        wanted,
        summary(
            read_rows=result.storage_rows_read(),
            read_bytes=result.storage_bytes_read(),
            written_rows=result.rows_written(),
            written_bytes=result.bytes_written(),
            seconds=result.elapsed(),
        ),
    )


def _load(handle: Any, table: ExternalTable) -> None:
    name = identifier(table.name)
    handle.query(f"CREATE TEMPORARY TABLE {name} ({table.structure})", "TabSeparated")
    _insert_pieces(handle, InsertHead(f"INSERT INTO {name}", table.data_format, 0), iter((table.data,)))


def create_app(path: Path) -> Starlette:
    """Return the HTTP interface of the engine on `path`; the engine lives as long as the app."""
    limiter = CapacityLimiter(MAX_CONCURRENT_REQUESTS)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        app.state.engine = await to_thread.run_sync(Engine, path)
        log.info("engine open", path=str(path))
        yield
        app.state.engine.close()
        log.info("engine closed")

    async def ping(_request: HttpRequest) -> Response:
        return Response("Ok.\n", media_type="text/plain")

    async def statement(http: HttpRequest) -> Response:
        engine: Engine = http.app.state.engine
        query_id = http.query_params.get("query_id") or str(uuid.uuid4())
        try:
            # Held from before the body is read: that bounds the memory, not only the engine's work.
            async with limiter:
                answer = await _answer(engine, http)
        except EngineError as error:
            headers = {"X-ClickHouse-Exception-Code": str(error.code), "X-ClickHouse-Query-Id": query_id}
            return Response(f"{error}\n", error.status, headers, "text/plain; charset=UTF-8")
        except ClientDisconnect:
            return Response(status_code=400)
        headers = {
            "X-ClickHouse-Query-Id": query_id,
            "X-ClickHouse-Summary": answer.summary,
            "X-ClickHouse-Timezone": engine.timezone,
            "X-ClickHouse-Server-Display-Name": "klankbord-local",
        }
        if answer.data_format:
            headers["X-ClickHouse-Format"] = answer.data_format
        return Response(answer.data, headers=headers, media_type="application/octet-stream")

    routes = [Route("/ping", ping), Route("/", statement, methods=["GET", "POST"])]
    return Starlette(routes=routes, lifespan=lifespan)


async def _answer(engine: Engine, http: HttpRequest) -> Answer:
    # A browser sends these along with what any page that is open in it asks for.
    if "origin" in http.headers or http.headers.get("sec-fetch-site", "none") != "none":
        raise refuse(BAD_ARGUMENTS, "Requests from web pages are refused", "BAD_ARGUMENTS")
    request = read_request(
        http.query_params.multi_items(),
        http.headers.get("x-clickhouse-format", ""),
        http.headers.get("x-clickhouse-database", ""),
    )
    body = await _read(http)
    content_type = http.headers.get("content-type", "")
    if content_type.startswith("multipart/form-data"):
        request = with_form(request, http.query_params, content_type, body)
        body = b""
    encoding = http.headers.get("content-encoding", "")
    run = partial(engine.run, request, body, encoding, http.method == "GET")
    return await to_thread.run_sync(run)


async def _read(http: HttpRequest) -> bytes:
    body = bytearray()
    async for chunk in http.stream():
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            raise refuse(TOO_LARGE, f"The body is larger than {MAX_BODY_BYTES} bytes", "TOO_MANY_BYTES")
    return bytes(body)


def main() -> None:
    """Serve until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(prog="python -m deploy.local.clickhouse", description=__doc__)
    parser.add_argument("--path", type=Path, required=True, help="the engine's data directory")
    parser.add_argument("--port", type=int, default=8123)
    parser.add_argument("--host", default="127.0.0.1")
    options = parser.parse_args()
    configure_logging("clickhouse", load_settings())
    uvicorn.run(
        create_app(options.path),
        host=options.host,
        port=options.port,
        log_config=None,
        access_log=False,
        limit_concurrency=MAX_CONNECTIONS,
        timeout_graceful_shutdown=_STOP_SECONDS,
        timeout_keep_alive=60,
        http="httptools",
    )


if __name__ == "__main__":
    main()
