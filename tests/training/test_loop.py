"""The loop: it learns what can be learnt, keeps to its budget, keeps the best weights, and says what happens."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import seqmodel
from seqmodel.api.model import Model
from seqmodel.api.verbs import run_training
from seqmodel.choices import CellKind, SequenceKind
from seqmodel.model.ngram_embeddings import build_index
from seqmodel.scoring.tokens import score_ranges, score_sequences
from seqmodel.settings import CorpusSettings, ModelSettings, NetworkSettings, TokenizerSettings, TrainingSettings
from seqmodel.tokens.batches import split_tokens
from seqmodel.tokens.store import make_store, open_store
from seqmodel.training import throughput, validation
from seqmodel.training.events import Annealing, CheckpointSaved, Event, Finished, StepDone, Validated
from seqmodel.training.loop import Trainer
from seqmodel.training.run.checkpoints import read_checkpoint
from seqmodel.training.run.request import TrainingRequest
from seqmodel.training.throughput import EndReserve
from seqmodel.training.training_data import STRETCH, TrainingData, stretches

CELLS: tuple[CellKind, ...] = ("mingru", "lstm", "gru", "rnn")


class Clock:
    """Each reading is a while after the last."""

    def __init__(self, tick: float = 0.01) -> None:
        self.now, self.tick = 100.0, tick

    def __call__(self) -> float:
        self.now += self.tick
        return self.now


def data_of(folder: Path, text: str, sequence: SequenceKind = "line", held_out: float = 0.1) -> TrainingData:
    (folder / "corpus.txt").write_text(text)
    store_path = folder / "x.tokens"
    make_store(store_path, [str(folder / "corpus.txt")], TokenizerSettings(), CorpusSettings(sequence=sequence))
    store = open_store(store_path)
    split = split_tokens(store, held_out, 100_000)
    return TrainingData(store, split.train, store, split.held_out)


def trainer_of(
    data: TrainingData, clock: Callable[[], float] | None = None, cell: CellKind = "mingru", **settings: Any
) -> Trainer:
    budget = {} if {"seconds", "epochs"} & settings.keys() else {"steps": 40}
    index = build_index(data.store, data.train, (2, 3), 200)
    rows = tuple((order, len(keys)) for order, keys in zip(index.orders, index.keys, strict=True))
    model = ModelSettings(
        cell=cell,
        width=16,
        layers=1,
        vocabulary=data.store.header.vocabulary,
        ends=data.store.header.sequence != "stream",
        ngram_rows=rows,
    )
    training = TrainingSettings.model_validate(
        {"threads": 1, "lanes": 4, "segment": 16, "warmup_steps": 2, "learning_rate": 0.02, "table_learning_rate": 0.01}
        | {"dropout": 0.0, "ngram_dropout": 0.1}
        | budget
        | settings
    )
    return Trainer(data, model, training, index, clock or Clock())


ALPHABETS = "".join("abcdefgh"[i % 8 :] + "abcdefgh"[: i % 8] + "\n" for i in range(160))


@pytest.fixture(scope="module")
def alphabets(tmp_path_factory: pytest.TempPathFactory) -> TrainingData:
    """Lines in which every character but the first follows from the one before."""
    return data_of(tmp_path_factory.mktemp("alphabets"), ALPHABETS)


# Learning


@pytest.mark.parametrize("sequence", ["line", "stream", "document", "paragraph"])
@pytest.mark.parametrize("cell", CELLS)
def test_the_loss_goes_down_on_what_can_be_learnt(cell: CellKind, sequence: SequenceKind, tmp_path: Path) -> None:
    data = data_of(tmp_path, ALPHABETS, sequence)
    trainer = trainer_of(data, cell=cell, steps=60)
    events = list(trainer.events())
    validated = [event.bits_per_char for event in events if isinstance(event, Validated)]
    assert validated[-1] < 1.5 < validated[0]
    (finished,) = [event for event in events if isinstance(event, Finished)]
    assert finished.annealed and finished.step == 60


STATES = "abc"
MOVES = np.array([[0.7, 0.2, 0.05], [0.1, 0.1, 0.7], [0.45, 0.05, 0.4]])  # what is left is the end
FIRST = np.array([0.5, 0.3, 0.2])


def markov_line(choose: random.Random) -> str:
    state = choose.choices(range(3), FIRST.tolist())[0]
    line = STATES[state]
    while True:
        state = choose.choices(range(4), [*MOVES[state], 1 - MOVES[state].sum()])[0]
        if state == 3:
            return line
        line += STATES[state]


def markov_bits(line: str) -> float:
    path = [STATES.index(char) for char in line]
    p = FIRST[path[0]] * math.prod(MOVES[a, b] for a, b in pairwise(path))
    return -math.log2(p * (1 - MOVES[path[-1]].sum()))


@pytest.mark.parametrize(("cell", "counts"), [("mingru", False), ("gru", False), ("mingru", True)])
def test_the_bits_approach_those_of_the_true_source_from_above(cell: CellKind, counts: bool, tmp_path: Path) -> None:
    choose = random.Random(6)
    (tmp_path / "corpus.txt").write_text("".join(markov_line(choose) + "\n" for _ in range(2000)))
    request = TrainingRequest(
        inputs=(str(tmp_path / "corpus.txt"),),
        output=tmp_path / "m.seqmodel",
        tokenizer=TokenizerSettings(),
        corpus=CorpusSettings(),
        model=NetworkSettings(cell=cell, width=16, layers=1),
        training=TrainingSettings(steps=300, threads=1, learning_rate=0.01, dropout=0.0, lanes=16, segment=32),
        counts=counts,
    )
    run_training(request)
    model = seqmodel.load(request.output)
    fresh = [markov_line(choose) for _ in range(1500)]
    true = np.array([markov_bits(line) for line in fresh])
    ours = np.array([row.bits for row in model.score(fresh)])
    excess = ours - true
    error = excess.std() / math.sqrt(len(excess))
    assert excess.mean() > -3 * error
    assert ours.sum() < 1.04 * true.sum()


@pytest.mark.parametrize("rate", [None, 0.1])
@pytest.mark.parametrize("unit", ["char", "word"])
def test_a_closed_vocabulary_can_be_trained(unit: str, rate: float | None, tmp_path: Path) -> None:
    """Its bytes are never predicted: none may be put among the targets, whatever the rate."""
    (tmp_path / "corpus.txt").write_text(ALPHABETS)
    chosen = TrainingSettings(steps=20, threads=1)
    request = TrainingRequest(
        inputs=(str(tmp_path / "corpus.txt"),),
        output=tmp_path / "m.seqmodel",
        tokenizer=TokenizerSettings.model_validate({"unit": unit, "closed": True}),
        corpus=CorpusSettings(),
        model=NetworkSettings(width=8, layers=1),
        training=chosen if rate is None else chosen.model_copy(update={"unseen_rate": rate}),
    )
    assert not run_training(request).interrupted


# State


def test_state_never_leaks_over_a_sequence_start_in_training(alphabets: TrainingData) -> None:
    """The loss of a batch is that of its sequences scored alone, once the weights no longer change."""
    for cell in CELLS:
        trainer = trainer_of(alphabets, cell=cell, learning_rate=1e-12, table_learning_rate=1e-12, ngram_dropout=0.0)
        reading = trainer.batches.read()
        for _ in range(5):
            batch = next(reading)
            bits = trainer._train(batch, 0.0)
            if not batch.fresh.all():
                continue
            texts = []
            weights = batch.weights.sum(0).astype(int)
            for lane in range(batch.inputs.shape[1]):
                texts.append(batch.targets[: weights[lane], lane])
            firsts = batch.inputs[0].tolist()
            scores = score_sequences(trainer.runtime(), texts, firsts)
            expected = sum(score.total for score in scores) / batch.weights.sum()
            assert bits == pytest.approx(expected, abs=1e-4)


# Budgets


def steps_of(events: Iterator[Event]) -> tuple[list[StepDone], Finished]:
    every = list(events)
    (finished,) = [event for event in every if isinstance(event, Finished)]
    assert every[-1] is finished
    return [event for event in every if isinstance(event, StepDone)], finished


@pytest.mark.parametrize("steps", [1, 2, 21, 40])
def test_a_budget_of_steps_is_kept(steps: int, alphabets: TrainingData) -> None:
    done, finished = steps_of(trainer_of(alphabets, steps=steps).events())
    assert [event.step for event in done] == list(range(1, steps + 1))
    assert finished.step == steps and finished.annealed
    assert [event.progress for event in done] == pytest.approx([k / steps for k in range(steps)])


def test_a_budget_of_epochs_reads_so_many_tokens(alphabets: TrainingData) -> None:
    for epochs in (0.5, 1, 2.5):
        trainer = trainer_of(alphabets, epochs=epochs)
        done, finished = steps_of(trainer.events())
        assert finished.step == round(epochs * len(trainer.batches)) == len(done)
        total = int((alphabets.train[:, 1] - alphabets.train[:, 0]).sum())
        assert finished.tokens == pytest.approx(epochs * total, rel=0.05)


@pytest.mark.parametrize("seconds", [0.5, 2.0])
def test_a_budget_of_time_ends_annealed_when_it_is_spent(seconds: float, alphabets: TrainingData) -> None:
    clock = Clock()
    trainer = trainer_of(alphabets, clock, seconds=seconds)
    began = clock.now
    done, finished = steps_of(trainer.events(began + seconds, began=began))
    assert finished.annealed
    assert 3 < len(done) < 100 * seconds
    rates = [event.learning_rate for event in done]
    assert rates[-1] < 0.15 * max(rates)
    assert rates[2:] == sorted(rates[2:], reverse=True)
    last_step = began + done[-1].elapsed
    assert last_step <= began + seconds + 0.2


def test_time_that_was_spent_before_counts(alphabets: TrainingData) -> None:
    """Half of the budget is gone when a resumed run begins: its first rate is half of the peak."""
    clock = Clock(tick=0.001)
    trainer = trainer_of(alphabets, clock, seconds=2.0, warmup_steps=0)
    trainer.validation.end_reserve = EndReserve(None, 0)  # nothing is kept for the end
    now = clock.now
    done, finished = steps_of(trainer.events(now + 1.0, began=now - 1.0))
    assert done[0].progress == pytest.approx(0.5, abs=0.01)
    assert done[0].learning_rate == pytest.approx(0.01, rel=0.03)
    assert finished.annealed


def test_a_deadline_that_has_passed_trains_nothing(alphabets: TrainingData) -> None:
    clock = Clock()
    done, finished = steps_of(trainer_of(alphabets, clock, seconds=1.0).events(clock.now - 5))
    assert done == [] and finished.step == 0


def test_how_long_the_end_takes_is_learned_from_many_lines_at_once(
    alphabets: TrainingData, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A line that is scored alone takes many times longer than one among others."""
    scored: list[int] = []
    real = score_ranges

    def noting(model: Any, ids: Any, ranges: Any, is_stream: bool) -> tuple[float, int]:
        scored.append(len(ranges))
        return real(model, ids, ranges, is_stream)

    monkeypatch.setattr(validation, "score_ranges", noting)
    clock = Clock()
    trainer = trainer_of(alphabets, clock, seconds=5.0)
    list(trainer.events(clock.now + 5.0))
    assert min(scored) == len(alphabets.held_out) and trainer.validation.end_reserve.per_token > 0


def test_a_resumed_run_validates_on_the_lines_of_the_figure_that_it_compares_with(
    alphabets: TrainingData, tmp_path: Path
) -> None:
    clock = Clock()
    trainer = trainer_of(alphabets, clock, seconds=5.0)
    trainer.validation.best = dict(trainer._weights())
    trainer.validation.best_progress = 0.25
    trainer.validation.choose_subset(50)
    trainer._save(tmp_path / "x.checkpoint", clock(), None)
    other = trainer_of(alphabets, clock, seconds=5.0)
    other.restore(read_checkpoint(tmp_path / "x.checkpoint"))
    assert other.validation.best_progress == 0.25
    list(other.events(clock.now + 1.0))
    assert other.validation.subset == trainer.validation.subset != stretches(alphabets.held_out)


@pytest.mark.parametrize("budget", [{"steps": 30}, {"seconds": 1.0}])
def test_an_interrupted_run_says_that_it_was_not_annealed(budget: dict[str, Any], alphabets: TrainingData) -> None:
    clock = Clock()
    trainer = trainer_of(alphabets, clock, **budget)
    asked = iter([False] * 4 + [True] * 100)
    done, finished = steps_of(trainer.events(clock.now + 1.0, should_stop=lambda: next(asked)))
    assert len(done) == 4 and not finished.annealed


def test_checkpoints_come_at_intervals_and_when_stopped(
    alphabets: TrainingData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(throughput, "CHECKPOINT_SECONDS", 0.5)
    path = tmp_path / "x.checkpoint"
    trainer = trainer_of(alphabets, Clock(0.05), steps=40)
    saved = [event for event in trainer.events(checkpoint=path) if isinstance(event, CheckpointSaved)]
    assert len(saved) >= 3
    assert [event.step for event in saved] == sorted({event.step for event in saved})
    assert path.exists()
    path.unlink()
    assert not any(isinstance(e, CheckpointSaved) for e in trainer_of(alphabets, Clock(0.05)).events())


# Held-out text


def test_the_best_weights_are_kept(alphabets: TrainingData, monkeypatch: pytest.MonkeyPatch) -> None:
    """A rate that is far too high makes held-out text worse in the end; what is kept is what was best."""
    monkeypatch.setattr(validation, "PATIENCE", 10_000)
    trainer = trainer_of(alphabets, steps=40, learning_rate=0.05)
    best: dict[str, Any] = {}
    figures: list[float] = []
    for event in trainer.events():
        if isinstance(event, StepDone) and event.step == 25:
            with torch.no_grad():
                trainer.model.networks[0].head.weight.mul_(-3)  # a mishap
        if isinstance(event, Validated):
            figures.append(event.bits_per_char)
            assert event.best == (event.bits_per_char < min([math.inf, *figures[:-1]]))
            if event.best:
                best = {name: p.detach().clone().numpy() for name, p in trainer._weights().items()}
    assert min(figures) < figures[-1], "the last weights are not the best ones here"
    kept = trainer.kept_weights()
    assert kept.keys() == best.keys()
    assert all((kept[name] == best[name]).all() for name in kept)


def test_the_kept_weights_give_the_best_figure(alphabets: TrainingData) -> None:
    trainer = trainer_of(alphabets, steps=40)
    for _ in trainer.events():
        pass
    assert trainer.validation.best is not None
    runtime = trainer.runtime(trainer.validation.best)
    bits, tokens = score_ranges(runtime, alphabets.valid_store.ids, trainer.validation.subset, False)
    assert bits / tokens / alphabets.chars_per_token == pytest.approx(trainer.validation.best_bits)


def test_overfitting_anneals_at_once_and_the_run_stops(
    alphabets: TrainingData, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(validation, "PATIENCE", 2)
    monkeypatch.setattr(validation, "score_ranges", worse_and_worse())
    events = list(trainer_of(alphabets, steps=200).events())
    (annealing,) = [event for event in events if isinstance(event, Annealing)]
    assert annealing.step == 30  # validations come every 10 steps; the second without a gain is the third
    steps = [event for event in events if isinstance(event, StepDone)]
    assert steps[-1].step == 30 + 20
    rates = [event.learning_rate for event in steps[30:]]
    assert rates == pytest.approx([rates[0] * (1 - k / 20) for k in range(20)])
    assert isinstance(events[-1], Finished) and events[-1].annealed


def test_a_long_run_waits_for_a_share_of_its_budget_before_it_takes_no_gain_for_overfitting(
    alphabets: TrainingData, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three validations are a few seconds: nothing, of many minutes at a high learning rate."""
    monkeypatch.setattr(validation, "score_ranges", worse_and_worse())
    clock = Clock()
    trainer = trainer_of(alphabets, clock, seconds=100.0)
    events = list(trainer.events(clock.now + 100.0))
    (annealing,) = [event for event in events if isinstance(event, Annealing)]
    validated = [event.elapsed for event in events if isinstance(event, Validated) and event.step <= annealing.step]
    assert len(validated) > 4 and 5 <= validated[-1] - validated[0] < 8


def worse_and_worse() -> Callable[..., tuple[float, int]]:
    figure = 0.0

    def score(*args: Any) -> tuple[float, int]:
        nonlocal figure
        figure += 1
        return 100 * figure, 100

    return score


def test_without_held_out_text_the_last_weights_are_kept(tmp_path: Path) -> None:
    data = data_of(tmp_path, ALPHABETS, held_out=0.0)
    assert not len(data.held_out)
    trainer = trainer_of(data, steps=5)
    assert not any(isinstance(event, Validated) for event in trainer.events())
    kept = trainer.kept_weights()
    assert all((kept[name] == p.detach().numpy()).all() for name, p in trainer._weights().items())


def test_equal_trainers_do_equal_things(alphabets: TrainingData) -> None:
    first, second, other = (trainer_of(alphabets, steps=10, seed=seed, dropout=0.3) for seed in (1, 1, 2))
    for trainer in (first, second, other):
        torch.manual_seed(trainer.settings.seed)
        list(trainer.events())
    a, b, c = (trainer.kept_weights() for trainer in (first, second, other))
    assert all((a[name] == b[name]).all() for name in a)
    assert any((a[name] != c[name]).any() for name in a)


# Stretches


def test_held_out_text_is_cut_into_stretches_that_cover_it() -> None:
    ranges = np.array([[0, 10], [100, 100 + STRETCH], [50_000, 50_000 + 3 * STRETCH + 7]])
    cut = stretches(ranges)
    assert all(0 < end - begin <= STRETCH for begin, end in cut)
    covered = [position for begin, end in cut for position in (begin, end)]
    assert covered == sorted(covered)
    assert sum(end - begin for begin, end in cut) == int((ranges[:, 1] - ranges[:, 0]).sum())
    assert {begin for begin, _ in cut} >= set(ranges[:, 0].tolist())


def test_a_choice_of_stretches_is_even_and_no_larger_than_asked() -> None:
    ranges = np.array([[0, 40 * STRETCH]])
    some = stretches(ranges, 5 * STRETCH)
    assert sum(end - begin for begin, end in some) <= 5 * STRETCH
    gaps = {b[0] - a[0] for a, b in pairwise(some)}
    assert len(gaps) == 1
    assert stretches(ranges, 40 * STRETCH) == stretches(ranges)


def test_the_model_that_a_run_makes_is_the_one_its_loop_validated(little_model: Model) -> None:
    held_out = little_model.header.held_out
    assert held_out is not None and held_out.tokens > 0
    assert held_out.recurrence_bits is not None and held_out.counts_bits is not None
    assert held_out.bits <= 1.05 * min(held_out.recurrence_bits, held_out.counts_bits)
