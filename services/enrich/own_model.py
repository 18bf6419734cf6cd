"""A sentiment model of one's own: a sequence classifier exported to ONNX, with its tokenizer, from a folder.

The folder holds model.onnx, tokenizer.json and config.json (id2label), as `optimum-cli export onnx` writes
them. Nothing is downloaded. It judges the sentiment; all other labels stay those of the learned model.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from services.enrich.model import Floats, probabilities
from shared.errors import ConfigError

MAX_TOKENS = 256
BATCH = 32
_FILES = ("model.onnx", "tokenizer.json", "config.json")
_STARS = {"1": 0, "2": 0, "3": 1, "4": 2, "5": 2}
_HOW = "install the extra: pip install 'klankbord[onnx]'"


class OwnModel:
    """Judges sentiment. Raises ConfigError when the folder does not hold such a model."""

    def __init__(self, folder: Path) -> None:
        for name in _FILES:
            if not (folder / name).is_file():
                raise ConfigError(f"klankbord.toml: [enrich] model: {folder / name} is not there.")
        self.name = f"onnx:{folder.name}"
        self._answers = _answers(folder / "config.json")
        self._tokenizer, self._session = _loaded(folder)
        self._inputs = {one.name for one in self._session.get_inputs()}
        outputs = self._session.get_outputs()[0].shape
        if isinstance(outputs[-1], int) and outputs[-1] != len(self._answers):
            raise ConfigError(
                f"{folder}: the model gives {outputs[-1]} answers, config.json names {len(self._answers)}."
            )

    def sentiments(self, texts: Sequence[str]) -> Floats:
        """Return how likely negative, neutral and positive are for each text; shape (texts, 3)."""
        shares = np.zeros((len(texts), 3))
        # Texts of a length stand together, so that little of a batch is padding.
        order = sorted(range(len(texts)), key=lambda number: len(texts[number]))
        for at in range(0, len(order), BATCH):
            numbers = order[at : at + BATCH]
            shares[numbers] = self._batch([texts[number] for number in numbers])
        return shares

    def _batch(self, texts: list[str]) -> Floats:
        encoded = self._tokenizer.encode_batch(texts)
        feeds = {
            "input_ids": np.array([one.ids for one in encoded], np.int64),
            "attention_mask": np.array([one.attention_mask for one in encoded], np.int64),
            "token_type_ids": np.array([one.type_ids for one in encoded], np.int64),
        }
        wanted = {name: value for name, value in feeds.items() if name in self._inputs}
        likely = probabilities(np.asarray(self._session.run(None, wanted)[0], np.float64))
        shares = np.zeros((len(texts), 3))
        for column, answer in enumerate(self._answers):
            shares[:, answer] += likely[:, column]
        return shares


def _answers(config: Path) -> list[int]:
    """Return, for each of the model's answers, which of negative, neutral and positive it is."""
    try:
        names = json.loads(config.read_text(encoding="utf-8"))["id2label"]
        ordered = [str(names[str(number)]) for number in range(len(names))]
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{config} names no answers (id2label): {error!r}.") from None
    return [_answer(name, config) for name in ordered]


def _answer(name: str, config: Path) -> int:
    lowered = name.lower()
    for number, begin in enumerate(("neg", "neu", "pos")):
        if lowered.startswith(begin):
            return number
    if "star" in lowered and lowered[:1] in _STARS:
        return _STARS[lowered[0]]
    raise ConfigError(
        f"{config}: the answer {name!r} is not understood; name them negative, neutral, positive, "
        "or 1 star to 5 stars."
    )


def _loaded(folder: Path) -> tuple[Any, Any]:
    try:
        import onnxruntime  # noqa: PLC0415  # An extra: only who uses it has it.
        from tokenizers import Tokenizer  # noqa: PLC0415
    except ImportError as error:
        raise ConfigError(f"[enrich] model needs {error.name}: {_HOW}.") from None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(
            str(folder / "model.onnx"), options, providers=["CPUExecutionProvider"]
        )
        tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    except Exception as error:
        # Both raise errors of many kinds on a file that is not theirs.
        raise ConfigError(f"{folder} holds no model that can be loaded: {error}.") from error
    tokenizer.enable_truncation(MAX_TOKENS)
    if tokenizer.padding is None:
        tokenizer.enable_padding()
    return tokenizer, session
