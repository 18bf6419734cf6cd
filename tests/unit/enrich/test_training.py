"""Training: deterministic, honest about its data, and never in the way of a better model that is in use."""

import json
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp

from services.enrich.training import data
from services.enrich.training.command import TrainOptions, macro_f1, run_train
from services.enrich.training.data import (
    Example,
    corrected_examples,
    digest,
    others_examples,
    own_examples,
    sample_examples,
    written_examples,
)
from services.enrich.training.fit import Examples, fit, temperature
from services.enrich.training.train import as_bytes, train
from shared.errors import ConfigError


def _examples() -> list[Example]:
    own = own_examples(Path())
    return [example for example in own if example.part == "train"][:150] + [
        example for example in own if example.part == "dev"
    ][:30]


def test_the_same_data_give_the_same_weights() -> None:
    one, other = train(_examples(), str), train(_examples(), str)
    assert (one.rows == other.rows).all()
    assert (one.features == other.features).all()
    assert one.heads == other.heads


def test_the_test_part_teaches_nothing() -> None:
    kept_back = [example for example in own_examples(Path()) if example.part == "test"]
    one, other = train(_examples(), str), train([*_examples(), *kept_back], str)
    assert (one.rows == other.rows).all()


def test_no_kept_back_text_is_among_what_is_learned_from() -> None:
    kept_back = {example.text for example in own_examples(Path()) if example.part == "test"}
    learned = {example.text for example in [*written_examples(), *sample_examples(Path())]}
    assert len(kept_back) > 300
    assert not kept_back & learned


def test_an_author_or_template_is_in_one_part_only() -> None:
    rows = [json.loads(line) for line in Path("tests/data/hr_mentions.jsonl").read_text().splitlines()]
    for key in ("author", "template"):
        parts: dict[str, set[str]] = {}
        for row in rows:
            parts.setdefault(row[key], set()).add(row["split"])
        assert all(len(where) == 1 for where in parts.values())


def test_fitting_finds_what_separates_and_leaves_open_answers_alone() -> None:
    features = sp.csr_matrix(np.array([[1.0, 0], [1, 0], [0, 1], [0, 1]]))
    gold, possible = np.array([0, 0, 2, 2]), np.array([[True, False, True]] * 4)
    weights = fit(Examples(features, gold, possible, np.ones(4)), 0.1, 50)
    assert (features @ weights).argmax(1).tolist() == [0, 0, 2, 2]
    assert np.allclose(weights[:, 1], 0)


def test_a_temperature_tames_what_is_too_sure() -> None:
    scores = np.array([[9.0, 0], [9, 0], [9, 0], [0, 9]])
    assert temperature(scores, np.array([0, 0, 1, 1])) > 2
    assert temperature(np.zeros((0, 2)), np.array([], dtype=int)) == 1.0


def test_macro_f1_counts_each_class_once() -> None:
    assert macro_f1(["a", "a", "b"], ["a", "a", "a"]) == pytest.approx((0.8 + 0) / 2)


def test_an_answer_of_ours_counts_for_three_of_others(tmp_path: Path) -> None:
    tweet = {"text": "a tweet", "lang": "en", "task": "question", "label": 1}
    (tmp_path / "train_en_q_tweetact.jsonl").write_text(json.dumps(tweet))
    (theirs,), _ = others_examples(tmp_path)
    ours = Example("a tweet", "general", "train", {"sentiment": "neutral"}, ours=frozenset({"sentiment"}))
    mention = own_examples(Path())[0]
    assert (theirs.importance_for("question"), ours.importance_for("sentiment")) == (1.0, 3.0)
    assert {head: mention.importance_for(head) for head in ("fail", "general_sentiment", "language")} == {
        "fail": 3.0,
        "general_sentiment": 0.1,
        "language": 0.1,
    }


def test_what_was_written_has_both_kinds_of_talk() -> None:
    domains = [example.gold["domain"] for example in written_examples()]
    assert domains.count("recruitment") > 10_000
    assert domains.count("general") > 600


def test_sets_that_are_not_there_are_named(tmp_path: Path) -> None:
    examples, missing = others_examples(tmp_path)
    assert examples == []
    assert "train_nl_sent_bolcom" in missing


def test_our_labels_on_the_texts_of_others_are_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = ["What a match!", "Trains at ten and eleven."]
    rows = [{"text": text, "lang": "en", "label": 0, "task": "question"} for text in texts]
    (tmp_path / "train_en_q_tweetact.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    ours = tmp_path / "ours.jsonl"
    ours.write_text(json.dumps({"text_sha256": digest(texts[0]), "sentiment": "pos"}))
    monkeypatch.setattr(data, "OUR_LABELS", ours)
    examples, _ = others_examples(tmp_path)
    assert [example.gold.get("general_sentiment") for example in examples] == ["positive", None]
    assert [example.gold["general_question"] for example in examples] == ["no", "no"]


def test_the_largest_weights_keep_their_size() -> None:
    weights = np.array([[40.0, -40.0], [1.0, -1.0], [0.1, 0.0]])
    rows, scale = as_bytes(weights)
    assert rows.tolist() == [[127, -127], [3, -3], [0, 0]]
    assert np.abs(rows * scale - weights).max() <= scale / 2


def test_corrections_are_learned_from_and_bad_lines_are_named(tmp_path: Path) -> None:
    path = tmp_path / "corrections.jsonl"
    path.write_text('{"text": "x", "lang": "nl", "fail": true}\n')
    (example,) = corrected_examples(path)
    assert example.gold["fail"] == "yes"
    assert "sentiment" not in example.gold
    path.write_text('{"lang": "nl"}\n')
    with pytest.raises(ConfigError, match="line 1: has no text"):
        corrected_examples(path)


def test_a_worse_model_is_not_taken_into_use(tmp_path: Path) -> None:
    """Without others' sets, one label or another must get worse, or the new one is written."""
    out, said = tmp_path / "model.npz", list[str]()
    code = run_train(TrainOptions(tmp_path, None, out, force=False), said.append)
    assert any("left out" in line for line in said)
    assert any(line.startswith("label") for line in said)
    assert (code == 0) == out.exists()
    if code:
        assert any("Not taken into use: worse on" in line for line in said)
