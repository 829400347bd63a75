"""Scoring against models whose probabilities are known exactly."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seqmodel.arrays import Floats, Ids
from seqmodel.choices import CellKind
from seqmodel.inference.experts import Mixture
from seqmodel.inference.runtime import Runtime
from seqmodel.inference.sequence_model import SequenceModel
from seqmodel.model.bundle import weight_shapes
from seqmodel.model.kneser_ney import FALLBACK_DISCOUNTS, CountModel, Level
from seqmodel.model.ngram_embeddings import NgramIndex
from seqmodel.scoring import tokens as scoring
from seqmodel.scoring.tokens import LN2, RunningScorer, ScoreFields, score_ranges, score_sequences
from seqmodel.settings import ModelSettings
from seqmodel.tokens.tokenizer import END, START, UNKNOWN, never_predicted


@dataclass
class Table:
    """A first-order chain: `p[a, b]` is the probability of b after a. No state is needed."""

    p: npt.NDArray[np.float64]

    @property
    def vocabulary(self) -> int:
        return len(self.p)

    def start(self, lanes: int) -> int:
        return lanes

    def select(self, state: int, lanes: Ids) -> int:
        assert ((lanes >= 0) & (lanes < state)).all()
        return len(lanes)

    def join(self, states: Sequence[int]) -> int:
        return sum(states)

    def step(self, ids: Ids, state: int) -> tuple[Floats, int]:
        assert ids.shape[1] == state
        with np.errstate(divide="ignore"):
            return np.log(self.p[ids]).astype(np.float32), state


class Remembering:
    """Its prediction depends, by a hash, on every token since the last start: nothing mislaid goes unseen."""

    def __init__(self, vocabulary: int, never: tuple[int, ...] = (START,)) -> None:
        self.vocabulary = vocabulary
        self.never = list(never)

    def start(self, lanes: int) -> npt.NDArray[np.uint64]:
        return np.full(lanes, 12345, np.uint64)  # a state in which no text ever is

    def select(self, state: npt.NDArray[np.uint64], lanes: Ids) -> npt.NDArray[np.uint64]:
        return state[lanes]

    def join(self, states: Sequence[npt.NDArray[np.uint64]]) -> npt.NDArray[np.uint64]:
        return np.concatenate(states)

    def step(self, ids: Ids, state: npt.NDArray[np.uint64]) -> tuple[Floats, npt.NDArray[np.uint64]]:
        assert ids.shape[1:] == state.shape
        out = np.empty((*ids.shape, self.vocabulary), np.float32)
        for t, row in enumerate(ids):
            state = self._mixed(np.where(row == START, np.uint64(7), state) * np.uint64(31) + row.astype(np.uint64))
            out[t] = self._logs(state)
        return out, state

    @staticmethod
    def _mixed(x: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
        x = (x ^ (x >> np.uint64(29))) * np.uint64(0xBF58476D1CE4E5B9)
        out: npt.NDArray[np.uint64] = x ^ (x >> np.uint64(32))
        return out

    def _logs(self, state: npt.NDArray[np.uint64]) -> Floats:
        ids = np.arange(self.vocabulary, dtype=np.uint64)
        scores = (self._mixed(state[:, None] + ids * np.uint64(0x9E3779B97F4A7C15)) % np.uint64(1000)) / 250.0
        scores[:, self.never] = -np.inf
        logs = scores - np.log(np.exp(scores).sum(axis=-1, keepdims=True))
        out: Floats = logs.astype(np.float32)
        return out

    def oracle(self, ids: list[int], first: int = START) -> list[float]:
        """Bits of each id, one step at a time; after an end the model starts anew."""
        state, before, bits = self.start(1), first, []
        for token in ids:
            logs, state = self.step(np.array([[START if before == END else before]]), state)
            bits.append(float(logs[0, 0, token]) / -LN2)
            before = token
        return bits


# Known probabilities


def known() -> Table:
    """Ids: 0 unknown, 1 start, 2 end, 3 'a', 4 'b'."""
    p = np.zeros((5, 5))
    p[START] = [0, 0, 1 / 8, 1 / 2, 3 / 8]
    p[3] = [0, 0, 1 / 4, 1 / 4, 1 / 2]
    p[4] = [0, 0, 1, 0, 0]
    return Table(p)


def test_bits_are_those_computed_by_hand() -> None:
    empty, ab, aab = score_sequences(known(), [np.array([END]), np.array([3, 4, END]), np.array([3, 3, 4, END])])
    np.testing.assert_allclose(empty.bits, [3], atol=1e-6)
    np.testing.assert_allclose(ab.bits, [1, 1, 0], atol=1e-6)
    np.testing.assert_allclose(aab.bits, [1, 2, 1, 0], atol=1e-6)
    assert aab.total == pytest.approx(4.0, abs=1e-6)
    assert ab.entropy is None and ab.rank is None


def test_entropy_and_rank_are_those_computed_by_hand() -> None:
    (scores,) = score_sequences(known(), [np.array([3, 3, 4, END])], fields=ScoreFields(ranks=True))
    assert scores.entropy is not None and scores.rank is not None
    at_start = 3 / 8 + 1 / 2 + 3 / 8 * np.log2(8 / 3)
    np.testing.assert_allclose(scores.entropy, [at_start, 1.5, 1.5, 0], atol=1e-6)
    assert scores.rank.tolist() == [1, 2, 1, 1]  # a tie shares the better rank


def test_the_most_probable_tokens_are_told_best_first() -> None:
    (scores,) = score_sequences(known(), [np.array([3, 3, 4, END])], fields=ScoreFields(alternatives=2))
    assert scores.best is not None and scores.best_bits is not None
    assert scores.best[:, 0].tolist() == [3, 4, 4, END]
    assert scores.best[0, 1] == 4
    np.testing.assert_allclose(scores.best_bits, [[1, np.log2(8 / 3)], [1, 2], [1, 2], [0, np.inf]], atol=1e-6)


def test_what_cannot_come_has_infinite_bits_and_the_last_rank() -> None:
    (scores,) = score_sequences(known(), [np.array([4, 3, START])], fields=ScoreFields(ranks=True))
    assert scores.bits[1] == scores.bits[2] == np.inf
    assert scores.rank is not None and scores.rank.tolist() == [2, 2, 4]
    assert scores.entropy is not None and np.isfinite(scores.entropy).all()


def test_what_follows_an_end_begins_anew() -> None:
    (joined,) = score_sequences(known(), [np.array([3, 4, END, 3, END, END])])
    np.testing.assert_allclose(joined.bits, [1, 1, 0, 1, 2, 3], atol=1e-6)


def test_a_total_is_summed_in_float64() -> None:
    p = np.zeros((4, 4))
    p[:, 3] = 0.999
    p[:, END] = 0.001
    (scores,) = score_sequences(Table(p), [np.full(200_000, 3)])
    one = -float(np.log(0.999).astype(np.float32)) / LN2
    assert scores.bits.dtype == np.float64
    assert scores.total == pytest.approx(200_000 * one, rel=1e-9)


# Nothing mislaid

VOCABULARY = 9
some_ids = st.lists(st.integers(END, VOCABULARY - 1), max_size=12)


@given(st.lists(some_ids, max_size=9), st.booleans(), st.data())
@settings(max_examples=120, deadline=None)
def test_each_sequence_scores_as_it_does_step_by_step(
    sequences: list[list[int]], details: bool, data: st.DataObject
) -> None:
    model = Remembering(VOCABULARY)
    firsts = None
    if data.draw(st.booleans()):
        firsts = data.draw(
            st.lists(st.sampled_from([START, END, 4, 5]), min_size=len(sequences), max_size=len(sequences))
        )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scoring, "LANES", data.draw(st.sampled_from([1, 3, 64])))
        patch.setattr(scoring, "CHUNK_FLOATS", data.draw(st.sampled_from([1, 60, 1 << 20])))
        found = score_sequences(
            model, [np.array(ids, np.int32) for ids in sequences], firsts, ScoreFields(ranks=details)
        )
    assert len(found) == len(sequences)
    for number, (scores, ids) in enumerate(zip(found, sequences, strict=True)):
        expected = model.oracle(ids, START if firsts is None else firsts[number])
        assert scores.bits.tolist() == pytest.approx(expected, abs=1e-6)
        if details:
            assert scores.rank is not None and scores.entropy is not None
            assert len(scores.rank) == len(scores.entropy) == len(ids)


@given(st.lists(some_ids, min_size=1, max_size=6), st.booleans(), st.sampled_from([1, 20, 1 << 20]))
@settings(max_examples=120, deadline=None)
def test_a_text_that_comes_in_parts_scores_as_the_whole(parts: list[list[int]], skip_ends: bool, floats: int) -> None:
    model = Remembering(VOCABULARY)
    whole = [token for part in parts for token in part]
    expected = [
        bits for bits, token in zip(model.oracle(whole), whole, strict=True) if not (skip_ends and token == END)
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scoring, "CHUNK_FLOATS", floats)
        scorer = RunningScorer(model, skip_ends)
        found = [bits for part in parts if part for bits in scorer.score(np.array(part, np.int32)).bits]
    assert found == pytest.approx(expected, abs=1e-6)


def test_a_running_scorer_takes_an_empty_part() -> None:
    model = Remembering(VOCABULARY)
    scorer = RunningScorer(model)
    first = scorer.score(np.array([4, 5]))
    assert scorer.score(np.array([], np.int32)).total == 0
    last = scorer.score(np.array([6]))
    assert [*first.bits, *last.bits] == pytest.approx(model.oracle([4, 5, 6]))


def test_running_and_independent_scores_agree_with_details() -> None:
    model = Remembering(VOCABULARY)
    ids = np.array([4, 5, 8, END, 3, END])
    (independent,) = score_sequences(model, [ids], fields=ScoreFields(ranks=True))
    running = RunningScorer(model).score(ids, fields=ScoreFields(ranks=True))
    for a, b in zip(vars(independent).values(), vars(running).values(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_ranges_of_a_store_are_scored_from_the_token_before_them() -> None:
    model = Remembering(VOCABULARY)
    ids = np.array([4, 5, END, 6, 7, 8, END, 3, END], np.uint16)
    for begin, end in [(0, 3), (0, 9), (3, 7), (4, 7), (1, 5), (6, 7)]:
        first = START if begin == 0 else int(ids[begin - 1])
        expected = model.oracle(ids[begin:end].tolist(), first)
        bits, tokens = score_ranges(model, ids, [(begin, end)], False)
        assert bits == pytest.approx(sum(expected)) and tokens == end - begin
        bits, tokens = score_ranges(model, ids, [(begin, end)], True)
        kept = [b for b, token in zip(expected, ids[begin:end], strict=True) if token != END]
        assert bits == pytest.approx(sum(kept)) and tokens == len(kept)
    total, count = score_ranges(model, ids, [(0, 3), (3, 7), (7, 9)], False)
    assert total == pytest.approx(score_ranges(model, ids, [(0, 9)], False)[0]) and count == 9


def test_no_sequences_have_no_scores() -> None:
    assert score_sequences(known(), []) == []
    (nothing,) = score_sequences(known(), [np.array([], np.int32)], fields=ScoreFields(ranks=True))
    assert nothing.total == 0 and len(nothing.bits) == 0


# Independence, with the real recurrences


def random_runtime(cell: CellKind, vocabulary: int = 300) -> Runtime:
    """Random weights, large enough for the state to matter, small enough that an Elman cell is not chaotic."""
    keys = np.unique(np.random.default_rng(2).integers(0, vocabulary**2, 20000))
    model = ModelSettings(cell=cell, width=24, vocabulary=vocabulary, ngram_rows=((2, len(keys)),))
    random = np.random.default_rng(3)
    weights: dict[str, npt.NDArray[Any]] = {
        name: (random.normal(size=shape) * (0.15 if "weight_hh" in name else 0.4)).astype(np.float32)
        for name, shape in weight_shapes(model).items()
    }
    weights["networks.0.table.weight"][0] = 0
    return Runtime(model, weights, NgramIndex(vocabulary, (2,), (keys,)), False)


def random_mixture(vocabulary: int = 300) -> Mixture:
    """A recurrence beside a count model of bigrams that were drawn at random."""
    predicted = np.ones(vocabulary, bool)
    predicted[never_predicted(True, False)] = False
    allowed = np.flatnonzero(predicted)
    random = np.random.default_rng(4)
    one = Level(
        np.zeros(1, np.int64),
        np.array([0, len(allowed)], np.uint32),
        allowed.astype(np.uint16),
        random.integers(1, 9, len(allowed)).astype(np.uint8),
        FALLBACK_DISCOUNTS,
    )
    followers = [np.sort(random.choice(allowed, 5, replace=False)) for _ in range(vocabulary)]
    two = Level(
        np.arange(vocabulary),
        np.arange(0, 5 * vocabulary + 1, 5).astype(np.uint32),
        np.concatenate(followers).astype(np.uint16),
        random.integers(1, 9, 5 * vocabulary).astype(np.uint8),
        FALLBACK_DISCOUNTS,
    )
    counts = CountModel(vocabulary, (one, two), predicted)
    return Mixture(random_runtime("mingru", vocabulary), counts, random.random(500).astype(np.float32))


MODELS: dict[str, Callable[[], SequenceModel]] = {
    "mingru": lambda: random_runtime("mingru"),
    "lstm": lambda: random_runtime("lstm"),
    "gru": lambda: random_runtime("gru"),
    "rnn": lambda: random_runtime("rnn"),
    "mixture": random_mixture,
}


@pytest.mark.parametrize("name", MODELS)
def test_a_sequence_scores_the_same_alone_and_in_any_company(name: str) -> None:
    model = MODELS[name]()
    random = np.random.default_rng(0)
    lengths = [512, 0, 1, 5, 5, 5, 63, 64, 65, 300, 511, 513, 2, 700]
    sequences = [np.append(random.integers(3, 300, length), END).astype(np.int32) for length in lengths]
    alone = [score_sequences(model, [ids])[0].bits for ids in sequences]
    shuffled = random.permutation(len(sequences))
    companies: dict[str, tuple[list[npt.NDArray[Any]], Sequence[int]]] = {
        "all": (sequences, range(len(sequences))),
        "shuffled": ([sequences[i] for i in shuffled], shuffled.tolist()),
        "many": (sequences * 6, [*range(len(sequences))] * 6),
    }
    for company, numbers in companies.values():
        for found, number in zip(score_sequences(model, company), numbers, strict=True):
            assert np.abs(found.bits - alone[number]).max() < 1e-4
    scorer = RunningScorer(model)
    running = scorer.score(np.concatenate(sequences)).bits
    for part, bits in zip(np.split(running, np.cumsum([len(ids) for ids in sequences])[:-1]), alone, strict=True):
        assert np.abs(part - bits).max() < 1e-4


@pytest.mark.parametrize("name", MODELS)
def test_scores_add_up_to_the_chain_of_single_steps(name: str) -> None:
    model: Any = MODELS[name]()
    ids = np.random.default_rng(1).integers(3, 300, 50)
    (scores,) = score_sequences(model, [ids])
    state, before, expected = model.start(1), START, []
    for token in ids.tolist():
        logs, state = model.step(np.array([[before]]), state)
        assert np.exp(logs.astype(np.float64)).sum() == pytest.approx(1, abs=1e-6)
        assert (logs[0, 0, [UNKNOWN, START]] == -np.inf).all()
        expected.append(float(logs[0, 0, token]) / -LN2)
        before = token
    assert np.abs(scores.bits - expected).max() < 1e-4


def test_the_history_of_the_ngrams_is_reset_at_a_start() -> None:
    """In every model the tokens before a start, and their order, change nothing after it."""
    for make in MODELS.values():
        model: Any = make()
        tail = np.array([START, 7, 8, 9])
        outputs = []
        for before in ([], [5], [5, 6], [START, 299, 298, 297]):
            inputs = np.array([*before, *tail])[:, None]
            outputs.append(model.step(inputs, model.start(1))[0][-4:, 0, 3:])
        for a, b in pairwise(outputs):
            assert np.abs(a - b).max() < 1e-5
