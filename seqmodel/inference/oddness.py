"""How odd a line is: where it stands among held-out lines of like length, and which span of it surprises most.

Bits per char fall with length (the end symbol is shared by more characters, and there is more context), so that a
line is ranked among lines that are about as long as it. Where a closed vocabulary has lost the characters of unknown
words, length is counted in tokens, and bits are per token.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from seqmodel.inference.line_scores import LineScore
from seqmodel.model.bundle import HeldOutLines, LengthBin
from seqmodel.tokens.tokenizer import END, Tokenizer

PERCENTS = (0.0, 1.0, 2.0, 5.0, *(float(ten) for ten in range(10, 100, 10)), 95.0, 98.0, 99.0, 100.0)
LEAST_LINES = 50  # of a bin
MOST_BINS = 10
DIGITS = 5  # after the point, of what is kept and compared

Numbers = npt.NDArray[Any]


def rates_by_length(bits: Numbers, lengths: Numbers) -> HeldOutLines:
    """The distribution of bits per char (or token) of lines, by their length; `bits` (lines,), `lengths` (lines,) > 0.

    A bin has about a tenth of the lines, at least fifty, and lines of one length share a bin. With fewer than fifty
    lines there are no bins.
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
    """The tokens whose probability `rated` wants, `Wanted.line_ends`: none where white space is a character like
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
    """What a line's length is counted as; 0 for one without text, or that belongs to no sequence."""
    if closed:
        return len(row.ids) if row.text.strip() else 0
    return len(row.text) if len(row.ids) else 0


def percentile(lines: HeldOutLines, bits: float, length: int) -> float:
    """How many of a hundred held-out lines of like length have fewer bits per char (or token): 0 to 100 in tenths,
    interpolated between the quantiles kept, in the middle of those that are equal. NaN where the length is 0."""
    if not length:
        return float("nan")
    at = bisect_left(lines.bins, length, key=lambda one: one.upto)
    quantiles = lines.bins[min(at, len(lines.bins) - 1)].quantiles
    return round(_rank(round(bits / length, DIGITS), quantiles, lines.percents), 1)


def _rank(value: float, quantiles: Sequence[float], percents: Sequence[float]) -> float:
    """The percentage that a value stands at."""
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
    """The most surprising span of a line: the run of tokens whose surprisal exceeds that of as many average tokens by
    most, Σ (bits − mean), the maximum-sum segment (Bentley 1984). `mean` is bits per token of held-out text.

    It knows no words, so that it serves scripts without blanks and logs too: it goes on as long as what follows
    makes good for the tokens between. Where no token exceeds the mean it is the one that comes nearest. The
    symbol (or newline) that ends the line takes part: a span that is empty at the line's end says that the end
    itself surprises. None for a line without characters or tokens.
    """
    if not (row.text and len(row.ids)):
        return None
    first, last = heaviest_run(row.scores.bits - mean)
    spans = row.spans(tokenizer)
    return Span(int(spans[first, 0]), int(spans[last - 1, 1]), float(row.scores.bits[first:last].sum()))


def heaviest_run(values: Numbers) -> tuple[int, int]:
    """The bounds (first, last) of the run with the greatest sum, never empty; the first to end, the shortest of those.

    Example: [-1, 2, -1, 3, -5, 1] -> (1, 4), whose sum is 4.
    """
    sums = np.concatenate([[0.0], np.cumsum(values, dtype=np.float64)])
    lowest = np.minimum.accumulate(sums[:-1])
    last = int(np.argmax(sums[1:] - lowest)) + 1
    first = int(np.flatnonzero(sums[:last] == lowest[last - 1])[-1])
    return first, last
