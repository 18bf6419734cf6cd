"""The bench runs: small amounts, without the peers, which `make bench` installs."""

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.io


def test_a_quick_bench_measures_and_writes_its_figures(tmp_path: Path) -> None:
    target = tmp_path / "figures.json"
    done = subprocess.run(
        [sys.executable, "-m", "bench", "steps", "ingest", "--quick", "--json", str(target)],
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "labelling alone" in done.stdout
    assert "ingest, NDJSON" in target.read_text()


def test_an_unknown_measurement_is_named() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "bench", "speed"], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 2
    assert "there are worker, steps" in done.stderr.replace("\n", " ")
