"""A sentiment model of one's own: a tiny one that the test makes likes "goed" and dislikes "slecht"."""

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer, models, pre_tokenizers

from services.enrich.model import shipped, version_of
from services.enrich.own_model import OwnModel
from services.enrich.steps import Enricher
from shared.brands import parse_brands
from shared.errors import ConfigError

from .labelling import raw

VOCABULARY = {"[PAD]": 0, "[UNK]": 1, "goed": 2, "slecht": 3}
WORTH = np.array([[0, 0, 0], [0, 0.5, 0], [0, 0, 9], [9, 0, 0]], np.float32)


def make(folder: Path, names: tuple[str, ...] = ("negative", "neutral", "positive")) -> Path:
    """Write a model whose logits are the sum of its tokens' worth."""
    folder.mkdir(parents=True)
    nodes = [
        helper.make_node("Gather", ["worth", "input_ids"], ["each"]),
        helper.make_node("ReduceSum", ["each", "axes"], ["logits"], keepdims=0),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["batch", "tokens"])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 3])],
        [numpy_helper.from_array(WORTH, "worth"), numpy_helper.from_array(np.array([1]), "axes")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 9
    onnx.save(model, str(folder / "model.onnx"))
    tokenizer = Tokenizer(models.WordLevel(VOCABULARY, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "config.json").write_text(json.dumps({"id2label": dict(enumerate(names))}))
    return folder


def test_it_judges_the_sentiment_and_its_name_goes_along(tmp_path: Path) -> None:
    folder = make(tmp_path / "mine")
    enricher = Enricher(parse_brands(f'[enrich]\nmodel = "onnx:{folder}"'))
    texts = ["slecht", "goed", "tafel", "goed goed", "slecht slecht slecht"] * 20
    labelled = enricher.label_batch([raw(text) for text in texts])
    expected = ["negative", "positive", "neutral", "positive", "negative"] * 20
    assert [one.sentiment_label.value for one in labelled] == expected
    assert labelled[0].model == f"{version_of(shipped())}+onnx:mine"
    assert enricher.label(raw("goed")) == labelled[1]


def test_stars_are_understood(tmp_path: Path) -> None:
    model = OwnModel(make(tmp_path / "stars", ("1 star", "3 stars", "5 stars")))
    assert model.sentiments(["goed", "slecht"]).argmax(1).tolist() == [2, 0]


def test_answers_that_mean_nothing_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="LABEL_0"):
        OwnModel(make(tmp_path / "x", ("LABEL_0", "LABEL_1", "LABEL_2")))


def test_answers_that_the_model_does_not_give_are_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"gives 3 answers, config\.json names 2"):
        OwnModel(make(tmp_path / "x", ("negative", "positive")))


@pytest.mark.parametrize("name", ["model.onnx", "tokenizer.json", "config.json"])
def test_a_file_that_is_missing_or_broken_is_named(tmp_path: Path, name: str) -> None:
    folder = make(tmp_path / "x")
    (folder / name).write_text("nonsense")
    with pytest.raises(ConfigError, match=str(folder)):
        OwnModel(folder)
    (folder / name).unlink()
    with pytest.raises(ConfigError, match=f"{name} is not there"):
        OwnModel(folder)


def test_a_long_text_is_cut(tmp_path: Path) -> None:
    assert OwnModel(make(tmp_path / "x")).sentiments(["goed " * 5_000]).shape == (1, 3)
