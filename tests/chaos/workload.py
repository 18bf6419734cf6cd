"""What is sent: mentions whose ids follow from the seed, some with a wrong clock, and poison. No I/O."""

import json
import random
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

from shared.dead_letters import DeadReason

SOURCE = "chaos"
TEXTS = (
    "Drie weken geleden gesolliciteerd bij Acme Zorg en nog steeds niks gehoord",
    "Fijn gesprek gehad bij Acme Zorg, leuk team",
    "Hoe lang duurt de procedure bij Acme Zorg?",
    "Applied to Acme Zorg, lovely people, quick reply",
    "Acme Zorg never called back. Two voicemails, both mine.",
    "Eerste werkdag bij Acme Zorg: geen laptop 🙄 #fail",
)
_RESENT_SHARE = 0.05


def mention(seed: int, number: int, now: datetime) -> dict[str, Any]:
    """Return mention `number` of a run; one in twenty is from long ago, one in twenty ahead of time."""
    chance = random.Random(f"{seed} {number}")
    skew = {0: timedelta(days=-chance.uniform(300, 3_000)), 1: timedelta(hours=chance.uniform(0, 20))}
    published = now + skew.get(chance.randrange(20), -timedelta(minutes=chance.uniform(0, 60 * 24 * 30)))
    return {
        "source": SOURCE,
        "external_id": f"{seed}-{number}",
        "brand": "Acme Zorg",
        "text": f"{chance.choice(TEXTS)} ({number})",
        "published_at": published.replace(microsecond=0).isoformat(),
    }


def batches(seed: int, mentions: int, size: int, now: datetime) -> Iterator[list[dict[str, Any]]]:
    """Yield all mentions in batches of `size`; some batches come twice, as an impatient sender's do."""
    chance = random.Random(seed)
    for begin in range(0, mentions, size):
        batch = [mention(seed, number, now) for number in range(begin, min(begin + size, mentions))]
        yield batch
        if chance.random() < _RESENT_SHARE:
            yield batch


def poison(seed: int) -> list[tuple[bytes, DeadReason]]:
    """Return messages that no mention is made of, each different, and why: for mentions.raw, past ingest."""
    mark = f"poison-{seed}"
    return [
        (f"{mark} not JSON".encode(), DeadReason.UNDECODABLE),
        (json.dumps({"mark": mark, "what": "a wrong schema"}).encode(), DeadReason.SCHEMA),
        (json.dumps({"mark": mark, "text": "x" * 2_000_000}).encode(), DeadReason.TOO_LARGE),
        (
            (f'{{"mark": "{mark}", "deep": ' + "[" * 20_000 + "]" * 20_000 + "}").encode(),
            DeadReason.UNDECODABLE,
        ),
        (b"\x00" * 64 + mark.encode(), DeadReason.UNDECODABLE),
        (b"", DeadReason.UNDECODABLE),
        (b"null", DeadReason.SCHEMA),
        (b'"' + mark.encode() + b'\xff\xfe"', DeadReason.UNDECODABLE),
    ]
