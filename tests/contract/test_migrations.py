"""Migrations that landed are frozen: a changed file would be refused by every database that applied it."""

from pathlib import Path

from services.metrics.migrate import load

RECORDED = Path(__file__).parent / "recorded/migrations.sha256"


def test_what_landed_has_not_changed_and_what_is_new_is_recorded() -> None:
    recorded = RECORDED.read_text().splitlines()
    now = [f"{migration.sha256}  {migration.label}.sql" for migration in load()]
    changed = [line for line, before in zip(now, recorded, strict=False) if line != before]
    assert not changed, "these landed and are frozen: undo the change, put it in a new migration"
    assert now[len(recorded) :] == [], f"new: add these lines at the end of {RECORDED.name}"
