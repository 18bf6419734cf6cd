"""The parameters of a request, checked, and what they mean.

A parameter that is unknown, repeated where one is meant, or wrong is refused with 422 that names it: a typo
must never be ignored silently.
"""

import re
from collections.abc import Callable
from datetime import date, datetime, timedelta
from difflib import get_close_matches
from typing import Annotated, Any, get_origin
from zoneinfo import ZoneInfo

from fastapi_problem.error import Problem
from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    PlainValidator,
    TypeAdapter,
    ValidationError,
    WithJsonSchema,
)
from starlette.requests import Request

from services.api.buckets import Interval, start_of_day, zone_named
from services.api.cursor import Cursor, InvalidCursor, decode_cursor
from services.api.selection import (
    BEGINNING,
    END_OF_TIME,
    MAX_SEARCH_TERMS,
    Dimension,
    Filters,
    Metric,
    SpikeFilters,
    search_terms,
)
from shared.dead_letter_box import Wanted
from shared.dead_letters import DeadReason
from shared.events import AuthorKind, Language, Rfc3339, Stage
from shared.problems import problem
from shared.spike_events import Severity, SpikeKind
from shared.text import clean_line

MAX_VALUES = 50
DEFAULT_DAYS = 30
_DATE = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
# In a URL a bare + means a blank: 2026-03-29T10:00:00+02:00 arrives with a blank before its offset.
_BLANK_FOR_PLUS = re.compile(r" (?=\d\d:\d\d$)", re.ASCII)
_RFC3339: TypeAdapter[datetime] = TypeAdapter(Rfc3339)


def _moment(value: object) -> date | datetime:
    """Return the date, or the RFC 3339 moment, that `value` spells."""
    try:
        moment = (
            date.fromisoformat(value)
            if isinstance(value, str) and _DATE.fullmatch(value)
            else _RFC3339.validate_python(_BLANK_FOR_PLUS.sub("+", str(value)))
        )
    except (ValueError, ValidationError):
        raise ValueError(
            "must be a date, such as 2026-03-29, or a date and time with its offset, "
            "such as 2026-03-29T10:00:00Z or 2026-03-29T10:00:00+02:00 (RFC 3339; + is %2B in a URL)"
        ) from None
    if not 1970 <= moment.year < END_OF_TIME.year:
        raise ValueError(f"must lie in the years from 1970 to {END_OF_TIME.year - 1}")
    return moment


def _search(text: str) -> str:
    """Return a search as it is compared with texts: NFC, on one line, with at least one word."""
    text = clean_line(text)
    if not (count := len(search_terms(text))):
        raise ValueError("must have at least one word")
    if count > MAX_SEARCH_TERMS:
        raise ValueError(f"has {count} words and phrases; at most {MAX_SEARCH_TERMS} are taken")
    return text


def _zone(name: str) -> str:
    return zone_named(name).key


Moment = Annotated[
    date | datetime, PlainValidator(_moment), WithJsonSchema({"type": "string", "examples": ["2026-03-29"]})
]
Search = Annotated[str, Field(max_length=200), AfterValidator(_search)]
Zone = Annotated[str, AfterValidator(_zone)]
Value = Annotated[str, Field(min_length=1, max_length=200)]


CursorText = Annotated[
    str | None,
    Field(max_length=500, description="next_cursor of the previous page, the other parameters unchanged."),
]


class _Of(BaseModel):
    """Of whom and when."""

    model_config = ConfigDict(frozen=True, populate_by_name=True)

    brand: list[Value] = Field(
        [],
        max_length=MAX_VALUES,
        description="Brand, as /v1/brands names it. Repeatable.",
        examples=[["Acme"]],
    )
    from_: Moment | None = Field(
        None,
        alias="from",
        description="Start, inclusive: a date (midnight in `tz`), or a date and time with its offset.",
        examples=["2026-03-01"],
    )
    to: Moment | None = Field(
        None,
        description="End, exclusive: a date (midnight in `tz`), or a date and time with its offset.",
        examples=["2026-04-01T00:00:00+02:00"],
    )
    tz: Zone | None = Field(
        None,
        description="IANA time zone of dates and buckets. Default: the setting KLANKBORD_PAGE_TIMEZONE "
        "(Europe/Amsterdam).",
        examples=["Europe/Amsterdam"],
    )

    def zone(self, default: str) -> ZoneInfo:
        """Return the time zone that is meant; `default` where none is named."""
        return zone_named(self.tz or default)

    def bounds_ever(self, zone: ZoneInfo) -> tuple[datetime, datetime]:
        """Return start and end; without from and to those of all time. Raises 422 when it is empty."""
        start = BEGINNING if self.from_ is None else _instant(self.from_, zone)
        end = END_OF_TIME if self.to is None else _instant(self.to, zone)
        self._refuse_empty(start, end)
        return start, end

    def _refuse_empty(self, start: datetime, end: datetime) -> None:
        if start >= end:
            field, other = ("to", "from") if self.from_ is None else ("from", "to")
            order = "after" if field == "to" else "before"
            raise wrong(
                field, f"must lie {order} `{other}`: {start.isoformat()} to {end.isoformat()} is empty"
            )


class Selection(_Of):
    """Which mentions: OR within one parameter, AND between parameters."""

    source: list[Value] = Field(
        [], max_length=MAX_VALUES, description="Source, e.g. linkedin. Repeatable.", examples=[["linkedin"]]
    )
    language: list[Language] = Field([], max_length=MAX_VALUES, description="Language. Repeatable.")
    stage: list[Stage] = Field(
        [], max_length=MAX_VALUES, description="Where in the candidate's journey. Repeatable."
    )
    topic: list[Value] = Field(
        [],
        max_length=MAX_VALUES,
        description="Topic, as /v1/topics names it. Repeatable.",
        examples=[["response time"]],
    )

    def recent(self, now: datetime, zone: ZoneInfo) -> Filters:
        """Return what is selected; without from and to of the last 30 days, today included."""
        tomorrow = now.astimezone(zone).date() + timedelta(days=1)
        end = start_of_day(tomorrow, zone) if self.to is None else _instant(self.to, zone)
        first_day = end.astimezone(zone).date() - timedelta(days=DEFAULT_DAYS)
        start = start_of_day(first_day, zone) if self.from_ is None else _instant(self.from_, zone)
        return self._filters(start, end)

    def ever(self, zone: ZoneInfo) -> Filters:
        """Return what is selected; without from and to of all time."""
        return self._filters(*self.bounds_ever(zone))

    def _filters(self, start: datetime, end: datetime) -> Filters:
        self._refuse_empty(start, end)
        return Filters(
            start=start,
            end=end,
            brands=tuple(self.brand),
            sources=tuple(self.source),
            languages=tuple(self.language),
            stages=tuple(self.stage),
            topics=tuple(self.topic),
            **self._only(),
        )

    def _only(self) -> dict[str, Any]:
        return {}


class TimeseriesParams(Selection):
    """What /v1/timeseries takes."""

    metric: Metric = Field(
        Metric.MENTIONS,
        description="mentions, fails, questions, negative and unsure are counts; sentiment is the mean "
        "(-1 to 1), fail_rate is fails/mentions. unsure counts those whose sentiment is neutral only "
        "because nothing else was sure enough.",
    )
    interval: Interval = Field(Interval.DAY, description="Length of a bucket; weeks start on Monday.")
    group_by: list[Dimension] = Field(
        [],
        max_length=len(Dimension),
        description="A series for each value of this. Repeatable: a series for each combination.",
    )


class MentionsParams(Selection):
    """What /v1/mentions takes."""

    author_kind: list[AuthorKind] = Field(
        [],
        max_length=MAX_VALUES,
        description="Who speaks. Repeatable. Default: everybody but the employer itself, as in the counts.",
    )
    fails: bool = Field(False, description="true: only #fails.")
    questions: bool = Field(False, description="true: only questions.")
    q: Search | None = Field(
        None,
        description='Full text: every word and "quoted phrase" occurs, also inside a word; case is ignored.',
        examples=['wacht "geen reactie"'],
    )
    limit: int = Field(50, ge=1, le=200, description="Mentions a page.")
    cursor: CursorText = None

    def after(self, filters: Filters) -> Cursor | None:
        """Return where the previous page stopped."""
        return _after(self.cursor, filters)

    def _only(self) -> dict[str, Any]:
        only = {"fails": self.fails, "questions": self.questions, "text": self.q}
        return only | ({"author_kinds": tuple(self.author_kind)} if self.author_kind else {})


class TopicsParams(Selection):
    """What /v1/topics takes."""

    limit: int = Field(50, ge=1, le=500, description="Most topics in the answer.")


class AccuracyParams(_Of):
    """What /v1/accuracy takes."""

    def filters(self, zone: ZoneInfo) -> Filters:
        """Return what is selected, whoever speaks; without from and to of all time."""
        return Filters(*self.bounds_ever(zone), tuple(self.brand), author_kinds=())


class SpikesParams(_Of):
    """What /v1/spikes takes."""

    kind: list[SpikeKind] = Field([], max_length=MAX_VALUES, description="What was noticed. Repeatable.")
    severity: list[Severity] = Field(
        [], max_length=MAX_VALUES, description="How much it asks for attention. Repeatable."
    )
    active: bool = Field(False, description="true: only those that are on now.")
    limit: int = Field(50, ge=1, le=200, description="Spikes a page.")
    cursor: CursorText = None

    def filters(self, zone: ZoneInfo) -> SpikeFilters:
        """Return what is selected; without from and to of all time."""
        start, end = self.bounds_ever(zone)
        return SpikeFilters(
            start, end, tuple(self.brand), tuple(self.kind), tuple(self.severity), self.active
        )

    def after(self, filters: SpikeFilters) -> Cursor | None:
        """Return where the previous page stopped."""
        return _after(self.cursor, filters)


class DeadLettersParams(BaseModel):
    """What /v1/dead-letters takes."""

    model_config = ConfigDict(extra="ignore")

    reason: DeadReason | None = Field(None, description="Only those with this reason.")
    since: AwareDatetime | None = Field(None, description="Only those put aside since then (RFC 3339).")
    limit: int = Field(50, ge=1, le=200, description="Dead letters a page.")
    below: int | None = Field(
        None, ge=0, le=2**62, description="Only those with smaller numbers: the next page."
    )

    def wanted(self) -> Wanted:
        """Return which are asked for."""
        return Wanted(self.reason.value if self.reason else None, self.since)


class NoParams(BaseModel):
    """What a resource without parameters takes."""


def _instant(moment: date | datetime, zone: ZoneInfo) -> datetime:
    return moment if isinstance(moment, datetime) else start_of_day(moment, zone)


def _after(cursor: str | None, filters: Filters | SpikeFilters) -> Cursor | None:
    if cursor is None:
        return None
    try:
        return decode_cursor(cursor, filters)
    except InvalidCursor as error:
        raise wrong("cursor", str(error)) from None


def wrong(field: str, reason: str) -> Problem:
    """Return the 422 to raise for one parameter."""
    return _refusal([(field, reason)])


def _refusal(wrongs: list[tuple[str, str]]) -> Problem:
    errors = [{"field": field, "reason": reason} for field, reason in wrongs]
    names = ", ".join(field for field, _ in wrongs)
    return problem(422, "invalid-request", "The request is not valid", f"Wrong: {names}.", errors=errors)


def only(params: type[BaseModel]) -> Callable[[Request], None]:
    """Return a dependency that refuses parameters which `params` has not, and repeated single ones."""
    many = {
        field.alias or name: get_origin(field.annotation) is list
        for name, field in params.model_fields.items()
    }

    def refuse_surprises(request: Request) -> None:
        given = [name for name, _ in request.query_params.multi_items()]
        wrongs = [
            (name, _unknown(name, many) if name not in many else "must be given once")
            for name in dict.fromkeys(given)
            if name not in many or (given.count(name) > 1 and not many[name])
        ]
        if wrongs:
            raise _refusal(wrongs[:MAX_VALUES])

    return refuse_surprises


def _unknown(name: str, known: dict[str, bool]) -> str:
    if close := get_close_matches(name, known, n=1):
        return f"is not a parameter here; did you mean {close[0]}?"
    return f"is not a parameter here; there are: {', '.join(known)}" if known else "no parameters are taken"
