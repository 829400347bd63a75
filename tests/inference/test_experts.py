"""The mixture of the recurrence and the count model is a proper distribution, and its weights are fitted."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import seqmodel
from seqmodel.inference.experts import Mixture, fit_weights
from seqmodel.inference.runtime import Runtime
from seqmodel.model.bundle import read_bundle
from seqmodel.tokens.tokenizer import END, START


def test_mixes_the_experts_token_by_token(train_little: Callable[..., Path]) -> None:
    bundle = read_bundle(train_little())
    counts = bundle.counts
    assert counts is not None
    recurrence = Runtime.of(bundle)
    ids = np.concatenate([[START], bundle.tokenizer.encode("anna cat"), [START]]).astype(np.int64)[:, None]
    logs, _ = recurrence.step(ids, recurrence.start(1))
    rows = [row[:, 0] for row in counts.find(ids, np.zeros((counts.history, 1), np.int64))]
    other = counts.distributions(rows, len(ids))
    for share in (0.0, 0.25, 1.0):
        model = Mixture(recurrence, counts, np.full(counts.situations, share, np.float32))
        mixed, _ = model.step(ids, model.start(1))
        np.testing.assert_allclose(np.exp(mixed[:, 0]), share * np.exp(logs[:, 0]) + (1 - share) * other, atol=1e-6)


def test_sums_to_one_and_steps_as_it_scores(train_little: Callable[..., Path]) -> None:
    model = seqmodel.load(train_little()).runtime
    tokenizer = read_bundle(train_little()).tokenizer
    ids = np.concatenate([[START], tokenizer.encode("dog eat far zebra ☃")]).astype(np.int64)[:, None]
    whole, _ = model.step(ids, model.start(1))
    np.testing.assert_allclose(np.exp(whole.astype(np.float64)).sum(axis=-1), 1, atol=1e-5)
    state = model.start(1)
    for t in range(len(ids)):
        one, state = model.step(ids[t : t + 1], state)
        np.testing.assert_allclose(one[0], whole[t], atol=2e-5)


def test_a_start_forgets_the_count_models_history_too(train_little: Callable[..., Path]) -> None:
    model = seqmodel.load(train_little()).runtime
    tokenizer = read_bundle(train_little()).tokenizer
    line = np.concatenate([[START], tokenizer.encode("jam kite")]).astype(np.int64)
    alone, _ = model.step(line[:, None], model.start(1))
    after, _ = model.step(np.concatenate([line, line])[:, None], model.start(1))
    np.testing.assert_allclose(after[len(line) :], alone, atol=2e-5)


def test_weights_go_to_the_better_expert_in_each_situation() -> None:
    where = np.repeat([0, 1, 2], 4000)
    recurrence = np.where(where == 0, 0.9, 0.1)
    counts = np.where(where == 1, 0.9, 0.1)
    weights = fit_weights(recurrence, counts, where, 4)
    assert weights[0] > 0.95 and weights[1] < 0.05
    assert (weights > 0).all() and (weights < 1).all()


def test_fitted_weights_are_a_maximum() -> None:
    random = np.random.default_rng(1)
    recurrence, counts = random.random(5000), random.random(5000)
    weight = float(fit_weights(recurrence, counts, np.zeros(5000, np.int64), 1)[0])

    def likelihood(share: float) -> float:
        return float(np.log(share * recurrence + (1 - share) * counts).sum())

    assert likelihood(weight) >= max(likelihood(weight - 0.02), likelihood(weight + 0.02))


@pytest.mark.parametrize("better", ["recurrence", "counts"])
def test_weights_never_lose_to_an_expert_that_is_a_little_better_throughout(better: str) -> None:
    """What expectation maximisation takes thousands of rounds for."""
    random, where = np.random.default_rng(2), np.arange(4000) % 3
    good = random.uniform(0.85, 0.95, len(where))
    experts = (good, good - 0.02) if better == "recurrence" else (good - 0.02, good)
    share = fit_weights(*experts, where, 3)[where]
    mixed = share * experts[0] + (1 - share) * experts[1]
    assert -np.log2(mixed).sum() < -np.log2(good).sum() + 0.1


def test_held_out_figures_name_both_experts(train_little: Callable[..., Path]) -> None:
    held_out = read_bundle(train_little()).header.held_out
    assert held_out is not None and held_out.recurrence_bits is not None and held_out.counts_bits is not None
    assert held_out.bits <= min(held_out.recurrence_bits, held_out.counts_bits) * 1.01


def test_a_stream_never_ends(train_little: Callable[..., Path]) -> None:
    model = seqmodel.load(train_little(sequence="stream"))
    logs, _ = model.runtime.step(np.array([[START]]), model.runtime.start(1))
    assert logs[0, 0, END] == -np.inf
