"""`make chaos`: python -m tests.chaos [--seed N] [--mentions N] [--seconds N] [--keep DIR]."""

import asyncio
import logging
import random
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated

import typer

from tests.chaos.run import Plan, run


def main(
    seed: Annotated[int | None, typer.Option(help="Repeats a run. [default: any]")] = None,
    mentions: Annotated[int, typer.Option(min=1, help="How many mentions are sent.")] = 200_000,
    seconds: Annotated[float, typer.Option(min=1, help="For how long there are faults.")] = 300,
    keep: Annotated[Path | None, typer.Option(help="Keep data and logs in this folder.")] = None,
) -> None:
    """Send mentions through the real stack while processes are killed, frozen, restarted; and count."""
    plan = Plan(random.randrange(10**6) if seed is None else seed, mentions, seconds)
    typer.echo(f"seed {plan.seed}: {mentions:,} mentions, {seconds:.0f} s of faults")
    # That Kafka does not answer is what this is about.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    begin = time.monotonic()

    def say(message: str) -> None:
        typer.echo(f"{time.monotonic() - begin:7.1f} s  {message.splitlines()[0][:160]}")

    with tempfile.TemporaryDirectory() as folder:
        directory = keep or Path(folder)
        directory.mkdir(parents=True, exist_ok=True)
        result = asyncio.run(run(plan, directory, say))
    typer.echo("")
    for line in result.lines():
        typer.echo(line)
    if not result.passed:
        typer.echo(f"Again, with the same faults: make chaos ARGS='--seed {plan.seed} --keep DIR'", err=True)
    sys.exit(0 if result.passed else 1)


if __name__ == "__main__":
    typer.run(main)
