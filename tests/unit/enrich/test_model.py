"""The learned model: what its file may be, that a batch is as good as one, that memory stays bounded."""

import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.enrich import model as model_module
from services.enrich.features import MAX_TOKENS, pairs_named, part_features
from services.enrich.model import Model, load, save, shipped, version_of
from shared.errors import ConfigError

TOKENS = st.lists(
    st.sampled_from(["niet", "gehoord", "weken", ".", "?", "0", "blij", "xqz", "@x"]), max_size=12
)


@settings(max_examples=40)
@given(st.lists(TOKENS, min_size=1, max_size=6))
def test_a_text_scores_the_same_whatever_is_in_its_batch(texts: list[list[str]]) -> None:
    ours = Model(shipped())
    marks = [["all", "asks"] for _ in texts]
    together = ours.score(ours.words_of(texts), marks)
    alone = [ours.score(ours.words_of([text]), [some])[0] for text, some in zip(texts, marks, strict=True)]
    assert (together == np.array(alone)).all()


def test_words_that_were_forgotten_score_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    ours = Model(shipped())
    text, marks = ["drie", "weken", "niks", "gehoord"], [["all"]]
    before = ours.score(ours.words_of([text]), marks)
    monkeypatch.setattr(model_module, "MAX_WORDS", 3)
    ours.words_of([["heel", "veel", "andere", "woorden"]])
    ours.words_of([["en", "nog"]])
    assert (ours.score(ours.words_of([text]), marks) == before).all()


def test_of_a_long_text_begin_and_end_are_read() -> None:
    ours = Model(shipped())
    words = ours.words_of([["a"] * 10_000 + ["z"]])
    assert len(words.numbers) == MAX_TOKENS
    assert words.numbers[0] != words.numbers[-1]


def test_the_heaviest_weights_of_the_longest_text_add_up() -> None:
    text, marks = ["ik", "heb", "niks", "gehoord"] * 1_000, [["all"]]
    scores = []
    for weight in (1, 127):
        model = Model(shipped()._replace(rows=np.full_like(shipped().rows, weight)))
        scores.append(model.score(model.words_of([text]), marks))
    assert scores[1] == pytest.approx(127 * scores[0])


def test_a_long_word_has_few_parts() -> None:
    assert len(part_features("x" * 20_000)) < 100


def test_pairs_are_named_by_their_words() -> None:
    named = [name for name, _ in pairs_named(["niet", "zo", "snel"])]
    assert "niet zo" in named
    assert "niet zo snel" in named


@given(st.lists(st.sampled_from(["ja", "niet", ".", "?", "!", "goed"]), max_size=12))
def test_the_last_sentence_is_what_stands_before_the_last_full_stop(tokens: list[str]) -> None:
    named = [name.removesuffix(" (last sentence)") for name, _ in pairs_named(tokens) if "(last" in name]
    sentences = [part.split() for part in re.split(r"[.?!]", " ".join(tokens)) if part.strip()]
    assert named == (sentences[-1] if sentences else [])


def test_the_version_follows_from_the_weights_and_the_docs_are_about_this_one() -> None:
    ours = shipped()
    changed = ours.rows.copy()
    changed[0, 0] ^= 1
    assert version_of(ours) != version_of(ours._replace(rows=changed))
    assert f"`{version_of(ours)}`" in Path("docs/accuracy.md").read_text(encoding="utf-8")


def test_a_file_gives_back_what_was_saved_and_is_the_same_each_time(tmp_path: Path) -> None:
    one, other = tmp_path / "a.npz", tmp_path / "b.npz"
    save(one, shipped())
    save(other, load(one))
    assert one.read_bytes() == other.read_bytes()
    assert load(other).heads == shipped().heads


@pytest.mark.parametrize("content", [b"", b"no model", b"PK\x03\x04broken"])
def test_what_is_no_model_is_refused_by_name(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "model.npz"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"model\.npz is no model of klankbord train"):
        load(path)


def test_a_model_that_is_not_there_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="klankbord train"):
        load(tmp_path / "absent.npz")
