"""Runs Kafka and the store until it is killed: what test_local_stack.py kills. Prints its children's ids."""

import asyncio
import json
import sys
from pathlib import Path

from tests.conftest import new_stack


async def main() -> None:
    running = new_stack(Path(sys.argv[1]))
    await running.start()
    print(json.dumps(running.pids), flush=True)
    await asyncio.Event().wait()


asyncio.run(main())
