"""What the reader asked for: the page's parameters, checked, and the periods that they mean. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import date, datetime, timedelta
from typing import Annotated, Any, Literal
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from services.api.buckets import Interval, start_of_day
from services.api.selection import Filters
from shared.events import EARLIEST, Language, Stage

PRESETS = (7, 30, 90, 365)
MAX_DAYS = 1_827
"""Five years: the days of it still fit in the chart and its table."""
MAX_DAILY_BUCKETS = 120
LEAST_DAYS_BY_WEEK = 14

_Value = Annotated[str, Field(min_length=1, max_length=200)]
_Day = Annotated[date, Field(ge=EARLIEST.date())]
_HINTS = {
    "brand": "choose a brand from the list",
    "days": "choose 7, 30, 90 or 365 days",
    "period": "choose 7, 30, 90 or 365 days",
    "from": f"write a date such as 2026-03-29, from {EARLIEST:%Y} on",
    "until": f"write a date such as 2026-03-29, from {EARLIEST:%Y} on",
    "language": f"choose one of {', '.join(Language)}",
    "source": "choose a source from the list",
    "stage": f"choose one of {', '.join(Stage)}",
    "topic": "choose a topic from the list",
    "per": "choose day or week",
    "only": "choose fails or questions",
    "cursor": "start again at the newest mentions",
}


class _Params(BaseModel):
    """The parameters of the page; blank ones are left out before, as forms send those for "any"."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    brand: _Value | None = None
    days: Literal["7", "30", "90", "365"] | None = None
    period: Literal["7", "30", "90", "365"] | None = None
    from_: _Day | None = Field(None, alias="from")
    until: _Day | None = None
    language: Language | None = None
    source: _Value | None = None
    stage: Stage | None = None
    topic: _Value | None = None
    per: Literal["day", "week"] | None = None
    only: Literal["fails", "questions"] | None = None
    cursor: Annotated[str, Field(max_length=500)] | None = None


@dataclass(frozen=True)
class Choice:
    """What is chosen. `first` and `until` (both included) are None for the last `days` days."""

    brand: str | None = None
    days: int = 30
    first: date | None = None
    until: date | None = None
    language: str | None = None
    source: str | None = None
    stage: str | None = None
    topic: str | None = None
    per: str | None = None
    only: str | None = None
    cursor: str | None = None

    @property
    def dated(self) -> bool:
        """Whether dates were given."""
        return self.first is not None or self.until is not None

    def url(self, **changes: Any) -> str:
        """Return the page's address with `changes` made; a page further on is forgotten unless changed."""
        chosen = asdict(replace(self, **({"cursor": None} | changes)))
        dates = {"from": chosen.pop("first"), "until": chosen.pop("until")}
        days = chosen.pop("days")
        period = dates if any(dates.values()) else {"days": days}
        named = {"brand": chosen.pop("brand")} | period | chosen
        return "?" + urlencode({name: str(value) for name, value in named.items() if value is not None})


@dataclass(frozen=True)
class Form:
    """The parameters as they were typed, what they mean, and what is wrong with them by field."""

    typed: Mapping[str, str]
    choice: Choice
    errors: Mapping[str, str]
    untidy: bool = False

    def refused(self, field: str, reason: str | None = None) -> "Form":
        """Return the form with an error at `field`; without a reason: how to fill it in."""
        return replace(self, errors={**self.errors, field: reason or _HINTS[field]})


def read_form(parameters: Iterable[tuple[str, str]]) -> Form:
    """Return the form in a query string's (name, value) pairs.

    It is untidy when another address says the same: blanks, or a preset chosen over dates (`period`).
    """
    pairs = list(parameters)
    typed = {name: value.strip() for name, value in pairs}
    given = {name: value for name, value in typed.items() if value}
    repeated = {name: "give it once" for name in typed if [n for n, _ in pairs].count(name) > 1}
    errors: dict[str, str] = {}
    try:
        params = _Params.model_validate(given)
    except ValidationError as error:
        errors = {str(e["loc"][0]): _hint(str(e["loc"][0])) for e in error.errors(include_url=False)}
        params = _Params.model_validate({name: v for name, v in given.items() if name not in errors})
    untidy = len(given) < len(typed) or params.period is not None
    return Form(typed, _choice(params), errors | repeated, untidy)


def _hint(field: str) -> str:
    return _HINTS.get(field, f"is no parameter of this page; there are {', '.join(_HINTS)}")


def _choice(params: _Params) -> Choice:
    values = params.model_dump(exclude={"days", "period", "from_", "until"})
    if params.period is not None:
        return Choice(**values, days=int(params.period))
    return Choice(**values, days=int(params.days or 30), first=params.from_, until=params.until)


@dataclass(frozen=True)
class Period:
    """Whole local days, and what they are compared with. All moments are aware, in UTC.

    The comparison runs from `start` to `compared_until`, the last whole hour, and from `before_start` to the
    same hour as many days earlier: half a day is never compared with a whole one.
    """

    first: date
    last: date
    start: datetime
    end: datetime
    compared_until: datetime
    before_start: datetime
    before_until: datetime

    @property
    def days(self) -> int:
        """How many days, both ends included."""
        return (self.last - self.first).days + 1

    @property
    def comparable(self) -> bool:
        """Whether an hour of it has passed."""
        return self.compared_until > self.start

    @property
    def intervals(self) -> tuple[Interval, ...]:
        """The buckets that its chart can have; the first unless another is chosen."""
        if self.days > MAX_DAILY_BUCKETS:
            return (Interval.WEEK,)
        return (Interval.DAY, Interval.WEEK) if self.days >= LEAST_DAYS_BY_WEEK else (Interval.DAY,)

    def interval(self, per: str | None) -> Interval:
        """Return the buckets of its chart: `per` where that is possible."""
        return next((interval for interval in self.intervals if interval == per), self.intervals[0])


def period_of(choice: Choice, now: datetime, zone: ZoneInfo) -> Period | dict[str, str]:
    """Return the period that is meant, which ends today at the latest; or what is wrong, by field."""
    today = now.astimezone(zone).date()
    last = min(choice.until or today, today)
    first = choice.first or last - timedelta(days=choice.days - 1)
    if first > today:
        return {"from": f"lies in the future; today is {today}"}
    if first > last:
        return {"until": "lies before the first day"}
    if (last - first).days >= MAX_DAYS:
        return {"from": f"at most {MAX_DAYS:,} days (five years) are shown; choose a later first day"}
    return _period(first, last, now, zone)


def _period(first: date, last: date, now: datetime, zone: ZoneInfo) -> Period:
    length = last - first + timedelta(days=1)
    start, end = start_of_day(first, zone), start_of_day(last + timedelta(days=1), zone)
    whole_hour = now.astimezone(zone).replace(minute=0, second=0, microsecond=0)
    until = min(end, max(start, whole_hour.astimezone(start.tzinfo)))
    local = until.astimezone(zone)
    before = datetime.combine(local.date() - length, local.time(), zone).astimezone(start.tzinfo)
    return Period(first, last, start, end, until, start_of_day(first - length, zone), before)


def filters_of(choice: Choice, start: datetime, end: datetime) -> Filters:
    """Return the filters of every figure on the page, from `start` until `end`."""
    return Filters(
        start=start,
        end=end,
        brands=_one(choice.brand),
        sources=_one(choice.source),
        languages=_one(choice.language),
        stages=_one(choice.stage),
        topics=_one(choice.topic),
    )


def _one(value: str | None) -> tuple[str, ...]:
    return () if value is None else (value,)
