"""Several models as one distribution, against models whose probabilities are known exactly."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seqmodel.arrays import Floats, Ids
from seqmodel.errors import UsageError
from seqmodel.inference.ensemble import ModelMixture, fit_shares, mixture_bits, shares
from seqmodel.scoring.tokens import RunningScorer, ScoreFields, score_sequences
from seqmodel.tokens.tokenizer import END, START
from tests.scoring.test_tokens import VOCABULARY, Remembering, Table, known, some_ids

weights_of = st.lists(st.floats(1e-6, 1e6), min_size=1, max_size=5)


def other() -> Table:
    """As `known`, with other probabilities."""
    p = np.zeros((5, 5))
    p[START] = [0, 0, 1 / 2, 1 / 4, 1 / 4]
    p[3] = [0, 0, 1 / 4, 3 / 4, 0]
    p[4] = [0, 0, 1 / 8, 1 / 8, 3 / 4]
    return Table(p)


def test_bits_entropy_and_rank_are_those_computed_by_hand() -> None:
    model = ModelMixture([known(), other()], [1 / 4, 3 / 4])
    (scores,) = score_sequences(model, [np.array([3, 4, END])], fields=ScoreFields(ranks=True))
    # After the start: 13/32, 5/16, 9/32 for end, 'a', 'b'; after 'a': 1/4, 5/8, 1/8; after 'b': 11/32, 3/32, 9/16.
    np.testing.assert_allclose(scores.bits, -np.log2([5 / 16, 1 / 8, 11 / 32]), atol=1e-6)
    assert scores.rank is not None and scores.entropy is not None
    assert scores.rank.tolist() == [2, 3, 2]
    distributions = np.array([[13 / 32, 5 / 16, 9 / 32], [1 / 4, 5 / 8, 1 / 8], [11 / 32, 3 / 32, 9 / 16]])
    np.testing.assert_allclose(scores.entropy, -(distributions * np.log2(distributions)).sum(axis=1), atol=1e-6)


@given(st.lists(some_ids, max_size=7), st.floats(0.01, 0.99))
@settings(max_examples=60, deadline=None)
def test_each_models_state_goes_its_own_way(sequences: list[list[int]], share: float) -> None:
    one, two = Remembering(VOCABULARY), Remembering(VOCABULARY, (START, 5))
    model = ModelMixture([one, two], [share, 1 - share])
    scorer = RunningScorer(model)
    found = score_sequences(model, [np.array(ids, np.int32) for ids in sequences])
    for ids, scores in zip(sequences, found, strict=True):
        p, q = (np.exp2(-np.array(each.oracle(ids))) for each in (one, two))
        expected = -np.log2(share * p + (1 - share) * q)
        np.testing.assert_allclose(scores.bits, expected, atol=1e-5)
        np.testing.assert_allclose(scorer.score(np.array([*ids, END])).bits[:-1], expected, atol=1e-5)


class Given:
    """Whatever it reads, it gives the same log-probabilities."""

    def __init__(self, logs: npt.NDArray[np.float32]) -> None:
        self.logs, self.vocabulary = logs, len(logs)

    def start(self, lanes: int) -> None: ...

    def select(self, state: None, lanes: Ids) -> None: ...

    def join(self, states: Sequence[None]) -> None: ...

    def step(self, ids: Ids, state: None) -> tuple[Floats, None]:
        return np.broadcast_to(self.logs, (*ids.shape, self.vocabulary)), None


@pytest.mark.parametrize("share", [0.5, 1e-3, 1e-30])
def test_very_small_probabilities_keep_their_digits(share: float) -> None:
    logs = np.array([[-1.0, -80.0, -200.0, -np.inf, -np.inf], [-2.0, -90.0, -np.inf, -300.0, -np.inf]], np.float32)
    model = ModelMixture([Given(row) for row in logs], [share, 1 - share])
    mixed, _ = model.step(np.array([[START]]), model.start(1))
    expected = np.logaddexp(*(logs.astype(np.float64) + np.log([[share], [1 - share]])))
    np.testing.assert_allclose(mixed[0, 0], expected, rtol=1e-6, atol=1e-6)


@given(st.lists(weights_of, min_size=1, max_size=4).filter(lambda rows: len({len(row) for row in rows}) == 1))
@settings(deadline=None)
def test_the_bits_of_a_mixture_lie_between_those_of_its_models(rows: list[list[float]]) -> None:
    bits = np.log1p(np.array(rows)) * 700  # far beyond what float64 holds as a probability
    weights = shares([1.0 + i for i in range(len(bits))], len(bits))
    found = mixture_bits(bits, weights)
    assert (found >= bits.min(axis=0) - 1e-9).all() and (found <= bits.max(axis=0) + 1e-9).all()
    assert (found <= bits[0] - np.log2(weights[0]) + 1e-9).all()


def test_the_bits_of_a_mixture_are_those_computed_by_hand() -> None:
    assert mixture_bits(np.array([[1.0], [3.0]]), (0.5, 0.5)) == pytest.approx(-np.log2(5 / 16))


# Weights


@given(weights_of)
def test_weights_come_to_sum_to_one(weights: list[float]) -> None:
    found = shares(weights, len(weights))
    assert sum(found) == pytest.approx(1)
    assert np.array(found) / found[0] == pytest.approx(np.array(weights) / weights[0])


@pytest.mark.parametrize("weights", [[1.0], [1.0] * 3, [0.0, 1.0], [-1.0, 2.0], [np.nan, 1.0], [np.inf, 1.0]])
def test_weights_that_cannot_be_are_refused(weights: list[float]) -> None:
    with pytest.raises(UsageError):
        shares(weights, 2)


def drawn(weights: list[float], events: int) -> npt.NDArray[np.float64]:
    """Bits (models, events) of tokens drawn from a mixture of three distributions over four tokens."""
    p = np.array([[0.7, 0.1, 0.1, 0.1], [0.1, 0.7, 0.1, 0.1], [0.05, 0.05, 0.1, 0.8]])
    random = np.random.default_rng(5)
    tokens = random.choice(4, events, p=np.array(weights) @ p)
    out: npt.NDArray[np.float64] = -np.log2(p[:, tokens])
    return out


@pytest.mark.parametrize("weights", [[0.2, 0.3, 0.5], [0.05, 0.9, 0.05], [1 / 3, 1 / 3, 1 / 3]])
def test_the_weights_of_a_known_mixture_are_found(weights: list[float]) -> None:
    assert fit_shares(drawn(weights, 40_000)) == pytest.approx(weights, abs=0.02)


def test_a_model_that_never_helps_keeps_a_share_above_zero() -> None:
    found = fit_shares(np.array([[1.0] * 1000, [2000.0] * 1000]))
    assert 0 < found[1] < 0.001 and sum(found) == pytest.approx(1)


@given(st.lists(st.lists(st.floats(0, 1000), min_size=1, max_size=8), min_size=2, max_size=4))
@settings(deadline=None)
def test_fitted_weights_are_no_worse_than_any_model_alone(rows: list[list[float]]) -> None:
    events = min(map(len, rows))
    bits = np.array([row[:events] for row in rows])
    weights = fit_shares(bits)
    assert sum(weights) == pytest.approx(1)
    # The share of one event that is kept for each model costs less than log2 e bits.
    assert mixture_bits(bits, weights).sum() <= bits.sum(axis=1).min() + 1.4427 + 1e-3
