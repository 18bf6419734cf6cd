import pytest

from deploy.local.ports import Choice, Wish, choose
from shared.errors import StackError


def nobody_listens(_host: str, _port: int) -> bool:
    return True


class Free:
    """Gives these ports, one after the other."""

    def __init__(self, *ports: int) -> None:
        self._ports = iter(ports)

    def __call__(self, _host: str) -> int:
        return next(self._ports)


def test_the_usual_ports_are_taken_when_they_are_free() -> None:
    chosen = choose([Wish("api", 8080), Wish("ingest", 8081)], nobody_listens, Free())
    assert chosen == {"api": Choice("api", 8080), "ingest": Choice("ingest", 8081)}


def test_a_usual_port_that_is_taken_becomes_a_free_one_and_it_is_said() -> None:
    chosen = choose([Wish("api", 8080)], lambda _host, port: port != 8080, Free(40_001))
    assert chosen["api"] == Choice("api", 40_001, "port 8080 is taken, so api listens on 40001")


def test_a_named_port_wins_over_the_usual_one() -> None:
    wishes = [Wish("api", 8080, named=8081, option="--api-port"), Wish("ingest", 8081)]
    chosen = choose(wishes, nobody_listens, Free(40_001))
    assert chosen["api"] == Choice("api", 8081)
    assert chosen["ingest"] == Choice("ingest", 40_001, "port 8081 is taken, so ingest listens on 40001")


def test_a_named_port_that_is_taken_is_an_error_that_says_what_to_do() -> None:
    wish = Wish("api", 8080, named=9999, option="--api-port")
    with pytest.raises(StackError, match=r"Port 9999, asked for with --api-port, is taken on 127\.0\.0\.1\."):
        choose([wish], lambda _host, _port: False, Free(40_001))


def test_two_named_alike_is_an_error() -> None:
    wishes = [
        Wish("api", 8080, named=9999, option="--api-port"),
        Wish("ingest", 8081, named=9999, option="--ingest-port"),
    ]
    with pytest.raises(StackError, match="asked for with --ingest-port"):
        choose(wishes, nobody_listens, Free())


def test_no_port_is_given_twice_and_zero_means_any() -> None:
    chosen = choose(
        [Wish("a", 0), Wish("b", 0), Wish("c", 0)], nobody_listens, Free(1025, 1025, 1026, 1026, 1027)
    )
    assert [choice.port for choice in chosen.values()] == [1025, 1026, 1027]
    assert {choice.note for choice in chosen.values()} == {""}
