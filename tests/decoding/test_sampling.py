"""Each step from probabilities to a token, against exact arithmetic."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seqmodel.arrays import Probabilities
from seqmodel.decoding.sampling import draw, min_p, repeated_less, top_k, top_p, with_temperature


def row(*values: float) -> Probabilities:
    return np.array([values], np.float64)


weights = st.lists(st.integers(0, 50), min_size=1, max_size=12).filter(any)


def exact(integers: list[int]) -> tuple[Probabilities, list[Fraction]]:
    total = sum(integers)
    fractions = [Fraction(n, total) for n in integers]
    return np.array([[float(f) for f in fractions]]), fractions


# Temperature


def test_temperature_is_a_power() -> None:
    logs = np.log(row(0.8, 0.2))
    np.testing.assert_allclose(with_temperature(logs, 1), [[0.8, 0.2]])
    np.testing.assert_allclose(with_temperature(logs, 0.5), [[16 / 17, 1 / 17]])
    np.testing.assert_allclose(with_temperature(logs, 2), [[2 / 3, 1 / 3]])
    assert with_temperature(logs, 0).tolist() == [[1, 0]]


@pytest.mark.filterwarnings("error")
def test_the_lowest_temperatures_are_as_zero() -> None:
    assert with_temperature(np.array([[-1.0, -np.inf, -2.0]]), 1e-310).tolist() == [[1, 0, 0]]


def test_temperature_zero_takes_the_first_of_the_most_probable() -> None:
    with np.errstate(divide="ignore"):
        logs = np.log(np.array([[0.1, 0.45, 0.45], [0, 0, 1], [0.5, 0.5, 0]]))
    assert with_temperature(logs, 0).tolist() == [[0, 1, 0], [0, 0, 1], [1, 0, 0]]


def test_what_is_impossible_stays_so_at_any_temperature() -> None:
    logs = np.array([[-np.inf, -3.0, -1e4, -np.inf]], np.float32)
    for temperature in (0, 1e-300, 1e-3, 1, 100):
        p = with_temperature(logs, temperature)
        assert np.isfinite(p).all()
        assert p.sum() == pytest.approx(1)
        assert p[0, 0] == p[0, 3] == 0


def test_a_small_temperature_approaches_the_greedy_choice_without_overflow() -> None:
    logs = np.log(row(0.2, 0.5, 0.3)).astype(np.float32)
    for temperature in (1e-2, 1e-10, 1e-300):
        np.testing.assert_allclose(with_temperature(logs, temperature), [[0, 1, 0]], atol=1e-12)


# Top-k


def test_top_k_keeps_the_most_probable() -> None:
    p = row(0.1, 0.4, 0.2, 0.3)
    np.testing.assert_allclose(top_k(p, 1), [[0, 1, 0, 0]])
    np.testing.assert_allclose(top_k(p, 2), [[0, 4 / 7, 0, 3 / 7]])
    np.testing.assert_allclose(top_k(p, 3), [[0, 4 / 9, 2 / 9, 3 / 9]])


@pytest.mark.parametrize("k", [4, 5, 1000])
def test_a_k_of_the_whole_vocabulary_or_more_changes_nothing(k: int) -> None:
    p = row(0.1, 0.4, 0.2, 0.3)
    np.testing.assert_array_equal(top_k(p, k), p)


def test_top_k_keeps_ties_at_the_edge() -> None:
    np.testing.assert_allclose(top_k(row(0.25, 0.25, 0.4, 0.1), 2), [[0.25 / 0.9, 0.25 / 0.9, 0.4 / 0.9, 0]])
    np.testing.assert_allclose(top_k(row(0.25, 0.25, 0.25, 0.25), 1), [[0.25] * 4])


def test_top_k_never_gives_what_is_impossible() -> None:
    np.testing.assert_allclose(top_k(row(0, 1, 0, 0), 3), [[0, 1, 0, 0]])


@given(weights, st.integers(1, 14))
@settings(max_examples=100, deadline=None)
def test_top_k_is_the_exact_rule(integers: list[int], k: int) -> None:
    p, fractions = exact(integers)
    edge = sorted(fractions, reverse=True)[min(k, len(fractions)) - 1]
    kept = [f if f >= edge else Fraction(0) for f in fractions]
    np.testing.assert_allclose(top_k(p, k)[0], [float(f / sum(kept)) for f in kept], atol=1e-12)


# Top-p


def test_top_p_keeps_the_fewest_whose_mass_reaches_p() -> None:
    p = row(0.2, 0.5, 0.3)
    np.testing.assert_allclose(top_p(p, 0.7), [[0, 0.625, 0.375]])
    np.testing.assert_allclose(top_p(p, 0.5), [[0, 1, 0]])
    np.testing.assert_allclose(top_p(p, 0.51), [[0, 0.625, 0.375]])
    np.testing.assert_allclose(top_p(p, 0.81), p)
    np.testing.assert_allclose(top_p(p, 1e-9), [[0, 1, 0]])


def test_of_equals_top_p_keeps_the_first() -> None:
    np.testing.assert_allclose(top_p(row(0.25, 0.25, 0.25, 0.25), 0.5), [[0.5, 0.5, 0, 0]])


@pytest.mark.parametrize("values", [(0.2, 0.5, 0.3), (0.1,) * 10, (0, 1, 0), (0, 0.5, 0.5, 0), (1 / 3,) * 3, (1,)])
def test_a_p_of_one_keeps_all(values: tuple[float, ...]) -> None:
    np.testing.assert_allclose(top_p(row(*values), 1.0), row(*values), atol=1e-15)


@given(weights, st.integers(1, 99))
@settings(max_examples=100, deadline=None)
def test_top_p_is_the_exact_rule(integers: list[int], percent: int) -> None:
    p, fractions = exact(integers)
    wanted = Fraction(percent, 100) + Fraction(1, 100_003)  # never exactly met, so that rounding does not decide
    order = sorted(range(len(fractions)), key=lambda i: (-fractions[i], i))
    kept, mass = [Fraction(0)] * len(fractions), Fraction(0)
    for i in order:
        if mass < wanted:
            kept[i] = fractions[i]
            mass += fractions[i]
    np.testing.assert_allclose(top_p(p, float(wanted))[0], [float(f / sum(kept)) for f in kept], atol=1e-12)


@given(weights, st.integers(1, 99))
@settings(max_examples=100, deadline=None)
def test_min_p_is_the_exact_rule(integers: list[int], percent: int) -> None:
    p, fractions = exact(integers)
    share = Fraction(percent, 100) + Fraction(1, 100_003)
    kept = [f if f >= share * max(fractions) else Fraction(0) for f in fractions]
    np.testing.assert_allclose(min_p(p, float(share))[0], [float(f / sum(kept)) for f in kept], atol=1e-12)


def test_a_min_p_of_one_keeps_the_most_probable_and_its_ties() -> None:
    assert min_p(row(0.4, 0.4, 0.2), 1).tolist() == [[0.5, 0.5, 0]]


def test_what_was_seen_comes_less_by_a_power() -> None:
    logs = np.log(row(0.5, 0.25, 0.25))
    p = with_temperature(repeated_less(logs, np.array([[True, False, True]]), 2), 1)
    np.testing.assert_allclose(p, np.array([[0.25, 0.25, 0.0625]]) / 0.5625)
    np.testing.assert_array_equal(repeated_less(logs, np.array([[True, True, True]]), 1), logs)


def test_rows_do_not_mix() -> None:
    p = np.array([[0.5, 0.3, 0.2], [0.1, 0.1, 0.8], [0.2, 0.6, 0.2]])
    for i in range(3):
        np.testing.assert_array_equal(top_k(p, 2)[i], top_k(p[i : i + 1], 2)[0])
        np.testing.assert_array_equal(top_p(p, 0.6)[i], top_p(p[i : i + 1], 0.6)[0])


def test_the_arguments_are_left_alone() -> None:
    p = row(0.2, 0.5, 0.3)
    before = p.copy()
    for result in (top_k(p, 1), top_p(p, 0.1), with_temperature(np.log(p), 0.1), draw(p, np.array([0.5]))):
        assert result is not None
    np.testing.assert_array_equal(p, before)


# Draw


def test_a_draw_inverts_the_cumulative_distribution() -> None:
    p = np.repeat(row(0.25, 0.5, 0.25), 6, axis=0)
    assert draw(p, np.array([0.0, 0.2499, 0.25, 0.7499, 0.75, 0.999999])).tolist() == [0, 0, 1, 1, 2, 2]


def test_a_draw_never_gives_what_is_impossible() -> None:
    top = np.nextafter(1.0, 0.0)
    p = row(0, 0.3, 0, 0, 0.7, 0, 0)
    for uniform in (0.0, 0.1, 0.3, np.nextafter(0.3, 0), np.nextafter(0.3, 1), 0.5, top):
        assert draw(p, np.array([uniform]))[0] in (1, 4)
    tiny = row(0, 1e-300, 0, 1e-305, 0)
    for uniform in (0.0, 0.5, top):
        assert draw(tiny, np.array([uniform]))[0] in (1, 3)


@given(weights, st.integers(0, (1 << 53) - 1))
@settings(max_examples=200, deadline=None)
def test_a_draw_is_the_exact_rule(integers: list[int], bits: int) -> None:
    uniform = bits / (1 << 53)
    p, fractions = exact(integers)
    token = int(draw(p, np.array([uniform]))[0])
    below, above = sum(fractions[:token]), sum(fractions[: token + 1])
    assert fractions[token] > 0
    assert float(below) - 1e-12 <= uniform <= float(above) + 1e-12


def test_frequencies_are_those_of_the_distribution() -> None:
    expected = np.array([0.5, 0.25, 0.125, 0.1, 0.025, 0])
    number = 40_000
    uniforms = np.random.Generator(np.random.Philox(key=7)).random(number)
    found = np.bincount(draw(np.repeat(expected[None], number, axis=0), uniforms), minlength=6)
    assert found[5] == 0
    chi_square = float(((found[:5] - number * expected[:5]) ** 2 / (number * expected[:5])).sum())
    assert chi_square < 18.47  # 4 degrees of freedom, one in a thousand
