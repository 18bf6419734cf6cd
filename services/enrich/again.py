"""`klankbord reenrich`: labels the mentions that are stored anew, with the model and lists of now.

They are read from ClickHouse, so it is not bound to how long Kafka keeps them, and go out on
mentions.enriched as they once came in: the sink replaces each mention, and counts it once. What a mention was
when it was received stays its version, so a later edit that is under way still wins. Corrections of people
are not touched.
"""

import asyncio
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import stamina
from aiokafka.errors import KafkaError

from services.enrich.agent import Outcome
from services.enrich.output import KafkaOutput
from services.enrich.steps import Enricher
from shared.brands import load_brands
from shared.clickhouse import answers, connect
from shared.errors import DependencyUnavailable
from shared.events import RawMention
from shared.kafka import new_producer
from shared.produce import Message
from shared.settings import Settings

BATCH = 1_000
_FIELDS = (
    "id", "source", "external_id", "brand", "author_name", "author_handle", "text", "url", "language",
    "published_at", "received_at", "in_reply_to", "conversation_id", "kind", "rating", "rating_scale",
    "metadata",
)  # fmt: skip
_OPTIONAL = ("external_id", "url", "in_reply_to", "conversation_id")

# By key and not by OFFSET: what comes in meanwhile shifts nothing.
_PAGE = f"""
SELECT {", ".join(_FIELDS)}
FROM mentions FINAL
WHERE published_at >= {{start:DateTime64(3, 'UTC')}} AND published_at < {{end:DateTime64(3, 'UTC')}}
    AND ({{brand:String}} = '' OR brand = {{brand:String}})
    AND (brand, published_at, id)
        > ({{after_brand:String}}, {{after_at:DateTime64(3, 'UTC')}}, {{after_id:UUID}})
ORDER BY brand, published_at, id
LIMIT {{page:UInt32}}
"""


@dataclass(frozen=True)
class Again:
    """Which mentions to label anew: published from `start` to `end`, of `brand` (None: of all)."""

    start: datetime
    end: datetime
    brand: str | None = None


def run_reenrich(settings: Settings, wanted: Again, tell: Callable[[str], None]) -> int:
    """Label them anew; return 0. Raises DependencyUnavailable, ConfigError on a wrong klankbord.toml."""
    return asyncio.run(_run(settings, wanted, tell))


async def _run(settings: Settings, wanted: Again, tell: Callable[[str], None]) -> int:
    enricher = Enricher(load_brands(settings.config_file))
    output = KafkaOutput(lambda: new_producer(settings))
    done = 0
    try:
        for raws in _pages(settings, wanted):
            mentions = await asyncio.to_thread(enricher.label_batch, raws)
            enriched = [Message(m.key, m.model_dump_json().encode(), []) for m in mentions]
            async for attempt in stamina.retry_context(KafkaError, attempts=None, timeout=300):
                with attempt:
                    await output.write(Outcome(enriched))
            done += len(raws)
            tell(f"{done:,} labelled anew, up to {raws[-1].brand}, {raws[-1].published_at:%Y-%m-%d %H:%M}")
    except KafkaError as error:
        raise DependencyUnavailable("Kafka", repr(error)) from error
    finally:
        await output.stop()
    tell(f"{done:,} mentions sent on with {enricher.model_name}; the sink replaces them as it reads them.")
    return 0


def _pages(settings: Settings, wanted: Again) -> Iterator[Sequence[RawMention]]:
    values = {
        "start": _text(wanted.start),
        "end": _text(wanted.end),
        "brand": wanted.brand or "",
        "page": BATCH,
    }
    after: dict[str, Any] = {"after_brand": "", "after_at": _text(wanted.start), "after_id": str(UUID(int=0))}
    with connect(settings) as client:
        while True:
            with answers():
                result = client.query(_PAGE, parameters=values | after, tz_mode="aware")
                rows = list(result.named_results())
            if not rows:
                return
            yield [raw_of(row) for row in rows]
            last = rows[-1]
            after = {
                "after_brand": last["brand"],
                "after_at": _text(last["published_at"]),
                "after_id": str(last["id"]),
            }


def raw_of(row: dict[str, Any]) -> RawMention:
    """Return a row of `mentions` as the mention that came in; its language serves as the source's hint."""
    author = {"name": row["author_name"] or None, "handle": row["author_handle"] or None}
    return RawMention.model_validate(
        {name: row[name] for name in ("id", "source", "brand", "text", "published_at", "received_at", "kind")}
        | {name: row[name] or None for name in _OPTIONAL}
        | {
            "author": author if any(author.values()) else None,
            "language_hint": row["language"] if row["language"] in {"nl", "en"} else None,
            "rating": row["rating"],
            "rating_scale": row["rating_scale"],
            "metadata": json.loads(row["metadata"] or "{}"),
        }
    )


def _text(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]
