"""Cutting a body into lines and unpacking it, whatever pieces it comes in."""

import gzip
import tracemalloc

import pytest
from fastapi_problem.error import Problem
from hypothesis import given
from hypothesis import strategies as st

from services.ingest.bodies import Gunzip, LineSplitter

MARK = b"\xef\xbb\xbf"


def cut(body: bytes, sizes: list[int]) -> list[bytes]:
    pieces = []
    for size in sizes:
        pieces.append(body[:size])
        body = body[size:]
    return [*pieces, body]


def split(pieces: list[bytes], longest: int) -> list[bytes | None]:
    splitter = LineSplitter(longest)
    lines = [line for piece in pieces for line in splitter.feed(piece)]
    return lines + splitter.finish()


@given(
    st.lists(st.binary(max_size=12).filter(lambda line: b"\n" not in line and line[:1] != MARK[:1])),
    st.booleans(),
    st.lists(st.integers(0, 9)),
)
def test_lines_come_out_as_they_went_in(lines: list[bytes], ended: bool, sizes: list[int]) -> None:
    body = b"\n".join(lines) + (b"\n" if ended else b"")
    expected = body.split(b"\n")
    if expected[-1] == b"":
        expected.pop()
    assert split(cut(body, sizes), longest=8) == [line if len(line) <= 8 else None for line in expected]


def test_an_overlong_line_is_not_kept() -> None:
    splitter = LineSplitter(1_000)
    tracemalloc.start()
    try:
        for _ in range(1_000):
            assert splitter.feed(b"x" * 10_000) == []
        assert tracemalloc.get_traced_memory()[0] < 100_000
    finally:
        tracemalloc.stop()
    assert splitter.feed(b"x\nnext\n") == [None, b"next"]


def test_only_the_first_line_loses_its_byte_order_mark() -> None:
    assert split([MARK[:2], MARK[2:] + b"a\n" + MARK + b"b"], 100) == [b"a", MARK + b"b"]


@given(st.binary(max_size=500), st.binary(max_size=500), st.lists(st.integers(1, 40)))
def test_gzip_in_any_pieces_and_members(first: bytes, second: bytes, sizes: list[int]) -> None:
    gunzip = Gunzip()
    packed = gzip.compress(first) + gzip.compress(second)
    unpacked = b"".join(out for piece in cut(packed, sizes) for out in gunzip.feed(piece))
    gunzip.finish()
    assert unpacked == first + second


def test_a_small_piece_is_not_blown_up_at_once() -> None:
    bomb = gzip.compress(b"\0" * 50_000_000)
    sizes = [len(out) for out in Gunzip().feed(bomb)]
    assert sum(sizes) == 50_000_000
    assert max(sizes) <= 65_536


@pytest.mark.parametrize(
    "packed", [b"plain", gzip.compress(b"x") + b"garbage", gzip.compress(b"x" * 99)[:-9]]
)
def test_what_is_not_whole_gzip_is_refused(packed: bytes) -> None:
    gunzip = Gunzip()
    with pytest.raises(Problem) as caught:
        list(gunzip.feed(packed))
        gunzip.finish()
    assert caught.value.status == 422


def test_an_empty_body_is_no_broken_gzip() -> None:
    gunzip = Gunzip()
    assert list(gunzip.feed(b"")) == []
    gunzip.finish()
