"""`klankbord enrich`: mentions as JSON lines in, enriched mentions out, with the worker's very code."""

import sys
from collections.abc import Callable, Iterator
from io import BufferedIOBase
from pathlib import Path
from typing import BinaryIO, cast

from pydantic_core import to_json

from services.enrich.steps import Enricher
from shared.brands import BrandBook, load_brands
from shared.clock import Clock, SystemClock
from shared.errors import ConfigError, InvalidMention
from shared.events import MAX_MENTION_BYTES, EnrichedMention, RawMention, parse_mention
from shared.settings import load_settings

_CHUNK_BYTES = 65_536

Complain = Callable[[str], None]


def run_stream(
    stdin: BinaryIO,
    stdout: BinaryIO,
    config: Path | None,
    *,
    explain: bool = False,
    clock: Clock | None = None,
    complain: Complain | None = None,
) -> int:
    """Enrich each line of `stdin` to `stdout`; return 1 if one was refused, else 0.

    A refused line is one line of complaint (standard error), with its number and the reason; the rest goes
    on. A mention that matches no brand comes out with brand "". Brands are those of `config`; without it,
    those of the file that the settings name, if it is there. With `explain`, each mention also says "why": by
    label, what weighed most. Raises ConfigError on a wrong configuration.
    """
    clock = clock or SystemClock()
    complain = complain or _to_stderr
    enricher = Enricher(_brands(config))
    refused = unmatched = 0
    for number, line in enumerate(_lines(stdin, stdout), 1):
        if not line.strip():
            continue
        now = clock.now()
        try:
            raw = RawMention.of(parse_mention(line, now), now)
        except InvalidMention as error:
            refused += 1
            complain(f"line {number}: {error}")
            continue
        mention = enricher.label(raw)
        unmatched += not mention.brand
        stdout.write(_explained(enricher, raw, mention) if explain else mention.model_dump_json().encode())
        stdout.write(b"\n")
    stdout.flush()
    if unmatched:
        mentions = "1 mention matches" if unmatched == 1 else f"{unmatched:,} mentions match"
        complain(f"{mentions} no brand; the pipeline drops such, here their brand is empty.")
    if refused:
        complain("1 line was refused." if refused == 1 else f"{refused:,} lines were refused.")
    return 1 if refused else 0


def _explained(enricher: Enricher, raw: RawMention, mention: EnrichedMention) -> bytes:
    return to_json(mention.model_dump(mode="json") | {"why": enricher.why(raw)})


def _to_stderr(message: str) -> None:
    sys.stderr.write(f"klankbord: {message}\n")


def _brands(config: Path | None) -> BrandBook:
    if config is not None and not config.exists():
        raise ConfigError(f"{config} does not exist; give --config a klankbord.toml that does.")
    return load_brands(config or load_settings().config_file)


def _lines(stdin: BinaryIO, stdout: BinaryIO) -> Iterator[bytes]:
    """Yield the lines of `stdin`; flush `stdout` before waiting for more, so that nothing is held back.

    Of a line that is longer than any mention may be, a part that is too long comes out, the rest is skipped.
    """
    pending, skipping = b"", False
    # read1 gives what is there, and waits only when there is nothing.
    while chunk := cast(BufferedIOBase, stdin).read1(_CHUNK_BYTES):
        first, *others = chunk.split(b"\n")
        if others:
            if not skipping:
                yield pending + first
            yield from others[:-1]
            pending, skipping = others[-1], False
        elif not skipping:
            pending += first
            if len(pending) > MAX_MENTION_BYTES:
                yield pending
                pending, skipping = b"", True
        stdout.flush()
    if pending:
        yield pending
