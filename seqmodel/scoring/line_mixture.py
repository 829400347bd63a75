"""Several models on the same lines: scored side by side, or mixed line by line, p(line) = Σ w_i p_i(line).

Models of different vocabularies share no tokens, but each gives every line a probability.
"""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, tee
from typing import Any, Protocol

import numpy as np

from seqmodel.errors import DataError
from seqmodel.inference.ensemble import fit_shares, mixture_bits
from seqmodel.model.bundle import BundleHeader
from seqmodel.scoring.lines import LineContext, LineScore
from seqmodel.scoring.tokens import TokenScores
from seqmodel.text.corpus import Line
from seqmodel.text.inputs import LineInputs
from seqmodel.tokens.tokenizer import Tokenizer

Batches = Iterable[list[Line]]


class LineScorer(Protocol):
    """Scores lines: a model, or several mixed."""

    header: BundleHeader
    tokenizer: Tokenizer

    def reading(self, **settings: Any) -> LineContext: ...

    def score_lines(self, batches: Batches, reading: LineContext | None = None) -> Iterator[list[LineScore]]: ...


def scored_by_each(
    models: Sequence[LineScorer], batches: Batches, reading: LineContext | None = None
) -> Iterator[tuple[LineScore, ...]]:
    """Score the lines of one file with each model, reading it once; yields one score per model for each line.

    Without a `reading` each model reads lines as its own kind of sequences.
    """
    return chain.from_iterable(batches_by_each(models, batches, [reading] * len(models)))


def batches_by_each(
    models: Sequence[LineScorer], batches: Batches, readings: Sequence[LineContext | None]
) -> Iterator[list[tuple[LineScore, ...]]]:
    """As `scored_by_each`, in batches, and with a `reading` for each model.

    In paragraphs and documents a line waits for the next one, so one model may be a line behind another. Lines that all
    models have scored are yielded before more is read; the model that is furthest behind goes on first.
    """
    copies = tee(batches, len(models))
    streams = [model.score_lines(own, reading) for model, own, reading in zip(models, copies, readings, strict=True)]
    waiting: list[deque[LineScore]] = [deque() for _ in models]
    while True:
        behind = min(range(len(models)), key=lambda number: len(waiting[number]))
        rows = next(streams[behind], None)
        if rows is None:
            return
        waiting[behind].extend(rows)
        if ready := min(map(len, waiting)):
            yield [tuple(own.popleft() for own in waiting) for _ in range(ready)]


@dataclass(frozen=True)
class MixedLine(LineScore):
    """A line with bits −log2 Σ w_i p_i. Its ids are the first model's; only the whole line has a score."""

    parts: tuple[LineScore, ...] = ()
    weights: tuple[float, ...] = ()

    def without_end(self) -> LineScore:
        (row,) = mixed_lines([tuple(part.without_end() for part in self.parts)], self.weights)
        return row


def mixed_lines(rows: Sequence[tuple[LineScore, ...]], weights: tuple[float, ...]) -> list[LineScore]:
    """Mix the scores that the models gave to each line."""
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
    """A mixture of models with different vocabularies and one kind of sequences; implements `LineScorer`.

    A line's tokens are the first model's.
    """

    def __init__(self, models: Sequence[LineScorer], weights: Sequence[float]) -> None:
        self.models, self.weights = tuple(models), tuple(weights)
        self.tokenizer = models[0].tokenizer
        # A byte model takes any bytes, the others do not: its header would claim too much.
        self.header = next(model.header for model in models if model.header.unit != "byte")

    def reading(self, **settings: Any) -> LineContext:
        return LineContext(self.header.sequence, **settings)

    def score_lines(self, batches: Batches, reading: LineContext | None = None) -> Iterator[list[LineScore]]:
        for rows in batches_by_each(self.models, batches, [reading or self.reading()] * len(self.models)):
            yield mixed_lines(rows, self.weights)


@dataclass(frozen=True)
class MixtureFit:
    """Fitted weights, the size of the text they were fitted on, and its bits under each model and under the mixture.

    `events` counts what the weights were fitted to: tokens, or lines.
    """

    weights: tuple[float, ...]
    events: int
    tokens: int
    chars: int
    bits: tuple[float, ...]
    mixture_bits: float


def fit_mixture(models: Sequence[LineScorer], inputs: LineInputs, reading: LineContext, by_tokens: bool) -> MixtureFit:
    """Fit the weights of a mixture per token (`by_tokens`) or per line.

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
        raise DataError("the text to fit the weights on is empty", "Name another with --tune.")
    weights = fit_shares(each)
    together = float(mixture_bits(each, weights).sum())
    return MixtureFit(weights, each.shape[1], tokens, chars, tuple(each.sum(axis=1).tolist()), together)
