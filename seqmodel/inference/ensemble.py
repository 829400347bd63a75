"""Mixture of several models of one vocabulary, p = Σ w_i p_i at every token, and the fit of its weights.

A mixture of distributions is a distribution, whatever its weights. The fit knows only probabilities: they may be those
of tokens or of whole lines.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from seqmodel.arrays import Floats, Ids
from seqmodel.errors import UsageError
from seqmodel.inference.runtime import log_mean
from seqmodel.inference.sequence_model import SequenceModel

ITERATIONS = 500
SETTLED = 1e-7  # the fit ends when no weight moves by more
PRIOR = 1.0  # events credited to all models equally: every weight stays above zero


class ModelMixture:
    """A mixture of models; implements `SequenceModel`. `weights` sum to one; its state is the tuple of theirs."""

    def __init__(self, models: Sequence[SequenceModel], weights: Sequence[float]) -> None:
        self.models, self.weights = tuple(models), tuple(weights)
        self.vocabulary = self.models[0].vocabulary

    def start(self, lanes: int) -> tuple[Any, ...]:
        return tuple(model.start(lanes) for model in self.models)

    def select(self, state: tuple[Any, ...], lanes: Ids) -> tuple[Any, ...]:
        return tuple(model.select(own, lanes) for model, own in zip(self.models, state, strict=True))

    def join(self, states: Sequence[tuple[Any, ...]]) -> tuple[Any, ...]:
        each = zip(*states, strict=True)
        return tuple(model.join(own) for model, own in zip(self.models, each, strict=True))

    def step(self, ids: Ids, state: tuple[Any, ...]) -> tuple[Floats, tuple[Any, ...]]:
        each = [model.step(ids, own) for model, own in zip(self.models, state, strict=True)]
        return log_mean([logs for logs, _ in each], self.weights), tuple(after for _, after in each)


def shares(weights: Sequence[float], models: int) -> tuple[float, ...]:
    """Scale weights, one for each model, so that they sum to one.

    Raises:
        UsageError: unless there is one for each model and all are positive.
    """
    if len(weights) != models:
        raise UsageError(f"{len(weights)} weights for {models} models", "Give one for each, or none.")
    given = np.array(weights, np.float64)
    if not (np.isfinite(given) & (given > 0)).all():
        raise UsageError("a weight is not a number above 0", "Leave out a model that should have no share.")
    given /= given.max()
    return tuple((given / given.sum()).tolist())


def mixture_bits(bits: npt.NDArray[np.float64], weights: Sequence[float]) -> npt.NDArray[np.float64]:
    """−log2 Σ w_i p_i (N,), where `bits` (models, N) are −log2 p_i.

    Example: [[1], [3]] with weights ½ and ½ -> [−log2(5/16)]
    """
    out: npt.NDArray[np.float64] = -np.logaddexp2.reduce(np.log2(weights)[:, None] - bits, axis=0)
    return out


def fit_shares(bits: npt.NDArray[np.float64]) -> tuple[float, ...]:
    """Weights under which events with `bits` (models, N) are most probable, by expectation maximisation."""
    number, events = bits.shape
    likelihood = np.exp2(bits.min(axis=0, initial=np.inf) - bits)
    weights = np.full(number, 1 / number)
    for _ in range(ITERATIONS):
        credit = weights[:, None] * likelihood
        credit /= credit.sum(axis=0)
        before, weights = weights, (credit.sum(axis=1) + PRIOR / number) / (events + PRIOR)
        if np.abs(weights - before).max() < SETTLED:
            break
    return tuple(weights.tolist())
