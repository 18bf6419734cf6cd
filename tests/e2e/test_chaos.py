"""A short run of `make chaos`: every acknowledged mention is there once, all poison is put aside."""

from pathlib import Path

import pytest

from tests.chaos.run import Plan, run

pytestmark = pytest.mark.io


async def test_faults_lose_nothing_and_double_nothing(tmp_path: Path) -> None:
    result = await run(Plan(seed=20_261_126, mentions=10_000, seconds=45), tmp_path, print)
    assert result.passed, "\n".join(result.lines())
    assert len(result.strikes) > 5
