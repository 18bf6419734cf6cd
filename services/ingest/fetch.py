"""Fetch a document from an address that somebody else chose, safely.

Only http and https, a bounded size (also once decompressed), a bounded time, redirects followed by hand with
each hop checked, and no private address. A host name is resolved once, *every* address it has is checked,
and the connection is made to an address that was checked: a name that answers differently the second time
(DNS rebinding) has no second time.

    FetchError          `kind` is one of FetchProblem, the message says what to do
"""

import asyncio
import socket
import ssl
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from importlib.metadata import version
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from types import MappingProxyType

import httpx

from shared.errors import KlankbordError

MAX_BODY_BYTES = 5_242_880
MAX_REDIRECTS = 5
MAX_ADDRESSES = 4
TOTAL_SECONDS = 60.0
USER_AGENT = f"Klankbord/{version('klankbord')}"

Address = IPv4Address | IPv6Address
Resolver = Callable[[str, int], Awaitable[list[Address]]]
"""Answers every address of a host; raises OSError when there is none."""

_REDIRECTS = {301, 302, 303, 307, 308}
_NAT64 = IPv6Network("64:ff9b::/96")
_NAT64_LOCAL = IPv6Network("64:ff9b:1::/48")
_TIMEOUT = httpx.Timeout(20.0, connect=10.0)
_TEXT_LIMIT = 200


class FetchProblem(StrEnum):
    """Why a fetch gave nothing."""

    ADDRESS_REFUSED = "address_refused"
    UNREACHABLE = "unreachable"
    TOO_LARGE = "too_large"
    BAD_RESPONSE = "bad_response"


class FetchError(KlankbordError):
    """A document could not be fetched; `kind` tells why."""

    def __init__(self, kind: FetchProblem, message: str) -> None:
        super().__init__(message)
        self.kind = kind


@dataclass(frozen=True)
class Fetched:
    """An answer: status, header fields by lower-case name, and the decompressed body.

    The body is empty unless the status is 200.
    """

    status: int
    headers: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    body: bytes = b""


def is_public(address: Address) -> bool:
    """Whether `address` is on the public internet: not private, loopback, link-local, multicast and such.

    An IPv4 address inside an IPv6 one (mapped, 6to4, NAT64) is judged as the IPv4 address that it reaches.
    """
    if isinstance(address, IPv6Address):
        if address in _NAT64_LOCAL or address.teredo is not None:
            return False
        inner = address.ipv4_mapped or address.sixtofour
        if address in _NAT64:
            inner = IPv4Address(int(address) & 0xFFFF_FFFF)
        if inner is not None:
            return is_public(inner)
        if address.is_site_local:
            return False
    return address.is_global and not (
        address.is_multicast or address.is_reserved or address.is_loopback or address.is_link_local
    )


async def resolve(host: str, port: int) -> list[Address]:
    """Return every address of `host`, in the system's order; raises OSError when it has none."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    # A link-local address comes with its zone: fe80::1%eth0.
    return list(dict.fromkeys(ip_address(str(info[4][0]).partition("%")[0]) for info in found))


class Fetcher:
    """Fetches documents. Holds no connections: each fetch opens its own, to a checked address."""

    def __init__(
        self,
        resolver: Resolver = resolve,
        transport: Callable[[], httpx.AsyncBaseTransport] | None = None,
        total_seconds: float = TOTAL_SECONDS,
    ) -> None:
        self._resolve = resolver
        # Made once: loading the system's certificates takes tens of milliseconds.
        context = ssl.create_default_context()
        self._transport = transport or (lambda: httpx.AsyncHTTPTransport(verify=context, trust_env=False))
        self._total_seconds = total_seconds

    async def fetch(self, url: str, headers: Mapping[str, str], *, allow_private: bool) -> Fetched:
        """GET `url`, following at most MAX_REDIRECTS redirects.

        `headers` are sent besides our own. Raises FetchError; any HTTP status is an answer, not an error.
        """
        try:
            async with asyncio.timeout(self._total_seconds):
                return await self._follow(_parse(url), headers, allow_private)
        except TimeoutError:
            message = f"{_shown(url)} took longer than {self._total_seconds:g} s."
            raise FetchError(FetchProblem.UNREACHABLE, message) from None
        except httpx.HTTPError as error:
            reason = str(error) or type(error).__name__
            message = f"{_shown(url)} cannot be fetched: {reason[:_TEXT_LIMIT]}"
            raise FetchError(FetchProblem.UNREACHABLE, message) from None

    async def _follow(self, url: httpx.URL, headers: Mapping[str, str], allow_private: bool) -> Fetched:
        start = url
        for _ in range(MAX_REDIRECTS + 1):
            addresses = await self._addresses(url, allow_private)
            fetched = await self._get(url, addresses, headers)
            location = fetched.headers.get("location")
            if fetched.status not in _REDIRECTS or location is None:
                return fetched
            url = _join(url, location)
        message = f"{_shown(start)} redirects more than {MAX_REDIRECTS} times."
        raise FetchError(FetchProblem.BAD_RESPONSE, message)

    async def _addresses(self, url: httpx.URL, allow_private: bool) -> list[Address]:
        host = url.raw_host.decode("ascii").strip("[]")
        try:
            addresses = await self._resolve(host, url.port or _default_port(url))
        except (OSError, UnicodeError) as error:
            message = f"The host {host!r} of {_shown(url)} has no address: {error}"
            raise FetchError(FetchProblem.UNREACHABLE, message) from None
        refused = None if allow_private else next((a for a in addresses if not is_public(a)), None)
        if refused is not None:
            message = (
                f"{_shown(url)} leads to {refused}, which is not a public address, so it is not fetched. "
                "If it is yours, set allow_private_addresses = true with the feed in klankbord.toml."
            )
            raise FetchError(FetchProblem.ADDRESS_REFUSED, message)
        return addresses[:MAX_ADDRESSES]

    async def _get(self, url: httpx.URL, addresses: list[Address], headers: Mapping[str, str]) -> Fetched:
        failed: httpx.HTTPError = httpx.ConnectError("it has no address")
        for address in addresses:
            try:
                return await self._get_from(address, url, headers)
            except (httpx.ConnectError, httpx.ConnectTimeout) as error:
                failed = error
        raise failed

    async def _get_from(self, address: Address, url: httpx.URL, headers: Mapping[str, str]) -> Fetched:
        """GET `url` from `address`: the name goes along as Host and for TLS, the connection by number."""
        ours = {"host": url.netloc.decode("ascii"), "user-agent": USER_AGENT, "accept-encoding": "gzip"}
        async with httpx.AsyncClient(
            transport=self._transport(), timeout=_TIMEOUT, trust_env=False, follow_redirects=False
        ) as client:
            request = client.build_request(
                "GET",
                url.copy_with(host=str(address), fragment=None),
                headers={**headers, **ours},
                extensions={"sni_hostname": url.raw_host.decode("ascii")},
            )
            response = await client.send(request, stream=True)
            try:
                found = {name.lower(): value for name, value in response.headers.items()}
                body = await _read(response) if response.status_code == 200 else b""
                return Fetched(response.status_code, MappingProxyType(found), body)
            finally:
                await response.aclose()


def _parse(url: str) -> httpx.URL:
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise FetchError(FetchProblem.BAD_RESPONSE, f"{_shown(url)} is not an address: {error}.") from None
    if parsed.scheme not in {"http", "https"} or not parsed.host:
        message = f"{_shown(url)} is not an http:// or https:// address."
        raise FetchError(FetchProblem.ADDRESS_REFUSED, message)
    # A redirect must not make us sign in anywhere.
    return parsed.copy_with(username=None, password=None)


def _join(url: httpx.URL, location: str) -> httpx.URL:
    try:
        return _parse(str(url.join(location)))
    except httpx.InvalidURL as error:
        message = f"{_shown(url)} redirects to something that is not an address: {error}."
        raise FetchError(FetchProblem.BAD_RESPONSE, message) from None


def _default_port(url: httpx.URL) -> int:
    return 443 if url.scheme == "https" else 80


def _shown(url: object) -> str:
    return str(url)[:_TEXT_LIMIT]


async def _read(response: httpx.Response) -> bytes:
    """Return the body, decompressed by hand: a few bytes of gzip can stand for gigabytes."""
    encoding = response.headers.get("content-encoding", "identity").strip().lower()
    if encoding in {"", "identity"}:
        return await _bounded(response.aiter_raw())
    if encoding in {"gzip", "x-gzip"}:
        return await _bounded(_gunzip(response.aiter_raw()))
    message = f"The answer is compressed as {encoding[:40]!r}, and only gzip was asked for."
    raise FetchError(FetchProblem.BAD_RESPONSE, message)


async def _bounded(parts: AsyncIterator[bytes]) -> bytes:
    body = bytearray()
    async for part in parts:
        body += part
        if len(body) > MAX_BODY_BYTES:
            message = f"The answer is larger than {MAX_BODY_BYTES:,} bytes."
            raise FetchError(FetchProblem.TOO_LARGE, message)
    return bytes(body)


async def _gunzip(parts: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    decompressor = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
    try:
        async for part in parts:
            # One byte over the limit is enough for the reader to refuse it all.
            yield decompressor.decompress(part, MAX_BODY_BYTES + 1)
    except zlib.error as error:
        raise FetchError(FetchProblem.BAD_RESPONSE, f"The answer is not valid gzip: {error}.") from None
    if not decompressor.eof:
        raise FetchError(FetchProblem.BAD_RESPONSE, "The answer ends in the middle of its gzip data.")
