"""Totals of scored lines against sums and powers worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from seqmodel.scoring.lines import LineScore
from seqmodel.scoring.tokens import TokenScores
from seqmodel.scoring.totals import CorpusTotals
from seqmodel.text.corpus import Line
from seqmodel.tokens.tokenizer import END, UNKNOWN


def scored(line: Line, ids: list[int], bits: list[float], inside: bool = False) -> LineScore:
    return LineScore(line, line.body, np.array(ids), TokenScores(np.array(bits)), inside=inside)


def test_a_line_counts_its_line_end_once_with_or_without_a_carriage_return() -> None:
    totals = CorpusTotals()
    totals.add(scored(Line(1, "né be\r", True), [7, 8, END], [1.0, 2.0, 3.0]), ends=True)
    totals.add(scored(Line(2, "x", False), [9], [2.0]), ends=False)
    assert totals == CorpusTotals(sequences=1, tokens=4, words=3, chars=7, bytes=8, bits=8.0, lines=2)


def test_a_line_in_parts_is_one_line_and_a_word_cut_in_two_is_one_word() -> None:
    totals = CorpusTotals()
    totals.add(scored(Line(1, "one tw", False, open=True), [7], [1.0]), ends=False)
    totals.add(scored(Line(1, "o three", True), [8, END], [1.0, 2.0], inside=True), ends=True)
    assert (totals.lines, totals.words, totals.chars) == (1, 3, len("one two three\n"))


def test_unknown_words_are_counted_apart() -> None:
    totals = CorpusTotals()
    totals.add(scored(Line(1, "a b", True), [7, UNKNOWN, END], [1.0, 10.0, 3.0]), ends=True)
    assert (totals.unknown, totals.unknown_bits) == (1, 10.0)
    assert totals.known_perplexity == 4.0  # 2^((1 + 3) / 2)


def test_rates_are_means_and_perplexities_powers_of_the_mean_bits() -> None:
    totals = CorpusTotals(sequences=2, tokens=8, words=4, chars=16, bytes=20, bits=24.0, lines=2)
    assert (totals.bits_per_char, totals.bits_per_byte) == (1.5, 1.2)
    assert (totals.perplexity, totals.word_perplexity) == (8.0, 64.0)


def test_the_rates_of_nothing_are_undefined() -> None:
    nothing = CorpusTotals()
    rates = (nothing.bits_per_char, nothing.bits_per_byte, nothing.perplexity, nothing.word_perplexity)
    assert all(map(math.isnan, (*rates, nothing.known_perplexity)))


def test_totals_of_two_files_add_up() -> None:
    first = CorpusTotals(sequences=1, tokens=2, words=3, chars=4, bytes=5, bits=6.0, lines=7)
    first.include(CorpusTotals(sequences=10, tokens=20, words=30, chars=40, bytes=50, bits=60.0, lines=70, unknown=2))
    assert first == CorpusTotals(11, 22, 33, 44, 55, 66.0, 77, unknown=2)


@pytest.mark.parametrize(
    ("closed", "told"),
    [
        (
            False,
            "2 lines, 8 tokens, 16.64 nats, 1.0397 nats per char, perplexity 8.000 per token, 64.00 per word (all)",
        ),
        (
            True,
            "2 lines, 8 tokens, 16.64 nats, perplexity 8.000 per token, 4.000 without the 2 unknown, 64.00 per word "
            "(all)",
        ),
    ],
)
def test_the_summary_is_one_line(closed: bool, told: str) -> None:
    totals = CorpusTotals(2, 8, 4, 16, 20, 24.0, 2, unknown=2, unknown_bits=12.0)
    assert totals.summary("e", closed, "all") == told
