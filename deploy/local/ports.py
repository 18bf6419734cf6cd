"""Which port each part of the local stack listens on: the usual one, or a free one when that is taken."""

import random
import socket
from collections.abc import Callable, Collection
from dataclasses import dataclass

from shared.errors import StackError

LOOPBACK = "127.0.0.1"
# Linux gives 32768 and up to outgoing connections: one chosen there may be gone before it is listened on.
_FREE_RANGE = range(20_000, 32_000)
_TRIES = 200


@dataclass(frozen=True)
class Wish:
    """A port that is wanted: `usual` unless somebody asked for `named`; `option` is how they asked."""

    part: str
    usual: int
    host: str = LOOPBACK
    named: int | None = None
    option: str = ""


@dataclass(frozen=True)
class Choice:
    """The port that `part` gets; `note` says why when it is not the usual one (empty otherwise)."""

    part: str
    port: int
    note: str = ""


def choose(
    wishes: Collection[Wish], is_free: Callable[[str, int], bool], any_free: Callable[[str], int]
) -> dict[str, Choice]:
    """Return {part: choice}; no port is given twice.

    Raises StackError when a port that somebody named is taken.
    """
    chosen: dict[str, Choice] = {}
    for wish in wishes:
        given = {choice.port for choice in chosen.values()}
        chosen[wish.part] = _choose_one(wish, given, is_free, any_free)
    return chosen


def _choose_one(
    wish: Wish, given: Collection[int], is_free: Callable[[str, int], bool], any_free: Callable[[str], int]
) -> Choice:
    wanted = wish.named if wish.named is not None else wish.usual
    if wanted and wanted not in given and is_free(wish.host, wanted):
        return Choice(wish.part, wanted)
    if wish.named:
        raise StackError(
            f"Port {wish.named}, asked for with {wish.option}, is taken on {wish.host}. Stop what listens "
            f"there (`ss -ltnp 'sport = :{wish.named}'` shows it), name another, or leave {wish.option} out."
        )
    port = any_free(wish.host)
    while port in given:
        port = any_free(wish.host)
    note = f"port {wanted} is taken, so {wish.part} listens on {port}" if wanted else ""
    return Choice(wish.part, port, note)


def is_free(host: str, port: int) -> bool:
    """Whether a server could listen on `host`:`port` now. Raises StackError when `host` is not ours."""
    with _socket(host) as probe:
        try:
            probe.bind((host, port))
        except PermissionError:
            raise StackError(f"Port {port} may only be used by root; choose one above 1023.") from None
        except OSError as error:
            if not _is_ours(host):
                raise StackError(f"{host} is not an address of this machine: {error.strerror}.") from None
            return False
        return True


def any_free(host: str) -> int:
    """Return a port on which nobody listens, below those that the system gives to outgoing connections.

    Raises StackError when none is found.
    """
    for port in random.sample(_FREE_RANGE, k=_TRIES):
        if is_free(host, port):
            return port
    raise StackError(f"No free port was found on {host} between {_FREE_RANGE[0]} and {_FREE_RANGE[-1]}.")


def _is_ours(host: str) -> bool:
    with _socket(host) as probe:
        try:
            probe.bind((host, 0))
        except OSError:
            return False
        return True


def _socket(host: str) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    probe = socket.socket(family, socket.SOCK_STREAM)
    # As servers do: a port whose last connections linger in TIME_WAIT is free.
    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    return probe
