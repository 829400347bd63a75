"""The document cache: exact, causal, a value, the same in any chunks, and the same by sorting as token by token."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seqmodel.inference import document_cache
from seqmodel.inference.adaptation import FOLLOWERS, TIMES, Adaptive, situations
from seqmodel.inference.document_cache import DISCOUNT, Counts, Lists
from seqmodel.tokens.tokenizer import END, START
from tests.scoring.test_tokens import Table

VOCABULARY = 7  # the four symbols, and three letters
LETTERS = st.integers(4, 6)
TEXTS = st.lists(LETTERS, min_size=1, max_size=40)


def model() -> Table:
    p = np.zeros((VOCABULARY, VOCABULARY))
    p[:, [END, 4, 5, 6]] = np.random.default_rng(0).dirichlet(np.ones(4), VOCABULARY)
    return Table(p)


def adaptive(across: bool = False) -> Adaptive:
    table = model()
    return Adaptive(table, table.p[0] > 0, across=across)


def column(*tokens: int) -> np.ndarray:
    return np.array(tokens, np.int64)[:, None]


def by_hand(read: list[int], token: int, order: int) -> float:
    """The formula as the module states it, with nothing but loops; the start is context, and not counted."""
    p = 1 / 4
    for length in range(order):
        if length > len(read):
            break
        context = tuple(read[len(read) - length :])
        came = Counter(
            read[at] for at in range(1, len(read)) if at >= length and tuple(read[at - length : at]) == context
        )
        if not came:
            break
        kept = max(came[token] - DISCOUNT, 0) + DISCOUNT * len(came) * p
        p = kept / came.total()
    return p


@given(TEXTS, LETTERS)
def test_the_cache_is_the_formula(text: list[int], token: int) -> None:
    read = [START, *text]
    counts = Counts.none(VOCABULARY).after(np.array([START]))
    known, counts = counts.and_then(np.array([*text, token]), len(text))
    order = document_cache.order_of(VOCABULARY)
    assert known.probabilities(1 / 4)[-1] == pytest.approx(by_hand(read, token, order))
    uniform = np.where(model().p[0] > 0, 1 / 4, 0)
    assert Lists(counts).distribution(uniform)[0][token] == pytest.approx(by_hand(read, token, order))


@given(st.lists(st.sampled_from([4, 5, 6, START]), max_size=40), st.booleans())
@settings(deadline=None)
def test_every_step_is_a_distribution(text: list[int], across: bool) -> None:
    logs, _ = adaptive(across).step(column(START, *text), adaptive(across).start(1))
    np.testing.assert_allclose(np.exp(logs.astype(np.float64)).sum(axis=-1), 1, atol=1e-5)
    assert (logs[..., START] == -np.inf).all()


@given(st.lists(st.sampled_from([4, 5, 6, END]), min_size=1, max_size=60), st.data(), st.booleans())
@settings(deadline=None)
def test_chunks_and_the_two_ways_agree(text: list[int], data: st.DataObject, across: bool) -> None:
    """Whatever is read at once, and whether by targets or by distributions, the text has the same probabilities."""
    inputs = column(START, *(START if token == END else token for token in text[:-1]))
    targets = column(*text)
    one = adaptive(across)
    whole, _ = one.step_targets(inputs, targets, one.start(1))
    state, parts, at = one.start(1), [], 0
    while at < len(text):
        end = at + data.draw(st.integers(1, len(text) - at))
        if data.draw(st.booleans()):
            logs, state = one.step_targets(inputs[at:end], targets[at:end], state)
        else:
            all_logs, state = one.step(inputs[at:end], state)
            logs = np.take_along_axis(all_logs, targets[at:end, :, None], -1)[..., 0]
        parts.append(logs)
        at = end
    np.testing.assert_allclose(np.concatenate(parts), whole, atol=1e-5)


def test_a_document_begins_anew_at_a_start_unless_it_reads_across() -> None:
    text = [4, 5, 6, 4, 5, 6, 4, 5, 6]
    twice = column(START, *text, START, *text)
    logs, _ = adaptive().step(twice, adaptive().start(1))
    np.testing.assert_array_equal(logs[: len(text) + 1], logs[len(text) + 1 :])
    logs, _ = adaptive(across=True).step(twice, adaptive(across=True).start(1))
    gained = logs[len(text) + 2, 0, 5] - logs[1, 0, 5]  # 5 after "4", which it has followed three times before
    assert gained > 0.5


def test_a_state_is_a_value_and_lanes_do_not_know_each_other() -> None:
    one = adaptive()
    _, state = one.step(column(START, 4, 5, 4, 5), one.start(1))
    first, _ = one.step(column(4), state)
    one.step(column(6, 6, 6, 6), state)
    again, _ = one.step(column(4), state)
    np.testing.assert_array_equal(first, again)
    both = one.select(state, np.array([0, 0]))
    logs, after = one.step(np.array([[4, 6]]), both)
    np.testing.assert_array_equal(logs[:, 0], first[:, 0])
    joined = one.join([one.select(after, np.array([1])), state])
    apart, _ = one.step(column(6), one.select(after, np.array([1])))
    np.testing.assert_array_equal(one.step(np.array([[6, 4]]), joined)[0][:, 0], apart[:, 0])


def test_without_learning_what_is_read_changes_no_count() -> None:
    one = adaptive()
    _, state = one.step(column(START, 4, 5, 6, 4, 5, 6), one.start(1))
    frozen = one.without_learning()
    logs, after = frozen.step(column(4, 4, 4, 4), state)
    assert after.documents[0].counts.levels == state.documents[0].counts.levels
    later, _ = frozen.step(column(4, 4, 4, 4), after)
    np.testing.assert_array_equal(logs[-1], later[-1])


def test_the_window_forgets_at_the_same_place_in_any_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(document_cache, "MOST_TOKENS", 16)
    text = np.random.default_rng(1).integers(4, 7, 100)
    inputs, targets = column(START, *text[:-1]), column(*text)
    one = adaptive()
    whole, state = one.step_targets(inputs, targets, one.start(1))
    assert len(state.documents[0].counts.tokens) < 16
    for size in (1, 3, 17):
        state, parts = one.start(1), []
        for at in range(0, len(text), size):
            logs, state = one.step_targets(inputs[at : at + size], targets[at : at + size], state)
            parts.append(logs)
        np.testing.assert_allclose(np.concatenate(parts), whole, atol=1e-6)


def test_repeated_text_becomes_cheap() -> None:
    text = [4, 4, 5, 6, 5, 5, 4, 6] * 200
    one = adaptive()
    logs, _ = one.step_targets(column(START, *text[:-1]), column(*text), one.start(1))
    assert -logs[-40:].mean() < 0.2 < -logs[:8].mean()


def test_a_situation_has_its_place() -> None:
    levels = document_cache.order_of(VOCABULARY)
    places = situations(np.array([0, levels]), np.array([0, 1 << 20]), np.array([0, 900]))
    assert places.tolist() == [0, (1 + levels) * TIMES * FOLLOWERS - 1]
    assert math.log2(VOCABULARY) * levels < 63
