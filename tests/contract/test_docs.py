"""The docs are complete: every setting and every command appears in them."""

from pathlib import Path

import pytest
from typer.main import get_command

from klankbord.cli import app
from shared.metrics_catalogue import describe_metrics
from shared.settings import describe_settings

ROOT = Path(__file__).parents[2]
COMMANDS = sorted(get_command(app).commands)  # type: ignore[attr-defined]


def test_settings_page_is_what_the_command_prints() -> None:
    printed = describe_settings()
    assert (ROOT / "docs/settings.md").read_text() == printed, "run: klankbord settings > docs/settings.md"


def test_metrics_page_is_what_the_command_prints() -> None:
    printed = describe_metrics()
    run = "run: klankbord metrics-catalogue > docs/metrics.md"
    assert (ROOT / "docs/metrics.md").read_text() == printed, run


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_in_the_readme(command: str) -> None:
    assert f"klankbord {command}" in (ROOT / "README.md").read_text()


def test_every_make_target_of_people_is_in_the_readme() -> None:
    readme = (ROOT / "README.md").read_text()
    for target in ("up", "test", "lint", "eval", "bench"):
        assert f"make {target}" in readme


def test_no_lock_file_names_a_registry() -> None:
    for name in ("requirements.lock", "deploy/local/kafka.lock.toml", "pyproject.toml"):
        assert "://" not in (ROOT / name).read_text(), name


def test_every_locked_package_has_hashes() -> None:
    pinned = [line for line in (ROOT / "requirements.lock").read_text().splitlines() if "==" in line]
    assert len(pinned) > 50
    assert all(line.endswith("\\") for line in pinned)
