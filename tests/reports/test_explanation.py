"""The chain rule row by row: the factors' bits are the line's, and the experts make up each factor."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from seqmodel.api.model import Model
from seqmodel.errors import UsageError
from seqmodel.inference.experts import Mixture
from seqmodel.inference.runtime import Runtime
from seqmodel.model.bundle import read_bundle
from seqmodel.reports.explanation import MOST_TOKENS, chain
from seqmodel.text.visible import NEWLINE_SIGN


def test_the_steps_are_the_tokens_in_order(little_model: Model) -> None:
    (row,) = little_model.score(["cat ☃"])
    steps = chain(little_model.runtime, little_model.tokenizer, row, 9)
    assert [step.token for step in steps] == ["c", "a", "t", "␣", "<0xE2>", "<0x98>", "<0x83>", "</s>"]
    assert [step.before for step in steps[:5]] == ["<s>", "<s>c", "<s>ca", "<s>cat", "<s>cat␣"]
    assert steps[5].before == "…t␣<0xE2>"
    assert all(len(step.before) <= 9 for step in steps)
    assert [step.bits for step in steps] == pytest.approx(row.scores.bits.tolist())
    assert [step.sum for step in steps] == pytest.approx(np.cumsum(row.scores.bits).tolist())
    assert [step.p for step in steps] == pytest.approx((2**-row.scores.bits).tolist())


@pytest.mark.parametrize("given", ["", "anna boil"])
@pytest.mark.parametrize("share", [None, 0.0, 0.25, 1.0])
def test_the_experts_make_up_each_factor(
    train_little: Callable[..., Path], little_model: Model, given: str, share: float | None
) -> None:
    bundle = read_bundle(train_little())
    assert bundle.counts is not None
    if share is not None:
        weights = np.full(bundle.counts.situations, share, np.float32)
        little_model = Model(bundle)
        little_model.runtime = Mixture(Runtime.of(bundle), bundle.counts, weights)
    (row,) = little_model.score(["cat ☃ dog"], given=given)
    for step in chain(little_model.runtime, little_model.tokenizer, row, 20):
        experts = step.experts
        assert experts is not None
        mixed = experts.share * experts.recurrence + (1 - experts.share) * experts.counts
        assert mixed == pytest.approx(step.p, rel=1e-3)
        assert share is None or experts.share == share


def test_a_recurrence_alone_has_no_experts(train_little: Callable[..., Path]) -> None:
    model = Model(read_bundle(train_little(steps=5, width=8, ngram="off")))
    (row,) = model.score(["cat"])
    assert [step.experts for step in chain(model.runtime, model.tokenizer, row, 20)] == [None] * 4


def test_what_comes_before_the_line_is_told_too(little_model: Model) -> None:
    (row,) = little_model.score(["cat"], given="dog")
    assert chain(little_model.runtime, little_model.tokenizer, row, 20)[0].before in ("<s>dog␣", "<s>dog")


def test_of_nothing_a_stream_has_its_newline(train_little: Callable[..., Path]) -> None:
    model = Model(read_bundle(train_little(sequence="stream", steps=20, width=16)))
    (row,) = model.score([""])
    (step,) = chain(model.runtime, model.tokenizer, row, 20)
    assert step.token == NEWLINE_SIGN and step.sum == pytest.approx(row.bits)
    assert chain(model.runtime, model.tokenizer, row.without_end(), 20) == []


def test_a_long_line_is_refused(little_model: Model) -> None:
    shortest, longest = little_model.score(["a" * (MOST_TOKENS - 1), "a" * MOST_TOKENS])
    assert len(chain(little_model.runtime, little_model.tokenizer, shortest, 20)) == MOST_TOKENS
    with pytest.raises(UsageError, match="line 2 has 201 tokens"):
        chain(little_model.runtime, little_model.tokenizer, longest, 20)
