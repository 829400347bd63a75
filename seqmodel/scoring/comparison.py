"""Models compared on the same text: the bits of each, and confidence intervals of their differences.

All models score the same lines, so the comparison is paired: it looks at the difference line by line. The bootstrap
(Efron & Tibshirani 1993) tells how the result varies over text of the same source: it draws the scored lines anew,
with replacement, many times. Lines of a line model are independent and drawn one by one. In other models neighbouring
lines depend on each other and are drawn in blocks.
"""

from __future__ import annotations

import heapq
import math
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from seqmodel.choices import SequenceKind, Unit
from seqmodel.errors import DataError, UsageError
from seqmodel.model.bundle import power, ratio
from seqmodel.scoring.line_mixture import LineScorer
from seqmodel.scoring.lines import LineScore

BLOCK_CHARS = 500  # least characters of a block of neighbouring lines
CONFIDENCE = 0.95

Drawn = Literal["lines", "blocks"]


@dataclass(frozen=True)
class Difference:
    """Bits per char or word above the first model's, with the 95 % interval of the bootstrap.

    `value` is NaN if there are no characters or words; `low` and `high` are NaN if there are fewer than two lines or
    blocks to draw from.
    """

    value: float
    low: float
    high: float

    @property
    def excludes_zero(self) -> bool:
        return self.low > 0 or self.high < 0


@dataclass(frozen=True)
class LineDifference:
    """A line to which a model and the first model give different bits."""

    file: str
    number: int
    text: str
    bits: float
    first_bits: float

    @property
    def difference(self) -> float:
        return self.bits - self.first_bits


@dataclass(frozen=True)
class ModelFigures:
    """Figures of one model on the text, and for all but the first model the difference from the first.

    Bits per char count newlines and are NaN in a closed vocabulary; words are divided by white space; the perplexity
    is that of the model's own tokens.
    """

    name: str
    unit: Unit
    sequence: SequenceKind
    tokens: int
    bits: float
    bits_per_char: float
    bits_per_word: float
    perplexity: float
    per_char: Difference | None = None
    per_word: Difference | None = None
    worse: tuple[LineDifference, ...] = ()  # the lines on which it loses most to the first model
    better: tuple[LineDifference, ...] = ()


@dataclass(frozen=True)
class Comparison:
    """Figures of models on the same text, measured against the first.

    The bootstrap drew `number` lines or blocks anew, `resamples` times.
    """

    models: tuple[ModelFigures, ...]
    files: int
    lines: int
    chars: int
    words: int
    drawn: Drawn
    number: int
    resamples: int
    seed: int


def check_comparable(models: Sequence[LineScorer]) -> None:
    """Refuse a closed vocabulary among others: its unknown words cost it too few bits.

    Raises:
        UsageError: if one of the vocabularies is closed and they differ.
    """
    first = models[0].tokenizer
    if any((model.header.closed or first.closed) and not model.tokenizer.spells_as(first) for model in models):
        raise UsageError(
            "a closed vocabulary does not score what it does not know",
            "Compare it with models of the same closed vocabulary.",
        )


class ComparisonSums:
    """Sums of the models' scores over lines and blocks, for a `Comparison`."""

    def __init__(self, names: Sequence[str], models: Sequence[LineScorer], worst: int) -> None:
        self.names, self.models = names, models
        self.drawn: Drawn = "lines" if all(model.header.sequence == "line" for model in models) else "blocks"
        self.extremes = [(_Extremes(worst), _Extremes(worst)) for _ in models]
        self.tokens = np.zeros(len(models), np.int64)
        self.files = self.lines = 0
        self.units = array("d")  # rows of: bits of each model, characters, words
        self.open = [0.0] * self._columns
        self.units_of_file = 0

    @property
    def _columns(self) -> int:
        return len(self.models) + 2

    def add(self, file: str, rows: Sequence[LineScore]) -> None:
        """Add a line, with its score by each model."""
        line, text = rows[0].line, rows[0].text
        bits = [row.bits for row in rows]
        self.lines += 1
        self.tokens += [len(row.ids) for row in rows]
        counts = (len(text) + line.is_ended, len(text.split()))
        self.open = [a + b for a, b in zip(self.open, (*bits, *counts), strict=True)]
        for (worse, better), own in zip(self.extremes, bits, strict=True):
            if own != bits[0]:
                (worse if own > bits[0] else better).add(LineDifference(file, line.number, text, own, bits[0]))
        if self.drawn == "lines" or self.open[-2] >= BLOCK_CHARS:
            self._close()

    def _close(self) -> None:
        self.units.extend(self.open)
        self.open = [0.0] * self._columns
        self.units_of_file += 1

    def end_file(self) -> None:
        """Close a file; lines too few for a block join its last block."""
        if self.open[-2] and self.units_of_file:
            for column, amount in enumerate(self.open, start=-self._columns):
                self.units[column] += amount
            self.open = [0.0] * self._columns
        elif self.open[-2]:
            self._close()
        self.units_of_file = 0
        self.files += 1

    def comparison(self, resamples: int, seed: int) -> Comparison:
        """The figures of all models, with intervals from `resamples` draws.

        Raises:
            DataError: if there was no text.
        """
        if not self.lines:
            raise DataError("there is no text to compare the models on", "Name a file with lines in it.")
        units = np.array(self.units).reshape(-1, self._columns)
        units[:, 1:-2] -= units[:, :1]
        sums = units.sum(axis=0)
        drawn = resampled(units, resamples if len(units) > 1 else 0, seed)
        chars, words = int(sums[-2]), int(sums[-1])
        figures = [self._figures(number, sums, drawn) for number in range(len(self.models))]
        counts = (self.files, self.lines, chars, words)
        return Comparison(tuple(figures), *counts, self.drawn, len(units), resamples, seed)

    def _figures(self, number: int, sums: npt.NDArray[np.float64], drawn: npt.NDArray[np.float64]) -> ModelFigures:
        """Figures of one model. Column 0 holds the first model's bits, the other columns differences from them."""
        header, tokens = self.models[number].header, int(self.tokens[number])
        bits = float(sums[0] + (sums[number] if number else 0))
        per_char = per_word = None
        if number:
            per_char = _difference(sums, drawn, number, -2) if not header.closed else None
            per_word = _difference(sums, drawn, number, -1)
        return ModelFigures(
            *(self.names[number], header.unit, header.sequence, tokens, bits),
            bits_per_char=ratio(bits, sums[-2]) if not header.closed else math.nan,
            bits_per_word=ratio(bits, sums[-1]),
            perplexity=power(ratio(bits, tokens)),
            per_char=per_char,
            per_word=per_word,
            worse=self.extremes[number][0].found,
            better=self.extremes[number][1].found,
        )


class _Extremes:
    """Keeps the lines that differ most; of equal ones, the earliest."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.added = 0
        self._heap: list[tuple[float, int, LineDifference]] = []

    def add(self, line: LineDifference) -> None:
        self.added += 1
        heapq.heappush(self._heap, (abs(line.difference), -self.added, line))
        if len(self._heap) > self.most:
            heapq.heappop(self._heap)

    @property
    def found(self) -> tuple[LineDifference, ...]:
        return tuple(line for *_, line in sorted(self._heap, reverse=True))


def resampled(units: npt.NDArray[np.float64], resamples: int, seed: int) -> npt.NDArray[np.float64]:
    """Column sums (resamples, columns) of resamples of `units`: as many rows, drawn with replacement."""
    random = np.random.default_rng(seed)
    out = np.empty((resamples, units.shape[1]))
    for row in out:
        row[:] = np.bincount(random.integers(0, len(units), len(units)), minlength=len(units)) @ units
    return out


def _difference(sums: npt.NDArray[np.float64], drawn: npt.NDArray[np.float64], number: int, amount: int) -> Difference:
    """Ratio of two columns, with its interval over the resamples whose denominator is not 0."""
    some = drawn[drawn[:, amount] > 0]
    ratios = some[:, number] / some[:, amount]
    low, high = np.quantile(ratios, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2]) if len(ratios) else (math.nan,) * 2
    return Difference(ratio(sums[number], sums[amount]), float(low), float(high))
