"""The chart of #fails and questions over time, as the JSON that BokehJS draws."""

from collections.abc import Sequence
from dataclasses import astuple, dataclass
from datetime import UTC, datetime, timedelta
from math import ceil
from typing import Any

from bokeh.embed import json_item
from bokeh.models import (
    BasicTicker,
    ColumnDataSource,
    DatetimeTickFormatter,
    FixedTicker,
    HoverTool,
    NoOverlap,
    NumeralTickFormatter,
    Range1d,
)
from bokeh.models.annotations import Legend
from bokeh.plotting import figure

from services.api.buckets import Interval
from services.api.page.view import Bucket

BACKGROUND_RATIO = 8
"""Mentions are drawn behind as long as #fails and questions keep an eighth of the height."""
MAX_MARKED = 62
MAX_LABELS = 8
HEIGHT = 320
FONT = "system-ui, sans-serif"
TOOLTIP = """<b>@label</b>
<div>#fails: @fails{0,0}</div><div>questions: @questions{0,0}</div><div>all mentions: @mentions{0,0}</div>"""


@dataclass(frozen=True)
class Palette:
    """Colours of one scheme.

    The lines' are after M. Okabe and K. Ito, Color Universal Design (2008): the colour-blind tell them apart.
    Against the background lines contrast 3:1 or better, texts 4.5:1 (WCAG 2.2, 1.4.11 and 1.4.3).
    """

    fails: str
    questions: str
    mentions: str
    text: str
    grid: str
    surface: str


LIGHT = Palette("#c44e00", "#0072b2", "#dfe5ec", "#4a5565", "#e8ecf1", "#ffffff")
DARK = Palette("#f0a35e", "#56b4e9", "#2f3947", "#a9b4c2", "#262e39", "#171c24")


@dataclass(frozen=True)
class Scale:
    """What follows from the numbers: width of a bucket, height of the chart, and what fits in it."""

    width: timedelta
    top: float
    mentions_behind: bool
    marked: bool


def scale_of(buckets: Sequence[Bucket], interval: Interval) -> Scale:
    """Return how to draw `buckets`: mentions stay away where they would flatten the lines."""
    most = max(max(bucket.fails, bucket.questions) for bucket in buckets)
    mentions = max(bucket.mentions for bucket in buckets)
    behind = mentions <= BACKGROUND_RATIO * most
    top = max(1, mentions if behind else most) * 1.08
    return Scale(
        timedelta(days=7 if interval is Interval.WEEK else 1), top, behind, len(buckets) <= MAX_MARKED
    )


def chart_json(buckets: Sequence[Bucket], interval: Interval) -> dict[str, Any]:
    """Return the chart of `buckets` (at least one) for page.js to draw.

    `item` is BokehJS's item in light colours, `dark` gives the dark colour for each light one.
    """
    plot = draw(buckets, interval, LIGHT)
    return {"item": json_item(plot), "dark": dict(zip(astuple(LIGHT), astuple(DARK), strict=True))}


def draw(buckets: Sequence[Bucket], interval: Interval, palette: Palette) -> Any:
    """Return the Bokeh figure."""
    scale = scale_of(buckets, interval)
    source = _source(buckets, scale)
    plot = _frame([_wall_clock(bucket) for bucket in buckets], scale, palette)
    plot.xaxis.axis_label = "Week, by its Monday" if interval is Interval.WEEK else "Day"
    fails = ("fails", "#fails", palette.fails, "solid", "circle")
    questions = ("questions", "questions", palette.questions, [6, 3], "triangle")
    entries = [_line(plot, source, look, scale, palette) for look in (fails, questions)]
    if scale.mentions_behind:
        entries.append(("all mentions", [_bars(plot, source, scale, palette)]))
    _hover(plot, source, scale)
    plot.add_layout(_legend(entries, palette), "above")
    return plot


def _bars(plot: Any, source: ColumnDataSource, scale: Scale, palette: Palette) -> Any:
    bars = plot.vbar("start", top="mentions", width=scale.width * 0.8, source=source, color=palette.mentions)
    bars.update(level="underlay", name="mentions")
    return bars


def _source(buckets: Sequence[Bucket], scale: Scale) -> ColumnDataSource:
    return ColumnDataSource(
        {
            "start": [_wall_clock(bucket) for bucket in buckets],
            "label": [bucket.label for bucket in buckets],
            "mentions": [bucket.mentions for bucket in buckets],
            "fails": [bucket.fails for bucket in buckets],
            "questions": [bucket.questions for bucket in buckets],
            "top": [scale.top] * len(buckets),
        }
    )


def _wall_clock(bucket: Bucket) -> datetime:
    """Return the local time without its offset: Bokeh's time axis knows UTC only, and shows it as it is."""
    return bucket.start.replace(tzinfo=None)


def _label_starts(axis: Any, starts: Sequence[datetime]) -> None:
    """Label buckets at their own start, where there is room."""
    every = ceil(len(starts) / MAX_LABELS)
    axis.ticker = FixedTicker(
        ticks=[start.replace(tzinfo=UTC).timestamp() * 1000 for start in starts[::every]]
    )
    form = "%e %b" if starts[-1] - starts[0] < timedelta(days=300) else "%b %Y"
    axis.major_label_policy = NoOverlap(min_distance=8)
    axis.formatter = DatetimeTickFormatter(hours=form, days=form, months=form, years=form)


def _frame(starts: Sequence[datetime], scale: Scale, palette: Palette) -> Any:
    plot = figure(
        height=HEIGHT,
        sizing_mode="stretch_width",
        x_axis_type="datetime",
        y_axis_label="Number",
        y_range=Range1d(start=0, end=scale.top),
        x_range=Range1d(start=starts[0] - scale.width / 2, end=starts[-1] + scale.width / 2),
        tools="",
        toolbar_location=None,
        background_fill_alpha=0,
        border_fill_alpha=0,
        outline_line_color=None,
        min_border_right=16,
    )
    plot.xgrid.grid_line_color = None
    plot.ygrid.grid_line_color = palette.grid
    _label_starts(plot.xaxis, starts)
    plot.yaxis.formatter = NumeralTickFormatter(format="0,0")
    plot.yaxis.ticker = BasicTicker(min_interval=1, desired_num_ticks=5, num_minor_ticks=0)
    for axis in (*plot.xaxis, *plot.yaxis):
        _style_axis(axis, palette)
    return plot


def _style_axis(axis: Any, palette: Palette) -> None:
    axis.axis_label_text_color = axis.major_label_text_color = palette.text
    axis.axis_line_color = axis.major_tick_line_color = palette.grid
    axis.minor_tick_line_color = None
    axis.axis_label_text_font_style = "normal"
    axis.axis_label_text_font = axis.major_label_text_font = FONT
    axis.axis_label_text_font_size = axis.major_label_text_font_size = "12px"


def _line(
    plot: Any, source: ColumnDataSource, look: tuple[str, str, str, Any, str], scale: Scale, palette: Palette
) -> tuple[str, list[Any]]:
    """Draw one line, and return its entry in the legend."""
    name, label, colour, dash, marker = look
    style = {"source": source, "color": colour, "name": name}
    glyphs = [plot.line("start", name, line_width=2.5, line_dash=dash, line_join="round", **style)]
    if scale.marked:
        style["name"] = f"{name}_marks"
        glyphs.append(plot.scatter("start", name, marker=marker, size=8, **style))
        glyphs[-1].glyph.line_color = palette.surface
    return label, glyphs


def _legend(entries: list[tuple[str, list[Any]]], palette: Palette) -> Legend:
    legend = Legend(items=entries)
    legend.update(
        orientation="horizontal",
        label_text_color=palette.text,
        label_text_font=FONT,
        label_text_font_size="13px",
        background_fill_alpha=0,
        border_line_color=None,
        padding=0,
        spacing=18,
        margin=4,
    )
    return legend


def _hover(plot: Any, source: ColumnDataSource, scale: Scale) -> None:
    """Show a bucket's numbers wherever the pointer is above it: an invisible bar of full height takes it."""
    area = plot.vbar(x="start", top="top", width=scale.width, source=source, alpha=0, name="area")
    plot.add_tools(HoverTool(renderers=[area], tooltips=TOOLTIP, point_policy="follow_mouse"))
