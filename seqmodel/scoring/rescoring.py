"""Rescoring of n-best lists: the model's score of each hypothesis, combined with its other scores."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from seqmodel.choices import SequenceKind
from seqmodel.errors import DataError, UsageError
from seqmodel.inference.sequence_model import SequenceModel
from seqmodel.scoring.lines import sequence_ids, without_carriage_returns
from seqmodel.scoring.prefix_tree import tree_bits
from seqmodel.scoring.tokens import LN2
from seqmodel.tokens.tokenizer import Tokenizer

Numbers = npt.NDArray[np.float64]
ALONE, BESIDE_OTHERS = 1.0, 0.5  # default weights of the model, without and with other scores


@dataclass(frozen=True)
class Combination:
    """total = weight · ln p + Σ score_weights · scores + length_penalty · words."""

    weight: float = ALONE
    length_penalty: float = 0.0
    score_weights: tuple[float, ...] = ()

    @classmethod
    def of(
        cls, scores: int, weight: float | None, score_weights: Sequence[float], length_penalty: float
    ) -> Combination:
        """A combination with `scores` other scores; weights not given get their defaults.

        Raises:
            UsageError: unless there is one weight for each score and all are finite.
        """
        if len(score_weights) not in (0, scores):
            raise UsageError(
                f"{len(score_weights)} score weights for {scores} other scores",
                "Give one for each, in their order, or none.",
            )
        if weight is None:
            weight = BESIDE_OTHERS if scores else ALONE
        made = cls(weight, length_penalty, tuple(score_weights or [1.0] * scores))
        if not all(map(math.isfinite, made.vector)):
            raise UsageError("a weight or the length penalty is not finite", "Give finite numbers.")
        return made

    @property
    def vector(self) -> tuple[float, ...]:
        """The weights in the order of `features`."""
        return (self.weight, self.length_penalty, *self.score_weights)

    def with_weight(self, number: int, value: float) -> Combination:
        """A copy with the weight at one place of `vector` replaced."""
        vector = [*self.vector]
        vector[number] = value
        return Combination(vector[0], vector[1], tuple(vector[2:]))

    def totals(self, features: Numbers) -> Numbers:
        """Total of each hypothesis; features (…, F) -> (…). Equal features always have equal totals.

        Raises:
            DataError: if a total is not finite.
        """
        total = np.zeros(features.shape[:-1])
        with np.errstate(over="ignore", invalid="ignore"):
            for number, weight in enumerate(self.vector):
                total += weight * features[..., number]
        if not np.isfinite(total).all():
            raise DataError("scores too large to be added up", "Give smaller scores, or smaller weights.")
        return total


def features(lm_scores: Sequence[float], texts: Sequence[str], scores: Sequence[Sequence[float]]) -> Numbers:
    """Features (hypotheses, F) in the order of `Combination.vector`: ln p, number of words, the other scores."""
    words = [len(text.split()) for text in texts]
    return np.stack([np.array(column, np.float64) for column in (lm_scores, words, *scores)], axis=-1)


def log_probabilities(
    model: SequenceModel, tokenizer: Tokenizer, kind: SequenceKind, texts: Sequence[str]
) -> list[float]:
    """ln p of each text as a sequence of its own: with its end symbol, or in a stream with the newline that ends it.

    Equal texts are scored once, and so are common beginnings.

    Raises:
        DataError: if a text holds a lone surrogate.
    """
    distinct = list(dict.fromkeys(texts))
    ids = [sequence_ids(tokenizer, kind, without_carriage_returns(text)) for text in distinct]
    bits = tree_bits(model, ids)
    scores = dict(zip(distinct, (bits * -LN2).tolist(), strict=True))
    return [scores[text] for text in texts]


@dataclass(frozen=True)
class Rescored:
    """A hypothesis with the model's ln p and the total of all its scores."""

    text: str
    lm_score: float
    total: float
