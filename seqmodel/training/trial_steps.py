"""The training speed of this machine, from a few timed steps before a plan is made."""

from __future__ import annotations

import dataclasses
import math
from itertools import islice

import numpy as np
import torch

from seqmodel.model.ngram_embeddings import NgramIndex
from seqmodel.settings import ModelSettings, TrainingSettings
from seqmodel.training.events import StepDone
from seqmodel.training.loop import Trainer
from seqmodel.training.training_data import TrainingData

TIMED_STEPS, TIMED_SHARE = 8, 0.01  # of training and of its budget; the first step is left out


def training_speed(
    data: TrainingData, model: ModelSettings, training: TrainingSettings, index: NgramIndex, device: torch.device
) -> float:
    """Train one network of a plan for a few steps. Returns its tokens per second."""
    listed = tuple((order, len(keys)) for order, keys in zip(index.orders, index.keys, strict=True))
    one = model.model_copy(update={"networks": 1, "ngram_rows": listed})
    alone = dataclasses.replace(data, held_out=np.empty((0, 2), np.int64))
    steps = Trainer(alone, one, training, index, device=device).events()
    done: list[StepDone] = []
    for event in islice(steps, TIMED_STEPS):
        if isinstance(event, StepDone):
            done.append(event)
        if len(done) > 2 and done[-1].elapsed > TIMED_SHARE * (training.seconds or math.inf):
            break
    return (done[-1].tokens - done[0].tokens) / max(1e-9, done[-1].elapsed - done[0].elapsed)
