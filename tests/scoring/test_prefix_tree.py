"""What sequences begin with in common is computed once, and their bits are those that they have alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import seqmodel
from seqmodel.arrays import Floats, Ids
from seqmodel.inference.sequence_model import SequenceModel
from seqmodel.scoring import prefix_tree
from seqmodel.scoring.prefix_tree import tree_bits
from seqmodel.scoring.tokens import score_sequences
from seqmodel.tokens.tokenizer import END
from tests.conftest import WORDS
from tests.scoring.test_tokens import MODELS, Remembering, known

VOCABULARY = 6
few_ids = st.lists(st.integers(3, VOCABULARY - 1), max_size=9)  # few, so that many begin alike


class Counting:
    """A model that counts the tokens that it reads and the calls that it takes."""

    def __init__(self, model: SequenceModel) -> None:
        self.model, self.vocabulary = model, model.vocabulary
        self.tokens = self.calls = self.widest = 0

    def start(self, lanes: int) -> Any:
        return self.model.start(lanes)

    def select(self, state: Any, lanes: Ids) -> Any:
        return self.model.select(state, lanes)

    def join(self, states: Sequence[Any]) -> Any:
        return self.model.join(states)

    def step(self, ids: Ids, state: Any) -> tuple[Floats, Any]:
        self.tokens += ids.size
        self.calls += 1
        self.widest = max(self.widest, ids.shape[1])
        return self.model.step(ids, state)


def prefixes(sequences: list[list[int]]) -> int:
    """How many distinct prefixes something comes after."""
    return len({tuple(ids[:size]) for ids in sequences for size in range(len(ids))})


def test_bits_are_those_computed_by_hand() -> None:
    sequences = [np.array(ids) for ids in ([3, 3, 4, END], [END], [3, 4, END], [3, 3, 4, END])]
    np.testing.assert_allclose(tree_bits(known(), sequences), [4, 3, 2, 4], atol=1e-6)


def test_no_sequences_have_no_bits_and_an_empty_one_has_none() -> None:
    assert tree_bits(known(), []).tolist() == []
    assert tree_bits(known(), [np.array([], np.int32), np.array([END])]) == pytest.approx([0, 3])


@settings(deadline=None, max_examples=200)
@given(sequences=st.lists(few_ids, max_size=12), end=st.booleans(), data=st.data())
def test_each_has_its_own_bits_and_each_prefix_is_read_once(
    sequences: list[list[int]], end: bool, data: st.DataObject
) -> None:
    sequences = [[*ids, END] if end else ids for ids in sequences]
    exact = Remembering(VOCABULARY)
    model = Counting(exact)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(prefix_tree, "LANES", data.draw(st.sampled_from([1, 2, 64])))
        patch.setattr(prefix_tree, "STEPS", data.draw(st.sampled_from([1, 3, 512])))
        patch.setattr(prefix_tree, "CHUNK_FLOATS", data.draw(st.sampled_from([1, 40, 1 << 20])))
        found = tree_bits(model, [np.array(ids, np.int32) for ids in sequences])
    assert found.tolist() == pytest.approx([sum(exact.oracle(ids)) for ids in sequences], abs=1e-5)
    assert model.tokens == prefixes(sequences)


def test_as_many_lanes_are_read_at_once_as_memory_allows_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    sequences = [np.array([a, b, c, END]) for a in range(3, 9) for b in range(3, 9) for c in range(3, 9)]
    free, narrow = Counting(Remembering(9)), Counting(Remembering(9))
    expected = tree_bits(free, sequences)
    assert free.widest == 6**3 and free.calls == 4
    monkeypatch.setattr(prefix_tree, "LANES", 10)
    monkeypatch.setattr(prefix_tree, "CHUNK_FLOATS", 90)
    np.testing.assert_allclose(tree_bits(narrow, sequences), expected)
    assert narrow.widest == 10 and narrow.tokens == free.tokens == 1 + 6 + 6**2 + 6**3


def test_where_nothing_parts_many_tokens_are_read_in_one_call() -> None:
    common = [3, 4, 5] * 100
    model = Counting(Remembering(VOCABULARY))
    tree_bits(model, [np.array([*common, 3, END]), np.array([*common, 4, END])])
    assert (model.calls, model.tokens) == (2, 301 + 2)


@pytest.mark.parametrize("name", MODELS)
def test_every_recurrence_gives_the_bits_of_the_plain_scorer(name: str) -> None:
    model = MODELS[name]()
    random = np.random.default_rng(5)
    stem = random.integers(3, 300, 400)
    cuts = [0, 1, 1, 7, 100, 100, 250, 399, 400]
    sequences = [np.array([*stem[:cut], *random.integers(3, 300, 5), END], np.int32) for cut in cuts]
    sequences += [np.append(stem[:cut], END) for cut in cuts]
    found = tree_bits(model, sequences)
    expected = [scores.total for scores in score_sequences(model, sequences)]
    assert np.abs(found - expected).max() < 1e-4
    assert found[1 + len(cuts)] == found[2 + len(cuts)]  # equal sequences


@pytest.mark.parametrize(
    ("unit", "closed"),
    [("char", False), ("word", False), ("subword", False), ("byte", False), ("char", True), ("word", True)],
)
def test_every_unit_has_the_log_probabilities_of_the_plain_scorer(
    train_little: Callable[..., Path], unit: str, closed: bool
) -> None:
    model = seqmodel.load(train_little(unit=unit, closed_vocab=closed, steps=20, width=16))
    random = np.random.default_rng(6)
    texts = [" ".join(random.choice(WORDS[:4], random.integers(0, 6))) for _ in range(60)]
    texts += ["", " cat", "cat  dog", "Zürich 日本", "cat\tdog", *texts[:3]]
    expected = [-score.bits * np.log(2) for score in model.score(texts)]
    assert model.log_probabilities(texts) == pytest.approx(expected, abs=1e-3)
    steps = Counting(model.runtime)
    model.runtime = steps
    model.log_probabilities(texts)
    assert steps.tokens < 0.7 * sum(len(score.ids) for score in model.score(texts))


def test_a_line_of_a_stream_ends_with_its_newline(train_little: Callable[..., Path]) -> None:
    model = seqmodel.load(train_little(sequence="stream", steps=20, width=16))
    found = model.log_probabilities(["cat dog", "cat"])
    expected = [-score.bits * np.log(2) for score in model.score(["cat dog", "cat"])]
    assert found == pytest.approx(expected, abs=1e-4)
