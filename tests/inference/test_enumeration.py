"""The distribution sums to one over all finite sequences, seen through the public scorer, for every unit and cell."""

from __future__ import annotations

import random
from collections.abc import Callable
from itertools import product
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

import seqmodel
from seqmodel.api.model import MixedModel, Model, mix
from seqmodel.api.verbs import run_training
from seqmodel.choices import CellKind, SequenceKind, Unit
from seqmodel.scoring.tokens import score_sequences
from seqmodel.settings import CorpusSettings, NetworkSettings, TokenizerSettings, TrainingSettings
from seqmodel.tokens.tokenizer import END, FIRST_BYTE, FIRST_PIECE, START, UNKNOWN
from seqmodel.training.run.request import TrainingRequest

Probabilities = npt.NDArray[np.float64]
Make = Callable[..., Model]
CELLS: tuple[CellKind, ...] = ("mingru", "lstm", "gru", "rnn")
UNITS: tuple[Unit, ...] = ("char", "word", "subword", "byte")
LENGTH = 4  # sequences up to here are summed one by one


@pytest.fixture(scope="module")
def make(tmp_path_factory: pytest.TempPathFactory) -> Make:
    """Train on a two-letter corpus for a few steps."""

    def make(
        cell: CellKind, unit: Unit, *, sequence: SequenceKind = "line", closed: bool = False, counts: bool = True
    ) -> Model:
        folder = tmp_path_factory.mktemp("two-letters")
        choose = random.Random(1)
        lines = ["".join(choose.choices("ab ", (3, 2, 2), k=choose.randint(1, 8))).strip() for _ in range(80)]
        (folder / "corpus.txt").write_text("".join(line + "\n" for line in lines if line))
        request = TrainingRequest(
            inputs=(str(folder / "corpus.txt"),),
            output=folder / "m.seqmodel",
            tokenizer=TokenizerSettings(unit=unit, closed=closed),
            corpus=CorpusSettings(sequence=sequence),
            model=NetworkSettings(cell=cell, width=16, layers=1),
            training=TrainingSettings(steps=12, threads=1, warmup_steps=1, learning_rate=0.02),
            counts=counts,
        )
        run_training(request)
        return seqmodel.load(request.output)

    return make


def next_probabilities(model: Model, prefix: list[int]) -> Probabilities:
    """The probability of every id after a prefix, each from a score of its own."""
    every = [np.array([*prefix, token]) for token in range(model.tokenizer.size)]
    return np.array([2.0 ** -scores.bits[-1] for scores in score_sequences(model.runtime, every)])


def alphabet(model: Model) -> list[int]:
    """A few ids that text is made of, a byte among them."""
    pieces = list(range(FIRST_PIECE, model.tokenizer.size))[:3]
    letters = [FIRST_BYTE + ord("a"), FIRST_BYTE + ord("b"), FIRST_BYTE + 0xE2]
    return [*pieces, *letters][:4] if model.tokenizer.unit != "char" else [*pieces[:2], letters[2]]


def check_sums(model: Model) -> None:
    ends = model.header.model.ends
    closed = model.header.closed
    chosen = [UNKNOWN, *range(FIRST_PIECE, model.tokenizer.size)][:3] if closed else alphabet(model)
    # At each of these prefixes all ids together have probability one, and the forbidden ones none.
    for prefix in [[], *([token] for token in chosen), chosen, chosen[::-1], chosen * 3]:
        p = next_probabilities(model, prefix)
        assert p.sum() == pytest.approx(1, abs=1e-6)
        forbidden = [START, *([] if ends else [END])]
        forbidden += list(range(FIRST_BYTE, FIRST_PIECE)) if closed else [UNKNOWN]
        assert (p[forbidden] == 0).all()
        assert (np.delete(p, forbidden) > 0).all()
    if not ends:
        return
    # All sequences of the chosen ids up to LENGTH, what begins with LENGTH + 1 of them, and what leaves them.
    sequences = [list(ids) for length in range(LENGTH + 1) for ids in product(chosen, repeat=length)]
    scores = score_sequences(model.runtime, [np.array([*ids, END]) for ids in sequences])
    complete = sum(2.0**-score.total for score in scores)
    prefixes = {(): 1.0} | {
        tuple(ids): 2.0 ** -score.bits[:-1].sum() for ids, score in zip(sequences, scores, strict=True)
    }
    longer = [np.array(ids) for ids in product(chosen, repeat=LENGTH + 1)]
    beyond = sum(2.0**-score.total for score in score_sequences(model.runtime, longer))
    leaving = 0.0
    for ids, mass in prefixes.items():
        row = next_distribution(model, list(ids))
        row[[*chosen, END]] = 0
        leaving += mass * row.sum()
    assert complete + beyond + leaving == pytest.approx(1, abs=1e-5)
    assert complete > 0 and beyond > 0 and leaving > 0


def next_distribution(model: Model, prefix: list[int]) -> Probabilities:
    logs, _ = model.runtime.step(np.array([START, *prefix])[:, None], model.runtime.start(1))
    p: Probabilities = np.exp(logs[-1, 0].astype(np.float64))
    return p


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("cell", CELLS)
def test_all_sequences_together_have_probability_one(make: Make, cell: CellKind, unit: Unit) -> None:
    check_sums(make(cell, unit, counts=False))


@pytest.mark.parametrize("unit", UNITS)
def test_so_they_have_when_a_count_model_is_mixed_in(make: Make, unit: Unit) -> None:
    check_sums(make("mingru", unit))


@pytest.mark.parametrize("closed", [True, False])
@pytest.mark.parametrize("unit", ["char", "word"])
def test_so_they_have_when_models_are_mixed(make: Make, unit: Unit, closed: bool) -> None:
    models = [make(cell, unit, closed=closed, counts=cell == "gru") for cell in ("mingru", "gru", "rnn")]
    mixture = mix(models, [0.2, 0.7, 0.1])
    assert isinstance(mixture, MixedModel)
    check_sums(mixture)


@pytest.mark.parametrize("counts", [True, False])
@pytest.mark.parametrize("unit", ["char", "word"])
def test_so_they_have_in_a_closed_vocabulary(make: Make, unit: Unit, counts: bool) -> None:
    check_sums(make("mingru", unit, closed=True, counts=counts))


@pytest.mark.parametrize("counts", [True, False])
@pytest.mark.parametrize("unit", ["char", "subword"])
def test_a_stream_has_no_end_and_sums_to_one_at_each_step(make: Make, unit: Unit, counts: bool) -> None:
    check_sums(make("mingru", unit, sequence="stream", counts=counts))


@pytest.mark.parametrize("sequence", ["paragraph", "document"])
def test_paragraphs_and_documents_sum_to_one(make: Make, sequence: SequenceKind) -> None:
    check_sums(make("gru", "char", sequence=sequence))


@pytest.mark.parametrize("counts", [True, False])
@pytest.mark.parametrize("unit", UNITS)
def test_every_string_has_a_probability_above_zero(make: Make, unit: Unit, counts: bool, tmp_path: Path) -> None:
    model = make("mingru", unit, counts=counts)
    texts = ["", " ", "a", "zebra", "a\tb", "  a  ", "\x00", "▁▅", "日本語", "🙂", "é a", "\r", "a" * 300]
    for row in model.score(texts):
        assert np.isfinite(row.bits) and row.bits > 0
