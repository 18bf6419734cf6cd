"""`klankbord enrich`: lines in, lines out, with the rules of ingest."""

import io
import json
from pathlib import Path

import pytest

from services.enrich.stream import run_stream
from shared.clock import ManualClock
from shared.errors import ConfigError
from shared.events import MAX_MENTION_BYTES

from .labelling import BOOK, WHEN

NAMES = {
    *("id", "source", "external_id", "brand", "text", "published_at", "language", "sentiment"),
    *("sentiment_label", "confidence", "is_fail", "is_question", "topics", "stage", "hashtags", "model"),
}


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "klankbord.toml"
    path.write_text(BOOK, encoding="utf-8")
    return path


def _line(text: str, **fields: str) -> bytes:
    mention = {"source": "x", "text": text, "published_at": "2026-02-01T10:00:00Z", **fields}
    return json.dumps(mention).encode()


def _run(stdin: io.BufferedIOBase, config: Path) -> tuple[int, list[dict[str, object]], list[str]]:
    stdout = io.BytesIO()
    complaints: list[str] = []
    code = run_stream(stdin, stdout, config, clock=ManualClock(WHEN), complain=complaints.append)  # type: ignore[arg-type]
    return code, [json.loads(line) for line in stdout.getvalue().splitlines()], complaints


def test_each_line_comes_out_with_every_name_that_is_promised(config: Path) -> None:
    lines = [_line("Zonneveld: al drie weken niks gehoord", external_id="1"), _line("Top bij Zonneveld")]
    code, mentions, complaints = _run(io.BytesIO(b"\n".join(lines)), config)
    assert (code, complaints) == (0, [])
    assert [mention["is_fail"] for mention in mentions] == [True, False]
    assert all(mention.keys() >= NAMES for mention in mentions)
    assert mentions[0]["brand"] == "Zonneveld Zorg"


def test_a_refused_line_is_named_and_the_rest_goes_on(config: Path) -> None:
    refused = b'{"source": "x", "text": "zonneveld"}'
    stdin = b"\n".join([_line("Zonneveld 1"), refused, b"", b"nonsense", _line("Zonneveld 2")]) + b"\n"
    code, mentions, complaints = _run(io.BytesIO(stdin), config)
    assert code == 1
    assert [mention["text"] for mention in mentions] == ["Zonneveld 1", "Zonneveld 2"]
    assert complaints[0] == "line 2: published_at: is required"
    assert complaints[1].startswith("line 4: is not ")
    assert complaints[2] == "2 lines were refused."


def test_a_mention_of_no_brand_comes_out_with_an_empty_one_and_is_counted(config: Path) -> None:
    code, mentions, complaints = _run(io.BytesIO(_line("Mooi weer")), config)
    assert (code, mentions[0]["brand"]) == (0, "")
    assert complaints == ["1 mention matches no brand; the pipeline drops such, here their brand is empty."]


def test_an_endless_line_is_refused_in_bounded_memory(config: Path) -> None:
    endless = b'{"text": "' + b"a" * (3 * MAX_MENTION_BYTES) + b'"}'
    code, mentions, complaints = _run(io.BytesIO(endless + b"\n" + _line("Zonneveld") + b"\n"), config)
    assert (code, len(mentions)) == (1, 1)
    assert complaints[0].startswith("line 1: is ")
    assert "bytes; at most" in complaints[0]


class _Slow(io.BytesIO):
    """Gives a line at a time, and remembers what had come out by then."""

    def __init__(self, lines: list[bytes], stdout: io.BytesIO) -> None:
        super().__init__()
        self._lines, self._stdout = lines, stdout
        self.out_by_then: list[int] = []

    def read1(self, _size: int | None = -1, /) -> bytes:
        self.out_by_then.append(self._stdout.getvalue().count(b"\n"))
        return self._lines.pop(0) if self._lines else b""


def test_nothing_is_held_back_while_waiting_for_more(config: Path) -> None:
    raw_out = io.BytesIO()
    stdin = _Slow([_line("Zonneveld a") + b"\n", _line("Zonneveld b") + b"\n"], raw_out)
    buffered = io.BufferedWriter(raw_out)
    assert run_stream(stdin, buffered, config, clock=ManualClock(WHEN)) == 0
    assert stdin.out_by_then == [0, 1, 2]


def test_a_configuration_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="does not exist"):
        run_stream(io.BytesIO(), io.BytesIO(), tmp_path / "absent.toml")
