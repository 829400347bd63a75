"""Held-out figures as lines: what each part of a model bought, per char or per token."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import seqmodel
from seqmodel.console.held_out_view import held_out_lines
from seqmodel.model.bundle import BundleHeader, HeldOut


@pytest.fixture
def header(train_little: Callable[..., Path]) -> BundleHeader:
    return seqmodel.load(train_little(steps=2, width=8, layers=1)).header


FIGURES = HeldOut(sequences=2, tokens=8, chars=16, bits=24.0, recurrence_bits=28.0, counts_bits=32.0, unigram_bits=48.0)


def lines(header: BundleHeader, held_out: HeldOut | None, closed: bool = False) -> list[str]:
    return list(held_out_lines(header.model_copy(update={"held_out": held_out, "closed": closed})))


def test_each_part_has_a_line_on_the_same_text(header: BundleHeader) -> None:
    assert lines(header, FIGURES) == [
        "1.5000 bits per char, perplexity 8.000 per token, 8 tokens (end symbols counted)",
        "                         bits per char  perplexity per token",
        "unigram                         3.0000                64.000",
        "Kneser-Ney counts alone         2.0000                16.000",
        "recurrence alone                1.7500                11.314",
        "together                        1.5000                 8.000",
    ]


def test_a_closed_vocabulary_is_told_per_token(header: BundleHeader) -> None:
    shown = lines(header, FIGURES, closed=True)
    assert shown[0].startswith("3.0000 bits per token, perplexity 8.000 per token")
    assert shown[1].split() == "bits per token perplexity per token".split()
    assert shown[-1].split() == ["together", "3.0000", "8.000"]
    assert not any("per char" in line for line in shown)


def test_a_recurrence_by_itself_is_called_that(header: BundleHeader) -> None:
    alone = FIGURES.model_copy(update={"recurrence_bits": None, "counts_bits": None})
    assert [line.split()[0] for line in lines(header, alone)[2:]] == ["unigram", "recurrence"]


def test_an_older_bundle_without_baselines_has_one_line(header: BundleHeader) -> None:
    assert len(lines(header, HeldOut(sequences=2, tokens=8, chars=16, bits=24.0))) == 1
    assert lines(header, None) == []
