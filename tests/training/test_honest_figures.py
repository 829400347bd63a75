"""The figure that a run reports is what fresh text of the same source gives, whatever is a token and a sequence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import seqmodel
from seqmodel.choices import SequenceKind, Unit
from seqmodel.settings import CorpusSettings, TokenizerSettings
from seqmodel.tokens.store import make_store
from seqmodel.tokens.vocabulary_notes import LEARNED_ON_ALL
from seqmodel.training.events import Event, Noted
from tests.cli.command import run_here
from tests.test_sample_corpora import script

SMALL: dict[str, Any] = {"steps": 100, "width": 16, "layers": 1, "networks": 1, "threads": 1, "seed": 1}


def two_texts(kind: SequenceKind) -> tuple[str, str]:
    """A text to train on and a fresh one: distinct invented names, one a line, or several a line of a stream."""
    names = script("names").names(6000, 7)
    each = 1 if kind == "line" else 6
    lines = [" ".join(names[at : at + each]) + "\n" for at in range(0, len(names), each)]
    cut = len(lines) * 3 // 4
    return "".join(lines[:cut]), "".join(lines[cut:])


@pytest.mark.parametrize(
    ("unit", "kind"),
    [("char", "line"), ("word", "line"), ("subword", "line"), ("byte", "line"), ("char", "stream"), ("word", "stream")],
)
def test_reported_figures_hold_for_fresh_text(unit: Unit, kind: SequenceKind, tmp_path: Path) -> None:
    train, fresh = two_texts(kind)
    (tmp_path / "train.txt").write_text(train)
    (tmp_path / "fresh.txt").write_text(fresh)
    model, notes = tmp_path / "a.seqmodel", list[Event]()
    seqmodel.train(tmp_path / "train.txt", model, unit=unit, sequence=kind, on_event=notes.append, **SMALL)
    held_out = seqmodel.load(model).header.held_out
    assert held_out is not None
    told = run_here("score", tmp_path / "fresh.txt", "-m", model, "--by", "corpus", "--format", "jsonl")
    of_fresh = json.loads(told.text)["bits_per_char"]
    assert held_out.bits / held_out.chars == pytest.approx(of_fresh, rel=0.05)
    told = run_here("score", tmp_path / "fresh.txt", "-m", model, "--percentile", "--format", "jsonl")
    ranks = np.array([json.loads(line)["percentile"] for line in told.lines])
    if kind == "line":
        assert 0.02 < (ranks >= 95).mean() < 0.09
        assert (ranks <= 50).mean() == pytest.approx(0.5, abs=0.12)
    texts = [note.text for note in notes if isinstance(note, Noted)]
    assert any("words that the vocabulary lacks" in text for text in texts) == (unit == "word")


@pytest.mark.parametrize("kind", ["line", "stream"])
def test_a_token_store_and_its_text_train_the_same_model(kind: SequenceKind, tmp_path: Path) -> None:
    text, store = tmp_path / "train.txt", tmp_path / "train.tokens"
    text.write_text(two_texts(kind)[0][:20_000])
    few: dict[str, Any] = SMALL | {"steps": 3}
    seqmodel.tokenize(text, store, tokenizer=TokenizerSettings(unit="word"), corpus=CorpusSettings(sequence=kind))
    seqmodel.train(text, tmp_path / "a.seqmodel", unit="word", sequence=kind, **few)
    notes: list[Event] = []
    seqmodel.train(store, tmp_path / "b.seqmodel", on_event=notes.append, **few)
    assert (tmp_path / "a.seqmodel").read_bytes() == (tmp_path / "b.seqmodel").read_bytes()
    assert Noted(LEARNED_ON_ALL) not in notes


def test_a_store_whose_vocabulary_knows_all_of_its_text_is_told_of(tmp_path: Path) -> None:
    (tmp_path / "train.txt").write_text(two_texts("line")[0][:20_000])
    corpus = [str(tmp_path / "train.txt")]
    make_store(tmp_path / "old.tokens", corpus, TokenizerSettings(), CorpusSettings())
    notes: list[Event] = []
    few: dict[str, Any] = SMALL | {"steps": 3, "on_event": notes.append}
    seqmodel.train(tmp_path / "old.tokens", tmp_path / "a.seqmodel", **few)
    assert notes.count(Noted(LEARNED_ON_ALL)) == 1
    seqmodel.train(tmp_path / "old.tokens", tmp_path / "b.seqmodel", valid=tmp_path / "train.txt", **few)
    assert notes.count(Noted(LEARNED_ON_ALL)) == 1
