"""Mixture of a model's two experts: p = λ p_recurrence + (1 − λ) p_counts, with a λ for each situation.

A situation combines how much the count model knows (the length of the context that it found, and how often something
new followed that context) and how sure the recurrence is. The weights are fitted on held-out text. Whatever they are,
the mixture is a proper distribution.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from seqmodel.arrays import Floats, Ids
from seqmodel.inference.runtime import Runtime, State
from seqmodel.inference.sequence_model import SequenceModel
from seqmodel.model.bundle import Bundle
from seqmodel.model.kneser_ney import NOVELTY_EDGES, SURENESS_EDGES, CountModel
from seqmodel.model.ngram_embeddings import next_history
from seqmodel.tokens.tokenizer import UNKNOWN

BISECTIONS = 24
LEAST_WEIGHT = 1e-4  # of either expert
UNFITTED_WEIGHT = 0.65  # of the recurrence, in situations that the held-out text does not have
PRIOR = 100.0  # held-out tokens that a situation's weight must outvote to leave the common one


class CountRuntime:
    """The count model alone; implements `SequenceModel`. The state is the last tokens (history, B)."""

    def __init__(self, counts: CountModel) -> None:
        self.counts = counts
        self.vocabulary = counts.vocabulary

    def start(self, lanes: int) -> Ids:
        return np.full((self.counts.history, lanes), UNKNOWN, np.int64)

    def select(self, state: Ids, lanes: Ids) -> Ids:
        return state[:, lanes]

    def join(self, states: Sequence[Ids]) -> Ids:
        return np.concatenate(states, axis=1)

    def step(self, ids: Ids, state: Ids) -> tuple[Floats, Ids]:
        rows = [row.ravel() for row in self.counts.find(ids, state)]
        p = self.counts.distributions(rows, ids.size).reshape(*ids.shape, self.vocabulary)
        return logarithm(p), next_history(ids, state)


@dataclass(frozen=True)
class MixtureState:
    recurrence: State
    history: Ids


class Mixture:
    """The mixture of both experts; implements `SequenceModel`. `weights` (situations,) are the λ."""

    def __init__(self, recurrence: Runtime, counts: CountModel, weights: Floats) -> None:
        self.recurrence, self.counts, self.weights = recurrence, counts, weights.astype(np.float32)
        self.vocabulary = recurrence.vocabulary

    def start(self, lanes: int) -> MixtureState:
        history = np.full((self.counts.history, lanes), UNKNOWN, np.int64)
        return MixtureState(self.recurrence.start(lanes), history)

    def select(self, state: MixtureState, lanes: Ids) -> MixtureState:
        return MixtureState(self.recurrence.select(state.recurrence, lanes), state.history[:, lanes])

    def join(self, states: Sequence[MixtureState]) -> MixtureState:
        history = np.concatenate([state.history for state in states], axis=1)
        return MixtureState(self.recurrence.join([state.recurrence for state in states]), history)

    def experts(self, ids: Ids, state: MixtureState) -> tuple[Floats, Floats, Floats, MixtureState]:
        """Step both experts.

        Returns the recurrence's log-probabilities (T, B, V), the counts' probabilities (T B, V), λ (T B,) and the
        state after.
        """
        logs, recurrence = self.recurrence.step(ids, state.recurrence)
        rows = [row.ravel() for row in self.counts.find(ids, state.history)]
        highest = logs.reshape(-1, self.vocabulary).max(axis=-1)
        share = self.weights[situations(self.counts, rows, highest)]
        p = self.counts.distributions(rows, ids.size)
        return logs, p, share, MixtureState(recurrence, next_history(ids, state.history))

    def step(self, ids: Ids, state: MixtureState) -> tuple[Floats, MixtureState]:
        logs, p, share, state = self.experts(ids, state)
        flat = logs.reshape(-1, self.vocabulary)
        p *= 1 - share[:, None]
        np.exp(flat, out=flat)
        flat *= share[:, None]
        flat += p
        return logarithm(flat).reshape(logs.shape), state


def logarithm(p: Floats) -> Floats:
    """log p in place, −inf for 0."""
    with np.errstate(divide="ignore"):
        return np.log(p, out=p)


def sequence_model(bundle: Bundle) -> SequenceModel:
    """The model of a bundle: its recurrence, mixed with its count model if it has one."""
    recurrence = Runtime.of(bundle)
    if bundle.counts is None:
        return recurrence
    return Mixture(recurrence, bundle.counts, np.array(bundle.header.mixture, np.float32))


def situations(counts: CountModel, rows: list[Ids], highest: Floats) -> npt.NDArray[np.int64]:
    """Situation (N,) of each position; `rows` are those of `CountModel.find`, flat.

    `highest` (N,) is the recurrence's highest log-probability at each position.
    """
    length = np.zeros(len(highest), np.int64)
    backoff = np.full(len(highest), counts.levels[0].backoff[0], np.float32)
    for level, row in zip(counts.levels[1:], rows, strict=True):
        here = row >= 0
        length += here
        backoff[here] = level.backoff[row[here]]
    novelty = np.searchsorted(NOVELTY_EDGES, backoff)
    sureness = np.searchsorted(SURENESS_EDGES, highest)
    return (length * (len(NOVELTY_EDGES) + 1) + novelty) * (len(SURENESS_EDGES) + 1) + sureness


def fit_weights(
    recurrence: npt.NDArray[Any], counts: npt.NDArray[Any], where: npt.NDArray[np.int64], number: int
) -> Floats:
    """Weights (number,) under which held-out tokens are most probable.

    `recurrence`, `counts` (N,): each expert's probability of each token; `where` (N,): its situation. A rare situation
    keeps close to the weight that is best for all; one never seen has UNFITTED_WEIGHT.
    """
    if not len(where):
        return np.full(number, UNFITTED_WEIGHT, np.float32)
    common = _best_weights(recurrence, counts, np.zeros_like(where), np.full(1, 0.5), 0.0)
    return where_seen(_best_weights(recurrence, counts, where, np.full(number, common[0]), PRIOR), where)


def where_seen(weights: npt.NDArray[Any], where: npt.NDArray[np.int64]) -> Floats:
    """Weights with UNFITTED_WEIGHT in the situations that are not among `where`."""
    seen = np.bincount(where, minlength=len(weights)) > 0
    return np.where(seen, weights, UNFITTED_WEIGHT).astype(np.float32)


def _best_weights(
    recurrence: npt.NDArray[Any],
    counts: npt.NDArray[Any],
    where: npt.NDArray[np.int64],
    prior: npt.NDArray[np.float64],
    strength: float,
) -> npt.NDArray[np.float64]:
    """Weight of each situation under which its tokens are most probable, with a prior.

    The prior is `strength` more tokens, of which the recurrence is owed the share `prior`. The slope of the likelihood
    only falls; bisection finds its zero. (Expectation maximisation creeps if one expert is better throughout.)
    """
    low, high = np.full(len(prior), LEAST_WEIGHT), np.full(len(prior), 1 - LEAST_WEIGHT)
    gain = recurrence - counts
    for _ in range(BISECTIONS):
        weight = (low + high) / 2
        slopes = gain / np.maximum(counts + weight[where] * gain, 1e-300)
        slope = np.bincount(where, slopes, minlength=len(prior))
        slope += strength * (prior / weight - (1 - prior) / (1 - weight))
        low, high = np.where(slope > 0, weight, low), np.where(slope > 0, high, weight)
    best: npt.NDArray[np.float64] = (low + high) / 2
    return best
