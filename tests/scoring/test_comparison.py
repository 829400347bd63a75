"""Differences between models, their intervals, and the lines on which they differ most."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seqmodel.errors import DataError
from seqmodel.scoring.comparison import BLOCK_CHARS, Comparison, ComparisonSums, resampled
from seqmodel.scoring.lines import LineScore
from seqmodel.scoring.tokens import TokenScores
from seqmodel.text.corpus import Line

bits_of_lines = st.lists(st.tuples(st.floats(0, 100), st.floats(0, 100)), min_size=1, max_size=30)


def model(sequence: str = "line", closed: bool = False) -> Any:
    return SimpleNamespace(header=SimpleNamespace(sequence=sequence, unit="char", closed=closed))


def row(number: int, text: str, bits: float) -> LineScore:
    """A line of one token."""
    return LineScore(Line(number, text, True), text, np.array([9]), TokenScores(np.array([bits])))


def compared(bits: Any, texts: Any = None, *, kind: str = "line", seed: int = 0, **more: Any) -> Comparison:
    """A comparison of two models by their bits of the lines of one file."""
    sums = ComparisonSums(["a", "b"], [model(), model(kind)], more.pop("worst", 3))
    for number, each in enumerate(bits, start=1):
        text = "x x" if texts is None else texts[number - 1]
        sums.add("f", [row(number, text, float(own)) for own in each])
    sums.end_file()
    return sums.comparison(more.pop("resamples", 200), seed)


def test_figures_are_those_computed_by_hand() -> None:
    found = compared([(8.0, 6.0), (4.0, 7.0), (4.0, 11.0)], ["a cat", "it", ""])
    assert (found.files, found.lines, found.chars, found.words, found.drawn, found.number) == (1, 3, 10, 3, "lines", 3)
    a, b = found.models
    assert (a.bits, a.bits_per_char, a.tokens) == (16, 1.6, 3)
    assert (b.bits, b.bits_per_char, b.bits_per_word, b.perplexity) == (24, 2.4, 8, 2**8)
    assert a.per_char is None and a.per_word is None and b.per_char is not None and b.per_word is not None
    assert [b.per_char.value, b.per_word.value] == pytest.approx([0.8, 8 / 3])
    assert [(line.number, line.difference) for line in b.worse] == [(3, 7), (2, 3)]
    assert [(line.file, line.text, line.bits, line.first_bits) for line in b.better] == [("f", "a cat", 6, 8)]


def test_a_model_beside_itself_differs_by_nothing_at_all() -> None:
    random = np.random.default_rng(1)
    b = compared([(bits, bits) for bits in random.normal(30, 9, 50)]).models[1]
    assert b.per_char is not None and b.per_word is not None
    for difference in (b.per_char, b.per_word):
        assert (difference.value, difference.low, difference.high) == (0, 0, 0)
        assert not difference.excludes_zero
    assert b.worse == b.better == ()


def test_a_seed_makes_the_interval() -> None:
    random = np.random.default_rng(2)
    bits = random.normal(30, 9, (40, 2))
    one, again, another = (compared(bits, seed=seed).models[1] for seed in (3, 3, 4))
    assert one == again
    assert one.per_char is not None and another.per_char is not None
    assert one.per_char.value == another.per_char.value and one.per_char.low != another.per_char.low


def test_the_interval_covers_a_known_difference_as_often_as_it_says() -> None:
    random = np.random.default_rng(4)
    covered = 0
    for _ in range(200):
        first = random.gamma(4, 5, 60)
        bits = np.stack([first, first + random.normal(1.2, 4, 60)], axis=1)  # 0.3 bits per char above the first
        difference = compared(bits, resamples=200).models[1].per_char
        assert difference is not None and difference.low <= difference.value <= difference.high
        covered += difference.low <= 0.3 <= difference.high
    assert 0.89 <= covered / 200 <= 0.99


@pytest.mark.parametrize(("shift", "excludes"), [(3.0, True), (-3.0, True), (0.0, False)])
def test_an_interval_excludes_zero_where_the_difference_is_clear(shift: float, excludes: bool) -> None:
    noise = np.tile([-1.0, 1.0], 30)
    difference = compared(np.stack([np.full(60, 20.0), 20 + shift + noise], axis=1)).models[1].per_char
    assert difference is not None and difference.excludes_zero == excludes
    assert np.sign(difference.value) == np.sign(shift)


def test_one_line_alone_has_a_difference_but_no_interval() -> None:
    difference = compared([(3.0, 5.0)]).models[1].per_char
    assert difference is not None and difference.value == 0.5
    assert np.isnan([difference.low, difference.high]).all() and not difference.excludes_zero


def test_lines_without_words_have_no_bits_per_word() -> None:
    b = compared([(3.0, 5.0), (1.0, 2.0)], ["", " "]).models[1]
    assert np.isnan(b.bits_per_word) and b.per_word is not None and np.isnan([b.per_word.value, b.per_word.low]).all()


def test_a_closed_vocabulary_has_no_bits_per_char() -> None:
    sums = ComparisonSums(["a", "b"], [model(closed=True)] * 2, 1)
    sums.add("f", [row(1, "cat", 2.0), row(1, "cat", 3.0)])
    b = sums.comparison(10, 0).models[1]
    assert np.isnan(b.bits_per_char) and b.per_char is None
    assert b.per_word is not None and b.per_word.value == 1


def test_nothing_cannot_be_compared() -> None:
    with pytest.raises(DataError):
        compared([])


# Blocks


@given(st.lists(st.lists(st.integers(0, 900), max_size=12), max_size=4).filter(lambda files: any(files)))
@settings(deadline=None)
def test_lines_that_depend_on_each_other_are_drawn_in_blocks_of_one_file(files: list[list[int]]) -> None:
    sums = ComparisonSums(["a", "b"], [model(), model("stream")], 0)
    ends = [0]
    for lengths in files:
        for number, length in enumerate(lengths, start=1):
            sums.add("f", [row(number, "x" * length, bits) for bits in (1.0, 3.0)])
        sums.end_file()
        chars = sum(lengths) + len(lengths)
        ends += [ends[-1] + chars] if chars else []
    units = np.array(sums.units).reshape(-1, 4)
    assert set(ends[1:]) <= set(np.cumsum(units[:, 2]).tolist())  # no block reaches over a file's end
    small = [chars for chars in units[:, 2] if chars < BLOCK_CHARS]
    assert len(small) <= sum(sum(lengths) + len(lengths) < BLOCK_CHARS for lengths in files)
    lines = sum(map(len, files))
    assert units[:, :2].sum(axis=0).tolist() == [lines, 3 * lines]
    found = sums.comparison(10, 0)
    assert (found.drawn, found.number, found.chars) == ("blocks", len(units), ends[-1])
    assert found.models[1].bits == pytest.approx(3 * lines)


def test_draws_are_sums_of_as_many_rows_with_replacement() -> None:
    rows: npt.NDArray[np.float64] = np.array([[1.0, 1.0], [10.0, 1.0], [100.0, 1.0]])
    drawn = resampled(rows, 500, 7)
    assert (drawn[:, 1] == 3).all()
    digits = np.array([[int(total) // 10**place % 10 for place in range(3)] for total in drawn[:, 0]])
    assert (digits.sum(axis=1) == 3).all()
    assert digits.max() == 3 and np.abs(digits.mean(axis=0) - 1).max() < 0.15


# Lines


@given(bits_of_lines, st.integers(0, 6))
@settings(deadline=None, max_examples=60)
def test_the_lines_shown_are_those_that_differ_most_each_way(bits: list[tuple[float, float]], worst: int) -> None:
    b = compared(bits, worst=worst, resamples=1).models[1]
    differences = [(own - first, -number) for number, (first, own) in enumerate(bits, start=1)]
    for found, sign in ((b.worse, 1), (b.better, -1)):
        expected = sorted(((sign * d, n) for d, n in differences if sign * d > 0), reverse=True)[:worst]
        assert [(sign * line.difference, -line.number) for line in found] == expected
