"""What a run does when its loss is no number or runs away, and when the machine becomes slow."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from seqmodel.errors import SeqmodelError
from seqmodel.model.language_model import LanguageModel
from seqmodel.training.events import Finished, Noted, RolledBack
from seqmodel.training.loop import Trainer
from seqmodel.training.recovery import FAR_ABOVE_STEPS, MOST_TRIES, SETTLED_STEPS, Recovery
from seqmodel.training.throughput import REST_SECONDS, SlowdownWatch, Timer
from tests.cli.command import run_here, told
from tests.training.test_loop import ALPHABETS, data_of, trainer_of

Losses = Callable[[int, float], float]


@pytest.fixture
def spoil(monkeypatch: pytest.MonkeyPatch) -> Callable[[Losses], None]:
    """Change what the network says of its loss, call by call."""

    def apply(change: Losses) -> None:
        calls = 0
        honest = LanguageModel.loss

        def loss(self: Any, *args: Any) -> Any:
            nonlocal calls
            value, state = honest(self, *args)
            calls += 1
            return value * change(calls, float(value.detach())), state

        monkeypatch.setattr(LanguageModel, "loss", loss)

    return apply


def test_a_loss_that_is_no_number_once_costs_a_few_steps(spoil: Callable[[Losses], None], tmp_path: Path) -> None:
    trainer = trainer_of(data_of(tmp_path, ALPHABETS), steps=30)
    spoil(lambda call, _: math.nan if call == 12 else 1.0)
    events = list(trainer.events())
    (back,) = [event for event in events if isinstance(event, RolledBack)]
    assert (back.failed, back.step, back.factor) == (11, 0, 0.5) and "nan" in back.reason
    assert isinstance(events[-1], Finished) and trainer.step > 12
    assert all(torch.isfinite(p).all() for p in trainer.model.parameters())


def test_weights_and_moments_that_went_bad_are_given_up(tmp_path: Path) -> None:
    trainer = trainer_of(data_of(tmp_path, ALPHABETS), steps=20)
    events = trainer.events()
    next(events)
    with torch.no_grad():
        trainer.model.networks[0].norm.weight.fill_(math.nan)
    trainer.optimizers.adamw.mean[0].fill_(math.nan)
    assert any(isinstance(event, RolledBack) for event in events)
    assert all(torch.isfinite(tensor).all() for tensor in trainer.optimizers.state().values())
    assert all(torch.isfinite(p).all() for p in trainer.model.parameters())


def test_after_a_few_tries_the_run_gives_up_in_one_line(spoil: Callable[[Losses], None], tmp_path: Path) -> None:
    (tmp_path / "corpus.txt").write_text("abc abd\n" * 200)
    spoil(lambda call, _: math.nan if call > 3 else 1.0)
    output = tmp_path / "m.seqmodel"
    result = run_here("train", tmp_path / "corpus.txt", "--steps", "20", "--width", "8", "-o", output)
    told(result, 1, "the loss became nan at step", "--learning-rate")
    assert not output.exists() and list(tmp_path.glob(".*partial")) == []


def test_each_try_has_half_the_rate_of_the_one_before(spoil: Callable[[Losses], None], tmp_path: Path) -> None:
    trainer = trainer_of(data_of(tmp_path, ALPHABETS), steps=30)
    spoil(lambda call, _: math.nan)
    factors: list[float] = []
    with pytest.raises(SeqmodelError, match="the loss became nan"):
        for event in trainer.events():
            factors += [event.factor] if isinstance(event, RolledBack) else []
    assert factors == [0.5**n for n in range(1, MOST_TRIES + 1)]


def test_a_much_too_high_rate_is_brought_down(tmp_path: Path) -> None:
    trainer = trainer_of(data_of(tmp_path, ALPHABETS), steps=400, learning_rate=30.0, warmup_steps=0)
    trainer.recovery = Recovery()
    for bits in [2.0] * SETTLED_STEPS:
        assert not trainer.recovery.trouble(bits)
    assert any(isinstance(event, RolledBack) for event in trainer.events())


@given(st.lists(st.floats(0, 8), min_size=1, max_size=400))
@settings(max_examples=50, deadline=None)
def test_no_trouble_is_seen_in_losses_that_only_fall_or_wander_a_little(steps: list[float]) -> None:
    recovery = Recovery()
    level = 9.0
    for step in steps:
        level = min(level, 1.0 + step)
        assert not recovery.trouble(level + 0.9 * math.sin(step))


def test_a_loss_far_above_its_best_for_long_is_trouble() -> None:
    recovery = Recovery()
    assert not any(recovery.trouble(2.0) for _ in range(SETTLED_STEPS + 10))
    told_at = [step for step in range(300) if recovery.trouble(9.0)]
    assert told_at and told_at[0] >= FAR_ABOVE_STEPS - 1


# A slow-down


def test_what_takes_long_comes_seldom() -> None:
    cadence = Timer(1.0, 0.05, 0.0)
    assert not cadence.is_due(1.0) and cadence.is_due(1.1)
    cadence.done(1.1, 2.1)
    assert not cadence.is_due(22.0) and cadence.is_due(22.2)


def test_a_collapse_is_told_once_and_again_only_after_a_rest() -> None:
    pace = SlowdownWatch()
    assert not any(pace.has_collapsed(0.1, 1000) for _ in range(400))
    told_at = [step for step in range(2000) if pace.has_collapsed(0.1, 100)]
    assert len(told_at) == 1 and told_at[0] * 0.1 < 10  # slow is usual from then on
    assert not any(pace.has_collapsed(0.1, 100) for _ in range(400))
    assert not any(pace.has_collapsed(0.1, 1000) for _ in range(100))
    again = [step for step in range(2000) if pace.has_collapsed(0.1, 100)]
    assert len(again) == 1


def test_neither_the_first_seconds_nor_a_single_slow_step_are_a_collapse() -> None:
    pace = SlowdownWatch()
    assert not pace.has_collapsed(20.0, 10)
    assert not any(pace.has_collapsed(0.1, 1000) for _ in range(100))
    assert not pace.has_collapsed(2.0, 1000)
    assert not any(pace.has_collapsed(0.1, 1000) for _ in range(int(REST_SECONDS * 10)))


def test_the_loop_times_the_threads_again_only_where_it_may(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SlowdownWatch, "has_collapsed", lambda *_: True)
    for given_settings, expected in (({"seconds": 0.5, "steps": None}, True), ({"steps": 3}, False)):
        trainer: Trainer = trainer_of(data_of(tmp_path, ALPHABETS), threads=None, **given_settings)
        notes = [event for event in trainer.events(trainer.clock() + 0.5) if isinstance(event, Noted)]
        assert any("threads were timed again" in note.text for note in notes) == expected
