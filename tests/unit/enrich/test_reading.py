"""What is read in a text: tokens, hashtags, stretched words, mails without their quotes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.enrich import reading
from services.enrich.hashtags import split_hashtag
from services.enrich.lexicon import vocabulary
from services.enrich.mails import own_words
from services.enrich.reader import reader
from services.enrich.reading import Reader, hashtags_of


def _read(text: str) -> str:
    return " ".join(reader().read(text).line.split())


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("Héél fijn, na 3 weken!", ". heel fijn , na 0 weken ! . ."),
        ("suuuper, echt heeeel goeeed", ". super , echt heel goed ."),
        ("Zie https://example.org/x?y=1 of mail info@example.org", ". zie of mail ."),
        ("@brand@mastodon.example hoe lang", ". @brand@mastodon.example @brand . hoe lang ."),
        ("Hoi allemaal, weet iemand", ". hoi allemaal . weet iemand ."),
        ("booking.com om 10:30", ". booking com om 0 0 ."),
        ("top :) 👍🏽", ". top 🙂 👍 ."),
        ("#NooitMeerSolliciteren", ". #nooitmeersolliciteren nooit meer solliciteren ."),
        ("#xqzvbrand", ". #xqzvbrand ."),
    ],
)
def test_a_text_is_laid_out(text: str, line: str) -> None:
    assert _read(text) == line


_PIECES = st.sampled_from(
    [
        "Hoi,",
        "hoi",
        "@acme",
        ",",
        "-",
        "",
        "#Fail",
        "3x",
        "NOOIT",
        "heeel",
        "e-mail",
        "www.x.nl",
        ".\n@acme",
        "é",
    ]
)


@given(st.lists(_PIECES, max_size=12).map(" ".join), st.lists(_PIECES, max_size=5))
def test_a_text_is_read_the_same_whatever_was_read_before(text: str, before: list[str]) -> None:
    fresh, used = (Reader(vocabulary(), split_hashtag) for _ in range(2))
    for piece in before:
        used.read(piece)
    assert used.read(text) == fresh.read(text) == used.read(text)


def test_pieces_that_are_remembered_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "MAX_PIECES", 10)
    used = Reader(vocabulary(), split_hashtag)
    for number in range(100):
        used.read(f"woord{number} {'x' * 100}{number}")
    assert len(used._known) <= 10


@pytest.mark.parametrize(
    ("text", "hashtags"),
    [
        ("#Fail en #FAIL, #café!", ("fail", "café")),
        ("https://example.org/#anker en a#b", ()),
        ("we're #1", ()),
        ("#2026plannen #हिन्दी", ("2026plannen", "हिन्दी")),
        ("#a#b", ("a",)),
    ],
)
def test_hashtags(text: str, hashtags: tuple[str, ...]) -> None:
    assert hashtags_of(text) == hashtags


def test_more_hashtags_than_anyone_reads_are_left_out() -> None:
    assert len(hashtags_of(" ".join(f"#tag{n}x" for n in range(500)))) == 50


@pytest.mark.parametrize(
    ("tag", "words"),
    [
        ("neveragain", ("never", "again")),
        ("slechtewerkgever", ("slechte", "werkgever")),
        ("solliciteren", ("solliciteren",)),
        ("qqqzz", ()),
        ("a" * 61, ()),
    ],
)
def test_hashtags_are_split_into_known_words(tag: str, words: tuple[str, ...]) -> None:
    assert split_hashtag(tag) == words


@pytest.mark.parametrize(
    ("mail", "own"),
    [
        ("Wanneer hoor ik iets?\n\nMet vriendelijke groet,\nJan\n06 00", "Wanneer hoor ik iets?"),
        ("Dank!\n\nOp ma 3 feb. 2026 om 10:12 schreef HR <hr@example.org>:\nHeb je vragen?", "Dank!"),
        ("Op ma 3 feb schreef HR:\n> Wat is je vraag?\n\nGeen.", "Geen."),
        ("Fine.\n\n-----Original Message-----\nFrom: HR\nAny questions?", "Fine."),
        ("Prima.\n\nVan: HR\nVerzonden: maandag\nOnderwerp: vraag?", "Prima."),
        ("Bye\n-- \nJan, CEO?", "Bye"),
        ("Ok.\nKind regards,\nJo\nPS: is the bus free?", "Ok.\nPS: is the bus free?"),
        ("> alles geciteerd", "> alles geciteerd"),
        ("Groeten uit Zwolle is een leuk boek. Toch?", "Groeten uit Zwolle is een leuk boek. Toch?"),
    ],
)
def test_a_mail_is_reduced_to_what_its_writer_wrote(mail: str, own: str) -> None:
    assert own_words(mail) == own
