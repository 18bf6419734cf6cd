"""Turns views into HTML. What data brings in is escaped; what is missing is an error, not a blank."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import bokeh
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from services.api.page.view import StageRow, TopicRow, number

HERE = Path(__file__).parent
STATIC = HERE / "static"
BOKEH_JS = Path(bokeh.__file__).parent / "server/static/js/bokeh.min.js"


@dataclass(frozen=True)
class Assets:
    """Addresses of style and scripts, relative to the page. They change with the content: cached for good."""

    version: str

    @property
    def bokeh(self) -> str:
        """Bokeh's own script, out of its package."""
        return f"static/bokeh/{bokeh.__version__}/{BOKEH_JS.name}"

    def file(self, name: str) -> str:
        """Return the address of one of the page's own files."""
        return f"static/page/{self.version}/{name}"


def find_assets() -> Assets:
    """Return the assets as they are on disk now."""
    digest = hashlib.sha256()
    for path in sorted(STATIC.iterdir()):
        digest.update(path.name.encode() + path.read_bytes())
    return Assets(digest.hexdigest()[:12])


class Renderer:
    """The templates, ready to be filled in."""

    def __init__(self, assets: Assets) -> None:
        self._environment = Environment(
            loader=FileSystemLoader(HERE / "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        # BokehJS reads an object before what refers to it: the order is part of the item.
        self._environment.policies["json.dumps_kwargs"] = {"sort_keys": False}
        self._environment.globals.update(assets=assets, bar=bar)
        self._environment.filters.update(number=number, sentence=sentence)

    def html(self, template: str, **values: Any) -> str:
        """Return the page that `template` makes of `values`."""
        return self._environment.get_template(template).render(values)


def bar(row: TopicRow | StageRow) -> Markup:
    """Return a bar of mentions with the #fails in it; widths are attributes, as the page allows no styles."""
    rectangles = "".join(
        f'<rect class="{escape(kind)}" width="{width:g}%" height="10" rx="2"></rect>'
        for kind, width in (("mentions", row.mentions_width), ("fails", row.fails_width))
    )
    return Markup(f'<svg class="bar" height="10" aria-hidden="true">{rectangles}</svg>')


def sentence(text: str) -> str:
    """Return `text` with a capital and a full stop."""
    return f"{text[:1].upper()}{text[1:]}{'' if text.endswith('.') else '.'}"
