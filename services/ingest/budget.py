"""How much ingest holds in memory at once: bytes that were taken and that Kafka has not acknowledged."""

from types import TracebackType
from typing import Self

from shared.errors import DependencyUnavailable


class Overloaded(DependencyUnavailable):
    """Kafka acknowledges slower than mentions come in, and no more of them are held."""

    def __init__(self, limit: int) -> None:
        super().__init__("Kafka", f"{limit:,} bytes wait for its acknowledgement, which is all that is held")


class Budget:
    """The bytes that may be held, shared by all requests and feeds of the process."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.used = 0

    def take(self, size: int) -> None:
        """Hold `size` more bytes. Raises Overloaded when they don't fit; then none are held."""
        if self.used + size > self._limit:
            raise Overloaded(self._limit)
        self.used += size

    def give_back(self, size: int) -> None:
        """Hold `size` bytes less."""
        self.used -= size

    def share(self) -> "Share":
        """Return a part of the budget that is given back as a whole, when its `with` ends."""
        return Share(self)


class Share:
    """What one request holds."""

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._size = 0

    def take(self, size: int) -> None:
        """Hold `size` more bytes. Raises Overloaded when they don't fit."""
        self._budget.take(size)
        self._size += size

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._budget.give_back(self._size)
