"""Weights fitted to the word error rate: exact steps along one weight, never more errors than before."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seqmodel.errors import DataError, UsageError
from seqmodel.scoring.error_rate_tuning import JudgedLists, error_steps, tuned, word_errors
from seqmodel.scoring.rescoring import Combination


def edit_distance(a: list[str], b: list[str]) -> int:
    row = list(range(len(b) + 1))
    for i, one in enumerate(a, start=1):
        before, row[0] = row[0], i
        for j, other in enumerate(b, start=1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (one != other))
    return row[-1]


some_words = st.lists(st.sampled_from("abc"), max_size=6)


@given(st.lists(st.tuples(some_words, some_words), max_size=8))
def test_errors_are_word_edit_distances(pairs: list[tuple[list[str], list[str]]]) -> None:
    found = word_errors([" ".join(a) for a, _ in pairs], ["  ".join(b) for _, b in pairs])
    assert found == [edit_distance(a, b) for a, b in pairs]


def test_the_steps_are_those_computed_by_hand() -> None:
    level, slope, errors = np.array([[0.0, 1.0]]), np.array([[1.0, 0.0]]), np.array([[3, 5]])
    places, steps = error_steps(level, slope, errors)
    assert (places.tolist(), steps.tolist()) == ([1.0], [5, 3])
    level, slope = np.array([[0.0, -9.0, 0.0], [2.0, 0.0, 1.0]]), np.array([[-1.0, 0.0, 1.0], [0.0, 1.0, 0.0]])
    places, steps = error_steps(level, slope, np.array([[1, 100, 2], [10, 20, 500]]))
    assert (places.tolist(), steps.tolist()) == ([0.0, 2.0], [11, 12, 22])


few_numbers = st.integers(-4, 4)


@settings(deadline=None, max_examples=200)
@given(st.data(), st.integers(1, 4), st.integers(1, 5))
def test_between_its_steps_a_line_has_the_errors_of_the_best_hypotheses(
    data: st.DataObject, lists: int, many: int
) -> None:
    drawn = [data.draw(st.lists(few_numbers, min_size=lists * many, max_size=lists * many)) for _ in range(2)]
    level, slope = (np.array(numbers, np.float64).reshape(lists, many) for numbers in drawn)
    errors = np.arange(lists * many).reshape(lists, many) ** 2
    places, steps = error_steps(level, slope, errors)
    edges = np.concatenate([[-99.0], places, [99.0]])
    assert (np.diff(places) >= 0).all() and len(steps) == len(places) + 1
    for begin, end, step in zip(edges[:-1], edges[1:], steps, strict=True):
        if begin < end:
            best = (level + (begin + end) / 2 * slope).argmax(axis=1)
            assert errors[np.arange(lists), best].sum() == step


def noisy_lists(seed: int, scale: float = 1.0) -> JudgedLists:
    """Lists whose scores tell of their errors, through noise and a bias for short hypotheses."""
    random = np.random.default_rng(seed)
    errors = random.poisson(2.5, (60, 20))
    words = (12 - 0.3 * errors + random.normal(0, 1.5, errors.shape)).round()
    lm = -(2 * errors + random.normal(0, 4, errors.shape)) - 4 * words
    other = scale * (-(errors + random.normal(0, 2, errors.shape)) - 1.2 * words)
    return JudgedLists(np.stack([lm, words, other], axis=-1), errors, 700)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("scale", [1.0, 300.0])
def test_the_weights_are_as_good_as_those_of_a_fine_grid(seed: int, scale: float) -> None:
    lists = noisy_lists(seed, scale)
    given = Combination(0.5, 0.0, (1.0,))
    found = tuned(lists, given)
    grid = [
        lists.with_weights(Combination(weight * scale, penalty * scale, (1.0,)))
        for weight in np.linspace(0, 2, 30)
        for penalty in np.linspace(-3, 8, 30)
    ]
    assert lists.oracle <= lists.with_weights(found) <= min(grid) + 1
    assert found.score_weights == (1.0,) and found.weight >= 0


def test_alone_the_model_keeps_its_weight() -> None:
    lists = noisy_lists(1)
    lists = JudgedLists(lists.features[..., :2], lists.errors, lists.words)
    given = Combination()
    found = tuned(lists, given)
    assert found.weight == 1 and found.length_penalty > 0
    assert lists.with_weights(found) < lists.with_weights(given)


def test_weights_keep_their_sign() -> None:
    lists = noisy_lists(2)
    against = JudgedLists(lists.features * [-1, 1, 1], lists.errors, lists.words)
    assert tuned(against, Combination(0.5, 0.0, (1.0,))).weight >= 0
    assert tuned(against, Combination(-0.5, 0.0, (1.0,))).weight < 0


def test_what_cannot_be_bettered_stays_as_it_is() -> None:
    features = np.array([[[-1.0, 2.0, -1.0], [-5.0, 2.0, -5.0]]])
    given = Combination(0.25, 0.125, (2.0,))
    assert tuned(JudgedLists(features, np.array([[0, 1]]), 2), given) is given


def test_a_tie_is_broken_for_the_nearest_weight() -> None:
    """One list: hypotheses without error win for x < −2, and for 1 < x < 3."""
    level = np.array([0.0, 4.0, 3.0, -3.0])
    slope = np.array([-2.0, 0.0, 1.0, 3.0])
    lists = JudgedLists(np.stack([level, slope], axis=-1)[None], np.array([[0, 1, 0, 1]]), 3)
    found = tuned(lists, Combination())
    assert 1 < found.length_penalty < 3 and found.length_penalty == 2


def test_lists_of_different_length_are_judged_alike() -> None:
    features = [np.array([[-1.0, 1.0], [-2.0, 2.0]]), np.array([[-3.0, 1.0]])]
    lists = JudgedLists.of(features, [["a", "a b"], ["c"]], ["a b", "c d"])
    assert lists.errors.tolist() == [[1, 0], [1, 1]] and lists.words == 4
    assert (lists.first, lists.oracle) == (2, 1)
    assert lists.with_weights(Combination()) == 2 and lists.with_weights(Combination(1, 2)) == 1


def test_references_without_a_word_have_no_rate() -> None:
    with pytest.raises(DataError, match="no word"):
        JudgedLists.of([np.array([[-1.0, 1.0]])], [["a"]], [""])


def test_weights_must_be_numbers_and_as_many_as_scores() -> None:
    assert Combination.of(0, None, (), 0.0) == Combination(1.0)
    assert Combination.of(2, None, (), 0.0) == Combination(0.5, 0.0, (1.0, 1.0))
    with pytest.raises(UsageError, match="1 score weights for 2"):
        Combination.of(2, None, (1.0,), 0.0)
    for weight in (math.nan, math.inf):
        with pytest.raises(UsageError, match="finite"):
            Combination.of(0, weight, (), 0.0)


def test_a_total_beyond_all_numbers_is_told() -> None:
    with pytest.raises(DataError, match="too large"):
        Combination(1e300).totals(np.array([[1e300, 1.0]]))
