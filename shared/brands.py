"""klankbord.toml: the brands, the terms that they are tracked by, and the feeds that are read.

    [[brands]]
    name = "Zonneveld Zorg"                 # what the API and the page call it
    aliases = ["Zonneveld", "ZVZ"]          # other names; matched like the name
    handles = ["@zonneveldzorg"]            # its accounts, on any channel

    [brands.terms]
    words = ["zonneveldzorg"]               # whole words
    phrases = ["werken bij zonneveld"]      # words in this order
    hashtags = ["#werkenbijzonneveld"]
    exclude = ["camping zonneveld"]         # a mention with one of these is not about the brand

    [[brands.feeds]]
    url = "https://example.org/feed.xml"
    source = "example-blog"                 # the mentions' source; the feed's host when left out
    match_terms = false                     # true: only entries that match the brand's terms

    [[feeds]]                               # a feed of no brand: entries are matched by terms
    url = "https://example.org/news.atom"

    [[topics]]                              # topics of your own, or more terms for one that is there
    name = "parking"
    terms = ["parkeer*", "fietsenstalling"] # as services/enrich/terms.py writes them
    examples = ["Minpuntje: de fietsenstalling is te klein"]   # each must be found, or this file is refused

    [enrich]
    model = "onnx:/models/my-sentiment"     # a sentiment model of your own (docs/own-model.md)

All matching ignores case and accents (services/enrich/brands.py).
"""

import tomllib
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from shared.errors import ConfigError

MAX_CONFIG_BYTES = 10_485_760
Term = Annotated[str, Field(min_length=1, max_length=200)]


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", str_strip_whitespace=True)


class Feed(_Strict):
    """One RSS or Atom feed."""

    url: Annotated[str, Field(max_length=2_000)]
    source: Annotated[str, Field(min_length=1, max_length=64)] | None = None
    interval_seconds: Annotated[int, Field(ge=30, le=86_400)] = 300
    language: Annotated[str, Field(pattern="^[a-z]{2,3}$")] | None = None
    match_terms: bool = False
    allow_private_addresses: bool = False

    @field_validator("url")
    @classmethod
    def _http_url(cls, url: str) -> str:
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ValueError("must be an http:// or https:// address")
        if parts.username or parts.password:
            raise ValueError("must not carry a user name or password")
        return url

    @property
    def source_name(self) -> str:
        """The source of this feed's mentions: as configured, else the host of its address."""
        if self.source:
            return self.source
        host = urlsplit(self.url).hostname or "feed"
        return host if _is_address(host) else host.removeprefix("www.")[:64]


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


class Terms(_Strict):
    """What a brand is recognised by, besides its names and handles."""

    words: tuple[Term, ...] = ()
    phrases: tuple[Term, ...] = ()
    hashtags: tuple[Term, ...] = ()
    exclude: tuple[Term, ...] = ()


class Brand(_Strict):
    """One employer that is listened for."""

    name: Annotated[str, Field(min_length=1, max_length=100)]
    aliases: tuple[Term, ...] = ()
    handles: tuple[Term, ...] = ()
    terms: Terms = Terms()
    feeds: tuple[Feed, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """The name and its aliases."""
        return (self.name, *self.aliases)


class OwnTopic(_Strict):
    """A topic (keyword tag) of one's own, or more terms for one that Klankbord knows."""

    name: Annotated[str, Field(pattern="^[a-z0-9][a-z0-9-]{0,39}$")]
    terms: Annotated[tuple[Term, ...], Field(min_length=1, max_length=500)]
    examples: Annotated[
        tuple[Annotated[str, Field(min_length=1, max_length=1_000)], ...], Field(max_length=100)
    ] = ()


class Enrichment(_Strict):
    """How mentions are labelled."""

    model: Annotated[str, Field(pattern="^onnx:.+", max_length=1_000)] | None = None

    @property
    def folder(self) -> Path | None:
        """The folder of a model of one's own."""
        return Path(self.model.removeprefix("onnx:")) if self.model else None


class BrandBook(_Strict):
    """All of klankbord.toml."""

    enrich: Enrichment = Enrichment()

    brands: tuple[Brand, ...] = ()
    feeds: tuple[Feed, ...] = ()
    topics: Annotated[tuple[OwnTopic, ...], Field(max_length=200)] = ()

    @model_validator(mode="after")
    def _unambiguous(self) -> Self:
        owner: dict[str, str] = {}
        for brand in self.brands:
            for name in {name.casefold() for name in brand.names}:
                if name in owner:
                    raise ValueError(f"the name {name!r} stands for both {owner[name]} and {brand.name}")
                owner[name] = brand.name
        names = [topic.name for topic in self.topics]
        if double := next((name for name in names if names.count(name) > 1), None):
            raise ValueError(f"the topic {double!r} stands there twice: put its terms together")
        return self

    def named(self, name: str) -> str:
        """Return the configured name of the brand that is called `name`, or `name` itself."""
        wanted = name.casefold()
        for brand in self.brands:
            if wanted in (known.casefold() for known in brand.names):
                return brand.name
        return name

    def all_feeds(self) -> tuple[tuple[str | None, Feed], ...]:
        """Return (brand name or None, feed) for every feed; None means: match its entries by terms."""
        of_brands = [
            (None if feed.match_terms else brand.name, feed) for brand in self.brands for feed in brand.feeds
        ]
        return (*of_brands, *((None, feed) for feed in self.feeds))

    def sources(self) -> tuple[str, ...]:
        """Return the names of the sources that are configured."""
        return tuple(dict.fromkeys(feed.source_name for _, feed in self.all_feeds()))


def load_brands(path: Path) -> BrandBook:
    """Return the brand book in the TOML file at `path`; an empty one when there is no such file.

    Raises ConfigError, which says what is wrong, where, and what to do.
    """
    try:
        if path.stat().st_size > MAX_CONFIG_BYTES:
            raise ConfigError(f"{path} is larger than {MAX_CONFIG_BYTES:,} bytes.")
        return parse_brands(path.read_text(encoding="utf-8"), str(path))
    except FileNotFoundError:
        return BrandBook()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read: {error}.") from None


def parse_brands(toml: str, where: str = "klankbord.toml") -> BrandBook:
    """Return the brand book that `toml` describes; `where` names it in errors (ConfigError)."""
    try:
        return BrandBook.model_validate(tomllib.loads(toml))
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{where} is not valid TOML: {error}.") from None
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "the file"
        reason = first["msg"].removeprefix("Value error, ")
        raise ConfigError(f"{where}: {place}: {reason[0].lower()}{reason[1:]}.") from None
