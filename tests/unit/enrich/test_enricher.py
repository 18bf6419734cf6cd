"""The whole of the steps: any text, same answer, bounded time, valid events."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.accuracy import SAMPLE_CONFIG, evaluate, labellers, recruitment_sets
from services.enrich.model import shipped, version_of
from services.enrich.steps import STEPS, Enricher
from shared.brands import load_brands
from shared.events import MAX_TEXT, EnrichedMention, Kind

from .labelling import enricher, label, raw

WORST = [
    *("a", "#", "@a.", "? ", "🙄", "a@", "www.", "...a", "3 ", "ﷺ", "z\u0337\u0322", "> a\n"),
    *("maar goed ", "geen klacht klachten ", "nog steeds niks weken geen ", "#nooitmeer ", "op schreef\n"),
]


@settings(max_examples=150)
@given(st.text(min_size=1, max_size=300), st.sampled_from(Kind))
def test_any_text_gets_valid_labels_and_always_the_same(text: str, kind: Kind) -> None:
    mention = raw("x", brand="Zonneveld").model_copy(update={"text": text, "kind": kind})
    enriched = enricher().enrich(mention)
    assert enriched is not None
    assert enriched == enricher().enrich(mention)
    assert len(enriched.fail_terms) <= 10
    assert enriched.is_fail or enriched.fail_terms == ()
    assert EnrichedMention.model_validate(enriched.model_dump()) == enriched


@settings(max_examples=50)
@given(
    st.lists(
        st.sampled_from(
            [
                "niet",
                "goed",
                "slecht",
                "maar",
                "geen",
                "klacht",
                "weken",
                "al",
                "3",
                "gehoord",
                "?",
                "!",
                ",",
                ".",
                "#fail",
                "🙄",
                "Zonneveld",
            ]
        )
    )
)
def test_one_by_one_and_as_a_batch_are_the_same(words: list[str]) -> None:
    mentions = [raw(" ".join(words[:n]) or "x") for n in range(len(words) + 1)]
    assert enricher().enrich_batch(mentions) == [enricher().enrich(mention) for mention in mentions]


@pytest.mark.parametrize("kind", [Kind.POST, Kind.MAIL])
@pytest.mark.parametrize("piece", WORST)
def test_the_longest_text_takes_bounded_time(piece: str, kind: Kind) -> None:
    text = (piece * (MAX_TEXT // len(piece) + 1))[:MAX_TEXT]
    mention = raw("x").model_copy(update={"text": text, "kind": kind})
    begin = time.process_time()
    enricher().label(mention)
    assert time.process_time() - begin < 1.0


def test_what_came_in_goes_out_with_the_labels() -> None:
    mention = raw("Zonneveld is #top", external_id="7", author="Jo", metadata={"k": [1]}, rating=4)
    enriched = enricher().enrich(mention)
    assert enriched is not None
    assert enriched.model_dump(include=set(type(mention).model_fields) - {"brand"}) == mention.model_dump(
        exclude={"brand"}
    )
    assert (enriched.brand, enriched.hashtags) == ("Zonneveld Zorg", ("top",))
    assert enriched.model == version_of(shipped())
    assert EnrichedMention.model_validate_json(enriched.model_dump_json()) == enriched


def test_enriching_an_enriched_mention_changes_nothing() -> None:
    once = label("Zonneveld, al drie weken niks gehoord #fail")
    assert enricher().enrich(once) == once


def test_the_steps_are_named_and_explained() -> None:
    assert len({step.__name__ for step in STEPS}) == len(STEPS) == 8
    assert all(step.__doc__ for step in STEPS)


# The kept-back part of our own recruitment mentions: nobody chose anything by it (docs/accuracy.md).
@pytest.mark.parametrize(
    ("task", "floor"),
    [
        ("sentiment_label", 0.62),
        ("is_fail", 0.70),
        ("is_question", 0.82),
        ("stage", 0.47),
        ("author_kind", 0.45),
        ("lang", 0.88),
    ],
)
def test_agreement_with_the_kept_back_mentions_does_not_fall(task: str, floor: float) -> None:
    labelled = next(one for one in recruitment_sets() if one.task == task and one.language is None)
    ours = labellers(labelled, Enricher(load_brands(SAMPLE_CONFIG)))["klankbord"]
    assert evaluate(labelled, ours).macro_f1 >= floor
