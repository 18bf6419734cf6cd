"""Fetching what a stranger points at: which addresses, how much, and from whom. On a mock transport."""

import gzip
import tracemalloc
from collections.abc import Callable, Mapping
from ipaddress import ip_address

import httpx
import pytest

from services.ingest.fetch import (
    MAX_BODY_BYTES,
    MAX_REDIRECTS,
    Address,
    Fetched,
    Fetcher,
    FetchError,
    FetchProblem,
    is_public,
)

PUBLIC = "93.184.215.14"
Handler = Callable[[httpx.Request], httpx.Response]


def reply(body: bytes = b"", status: int = 200, **headers: str) -> httpx.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx.Response(status, headers=named, stream=httpx.ByteStream(body))


def fetcher(handler: Handler, names: Mapping[str, list[str]] | None = None) -> Fetcher:
    async def resolver(host: str, _port: int) -> list[Address]:
        if names is None:
            return [ip_address(PUBLIC)]
        if host not in names:
            raise OSError("Name or service not known")
        return [ip_address(address) for address in names[host]]

    return Fetcher(resolver, lambda: httpx.MockTransport(handler))


async def get(
    wanted: Fetcher, url: str = "http://feeds.example/a", *, allow_private: bool = False
) -> Fetched:
    return await wanted.fetch(url, {}, allow_private=allow_private)


async def problem(wanted: Fetcher, url: str = "http://feeds.example/a") -> FetchError:
    with pytest.raises(FetchError) as caught:
        await get(wanted, url)
    return caught.value


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "127.8.8.8", "0.0.0.0", "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1",
        "169.254.169.254", "100.64.0.1", "192.0.2.1", "198.18.0.1", "224.0.0.1", "239.255.255.250",
        "240.0.0.1", "255.255.255.255", "::", "::1", "::7f00:1", "::ffff:127.0.0.1", "::ffff:10.0.0.1",
        "::ffff:169.254.169.254", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::1", "2002:7f00:1::",
        "2002:a00:1::", "2001:0:53aa:64c:0:0:f5ff:fffe", "fe80::1", "fec0::1", "fc00::1", "fd12::1",
        "ff02::1", "2001:db8::1", "100::1",
    ],
)  # fmt: skip
def test_an_address_inside_is_not_public(address: str) -> None:
    assert not is_public(ip_address(address))


@pytest.mark.parametrize(
    "address",
    [PUBLIC, "8.8.8.8", "172.15.0.1", "172.32.0.1", "2606:2800:21f::1", "::ffff:8.8.8.8", "64:ff9b::808:808"],
)
def test_an_address_outside_is_public(address: str) -> None:
    assert is_public(ip_address(address))


async def test_the_connection_goes_to_the_checked_address_and_the_name_goes_along() -> None:
    seen: list[httpx.Request] = []

    def handler(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return reply(b"hi")

    fetched = await get(fetcher(handler), "https://Feeds.example:8443/a?b=1#c")

    assert (fetched.status, fetched.body) == (200, b"hi")
    assert str(seen[0].url) == f"https://{PUBLIC}:8443/a?b=1"
    assert seen[0].headers["host"] == "feeds.example:8443"
    assert seen[0].extensions["sni_hostname"] == "feeds.example"
    assert "cookie" not in seen[0].headers


async def test_an_ipv6_address_is_connected_to_by_number_too() -> None:
    seen: list[str] = []

    def handler(request: httpx.Request) -> httpx.Response:
        seen.append(str(request.url))
        return reply()

    await get(fetcher(handler, {"feeds.example": ["2606:2800:21f::1"]}))

    assert seen == ["http://[2606:2800:21f::1]/a"]


async def test_one_private_address_among_public_ones_is_refused_and_nothing_is_sent() -> None:
    def handler(_request: httpx.Request) -> httpx.Response:
        pytest.fail("a request was sent")

    error = await problem(fetcher(handler, {"feeds.example": [PUBLIC, "192.168.1.1"]}))

    assert error.kind is FetchProblem.ADDRESS_REFUSED
    assert "192.168.1.1" in str(error)
    assert "allow_private_addresses = true" in str(error)


async def test_a_private_address_is_fetched_when_that_was_configured() -> None:
    wanted = fetcher(lambda _request: reply(b"ours"), {"intranet": ["10.0.0.7"]})

    assert (await get(wanted, "http://intranet/feed", allow_private=True)).body == b"ours"


async def test_each_hop_of_a_redirect_is_checked() -> None:
    def handler(_request: httpx.Request) -> httpx.Response:
        return reply(status=302, location="http://metadata.example/latest")

    names = {"feeds.example": [PUBLIC], "metadata.example": ["169.254.169.254"]}
    error = await problem(fetcher(handler, names))

    assert error.kind is FetchProblem.ADDRESS_REFUSED
    assert "169.254.169.254" in str(error)


async def test_a_name_is_resolved_once_a_hop_so_that_it_cannot_change_its_mind() -> None:
    answers = [[ip_address(PUBLIC)], [ip_address("127.0.0.1")]]
    urls: list[str] = []

    async def rebinding(_host: str, _port: int) -> list[Address]:
        return list(answers.pop(0))

    def handler(request: httpx.Request) -> httpx.Response:
        urls.append(str(request.url))
        return reply()

    await get(Fetcher(rebinding, lambda: httpx.MockTransport(handler)))

    assert urls == [f"http://{PUBLIC}/a"]
    assert len(answers) == 1


async def test_a_relative_redirect_is_followed_on_the_same_host() -> None:
    def handler(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/a":
            return reply(status=301, location="/b")
        return reply(f"{request.headers['host']}{request.url.path}".encode())

    assert (await get(fetcher(handler))).body == b"feeds.example/b"


@pytest.mark.parametrize("location", ["file:///etc/passwd", "gopher://feeds.example/", "ftp://x.example/"])
async def test_a_redirect_leaves_http_for_nothing(location: str) -> None:
    handler = fetcher(lambda _request: reply(status=302, location=location))

    assert (await problem(handler)).kind is FetchProblem.ADDRESS_REFUSED


async def test_redirects_without_end_are_given_up() -> None:
    asked: list[str] = []

    def handler(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.path)
        return reply(status=302, location=f"/{len(asked)}")

    assert (await problem(fetcher(handler))).kind is FetchProblem.BAD_RESPONSE
    assert len(asked) == MAX_REDIRECTS + 1


async def test_gzip_is_unpacked() -> None:
    packed = gzip.compress(b"a feed")
    wanted = fetcher(lambda _r: reply(packed, content_encoding="gzip"))

    assert (await get(wanted)).body == b"a feed"


async def test_a_gzip_bomb_is_refused_without_being_unpacked() -> None:
    bomb = gzip.compress(b"\0" * 200_000_000, compresslevel=1)
    wanted = fetcher(lambda _r: reply(bomb, content_encoding="gzip"))

    tracemalloc.start()
    try:
        assert (await problem(wanted)).kind is FetchProblem.TOO_LARGE
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 6 * MAX_BODY_BYTES


@pytest.mark.parametrize("packed", [b"not gzip", gzip.compress(b"a feed" * 1_000)[:-20]])
async def test_broken_gzip_is_a_bad_response(packed: bytes) -> None:
    wanted = fetcher(lambda _r: reply(packed, content_encoding="gzip"))

    assert (await problem(wanted)).kind is FetchProblem.BAD_RESPONSE


async def test_a_compression_that_was_not_asked_for_is_refused() -> None:
    wanted = fetcher(lambda _r: reply(b"x", content_encoding="br"))

    assert (await problem(wanted)).kind is FetchProblem.BAD_RESPONSE


async def test_a_body_over_the_limit_is_refused_and_one_at_the_limit_is_not() -> None:
    at = await get(fetcher(lambda _r: reply(b"x" * MAX_BODY_BYTES)))
    over = await problem(fetcher(lambda _r: reply(b"x" * (MAX_BODY_BYTES + 1))))

    assert len(at.body) == MAX_BODY_BYTES
    assert over.kind is FetchProblem.TOO_LARGE


async def test_the_next_address_is_tried_when_one_does_not_answer() -> None:
    def handler(request: httpx.Request) -> httpx.Response:
        if request.url.host.startswith("2606"):
            raise httpx.ConnectError("no route")
        return reply(request.url.host.encode())

    names = {"feeds.example": ["2606:2800:21f::1", PUBLIC]}

    assert (await get(fetcher(handler, names))).body == PUBLIC.encode()


@pytest.mark.parametrize("failure", [httpx.ConnectError("refused"), httpx.ReadTimeout("slow")])
async def test_a_host_that_does_not_answer_is_unreachable(failure: Exception) -> None:
    def handler(_request: httpx.Request) -> httpx.Response:
        raise failure

    assert (await problem(fetcher(handler))).kind is FetchProblem.UNREACHABLE


async def test_a_host_without_address_is_unreachable() -> None:
    error = await problem(fetcher(lambda _r: reply(), {}), "http://nowhere.example/")

    assert error.kind is FetchProblem.UNREACHABLE
    assert "nowhere.example" in str(error)


async def test_any_other_status_is_an_answer_without_a_body() -> None:
    fetched = await get(fetcher(lambda _r: reply(b"x" * 99, 503, Retry_After="9")))

    assert (fetched.status, fetched.headers["retry-after"], fetched.body) == (503, "9", b"")
