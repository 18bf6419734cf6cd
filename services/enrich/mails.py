"""What the writer of a mail wrote: without the history that it quotes and without its signature."""

import re
from collections.abc import Sequence

# Where quoted history begins, by the mail programs' own words (Dutch, English, German, French).
_HISTORY = re.compile(
    r"""
      -{2,}\ ?(?:original\ message|oorspronkelijk\ bericht|forwarded\ message|doorgestuurd\ bericht)
    | (?:begin\ doorgestuurd\ bericht|begin\ forwarded\ message):?$
    | _{10,}$
    | (?:op|on|am|le)\b[^\n]{0,200}\b(?:schreef|wrote|schrieb|a\ écrit)\b[^\n]{0,200}:$
    """,
    re.I | re.X,
)
_HEADER = re.compile(r"\*?(?:van|from|von|de)\*?\s?:\*?\s", re.I)
_NEXT_HEADER = re.compile(r"\*?(?:verzonden|sent|datum|date|aan|to|gesendet|envoyé)\*?\s?:", re.I)
_SIGNATURE = re.compile(
    r"""
      --\s?$
    | (?:met\ )?(?:vriendelijke|hartelijke|warme|lieve|beste|collegiale)\ groet(?:en)?\b[^.?!\n]{0,60}$
    | (?:hoogachtend|mvg|m\.v\.g\.?|groet|groeten|groetjes|gr)\b[,.]?[^.?!\n]{0,40}$
    | (?:(?:with\ )?(?:kind|best|warm|warmest)\ regards|regards|sincerely|yours\ \w+|best\ wishes|cheers)
      \b[^.?!\n]{0,40}$
    """,
    re.I | re.X,
)
_POSTSCRIPT = re.compile(r"p\.?\s?s\.?\b", re.I)
_FROM_DEVICE = re.compile(r"(?:verstuurd|verzonden|sent)\ (?:vanaf|vanuit|met|from)\ (?:mijn|my)\b", re.I)


def own_words(mail: str) -> str:
    """Return `mail` without quoted history and signature; all of it when nothing else is left."""
    kept: list[str] = []
    signed = False
    lines = [line.strip() for line in mail.split("\n")]
    for number, line in enumerate(lines):
        if line.startswith(">") or _FROM_DEVICE.match(line):
            continue
        if _begins_history(lines, number):
            if not _quotes_by_line(lines, number):
                break
            signed = False
            continue
        signed = (signed or _SIGNATURE.match(line) is not None) and not _POSTSCRIPT.match(line)
        if not signed:
            kept.append(line)
    return "\n".join(kept).strip() or mail


def _begins_history(lines: Sequence[str], number: int) -> bool:
    line = lines[number]
    if _HISTORY.match(line) or (number + 1 < len(lines) and _HISTORY.match(f"{line} {lines[number + 1]}")):
        return True
    return _HEADER.match(line) is not None and any(map(_NEXT_HEADER.match, lines[number + 1 : number + 4]))


def _quotes_by_line(lines: Sequence[str], number: int) -> bool:
    """Whether the history after `number` is marked line by line, so that an answer may stand below."""
    following = [line for line in lines[number + 1 : number + 4] if line]
    return any(line.startswith(">") for line in following[:2])
