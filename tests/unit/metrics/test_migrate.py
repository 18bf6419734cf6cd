"""Which migrations there are, which are to be applied, and that an applied one is frozen."""

from pathlib import Path

import pytest

from services.metrics.migrate import Migration, load, to_apply
from shared.errors import ConfigError

ONE = Migration(1, "one", "CREATE TABLE one (a Int8) ENGINE = Memory;\n")
TWO = Migration(2, "two", "CREATE TABLE two (a Int8) ENGINE = Memory;\n")


def _write(directory: Path, *names: str) -> Path:
    for name in names:
        (directory / name).write_text("SELECT 1;\n")
    return directory


def test_our_own_are_numbered_without_a_gap() -> None:
    labels = [migration.label for migration in load()]
    assert labels[:2] == ["0001_mentions", "0002_mention_positions"]


def test_our_own_can_be_applied_twice() -> None:
    for migration in load():
        for statement in migration.statements():
            assert "IF NOT EXISTS" in statement, migration.label


def test_a_file_is_split_into_its_statements() -> None:
    sql = "-- One; two;\nSELECT 1; \n\n  -- three\nSELECT\n    ';', 2;\nSELECT 3"
    assert Migration(1, "x", sql).statements() == ["SELECT 1", "SELECT\n    ';', 2", "SELECT 3"]


def test_those_that_are_new_are_applied_in_order() -> None:
    assert to_apply([ONE, TWO], {}) == [ONE, TWO]
    assert to_apply([ONE, TWO], {1: ONE.sha256}) == [TWO]
    assert to_apply([ONE, TWO], {1: ONE.sha256, 2: TWO.sha256}) == []


def test_an_applied_one_that_was_changed_is_refused_by_name() -> None:
    changed = Migration(1, "one", ONE.sql + "-- a comment\n")
    with pytest.raises(ConfigError, match="0001_one was applied and has been changed since"):
        to_apply([changed, TWO], {1: ONE.sha256})


def test_an_older_version_of_klankbord_tolerates_newer_tables() -> None:
    assert to_apply([ONE], {1: ONE.sha256, 2: TWO.sha256}) == []


@pytest.mark.parametrize(
    ("names", "reason"),
    [
        (["1_one.sql"], "not named like"),
        (["0001_one.sql", "0003_three.sql"], "not numbered"),
        (["0001_one.sql", "0001_uno.sql"], "not numbered"),
        (["0002_two.sql"], "not numbered"),
    ],
)
def test_wrong_names_and_numbers_are_refused(tmp_path: Path, names: list[str], reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        load(_write(tmp_path, *names))
