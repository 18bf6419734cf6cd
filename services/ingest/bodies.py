"""Reading request bodies piece by piece: with a deadline, unpacked, cut into lines, within bounds."""

import asyncio
import zlib
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from email.message import Message

from fastapi_problem.error import Problem
from starlette.datastructures import Headers
from starlette.requests import Request

from shared.events import MAX_MENTION_BYTES
from shared.problems import problem

IDLE_SECONDS = 15.0
"""A sender that sends nothing for so long is not waited for."""
TOTAL_SECONDS = 600.0
"""Nor is one that drips: this is the longest that a body may take."""
JSON_TYPE = "application/json"
LINES_TYPES = ("application/x-ndjson", "application/ndjson", "application/jsonl")
MAX_STREAM_BYTES = 1_073_741_824
"""So much NDJSON, unpacked, is taken in one request."""
_PIECE = 65_536
_GZIP = 31  # zlib's name for "with a gzip header"
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


@dataclass(frozen=True)
class BodyKind:
    """How a body is written, as its headers say."""

    lines: bool
    gzipped: bool


def body_kind(headers: Headers, types: Sequence[str] = (JSON_TYPE, *LINES_TYPES)) -> BodyKind:
    """Return how the body is written. Raises a Problem (415) when in a way that is not taken."""
    message = Message()
    message["content-type"] = headers.get("content-type", JSON_TYPE)
    media_type = message.get_content_type()
    if media_type not in types:
        given = headers["content-type"][:100]
        raise unsupported(f"Content-Type is {given!r}; taken are {', '.join(types)}.")
    charset = message.get_content_charset("utf-8")
    if charset not in {"utf-8", "utf8"}:
        raise unsupported(f"The charset is {charset[:40]!r}; only UTF-8 is taken.")
    encoding = headers.get("content-encoding", "identity").strip().lower()
    if encoding not in {"identity", "gzip", "x-gzip"}:
        raise unsupported(
            f"Content-Encoding is {encoding[:40]!r}; taken is gzip.", headers={"accept-encoding": "gzip"}
        )
    return BodyKind(lines=media_type != JSON_TYPE, gzipped=encoding != "identity")


async def read_pieces(
    request: Request, most: int, *, gzipped: bool, detail: str | None = None
) -> AsyncGenerator[bytes, None]:
    """Yield the body as it comes in, unpacked.

    Raises a Problem: 408 when the sender is too slow (IDLE_SECONDS, TOTAL_SECONDS), 413 (with `detail`)
    before the body is larger than `most` bytes, 422 when it is not the gzip that it says it is. Raises
    ClientDisconnect when the sender went away.
    """
    left = most
    loop = asyncio.get_running_loop()
    latest = loop.time() + TOTAL_SECONDS
    gunzip = Gunzip() if gzipped else None
    stream = request.stream()
    while True:
        try:
            async with asyncio.timeout_at(min(loop.time() + IDLE_SECONDS, latest)):
                piece = await anext(stream, None)
        except TimeoutError:
            raise _too_slow() from None
        if piece is None:
            break
        for unpacked in gunzip.feed(piece) if gunzip else (piece,):
            left -= len(unpacked)
            if left < 0:
                raise too_large(detail or f"A request may have {most:,} bytes; this one has more.")
            yield unpacked
    if gunzip is not None:
        gunzip.finish()


async def read_whole(
    request: Request,
    most: int,
    detail: str,
    *,
    gzipped: bool,
    hold: Callable[[int], None] = lambda _size: None,
) -> bytes:
    """Return the body, unpacked; `hold` is told of each piece's bytes before it is kept.

    Raises what read_pieces does.
    """
    if int(request.headers.get("content-length", "0")) > most:
        raise too_large(detail)
    body = bytearray()
    async with aclosing(read_pieces(request, most, gzipped=gzipped, detail=detail)) as pieces:
        async for piece in pieces:
            hold(len(piece))
            body += piece
    return bytes(body)


class Gunzip:
    """Unpacks gzip in pieces of a bounded size, however much a piece blows up to."""

    def __init__(self) -> None:
        self._unpacker = zlib.decompressobj(_GZIP)
        self._begun = False

    def feed(self, packed: bytes) -> Iterator[bytes]:
        """Yield what `packed` unpacks to, at most 64 KiB at a time. Raises a Problem (422)."""
        while packed:
            if self._unpacker.eof:  # another member follows, as in files that were concatenated
                self._unpacker = zlib.decompressobj(_GZIP)
            self._begun = True
            try:
                unpacked = self._unpacker.decompress(packed, _PIECE)
            except zlib.error:
                raise _not_gzip("does not unpack") from None
            packed = self._unpacker.unconsumed_tail or self._unpacker.unused_data
            if unpacked:
                yield unpacked

    def finish(self) -> None:
        """Raise a Problem (422) when the last member is cut off."""
        if self._begun and not self._unpacker.eof:
            raise _not_gzip("ends before the packed data do")


class LineSplitter:
    """Cuts pieces into lines; of a line longer than MAX_MENTION_BYTES only the fact is kept, as None."""

    def __init__(self, longest: int = MAX_MENTION_BYTES) -> None:
        self._longest = longest
        self._tail = bytearray()
        self._overlong = False
        self._first = True

    def feed(self, piece: bytes) -> list[bytes | None]:
        """Return the lines that `piece` completes, in order, without their line ends."""
        if b"\n" not in piece:
            self._keep(piece)
            return []
        head, *middle, tail = piece.split(b"\n")
        self._keep(head)
        lines = [self._complete()]
        lines.extend(line if len(line) <= self._longest else None for line in middle)
        self._keep(tail)
        return lines

    def finish(self) -> list[bytes | None]:
        """Return the last line when it has no line end, as a list of none or one."""
        return [self._complete()] if self._tail or self._overlong else []

    def _keep(self, part: bytes) -> None:
        if self._overlong or len(self._tail) + len(part) > self._longest:
            self._overlong = True
            self._tail.clear()
        else:
            self._tail += part

    def _complete(self) -> bytes | None:
        line = None if self._overlong else bytes(self._tail)
        self._tail.clear()
        self._overlong = False
        if self._first:
            self._first = False
            return without_mark(line) if line else line
        return line


def without_mark(data: bytes) -> bytes:
    """Return `data` without the byte order mark that Windows programs begin UTF-8 with."""
    return data.removeprefix(_BYTE_ORDER_MARK)


def _too_slow() -> Exception:
    detail = f"At most {IDLE_SECONDS:g} s may pass between two pieces of a body, {TOTAL_SECONDS:g} s in all."
    # The rest of the body is not waited for, so the connection cannot be used again.
    return problem(408, "too-slow", "The request took too long", detail, headers={"connection": "close"})


def _not_gzip(what: str) -> Exception:
    detail = f"Content-Encoding is gzip, but the body {what}. Send it again, or send it unpacked."
    return problem(422, "not-gzip", "The body is not gzip", detail)


def too_large(detail: str) -> Problem:
    """Return the 413 for a body that is larger than is taken."""
    return problem(413, "too-large", "The request is too large", detail)


def unsupported(detail: str, headers: dict[str, str] | None = None) -> Problem:
    """Return the 415 for a body that is written in another way than is taken."""
    return problem(
        415, "unsupported-body", "The body is not written in a way that is taken", detail, headers=headers
    )
