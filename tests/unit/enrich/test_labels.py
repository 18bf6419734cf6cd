"""The labels, example by example: language, sentiment, #fail, question, stage, topics."""

import pytest

from .labelling import label


@pytest.mark.parametrize(
    ("text", "hint", "language"),
    [
        ("Ik heb nog niks gehoord van jullie", None, "nl"),
        ("I have not heard anything yet", None, "en"),
        ("nog niks gehoord", None, "nl"),
        ("no reply yet", None, "en"),
        ("Ich habe noch keine Antwort bekommen", None, "other"),
        ("Je n'ai toujours pas de réponse", None, "other"),
        ("Ik ha noch neat heard fan jimme, wol spitich", None, "other"),
        ("Ek het nog niks van julle gehoor nie", None, "other"),
        ("お返事をまだいただいていません", None, "other"),
        ("🙂🙂🙂", None, "und"),
        ("https://example.org", "nl", "nl"),
        ("super", "en", "en"),
        ("super", "nl", "nl"),
        ("#hiring #jobs De sfeer bij het team is echt heel goed", None, "nl"),
    ],
)
def test_language(text: str, hint: str | None, language: str) -> None:
    assert label(text, language_hint=hint).language == language


@pytest.mark.parametrize(
    ("text", "sentiment"),
    [
        ("Wat een fijn en warm welkom, echt een leuk team!", "positive"),
        ("Onbeschofte recruiter en een chaotisch proces", "negative"),
        ("Niet slecht!", "positive"),
        ("Geen klachten", "positive"),
        ("Het gesprek was niet prettig", "negative"),
        ("Dat bevalt me niet", "negative"),
        ("Leuk gesprek, maar daarna respectloos behandeld", "negative"),
        ("Suuuper blij met mijn nieuwe baan", "positive"),
        ("Verschrikkelijk leuke mensen", "positive"),
        ("Lekker dan, weer een standaardmailtje", "negative"),
        ("Fijn hoor, zo'n afwijzing 🙄", "negative"),
        ("#nooitmeersolliciteren", "negative"),
        ("De vacature staat op de site", "neutral"),
        ("Wanneer hoor ik iets? Alvast bedankt", "neutral"),
        ("Great people and a friendly, professional process", "positive"),
        ("Rude interviewer, total waste of time", "negative"),
        ("Not bad at all", "positive"),
        ("No complaints really", "positive"),
        ("It was not a pleasant experience", "negative"),
        ("Nice office, but they never replied", "negative"),
        ("Thanks for nothing", "negative"),
        ("Great, another automated rejection", "negative"),
        ("The vacancy is on the website", "neutral"),
        ("😡😡", "negative"),
        ("😍", "positive"),
    ],
)
def test_sentiment(text: str, sentiment: str) -> None:
    assert label(text).sentiment_label == sentiment


def test_strength_shows_in_the_score() -> None:
    plain, more, shouted = (label(text).sentiment for text in ("leuk", "heel leuk", "Echt heel LEUK!!!"))
    assert 0 < plain < more < shouted <= 1
    assert label("een beetje leuk").sentiment < plain


@pytest.mark.parametrize(
    ("rating", "scale", "sentiment"),
    [(1, 5, "negative"), (5, 5, "positive"), (3, 5, "neutral"), (2, 10, "negative"), (0, 1, "negative")],
)
def test_a_rating_tells_where_words_do_not(rating: float, scale: float, sentiment: str) -> None:
    assert label("Zie boven", rating=rating, rating_scale=scale).sentiment_label == sentiment


@pytest.mark.parametrize(
    ("text", "term"),
    [
        ("Al drie weken niks gehoord van jullie", "al drie weken niks gehoord"),
        ("Nog steeds geen reactie op mijn sollicitatie", "nog steeds geen reactie"),
        ("Drie weken geleden op gesprek geweest, nog steeds niks", "nog steeds niks"),
        ("Top hoor, na 6 weken een standaardmailtje", "na 6 weken een standaardmailtje"),
        ("Wat een onbeschofte recruiter bij het sollicitatiegesprek", "onbeschofte"),
        ("Sollicitatieformulier werkt niet", "werkt niet"),
        ("Prima bedrijf #fail", "#fail"),
        ("Never heard back after my interview", "never heard back"),
        ("Applied a month ago and got ghosted", "ghosted"),
        ("The application portal crashed twice", "portal crashed"),
        ("They promised feedback but nothing came", "promised feedback but"),
        ("Horrible interview, the panel was rude", "rude"),
    ],
)
def test_a_fail_and_the_words_that_make_it_so(text: str, term: str) -> None:
    mention = label(text)
    assert mention.is_fail
    assert any(term in found for found in mention.fail_terms), mention.fail_terms


@pytest.mark.parametrize(
    "text",
    [
        "Geen klachten over de sollicitatieprocedure, snel reactie gekregen",
        "No complaints about the interview, friendly people",
        "Wij zoeken een verpleegkundige! Kom jij ons team versterken? Solliciteer nu",
        "We are hiring planners. Join our team and apply now!",
        "FNV meldt dat de onderhandelingen over de cao zijn vastgelopen",
        "The union announced a strike at the terminal, according to the spokesperson",
        "Wat ben ik zenuwachtig voor mijn sollicitatiegesprek morgen",
        "So nervous for my interview tomorrow",
        "Wanneer begint de open dag?",
        "Is er al een functie voor stagiairs?",
        "Morgen mijn eerste werkdag, zin in!",
        "Got the job, start on Monday!",
    ],
)
def test_no_fail(text: str) -> None:
    mention = label(text)
    assert not mention.is_fail, mention.fail_terms
    assert mention.fail_terms == ()


@pytest.mark.parametrize(
    "text",
    [
        "Hoe lang duurt de sollicitatieprocedure?",
        "weet iemand of ze ook stagiairs aannemen",
        "@zonneveldzorg hoe lang duurt het voor ik iets hoor",
        "Hoi, kan ik ook parttime werken",
        "Ik vraag me af wat het salaris is",
        "does anyone know if they sponsor visas",
        "Is it possible to work remotely",
        "when can I expect an answer",
        "Could you send me a new link?",
    ],
)
def test_a_question_with_or_without_a_question_mark(text: str) -> None:
    assert label(text).is_question


@pytest.mark.parametrize(
    "text",
    [
        "Zie https://example.org/jobs?id=3",
        "Wat een rare procedure, serieus?",
        "Hoe moeilijk kan het zijn?",
        "How hard can it be?",
        "Ben jij de collega die wij zoeken? Solliciteer nu!",
        "Wat een fijne mensen daar!",
        "Ik heb gisteren gesolliciteerd.",
    ],
)
def test_no_question(text: str) -> None:
    assert not label(text).is_question


def test_a_question_in_quoted_mail_is_not_the_writers() -> None:
    mail = "Dank, dat is duidelijk.\n\nOp ma 3 feb schreef HR:\n> Heeft u nog vragen?"
    assert not label(mail, kind="mail").is_question
    assert label("Duidelijk. Heeft u nog vragen?", kind="mail").is_question


@pytest.mark.parametrize(
    ("text", "stage"),
    [
        ("Mooie vacaturetekst, staat het salaris erbij?", "vacancy"),
        ("Ik heb mijn cv en motivatiebrief geupload in het portaal", "application"),
        ("Gesolliciteerd en nooit meer iets gehoord", "silence"),
        ("Fijn sollicitatiegesprek gehad met het team", "interview"),
        ("Helaas afgewezen na het gesprek", "rejection"),
        ("Contract aangeboden gekregen en over het salaris onderhandeld", "offer"),
        ("Vandaag mijn eerste werkdag, laptop lag klaar", "onboarding"),
        ("Ik werk hier al vijf jaar en mijn leidinggevende is top", "employee"),
        ("Mooi weer vandaag", "other"),
        ("I applied online with my cover letter", "application"),
        ("I applied and never heard back", "silence"),
        ("Second interview with the hiring manager", "interview"),
        ("Got a rejection email", "rejection"),
        ("They made me an offer and I signed", "offer"),
        ("First day, great onboarding", "onboarding"),
        ("I work here and my manager is great", "employee"),
        ("Nice weather", "other"),
    ],
)
def test_stage(text: str, stage: str) -> None:
    assert label(text).stage == stage


@pytest.mark.parametrize(
    ("text", "topic"),
    [
        ("Een prettig sollicitatiegesprek", "interview"),
        ("Het salaris is te laag", "salary"),
        ("Niks gehoord", "response-time"),
        ("De roosters komen te laat", "working-hours"),
        ("Ik krijg een foutmelding bij het uploaden", "technical-issue"),
        ("Zijn reiskosten vergoed?", "travel"),
        ("The online assessment was long", "assessment"),
        ("The pay is low", "salary"),
        ("No feedback at all", "feedback"),
        ("Can I work from home?", "remote-work"),
    ],
)
def test_topics(text: str, topic: str) -> None:
    assert topic in label(text).topics


def test_topics_are_bounded_and_without_doubles() -> None:
    text = "salaris contract rooster gesprek assessment recruiter formulier vacature reiskosten sfeer stage"
    topics = label(text).topics
    assert len(topics) == len(set(topics)) == 8
