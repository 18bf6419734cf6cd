"""Builds mentions to label, and labels them."""

from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from services.enrich.steps import Enricher
from shared.brands import parse_brands
from shared.events import EnrichedMention, Mention, RawMention

WHEN = datetime(2026, 3, 1, 12, tzinfo=UTC)
BOOK = """
[[brands]]
name = "Zonneveld Zorg"
aliases = ["Zonneveld", "ZVZ"]
handles = ["@zonneveldzorg"]
[brands.terms]
words = ["zonneveldzorg"]
phrases = ["werken bij zonneveld"]
hashtags = ["#werkenbijzonneveld"]
exclude = ["camping zonneveld"]

[[brands]]
name = "Café Noir"
[brands.terms]
words = ["noirbar"]
"""


@lru_cache(maxsize=1)
def enricher() -> Enricher:
    return Enricher(parse_brands(BOOK))


def raw(text: str, **fields: Any) -> RawMention:
    mention = Mention.model_validate({"source": "test", "text": text, "published_at": WHEN, **fields})
    return RawMention.of(mention, WHEN)


def label(text: str, **fields: Any) -> EnrichedMention:
    return enricher().label(raw(text, **fields))
