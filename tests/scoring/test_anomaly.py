"""The rank of a line among others against numpy's percentiles, and its worst span against trying all of them."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seqmodel.choices import Unit
from seqmodel.model.bundle import HeldOutLines, LengthBin
from seqmodel.scoring.anomaly import (
    LEAST_LINES,
    MOST_BINS,
    PERCENTS,
    heaviest_run,
    length_of,
    percentile,
    rates_by_length,
    worst_span,
)
from seqmodel.scoring.lines import LineContext, LineScore, score_lines
from seqmodel.settings import TokenizerSettings
from seqmodel.text.corpus import Line
from seqmodel.tokens.fitting import fit
from seqmodel.tokens.tokenizer import END, START, Tokenizer
from tests.scoring.test_tokens import Table

# The distribution


@given(st.lists(st.integers(1, 40), max_size=400))
@settings(deadline=None)
def test_bins_hold_enough_lines_and_lines_of_one_length_share_one(lengths: list[int]) -> None:
    bins = rates_by_length(np.ones(len(lengths)), np.array(lengths, np.int64)).bins
    assert bool(bins) == (len(lengths) >= LEAST_LINES)
    assert len(bins) <= MOST_BINS
    edges = [0, *(one.upto for one in bins)]
    assert edges == sorted(set(edges))
    for one, (above, upto) in zip(bins, pairwise(edges), strict=True):
        assert one.lines == sum(above < length <= upto for length in lengths) >= LEAST_LINES
    assert sum(one.lines for one in bins) == len(lengths) * bool(bins)


def test_of_many_lines_a_bin_has_a_tenth() -> None:
    lengths = np.random.default_rng(1).permutation(1000) + 1
    assert [(one.upto, one.lines) for one in rates_by_length(np.ones(1000), lengths).bins] == [
        (edge, 100) for edge in range(100, 1001, 100)
    ]


def test_quantiles_are_those_of_numpy_of_each_bins_lines() -> None:
    random = np.random.default_rng(2)
    lengths, bits = random.integers(1, 60, 700), random.gamma(20, 2, 700)
    above = 0
    for one in rates_by_length(bits, lengths).bins:
        rates = (bits / lengths)[(lengths > above) & (lengths <= one.upto)]
        assert one.quantiles == pytest.approx(np.percentile(rates, PERCENTS), abs=1e-5)
        above = one.upto


def lines_of(*quantiles: float, percents: tuple[float, ...] = (0.0, 50.0, 100.0), upto: int = 10) -> HeldOutLines:
    return HeldOutLines(percents=percents, bins=(LengthBin(upto=upto, lines=99, quantiles=quantiles),))


def test_a_percentile_is_interpolated_and_ends_at_the_ends() -> None:
    lines = lines_of(1.0, 2.0, 4.0)
    found = [percentile(lines, rate * 10, 10) for rate in (0.5, 1, 1.25, 2, 3, 4, 99)]
    assert found == [0, 0, 12.5, 50, 75, 100, 100]


def test_a_value_that_many_lines_have_stands_in_their_middle() -> None:
    percents = (0.0, 10.0, 50.0, 90.0, 100.0)
    assert percentile(lines_of(1.0, 2.0, 2.0, 2.0, 3.0, percents=percents), 20.0, 10) == 50
    assert percentile(lines_of(1.0, 1.0, 1.0, 1.0, 1.0, percents=percents), 10.0, 10) == 50
    assert percentile(lines_of(1.0, 1.0, 2.0, 3.0, 4.0, percents=percents), 10.0, 10) == 5


@given(st.lists(st.floats(0.01, 20), min_size=50, max_size=120, unique=True), st.floats(0, 25))
@settings(deadline=None)
def test_a_percentile_is_the_share_of_lines_below(rates: list[float], value: float) -> None:
    """Up to what lies between two of the quantiles kept."""
    found = percentile(rates_by_length(np.array(rates), np.ones(len(rates), np.int64)), value, 1)
    share = 100 * sum(rate < value for rate in rates) / len(rates)
    assert found == round(found, 1)
    below, above = max(p for p in PERCENTS if p <= found), min(p for p in PERCENTS if p >= found)
    slack = 100 / len(rates) + 0.1
    assert below - slack <= share <= above + slack


def test_lines_are_ranked_among_those_of_their_length() -> None:
    short, long = (LengthBin(upto=upto, lines=99, quantiles=(rate, rate + 1)) for upto, rate in ((5, 4.0), (20, 1.0)))
    lines = HeldOutLines(percents=(0.0, 100.0), bins=(short, long))
    assert [percentile(lines, 4.5 * length, length) for length in (1, 5, 6, 20, 1000)] == [50, 50, 100, 100, 100]
    assert percentile(lines, 1.5 * 1000, 1000) == 50
    assert math.isnan(percentile(lines, 3.0, 0))


# The worst span


@given(st.lists(st.integers(-9, 9), min_size=1, max_size=30))
def test_the_heaviest_run_is_the_best_of_all(values: list[int]) -> None:
    bounds = [(a, b) for b in range(1, len(values) + 1) for a in reversed(range(b))]
    assert heaviest_run(np.array(values)) == max(bounds, key=lambda bound: sum(values[slice(*bound)]))


SURPRISING, EXPECTED = 2.0**-9, 0.5


def scored(text: str, unit: Unit, surprising: str, *, end: float = EXPECTED) -> tuple[LineScore, Tokenizer]:
    """A line by a model that gives certain characters, and the end, a probability of their own."""
    tokenizer = fit(["anna boil cat dog é ✓\n" * 9], TokenizerSettings(unit=unit))
    own = {token for char in surprising for token in tokenizer.encode("a" + char).tolist()[1:]}
    p = np.full((tokenizer.size, tokenizer.size), EXPECTED)  # what matters here is each token's, not their sum
    p[:, sorted(own)] = SURPRISING
    p[:, END] = end
    p[:, START] = 0
    ((row,),) = score_lines(Table(p), tokenizer, LineContext("line"), [[Line(1, text, True)]])
    return row, tokenizer


def worst(row: LineScore, tokenizer: Tokenizer, mean: float) -> tuple[int, int, float]:
    found = worst_span(row, tokenizer, mean)
    assert found is not None
    return found.start, found.end, round(found.bits, 4)


@pytest.mark.parametrize("unit", ["char", "byte"])
def test_the_worst_span_is_where_the_surprise_is(unit: Unit) -> None:
    row, tokenizer = scored("anna did 69 boil", unit, "69")
    assert worst(row, tokenizer, 2.0) == (9, 11, 18.0)
    row, tokenizer = scored("9 anna 9a9 boil", unit, "69")
    assert worst(row, tokenizer, 2.0) == (0, 10, 3 * 9 + 7)  # what lies between costs less
    assert worst(row, tokenizer, 5.0) == (7, 10, 2 * 9 + 1)


def test_a_character_spelled_in_bytes_is_one_and_counts_whole() -> None:
    row, tokenizer = scored("boil 🐟 anna", "char", "🐟")
    assert worst(row, tokenizer, 2.0) == (5, 6, 36.0)


def test_an_end_that_surprises_is_an_empty_span_at_the_end() -> None:
    row, tokenizer = scored("anna", "char", "", end=SURPRISING)
    assert worst(row, tokenizer, 2.0) == (4, 4, 9.0)


def test_without_surprises_the_nearest_token_is_told() -> None:
    row, tokenizer = scored("anna bail", "char", "", end=0.9)
    start, end, bits = worst(row, tokenizer, 2.0)
    assert (end - start, bits) == (1, 1)


def test_an_empty_line_has_no_worst_span_and_no_length() -> None:
    row, tokenizer = scored("", "char", "")
    assert worst_span(row, tokenizer, 2.0) is None
    assert length_of(row, closed=False) == length_of(row, closed=True) == 0


def test_length_is_in_characters_or_where_these_are_lost_in_tokens() -> None:
    row, _ = scored("anna é", "byte", "")
    assert length_of(row, closed=False) == 6
    assert length_of(row, closed=True) == len(row.ids) == 8
