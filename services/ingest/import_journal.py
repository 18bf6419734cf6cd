"""What an import remembers: how far it is, and which rows were refused.

    FILE.import-state.json    how far, written after each acknowledged chunk; gone when the import is done
    FILE.rejected.jsonl       a line for each refused row, with the reason; there only when there are any

The state says how long the rejected file was, and is written after it: what a crash left behind the state is
cut off on resuming, so that each refused row stands in it exactly once.
"""

import dataclasses
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from services.ingest.import_rows import ImportProblem

HEAD_BYTES = 65_536
MAX_REASONS = 200


@dataclasses.dataclass(frozen=True)
class Rejected:
    """A refused row: where it stands in the file, why it was refused, and what it was."""

    line: int
    field: str
    code: str
    reason: str
    row: Any = dataclasses.field(default=None, compare=False)

    def to_json(self) -> bytes:
        """Return its line of FILE.rejected.jsonl."""
        return json.dumps(dataclasses.asdict(self)).encode() + b"\n"


class Progress(BaseModel):
    """How far an import is. `file` and `options` say of what; `reasons` counts refusals by field and code."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    file: str
    options: str
    rows: int = 0
    accepted: int = 0
    rejected: int = 0
    rejected_bytes: int = 0
    reasons: dict[str, int] = {}

    def after(self, rows: int, accepted: int, rejected: Sequence[Rejected], rejected_bytes: int) -> Self:
        """Return the progress after one more chunk of `rows` rows."""
        reasons = dict(self.reasons)
        for one in rejected:
            reason = f"{one.field or 'row'}: {one.code}"
            if reason in reasons or len(reasons) < MAX_REASONS:
                reasons[reason] = reasons.get(reason, 0) + 1
        return self.model_copy(
            update={
                "rows": self.rows + rows,
                "accepted": self.accepted + accepted,
                "rejected": self.rejected + len(rejected),
                "rejected_bytes": self.rejected_bytes + rejected_bytes,
                "reasons": reasons,
            }
        )


class Journal:
    """The two files beside an imported file. `progress` is how far it is."""

    def __init__(self, file: Path, options: Mapping[str, Any]) -> None:
        self.state_path = file.with_name(f"{file.name}.import-state.json")
        self.rejected_path = file.with_name(f"{file.name}.rejected.jsonl")
        self.progress = Progress(file=identity(file), options=fingerprint(options))

    def open(self, *, restart: bool) -> str:
        """Take up where an earlier run stopped, or begin; return what a person is to know about that.

        Raises ImportProblem when the files cannot be written.
        """
        earlier = None if restart else self._earlier()
        note = ""
        if earlier is not None and (earlier.file, earlier.options) == self._subject():
            self.progress = earlier
            note = f"Going on after the {earlier.rows:,} rows of an earlier run."
        elif earlier is not None:
            what = "The file" if earlier.file != self.progress.file else "What is asked"
            note = f"{what} is not the same as in the run that was interrupted: beginning at the start."
        try:
            self._cut_rejected()
            self._save()
        except OSError as error:
            message = f"{self.state_path} cannot be written, which resuming needs: {error.strerror}."
            raise ImportProblem(message) from None
        return note

    def record(self, rows: int, accepted: int, rejected: Sequence[Rejected]) -> None:
        """Remember a chunk that is done: durable when this returns."""
        data = b"".join(one.to_json() for one in sorted(rejected, key=lambda one: one.line))
        if data:
            with self.rejected_path.open("ab") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        self.progress = self.progress.after(rows, accepted, rejected, len(data))
        self._save()

    def finish(self) -> None:
        """Forget how far it was: running it again begins at the start."""
        self.state_path.unlink(missing_ok=True)

    def _subject(self) -> tuple[str, str]:
        return (self.progress.file, self.progress.options)

    def _earlier(self) -> Progress | None:
        try:
            earlier = Progress.model_validate_json(self.state_path.read_bytes())
        except (FileNotFoundError, ValidationError):
            return None
        except OSError as error:
            raise ImportProblem(f"{self.state_path} cannot be read: {error.strerror}.") from None
        return earlier if earlier.rows else None

    def _cut_rejected(self) -> None:
        length = self.progress.rejected_bytes
        if length == 0:
            self.rejected_path.unlink(missing_ok=True)
        elif self.rejected_path.exists() and self.rejected_path.stat().st_size > length:
            os.truncate(self.rejected_path, length)

    def _save(self) -> None:
        temporary = self.state_path.with_name(self.state_path.name + ".new")
        with temporary.open("wb") as file:
            file.write(self.progress.model_dump_json().encode())
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(self.state_path)


def identity(file: Path) -> str:
    """Return what tells this content of the file from another: size, time of change, digest of its head.

    Raises ImportProblem when it cannot be read.
    """
    try:
        stat = file.stat()
        with file.open("rb") as raw:
            head = hashlib.sha256(raw.read(HEAD_BYTES)).hexdigest()
    except OSError as error:
        raise ImportProblem(f"{file} cannot be read: {error.strerror}.") from None
    return f"{stat.st_size}-{stat.st_mtime_ns}-{head}"


def fingerprint(options: Mapping[str, Any]) -> str:
    """Return a digest of what decides which mentions come of a file, and where they go."""
    return hashlib.sha256(json.dumps(options, sort_keys=True).encode()).hexdigest()
