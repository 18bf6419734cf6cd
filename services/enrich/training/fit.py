"""Fits one head: multinomial logistic regression with an L2 penalty, by L-BFGS. Deterministic.

An example may leave answers open: of a two-star review it is known that it is not positive rather than
neutral, so a set with two classes says nothing of the third, and the third takes no part in its likelihood.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
from scipy.optimize import minimize, minimize_scalar

Floats = npt.NDArray[np.float64]
_OUT = -1e9


class Examples(NamedTuple):
    """What one head learns from."""

    features: sp.csr_matrix
    """Shape (examples, features)."""
    gold: npt.NDArray[np.int64]
    """The right answer of each; shape (examples,)."""
    possible: npt.NDArray[np.bool_]
    """Which answers its set knows; shape (examples, answers)."""
    importance: Floats
    """How much each counts; shape (examples,)."""


def fit(examples: Examples, penalty: float, iterations: int) -> Floats:
    """Return the weights; shape (features, answers)."""
    features, gold, possible, importance = examples
    transposed = features.T.tocsr()
    shape = features.shape[1], possible.shape[1]
    wanted = np.eye(shape[1])[gold]
    out = np.where(possible, 0.0, _OUT)
    total = importance.sum()

    def loss(flat: Floats) -> tuple[float, Floats]:
        weights = flat.reshape(shape)
        scores = features @ weights + out
        scores -= scores.max(1, keepdims=True)
        shares = np.exp(scores)
        sums = shares.sum(1, keepdims=True)
        likelihood = importance @ (np.log(sums[:, 0]) - (scores * wanted).sum(1))
        gradient = transposed @ ((shares / sums - wanted) * importance[:, None]) + penalty * weights
        return (likelihood + penalty / 2 * (flat @ flat)) / total, gradient.ravel() / total

    found = minimize(
        loss,
        np.zeros(shape).ravel(),
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": iterations, "maxcor": 8},
    )
    weights: Floats = found.x.reshape(shape)
    return weights


def temperature(scores: Floats, gold: npt.NDArray[np.int64]) -> float:
    """Return what to divide `scores` by so that probabilities are right; 1.0 without examples."""
    if not len(gold):
        return 1.0

    def loss(log: float) -> float:
        logits = scores / np.exp(log)
        logits = logits - logits.max(1, keepdims=True)
        return float(np.mean(np.log(np.exp(logits).sum(1)) - logits[np.arange(len(gold)), gold]))

    return float(np.round(np.exp(minimize_scalar(loss, bounds=(-1.5, 1.5), method="bounded").x), 4))
