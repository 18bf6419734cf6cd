"""`klankbord dead`: look at what could not be processed, and send it again once what was wrong is mended."""

import asyncio
import json
import logging
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from klankbord.running import running_settings
from shared.errors import ConfigError

if TYPE_CHECKING:
    from shared.dead_letter_box import DeadLetterBox
    from shared.dead_letters import DeadLetter

_EXCERPT = 60
_SHOWN_BYTES = 20_000
_BATCH = 500

app = typer.Typer(help=__doc__, no_args_is_help=True)

Reason = Annotated[str | None, typer.Option(help="Only those with this reason, e.g. schema.")]
Since = Annotated[
    str | None,
    typer.Option(help="Only those put aside since then, e.g. 2026-11-01 or 2026-11-01T09:00:00+01:00."),
]


@app.command("list")
def list_(
    reason: Reason = None,
    since: Since = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="At most so many, the newest first.")] = 50,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON lines.")] = False,
) -> None:
    """List dead letters: number, when, why, where from, and how they begin."""
    from shared.dead_letter_box import Wanted

    box, wanted = _box(), Wanted(_reason(reason), _since(since))
    page = asyncio.run(box.page(wanted, limit))
    if not as_json:
        typer.echo(f"{'number':>8}  {'put aside':19}  {'reason':18} {'from':28} begins")
    for letter in page.letters:
        replayed = letter.number in page.replayed
        where = f"{letter.topic}[{letter.partition}]@{letter.offset}"
        if as_json:
            typer.echo(json.dumps(_described(letter, replayed), ensure_ascii=False))
        else:
            begins = _printable(letter.value[:_EXCERPT]) + ("  (sent again)" if replayed else "")
            when = f"{letter.died_at:%Y-%m-%d %H:%M:%S}"
            typer.echo(f"{letter.number:>8}  {when}  {letter.reason:18} {where:28} {begins}")
    if not page.letters:
        typer.echo("There are none." if not (reason or since) else "There are none such.", err=True)
    elif page.next is not None:
        typer.echo("There are more: give a larger --limit.", err=True)


@app.command()
def show(number: Annotated[int, typer.Argument(min=0, help="Its number in `klankbord dead list`.")]) -> None:
    """Show one dead letter whole: what is known of it, its headers and its text."""
    found = asyncio.run(_box().letter(number))
    if found is None:
        raise ConfigError(f"There is no dead letter {number} (any more); see `klankbord dead list`.")
    letter, replayed = found
    for name, value in _described(letter, replayed).items():
        typer.echo(f"{name:12} {value}")
    typer.echo("")
    typer.echo(_printable(letter.value[:_SHOWN_BYTES], keep_lines=True))
    if len(letter.value) > _SHOWN_BYTES:
        typer.echo(f"... and {len(letter.value) - _SHOWN_BYTES:,} bytes more")


@app.command()
def replay(
    numbers: Annotated[
        list[int] | None, typer.Argument(help="Which; without them, those of the options.")
    ] = None,
    reason: Reason = None,
    since: Since = None,
    all_: Annotated[bool, typer.Option("--all", help="All that there are.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be sent again.")] = False,
    again: Annotated[bool, typer.Option("--again", help="Also those that were sent again before.")] = False,
) -> None:
    """Send dead letters to the topics that they came from, each once."""
    if not (numbers or reason or since or all_):
        raise ConfigError("Say which: numbers, --reason, --since or --all.")
    sent, before, incomplete = asyncio.run(
        _replay(numbers or [], _reason(reason), _since(since), dry_run=dry_run, again=again)
    )
    typer.echo(f"{'would be sent again' if dry_run else 'sent again'}: {sent:,}")
    if before:
        typer.echo(f"sent again before, so left alone: {before:,} (--again sends them all the same)")
    if incomplete:
        typer.echo(f"not whole, or from no topic of ours, so left alone: {incomplete:,}")


async def _replay(
    numbers: list[int], reason: str | None, since: datetime | None, *, dry_run: bool, again: bool
) -> tuple[int, int, int]:
    from shared.dead_letter_box import Wanted

    box, wanted = _box(), Wanted(reason, since)
    sent = before = incomplete = 0
    below: int | None = None
    while True:
        if numbers:
            found = [await box.letter(number) for number in numbers]
            if missing := [str(n) for n, one in zip(numbers, found, strict=True) if one is None]:
                raise ConfigError(f"There is no dead letter {', '.join(missing)} (any more).")
            letters, following = [one[0] for one in found if one and one[0] in wanted], None
        else:
            page = await box.page(wanted, _BATCH, below)
            letters, following = list(page.letters), page.next
        done = await box.replay(letters, again=again, dry_run=dry_run)
        sent, before = sent + len(done.sent), before + len(done.before)
        incomplete += len(done.incomplete)
        if following is None:
            return sent, before, incomplete
        below = following


def _described(letter: "DeadLetter", replayed: bool) -> dict[str, object]:
    return {
        "number": letter.number,
        "put_aside": letter.died_at.isoformat(),
        "reason": letter.reason,
        "detail": _printable(letter.detail.encode()),
        "service": letter.service,
        "topic": letter.topic,
        "partition": letter.partition,
        "offset": letter.offset,
        "key": None if letter.key is None else _printable(letter.key[:200]),
        "bytes": letter.truncated or len(letter.value),
        "headers": {_printable(name.encode()): _printable(value) for name, value in letter.headers},
        "sent_again": replayed,
    }


def _printable(data: bytes, *, keep_lines: bool = False) -> str:
    """Return `data` as text without anything that a terminal would obey."""
    text = data.decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() or (keep_lines and c == "\n") else repr(c)[1:-1] for c in text)


def _reason(reason: str | None) -> str | None:
    from shared.dead_letters import DeadReason

    if reason is not None and reason not in set(DeadReason):
        raise ConfigError(f"--reason {reason}: must be one of {', '.join(DeadReason)}.")
    return reason


def _since(since: str | None) -> datetime | None:
    if since is None:
        return None
    try:
        moment = datetime.fromisoformat(since)
    except ValueError:
        raise ConfigError(
            f"--since {since}: must be a date or time such as 2026-11-01T09:00:00+01:00."
        ) from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _box() -> "DeadLetterBox":
    from shared.clock import SystemClock
    from shared.dead_letter_box import DeadLetterBox

    # Its every attempt to reach Kafka would be a line; that it failed is said once.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    return DeadLetterBox(running_settings(), SystemClock())
