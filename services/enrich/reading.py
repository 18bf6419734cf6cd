"""Reads a text once: what the author wrote, cut into tokens and laid out so that terms can be found in it.

The line is the folded text (lower case, no accents, NFKD) with every token between two blanks of its own, so
that a term is a plain substring and compiled matching needs no word boundaries:

    "Héél fijn, na 3 weken! #nooitmeer"
    " .  heel  fijn  ,  na  0  weken  !  .  #nooitmeer  nooit  meer  . "

"." stands for the end of a sentence (and for the begin of the text), "," for the end of a clause, "0" for any
number, in digits or in words. A text of n characters is read in time that grows with n.
"""

import re
import unicodedata
from collections.abc import Callable, Iterable, Set
from typing import NamedTuple

MAX_HASHTAGS = 50
MAX_PIECES = 100_000
"""Pieces of text that are remembered; beyond that all are forgotten: memory is bounded (30 MB)."""
_LONGEST_PIECE = 30

# Marks of scripts whose words Python's \w would cut in pieces (Indic, Thai, Arabic, Hebrew, combining).
_MARKS = "\u0300-\u036f\u0591-\u05c7\u064b-\u065f\u0900-\u109f\u200c"
_EMOJI = "\u231a-\u23ff\u203c\u2049\u2600-\u27bf\u2b50\u2b55\U0001f000-\U0001f3fa\U0001f400-\U0001faff"
_HASHTAG = re.compile(rf"(?<![\w/&#])#([\w{_MARKS}]*[^\W\d_][\w{_MARKS}]*)")
# The look-behinds keep a run of word characters from being tried from each of its positions.
_URL = re.compile(r"(?<!\w)(?:https?://|www\.)\S+", re.I)
_MAIL_ADDRESS = re.compile(r"(?<![\w.+@-])[\w.+-]+@[\w-]+\.[\w.-]+")
_COMBINING = re.compile("[\u0300-\u036f\ufe0e\ufe0f\u200d\U0001f3fb-\U0001f3ff]+")
_ELONGATED = re.compile(r"([^\W\d_])\1\1+")
_SHOUTED = re.compile(r"\b[A-Z]{3,}\b")
_TOKEN = re.compile(
    rf"""
      (?<![\w@])@\w+(?:[.-]\w+)*(?:@\w+(?:[.-]\w+)*)?   # a handle, Mastodon's too
    | (?<![\w/&\#])\#[\w{_MARKS}]+
    | \d+
    | [^\W\d_]+
    | [:;=]-?[)(dp/|\]\[](?!\w) | <3
    | [{_EMOJI}]
    | [.!?…;:\n]+(?!\w) | [!?;\n]                       # "booking.com" and "10:30" are one sentence
    | [,()–—] | \s-\s
    | &
    """,
    re.X,
)
_EMOTICONS = {
    ")": "\U0001f642", "d": "\U0001f642", "]": "\U0001f642", "p": "\U0001f61b",
    "(": "\U0001f641", "[": "\U0001f641", "/": "\U0001f615", "|": "\U0001f615", "3": "\u2764",
}  # fmt: skip
_NUMBER_WORDS = frozenset(
    {
        "twee", "drie", "vier", "vijf", "zes", "zeven", "acht", "negen", "tien", "elf", "twaalf",
        "dertien", "veertien", "vijftien", "zestien", "twintig", "dertig", "veertig", "vijftig",
        "honderd", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven",
        "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "twenty", "thirty", "forty", "fifty",
        "hundred",
    }
)  # fmt: skip

_GREETINGS = frozenset(
    {
        "hoi", "hallo", "hey", "hi", "hello", "beste", "geachte", "dag", "goedemorgen", "goedemiddag",
        "goedenavond", "goeiemorgen", "goeiedag", "dear", "heey", "hee", "yo", "moin", "lieve", "ok",
        "oke",
    }
)  # fmt: skip
_LONGEST_GREETING = 4

SplitHashtag = Callable[[str], tuple[str, ...]]
"""Answers the words of which a hashtag is made; nothing when they are not known."""


class Reading(NamedTuple):
    """A text that was read."""

    line: str
    """The tokens, numbers as "0": what lexicon terms are found in."""
    tokens: tuple[str, ...]
    """The tokens of the line, numbers as they are."""
    exact: str
    """The same with numbers as they are and without the words of hashtags: for brands."""
    hashtags: tuple[str, ...]
    """Lower case, without the #, each once, in order."""
    shouted: frozenset[str]
    """Words in capitals (folded), when the text as a whole is not."""
    elongated: bool
    """Whether a word was streeeetched."""
    has_words: bool
    """Whether there is a word that is no handle, hashtag, link or number."""

    def words(self) -> list[str]:
        """Return the words in order, without handles, hashtags, links, numbers and emoji."""
        return [token for token in self.exact.split() if token.isalpha()]


def fold(text: str) -> str:
    """Return `text` without case, accents, compatibility forms and variation selectors."""
    if text.isascii():
        return text.lower()
    return _COMBINING.sub("", unicodedata.normalize("NFKD", text.lower()))


def tokens_of(text: str) -> list[str]:
    """Return the tokens of `text`, folded, as they stand in `Reading.exact`."""
    return _normalised(_TOKEN.findall(fold(text)))


def line_of(tokens: list[str]) -> str:
    """Return `tokens`, each between two blanks of its own, with numbers as "0"."""
    return exact_line_of(["0" if t.isdigit() or t in _NUMBER_WORDS else t for t in tokens])


def exact_line_of(tokens: list[str]) -> str:
    """Return `tokens`, each between two blanks of its own."""
    return " " + "  ".join(tokens) + " "


def hashtags_of(text: str) -> tuple[str, ...]:
    """Return the hashtags of `text`: lower case, without the #, each once, in order, not out of links."""
    if "#" not in text:
        return ()
    found = _HASHTAG.findall(_URL.sub(" ", text).lower())
    return tuple(dict.fromkeys(found))[:MAX_HASHTAGS]


class Reader:
    """Reads texts, and remembers what it made of the pieces between blanks: most come back.

    What a piece is read as does not depend on where it stands, but for what _in_place sees to. Words of
    `vocabulary` decide how a stretched one is spelt. May be shared by threads.
    """

    def __init__(self, vocabulary: Set[str], split_hashtag: SplitHashtag) -> None:
        self._vocabulary = vocabulary
        self._split_hashtag = split_hashtag
        self._known: dict[str, _Piece] = {}

    def read(self, text: str) -> Reading:
        """Return the reading of `text`."""
        known, seen = self._known, 0
        exact = ["."]
        # A dash stands between words: what a text begins with is a bullet.
        for piece in text.strip(" -").split(" "):
            tokens, traits = known.get(piece) or self._learn(piece)
            if traits & _IN_CONTEXT:
                _in_place(tokens, exact)
            else:
                exact += tokens
            seen |= traits
        exact.append(".")
        exact_line = exact_line_of(exact)
        if not seen & _RARE:
            return Reading(exact_line, tuple(exact), exact_line, (), _NOTHING, False, bool(seen & _WORD))
        hashtags = hashtags_of(text) if seen & _TAGGED else ()
        tokens = _with_hashtag_words(exact, self._split_hashtag) if hashtags else exact
        return Reading(
            line=line_of(tokens),
            tokens=tuple(tokens),
            exact=exact_line,
            hashtags=hashtags,
            shouted=_shouted(text) if seen & _SHOUTING else _NOTHING,
            elongated=bool(seen & _STRETCHED),
            has_words=bool(seen & _WORD),
        )

    def _learn(self, text: str) -> "_Piece":
        folded = fold(_without_links(text))
        traits = _STRETCHED if _ELONGATED.search(folded) else 0
        if traits:
            folded = _unstretch(folded, self._vocabulary)
        # Blanks are what it stands between: " - " is a dash, "e-mail" has none.
        found = _TOKEN.findall(f" {folded} ")
        if "," in found or (found and found[0][0] == "@"):
            traits |= _IN_CONTEXT
            tokens = found
        else:
            tokens = _normalised(found)
        if any(map(str.isalpha, found)):
            traits |= _WORD
        if any(token.isdigit() or token in _NUMBER_WORDS for token in found):
            traits |= _NUMBERED
        if "#" in text:
            traits |= _TAGGED
        if _SHOUTED.search(text):
            traits |= _SHOUTING
        piece = tokens, traits
        if len(text) <= _LONGEST_PIECE:
            if len(self._known) >= MAX_PIECES:
                self._known.clear()
            self._known[text] = piece
        return piece


_Piece = tuple[list[str], int]
"""The tokens of what stands between two blanks, and its traits."""
_WORD, _NUMBERED, _TAGGED, _SHOUTING, _STRETCHED, _IN_CONTEXT = (1 << bit for bit in range(6))
_RARE = _NUMBERED | _TAGGED | _SHOUTING | _STRETCHED
_NOTHING: frozenset[str] = frozenset()


def _shouted(text: str) -> frozenset[str]:
    return _NOTHING if text.isupper() else frozenset(map(str.lower, _SHOUTED.findall(text)))


def _without_links(text: str) -> str:
    if "://" in text or "www." in text.lower():
        text = _URL.sub(" ", text)
    return _MAIL_ADDRESS.sub(" ", text) if "@" in text else text


def _normalised(found: list[str]) -> list[str]:
    tokens: list[str] = []
    _in_place(found, tokens)
    return tokens


def _in_place(found: Iterable[str], tokens: list[str]) -> None:
    """Add what was found to `tokens`, which are what stands before it in the text."""
    for token in found:
        if token.isalnum():
            tokens.append(token)
        elif token[0] in "@#":
            tokens += _tag(token, at_start=not tokens or tokens[-1] == ".")
        else:
            tokens += ["."] if token == "," and _greets(tokens) else _mark(token)


def _greets(tokens: list[str]) -> bool:
    """Whether the sentence so far is a greeting: in "Hoi allemaal, weet iemand ..." the comma ends it."""
    for back, token in enumerate(reversed(tokens[-_LONGEST_GREETING:]), 1):
        if token in _GREETINGS:
            return back == len(tokens) or tokens[-back - 1] == "."
        if token == ".":
            return False
    return False


def _tag(token: str, *, at_start: bool) -> list[str]:
    # Who is addressed first is no part of the sentence: "@brand hoe lang duurt ..." begins with "hoe".
    tokens = [token] if token.count("@") < 2 else [token, token[: token.index("@", 1)]]
    return [*tokens, "."] if at_start and token[0] == "@" else tokens


def _mark(token: str) -> list[str]:
    """Return the tokens that stand for a mark: emoticon, emoji, end of a sentence or of a clause, "&"."""
    if token[-1] in _EMOTICONS and token[0] in ":;=<":
        return [_EMOTICONS[token[-1]]]
    if token[0] in ".!?…;:\n":
        return ["?", "."] if "?" in token else ["!", "."] if "!" in token else ["."]
    return [","] if token in ",()–—" or token.isspace() or token.strip() == "-" else [token]


def _with_hashtag_words(tokens: list[str], split_hashtag: SplitHashtag) -> list[str]:
    laid_out: list[str] = []
    for token in tokens:
        laid_out.append(token)
        if token[0] == "#":
            laid_out += split_hashtag(token[1:])
    return laid_out


def _unstretch(folded: str, vocabulary: Set[str]) -> str:
    """Spell stretched letters once or twice, whichever makes a known word: "suuuper", "heeeel"."""

    def spell(match: re.Match[str]) -> str:
        word = match[0]
        twice = _ELONGATED.sub(r"\1\1", word)
        return twice if twice in vocabulary else _ELONGATED.sub(r"\1", word)

    return re.sub(r"[^\W\d_]+", lambda m: spell(m) if _ELONGATED.search(m[0]) else m[0], folded)
