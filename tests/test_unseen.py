"""What the training text lacks has a probability, and does not spoil what follows it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import seqmodel


@pytest.mark.parametrize("unit", ["char", "subword", "byte"])
@pytest.mark.parametrize("char", ["é", "☃", "日"])
def test_an_unseen_character_costs_a_modest_number_of_bits(
    train_little: Callable[..., Path], unit: str, char: str
) -> None:
    model = seqmodel.load(train_little(unit=unit, steps=400, width=48))
    line = "far good cat dog hill"
    known = model.score([line])[0].bits
    unseen = model.score([line.replace("g", char, 1)])[0].bits
    assert known < unseen < known + 50  # of three bytes, by a model that has trained for seconds
    # The last words are as probable as before, but for a bit or two.
    tail = len(model.tokenizer.encode(" hill"))
    after = model.score([line.replace("g", char, 1)])[0].scores.bits[-tail:].sum()
    assert after < model.score([line])[0].scores.bits[-tail:].sum() + 8
