"""Bundles that were made before stay readable, and give the probabilities that they gave."""

from __future__ import annotations

import json

import pytest

import seqmodel
from tests.cli.command import run_here
from tests.model.golden import FIGURES, FOLDER, RECIPES, bits, golden


@pytest.mark.parametrize("name", RECIPES)
def test_a_bundle_gives_the_bits_that_it_gave_when_it_was_made(name: str) -> None:
    figures = json.loads(FIGURES.read_text())
    assert bits(seqmodel.load(golden(name))) == pytest.approx(figures[name], abs=1e-4)
    shown = run_here("info", golden(name), "--verify")
    assert shown.code == 0 and "format 1" in shown.text


def test_the_folder_holds_these_and_stays_small() -> None:
    assert {path.name for path in FOLDER.iterdir()} == {FIGURES.name, *(golden(name).name for name in RECIPES)}
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) <= 60 << 10
