"""`make bench`: how fast the parts are here, beside their peers, on a real Kafka and ClickHouse's engine.

python -m bench [worker steps ingest latency sink api] [--quick] [--json FILE]; without names all of them.
"""

import asyncio
import json
import os
import platform
import tempfile
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from bench import measures
from bench.load import CONFIG
from deploy.local.stack import LocalStack, Service, StackOptions

MEASURES = {
    "worker": measures.worker,
    "steps": measures.steps,
    "ingest": measures.ingest,
    "sink": measures.sink,
    "latency": measures.latency,
    "api": measures.api,
}


def main(
    names: Annotated[list[str] | None, typer.Argument(help=f"Which: {', '.join(MEASURES)}.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Small amounts, one run each: does it run?")] = False,
    soak: Annotated[
        float, typer.Option(help="Also run at full speed for so many minutes, and watch memory.")
    ] = 0,
    json_file: Annotated[Path | None, typer.Option("--json", help="Where the figures go.")] = None,
) -> None:
    """Measure, print a table, and write the figures as JSON."""
    if unknown := set(names or ()) - MEASURES.keys():
        raise typer.BadParameter(f"{', '.join(unknown)}; there are {', '.join(MEASURES)}")
    console = Console(width=120)
    machine = {
        "cores": os.cpu_count(),
        "processor": _processor(),
        "python": platform.python_version(),
        "quick": quick,
    }
    console.print(f"On {machine['cores']} cores ({machine['processor']}), Python {machine['python']}.")
    rows: list[measures.Row] = []
    for name in names or MEASURES:
        rows += asyncio.run(_measure(name, quick, console))
    if soak:
        rows += asyncio.run(_measure("soak", quick, console, minutes=soak))
    table = Table("what", "figure", "unit", "must", "remark")
    for row in rows:
        table.add_row(*row.cells())
    console.print(table)
    target = json_file or Path("bench/results/latest.json")
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(
        json.dumps({"machine": machine, "rows": [row._asdict() for row in rows]}, indent=2) + "\n"
    )
    console.print(f"Written to {target}.")


async def _measure(name: str, quick: bool, console: Console, **more: Any) -> list[measures.Row]:
    console.print(f"{name} ...")
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder)
        config = directory / "klankbord.toml"
        config.write_text(CONFIG, encoding="utf-8")
        services = tuple(Service) if name in {"latency", "soak"} else ()
        services = (Service.INGEST,) if name == "ingest" else services
        services = (Service.API,) if name == "api" else services
        options = StackOptions(
            data_dir=directory / "data", config_file=config, usual_ports=False, services=services
        )
        stack = LocalStack(options, lambda _message, **_fields: None)
        try:
            if name != "steps":
                await stack.start()
            measure = measures.soak if name == "soak" else MEASURES[name]
            return await measure(measures.Bench(stack, directory, quick, console.print), **more)
        finally:
            await stack.stop()


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor() or "unknown"


if __name__ == "__main__":
    typer.run(main)
