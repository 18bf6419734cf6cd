"""The connectors that fetch mentions themselves, one module a source, and what they need of the service."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from shared.events import Mention


class MentionPublisher(Protocol):
    """Where a connector leaves what it found."""

    async def publish(self, mentions: Sequence[Mention], via: str) -> None:
        """Return once Kafka has acknowledged all `mentions`; raises DependencyUnavailable on an outage."""
        ...


class Checkpoints(Protocol):
    """What a connector remembers over a restart."""

    def get(self, key: str) -> Mapping[str, Any] | None:
        """Return what was last put under `key`."""
        ...

    async def put(self, key: str, value: Mapping[str, Any]) -> None:
        """Return once `value` is durable; raises DependencyUnavailable on an outage."""
        ...
