"""Several models on the same lines: scored side by side, and as one whose lines have p = Σ w_i p_i.

Models of different vocabularies have no tokens in common, but every line has a probability under each.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, tee
from typing import Any, Protocol

import numpy as np

from seqmodel.errors import DataError
from seqmodel.inference.ensemble import fit_shares, mixture_bits
from seqmodel.model.bundle import BundleHeader
from seqmodel.scoring.lines import LineScore, Reading
from seqmodel.scoring.tokens import TokenScores
from seqmodel.text.corpus import Line
from seqmodel.text.inputs import LineInputs
from seqmodel.tokens.tokenizer import Tokenizer

Batches = Iterable[list[Line]]


class LineScorer(Protocol):
    """What scores lines: a model, or several as one."""

    header: BundleHeader
    tokenizer: Tokenizer

    def reading(self, **settings: Any) -> Reading: ...

    def score_lines(self, batches: Batches, reading: Reading | None = None) -> Iterator[list[LineScore]]: ...


def scored_by_each(
    models: Sequence[LineScorer], batches: Batches, reading: Reading | None = None
) -> Iterator[tuple[LineScore, ...]]:
    """Each line of one file as each model scores it; read once. Without a `reading` each reads as its own kind does."""
    streams = zip(models, tee(batches, len(models)), strict=True)
    return zip(*(chain.from_iterable(model.score_lines(own, reading)) for model, own in streams), strict=True)


@dataclass(frozen=True)
class MixedLine(LineScore):
    """A line whose bits are −log2 Σ w_i p_i. It is spelled as by the first model, but only the line has a score."""

    parts: tuple[LineScore, ...] = ()
    weights: tuple[float, ...] = ()

    def without_end(self) -> LineScore:
        (row,) = mixed_lines([tuple(part.without_end() for part in self.parts)], self.weights)
        return row


def mixed_lines(rows: Sequence[tuple[LineScore, ...]], weights: tuple[float, ...]) -> list[LineScore]:
    """Lines that each model has scored as one score each."""
    if not rows:
        return []
    bits = mixture_bits(np.array([[part.bits for part in parts] for parts in rows]).T, weights)
    return [
        MixedLine(
            *(parts[0].line, parts[0].text, parts[0].ids, TokenScores(np.array([total]))), parts=parts, weights=weights
        )
        for parts, total in zip(rows, bits, strict=True)
    ]


class LineMixture:
    """Models of different vocabularies and the same kind of sequences as one; implements `LineScorer`.

    A line's tokens are those of the first model.
    """

    def __init__(self, models: Sequence[LineScorer], weights: Sequence[float]) -> None:
        self.models, self.weights = tuple(models), tuple(weights)
        self.tokenizer = models[0].tokenizer
        # Not the header of a byte model: that takes any bytes, which the others do not.
        self.header = next(model.header for model in models if model.header.unit != "byte")

    def reading(self, **settings: Any) -> Reading:
        return Reading(self.header.sequence, **settings)

    def score_lines(self, batches: Batches, reading: Reading | None = None) -> Iterator[list[LineScore]]:
        streams = zip(self.models, tee(batches, len(self.models)), strict=True)
        scored = [model.score_lines(own, reading or self.reading()) for model, own in streams]
        for each in zip(*scored, strict=True):
            yield mixed_lines(list(zip(*each, strict=True)), self.weights)


@dataclass(frozen=True)
class MixtureFit:
    """Weights that were fitted on a text of so many tokens (or lines) and characters, the bits that it has under each
    model, and under the mixture."""

    weights: tuple[float, ...]
    events: int
    tokens: int
    chars: int
    bits: tuple[float, ...]
    mixture_bits: float


def fit_mixture(models: Sequence[LineScorer], inputs: LineInputs, reading: Reading, by_tokens: bool) -> MixtureFit:
    """Fit the weights of a mixture of tokens, or of lines.

    Raises:
        DataError: if there is no text.
    """
    bits = [array("d") for _ in models]
    tokens = chars = 0
    for _, batches in inputs.streams():
        for rows in scored_by_each(models, batches, reading):
            tokens += len(rows[0].ids)
            chars += len(rows[0].text) + rows[0].line.is_ended
            for own, row in zip(bits, rows, strict=True):
                own.extend(row.scores.bits if by_tokens else [row.bits])
    each = np.array(bits)
    if not tokens:
        raise DataError("the text that the weights are to be fitted on is empty", "Name another with --tune.")
    weights = fit_shares(each)
    together = float(mixture_bits(each, weights).sum())
    return MixtureFit(weights, each.shape[1], tokens, chars, tuple(each.sum(axis=1).tolist()), together)
