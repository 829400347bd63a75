"""A plan goes by the steps that this machine takes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch

from seqmodel.reports.speed import made_up_corpus
from seqmodel.settings import ModelSettings, TrainingSettings
from seqmodel.training import trial_steps
from seqmodel.training.events import StepDone
from seqmodel.training.loop import TrainingData
from seqmodel.training.trial_steps import training_speed


@pytest.mark.parametrize(("budget", "steps"), [({"steps": 100}, 8), ({"seconds": 20.0}, 3)])
def test_plans_go_by_the_steps_of_one_network_the_first_left_out(
    budget: dict[str, Any], steps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[int] = []

    class Fake:
        def __init__(self, data: TrainingData, model: ModelSettings, *more: Any, **options: Any) -> None:
            assert model.networks == 1 and not len(data.held_out)

        def events(self) -> Iterator[StepDone]:
            for step in range(1, 100):
                taken.append(step)
                yield StepDone(step, 100 * step, 0.1, 2.0, 1.0, 0.0, 5 + 0.1 * step, 0.01)

    monkeypatch.setattr(trial_steps, "Trainer", Fake)
    corpus = made_up_corpus()
    model = ModelSettings(vocabulary=corpus.data.store.header.vocabulary, networks=3)
    found = training_speed(corpus.data, model, TrainingSettings(**budget), corpus.index, torch.device("cpu"))
    assert found == pytest.approx(1000) and len(taken) == steps
