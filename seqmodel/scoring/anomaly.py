"""Anomaly scores of lines: the percentile among held-out lines of like length, and the most surprising span.

Bits per char fall with length (the end symbol is shared by more characters, and there is more context), so a line
is ranked among lines of about its own length. A closed vocabulary loses the characters of unknown words: there,
length is counted in tokens and bits are per token.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from seqmodel.model.bundle import HeldOutLines, LengthBin
from seqmodel.scoring.lines import LineScore
from seqmodel.tokens.tokenizer import END, Tokenizer

PERCENTS = (0.0, 1.0, 2.0, 5.0, *(float(ten) for ten in range(10, 100, 10)), 95.0, 98.0, 99.0, 100.0)
LEAST_LINES = 50  # in a bin
MOST_BINS = 10
DIGITS = 5  # decimals to which rates are kept and compared

Numbers = npt.NDArray[Any]


def rates_by_length(bits: Numbers, lengths: Numbers) -> HeldOutLines:
    """Quantiles of bits per char (or token), by length of line; `bits` (lines,), `lengths` (lines,) > 0.

    A bin holds about a tenth of the lines and at least fifty; lines of one length share a bin. Fewer than fifty lines
    give no bins.
    """
    order = np.argsort(lengths, kind="stable")
    lengths = lengths[order]
    rates = bits[order] / lengths
    bins = [
        LengthBin(
            upto=int(lengths[end - 1]),
            lines=end - begin,
            quantiles=tuple(np.percentile(rates[begin:end], PERCENTS).round(DIGITS).tolist()),
        )
        for begin, end in _bins(lengths)
    ]
    return HeldOutLines(percents=PERCENTS, bins=tuple(bins))


def _bins(lengths: Numbers) -> list[tuple[int, int]]:
    """Bounds (begin, end) of the bins of sorted lengths."""
    many = len(lengths)
    least = max(LEAST_LINES, -(-many // MOST_BINS))
    found: list[tuple[int, int]] = []
    begin = 0
    while many - begin >= LEAST_LINES:
        last = min(begin + least, many) - 1
        end = int(np.searchsorted(lengths, lengths[last], side="right"))
        if many - end < LEAST_LINES:
            end = many
        found.append((begin, end))
        begin = end
    return found


def line_ends(tokenizer: Tokenizer) -> tuple[int, ...]:
    """The tokens whose probability `rated` wants, `ScoreFields.line_ends`: none where white space is a character like
    another, or is dropped."""
    if not tokenizer.has_virtual_blanks or tokenizer.closed:
        return ()
    return (END, *tokenizer.newline_ids)


def rated(row: LineScore, tokenizer: Tokenizer) -> tuple[float, int]:
    """The bits and the length that a line is ranked by. White space at its end makes a line of words no odder: they are
    those of the line without it, where these have the lower rate."""
    bits, length = row.bits, length_of(row, tokenizer.closed)
    body = len(row.text.rstrip())
    line_end = row.scores.line_end
    if line_end is None or not 0 < body < length:
        return bits, length
    last = int(np.searchsorted(row.spans(tokenizer)[:, 0], body))  # the first token of the white space
    without = float(row.scores.bits[:last].sum() + line_end[last])
    return (without, body) if without / body < bits / length else (bits, length)


def length_of(row: LineScore, closed: bool) -> int:
    """Length of a line: its characters, or tokens if the vocabulary is `closed`; 0 without text or tokens."""
    if closed:
        return len(row.ids) if row.text.strip() else 0
    return len(row.text) if len(row.ids) else 0


def percentile(lines: HeldOutLines, bits: float, length: int) -> float:
    """Percentage of held-out lines of like length with fewer bits per char (or token), 0 to 100 in tenths.

    Interpolates between the quantiles kept; among equal quantiles, their middle. NaN if the length is 0.
    """
    if not length:
        return float("nan")
    at = bisect_left(lines.bins, length, key=lambda one: one.upto)
    quantiles = lines.bins[min(at, len(lines.bins) - 1)].quantiles
    return round(_rank(round(bits / length, DIGITS), quantiles, lines.percents), 1)


def _rank(value: float, quantiles: Sequence[float], percents: Sequence[float]) -> float:
    """Percentage at which a value lies among rising quantiles."""
    low, high = bisect_left(quantiles, value), bisect_right(quantiles, value)
    if low < high:  # quantiles that are equal to it
        return (percents[low] + percents[high - 1]) / 2
    if low in (0, len(quantiles)):
        return percents[0] if low == 0 else percents[-1]
    share = (value - quantiles[low - 1]) / (quantiles[low] - quantiles[low - 1])
    return percents[low - 1] + share * (percents[low] - percents[low - 1])


@dataclass(frozen=True)
class Span:
    """A part of a line: its characters (start, end) and bits."""

    start: int
    end: int
    bits: float


def worst_span(row: LineScore, tokenizer: Tokenizer, mean: float) -> Span | None:
    """The most surprising span of a line: the run of tokens with the greatest Σ (bits − mean).

    This is the maximum-sum segment (Bentley 1984); `mean` is bits per token of held-out text. It does not depend on
    words, so it also serves logs and scripts without blanks. If no token exceeds the mean, the span is the token that
    comes nearest. The symbol (or newline) that ends the line takes part: an empty span at the line's end means that
    the end itself is surprising. None for a line without characters or tokens.
    """
    if not (row.text and len(row.ids)):
        return None
    first, last = heaviest_run(row.scores.bits - mean)
    spans = row.spans(tokenizer)
    return Span(int(spans[first, 0]), int(spans[last - 1, 1]), float(row.scores.bits[first:last].sum()))


def heaviest_run(values: Numbers) -> tuple[int, int]:
    """Bounds (first, last) of the non-empty run with the greatest sum; of equal ones, the first to end, the shortest.

    Example: [-1, 2, -1, 3, -5, 1] -> (1, 4), whose sum is 4.
    """
    sums = np.concatenate([[0.0], np.cumsum(values, dtype=np.float64)])
    lowest = np.minimum.accumulate(sums[:-1])
    last = int(np.argmax(sums[1:] - lowest)) + 1
    first = int(np.flatnonzero(sums[:last] == lowest[last - 1])[-1])
    return first, last
