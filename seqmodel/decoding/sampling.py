"""Steps from probabilities to a token: pure functions on rows of probabilities (B, V)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from seqmodel.arrays import Probabilities


def with_temperature(logs: npt.NDArray[np.floating], temperature: float) -> Probabilities:
    """Probabilities ∝ p^(1/temperature), from log-probabilities; 0 puts all on the most probable token.

    Example: p = (0.8, 0.2) becomes (16, 1)/17 at 0.5 and (1, 0) at 0.
    """
    logs = logs.astype(np.float64)
    if temperature == 0:
        greedy = np.zeros_like(logs)
        greedy[np.arange(len(logs)), logs.argmax(axis=-1)] = 1
        return greedy
    with np.errstate(over="ignore"):  # at temperatures close to 0
        scaled = (logs - logs.max(axis=-1, keepdims=True)) / temperature
    return _normalised(np.exp(scaled))


def top_k(probabilities: Probabilities, k: int) -> Probabilities:
    """Keep the k most probable tokens (Fan et al. 2018), ties at the edge kept."""
    if k >= probabilities.shape[-1]:
        return probabilities
    edge = np.partition(probabilities, -k, axis=-1)[:, -k, None]
    return _normalised(np.where(probabilities >= edge, probabilities, 0))


def top_p(probabilities: Probabilities, p: float) -> Probabilities:
    """Keep the fewest most probable tokens whose mass reaches p (nucleus; Holtzman et al. 2020).

    Example: p = 0.7 on (0.5, 0.3, 0.2) keeps the first two: (0.625, 0.375, 0).
    """
    order = np.argsort(-probabilities, axis=-1, kind="stable")
    ranked = np.take_along_axis(probabilities, order, axis=-1)
    before = np.cumsum(ranked, axis=-1) - ranked
    kept = np.zeros_like(probabilities)
    np.put_along_axis(kept, order, np.where(before < p, ranked, 0), axis=-1)
    return _normalised(kept)


def min_p(probabilities: Probabilities, p: float) -> Probabilities:
    """Keep the tokens that are at least p times as probable as the most probable one (Nguyen et al. 2024).

    Example: p = 0.5 on (0.5, 0.3, 0.2) keeps the first two: (0.625, 0.375, 0).
    """
    edge = p * probabilities.max(axis=-1, keepdims=True)
    return _normalised(np.where(probabilities >= edge, probabilities, 0))


def as_one_choice(
    probabilities: Probabilities, tokens: npt.NDArray[np.int64], truncate: Callable[[Probabilities], Probabilities]
) -> Probabilities:
    """Truncate with some tokens as one choice, kept or dropped together.

    Example: top-k of 1 on (0.3, 0.3, 0.4) with the first two as one keeps these: (0.5, 0.5, 0).
    """
    whole = probabilities[:, tokens].sum(axis=-1, keepdims=True)
    choices = probabilities.copy()
    choices[:, tokens] = 0
    choices[:, tokens[:1]] = whole
    kept = truncate(choices)
    kept[:, tokens] = kept[:, tokens[:1]] * probabilities[:, tokens] / np.where(whole > 0, whole, 1)
    return kept


def repeated_less(
    logs: npt.NDArray[np.floating], seen: npt.NDArray[np.bool_], penalty: float
) -> npt.NDArray[np.floating]:
    """Log-probabilities, not normalised, with those of tokens seen before multiplied by the penalty: p becomes p^θ.

    After Keskar et al. (2019), who divide positive logits and multiply negative ones: log-probabilities are never
    positive, so that this does not depend on where logits have their zero.
    """
    return np.where(seen, logs * penalty, logs)


def draw(probabilities: Probabilities, uniforms: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """One token per row by inversion: the first whose cumulative probability exceeds the uniform number."""
    cumulative = np.cumsum(probabilities, axis=-1)
    found = (cumulative <= (uniforms * cumulative[:, -1])[:, None]).sum(axis=-1)
    # Rounding may point past the last token that has any probability.
    last = probabilities.shape[-1] - 1 - (probabilities[:, ::-1] > 0).argmax(axis=-1)
    picked: npt.NDArray[np.int64] = np.minimum(found, last)
    return picked


def _normalised(weights: Probabilities) -> Probabilities:
    out: Probabilities = weights / weights.sum(axis=-1, keepdims=True)
    return out
