"""`make eval` counts right, and copes with what is not there."""

import json
from pathlib import Path

import pytest

from bench.accuracy import DATA_VARIABLE, answer, evaluate, labelled_sets, labellers, main, mention_of, score
from services.enrich.steps import Enricher
from shared.brands import BrandBook


def test_a_score_counts_per_class() -> None:
    result = score(["True", "True", "False", "False"], ["True", "False", "False", "False"], 2.0)
    assert result.accuracy == 0.75
    assert (result.precision, result.recall) == (1.0, 0.5)
    assert result.f1 == pytest.approx(2 / 3)
    assert result.macro_f1 == pytest.approx((2 / 3 + 0.8) / 2)
    assert result.mentions_per_second == 2.0


def test_a_class_that_is_never_right_counts_as_zero() -> None:
    assert score(["nl", "en"], ["nl", "nl"], 1.0).macro_f1 == pytest.approx((2 / 3) / 2)


def test_sets_are_read_and_labelled_by_each_way(tmp_path: Path) -> None:
    rows = [
        {"text": "Hoe lang duurt dat?", "lang": "nl", "label": 1, "task": "question"},
        {"text": "Dat duurt lang.", "lang": "nl", "label": 0, "task": "question"},
    ]
    (tmp_path / "q.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    (labelled,) = labelled_sets(tmp_path)
    ways = labellers(labelled, Enricher(BrandBook()))
    assert set(ways) == {"klankbord", "majority", '"?" in text'}
    assert evaluate(labelled, ways['"?" in text']).accuracy == 1.0
    assert evaluate(labelled, ways["klankbord"]).accuracy == 1.0
    assert evaluate(labelled, ways["majority"]).accuracy == 0.5


def test_a_task_that_no_label_answers_is_an_error() -> None:
    enriched = Enricher(BrandBook()).label(mention_of("x"))
    with pytest.raises(ValueError, match="'irony'"):
        answer("irony", enriched, two_classes=False)


def test_without_data_it_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(DATA_VARIABLE, str(tmp_path / "absent"))
    assert main() == 0
    assert f"name its folder with {DATA_VARIABLE}" in capsys.readouterr().out.replace("\n", " ")
