"""The mentions that are measured with, the same for all: our labelled ones, again and again, ids anew."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from shared.events import RawMention, parse_mention

TEXTS = Path("tests/data/hr_mentions.jsonl")
BRAND = "Acme Zorg"
CONFIG = f'[[brands]]\nname = "{BRAND}"\n'
WHEN = datetime(2026, 11, 1, 12, tzinfo=UTC)


def mentions(many: int, run: str = "bench") -> Iterator[dict[str, Any]]:
    """Yield so many mentions, some 270 bytes each; `run` keeps the ids of one run from those of another."""
    texts = [json.loads(line)["text"] for line in TEXTS.read_text(encoding="utf-8").splitlines()]
    for number in range(many):
        yield {
            "source": "bench",
            "external_id": f"{run}-{number}",
            "brand": BRAND,
            "text": texts[number % len(texts)],
            "published_at": WHEN.isoformat(),
        }


def raw_events(many: int, run: str = "bench") -> list[bytes]:
    """Return so many messages of mentions.raw."""
    now = datetime.now(UTC)
    return [
        RawMention.of(parse_mention(json.dumps(one), now), now).model_dump_json().encode()
        for one in mentions(many, run)
    ]
