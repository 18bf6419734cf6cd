"""The sample: mentions of two employers that do not exist, so that there is something to see at once.

mentions.jsonl holds a mention a line as ingest takes it, but for its time, which is relative:

    days_ago, at     this many days before today (at least 1), at this time in Amsterdam
    working_day      optional: what falls in a weekend moves to the Friday before (mails, news, own posts)
    hours_later      instead of those three: this long after the mention that it answers (in_reply_to)

klankbord.toml beside it has the two brands; tests/data/sample_labels.jsonl says what each mention is.
"""

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

AMSTERDAM = ZoneInfo("Europe/Amsterdam")
_MENTIONS = Path(__file__).with_name("mentions.jsonl")
_PLACING = frozenset({"days_ago", "at", "working_day", "hours_later"})
_FRIDAY = 4


def sample_lines(now: datetime) -> Iterator[str]:
    """Yield each sample mention as a line of JSON without line end, dated before `now`, oldest first.

    The external ids are fixed, so loading the sample again replaces it. Raises ValueError on a naive `now`.
    """
    if now.tzinfo is None:
        raise ValueError("sample_lines needs an aware datetime, such as datetime.now(UTC)")
    today = now.astimezone(AMSTERDAM).date()
    with _MENTIONS.open(encoding="utf-8") as lines:
        records: list[dict[str, Any]] = [json.loads(line) for line in lines]
    published: dict[str, datetime] = {}
    for record in records:
        published[record["external_id"]] = _published_at(record, today, published)
    for record in sorted(records, key=lambda record: published[record["external_id"]]):
        mention = {name: value for name, value in record.items() if name not in _PLACING}
        mention["published_at"] = published[record["external_id"]].isoformat()
        yield json.dumps(mention, ensure_ascii=False)


def _published_at(record: Mapping[str, Any], today: date, published: Mapping[str, datetime]) -> datetime:
    if "hours_later" in record:
        # By way of UTC: adding to a local time would ignore that the clock may change in between.
        answered = published[record["in_reply_to"]].astimezone(UTC)
        return (answered + timedelta(hours=record["hours_later"])).astimezone(AMSTERDAM)
    day = today - timedelta(days=record["days_ago"])
    if record.get("working_day"):
        day -= timedelta(days=max(0, day.weekday() - _FRIDAY))
    return datetime.combine(day, time.fromisoformat(record["at"]), AMSTERDAM)
