"""The plan of a run: the settings of its network and training, its n-gram index, and the weights that it begins with.

There are three kinds: of a new run, of one that begins from a bundle, and of one that is resumed.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from seqmodel.arrays import Array
from seqmodel.model.bundle import Bundle
from seqmodel.model.ngram_embeddings import NgramIndex, build_index
from seqmodel.settings import ModelSettings, TrainingSettings
from seqmodel.tokens.batches import token_count
from seqmodel.training.devices import native_precision, pick_device
from seqmodel.training.distributed import Group
from seqmodel.training.loop import Trainer
from seqmodel.training.planning import Task, plan_model, plan_ngrams, plan_training, warm_start
from seqmodel.training.ranks import Place
from seqmodel.training.run.checkpoints import RunCheckpoint
from seqmodel.training.run.request import TrainingRequest
from seqmodel.training.run.start import Start
from seqmodel.training.training_data import TrainingData
from seqmodel.training.trial_steps import training_speed

DEFAULT_SECONDS = 180.0


@dataclass(frozen=True)
class Plan:
    """A run before its first step. `weights` None: random ones, or those of `checkpoint`."""

    model: ModelSettings
    training: TrainingSettings
    index: NgramIndex
    weights: Mapping[str, Array] | None = None
    checkpoint: RunCheckpoint | None = None

    @classmethod
    def of(cls, request: TrainingRequest, start: Start, data: TrainingData, device: torch.device, group: Group) -> Plan:
        """The plan of a run that is new, begins from a bundle, or is resumed."""
        if start.checkpoint is not None:
            return cls.resumed(request, start.checkpoint, data)
        if start.init is not None:
            return cls.from_bundle(request, start.init, data, device)
        return cls.new(request, data, device, alone=group.size == 1)

    @classmethod
    def new(cls, request: TrainingRequest, data: TrainingData, device: torch.device, alone: bool) -> Plan:
        """Choose all settings that the user left open.

        In a process that is `alone` the number of networks depends on the measured training speed.
        """
        chosen = _with_defaults(request.training, device)
        task = task_of(data, chosen)
        model = plan_model(task, request.model, request.size)
        training = plan_training(task, model, chosen)
        if model.networks > 1 and "networks" not in request.model.model_fields_set and alone:
            index = _new_index(request, data, model.networks)
            task = dataclasses.replace(task, speed=training_speed(data, model, training, index, device))
            model = plan_model(task, request.model, request.size)
            training = plan_training(task, model, chosen)
        return cls(model, training, _new_index(request, data, model.networks))

    @classmethod
    def from_bundle(cls, request: TrainingRequest, init: Bundle, data: TrainingData, device: torch.device) -> Plan:
        """Train a bundle's network further, with lower learning rates."""
        chosen = _with_defaults(request.training, device)
        model = init.header.model
        training = warm_start(plan_training(task_of(data, chosen), model, chosen), chosen)
        return cls(model, training, init.index, weights=init.weights)

    @classmethod
    def resumed(cls, request: TrainingRequest, checkpoint: RunCheckpoint, data: TrainingData) -> Plan:
        """Continue with a checkpoint's settings, except for the budget, threads and device that the user gave."""
        given, progress = request.training, checkpoint.progress
        changes = _budget(given) | {"threads": given.threads or progress.settings.threads or progress.threads}
        changes["device"] = given.device or progress.settings.device
        keys = checkpoint.groups.get("ngrams", {})
        orders = tuple(sorted(int(order) for order in keys))
        index = NgramIndex(data.store.header.vocabulary, orders, tuple(keys[str(order)].numpy() for order in orders))
        return cls(progress.model, progress.settings.model_copy(update=changes), index, checkpoint=checkpoint)

    def trainer(self, data: TrainingData, group: Group, device: torch.device) -> Trainer:
        """Make the trainer, with the weights that the run begins with.

        Raises:
            ModelError: if the checkpoint belongs to another corpus.
            ResourceError: if there is too little memory.
        """
        listed = tuple((order, len(keys)) for order, keys in zip(self.index.orders, self.index.keys, strict=True))
        model = self.model.model_copy(update={"ngram_rows": listed})
        trainer = Trainer(data, model, self.training, self.index, group=group, device=device)
        if self.checkpoint is not None:
            trainer.restore(self.checkpoint)
        elif self.weights is not None:
            trainer.begin_from(self.weights)
        return trainer


def run_device(request: TrainingRequest, start: Start, place: Place) -> torch.device:
    """The device of this process: the one that the user gave, that of the run to resume, or the CPU.

    Raises:
        UsageError: if this machine lacks it.
    """
    earlier = start.checkpoint.progress.settings.device if start.checkpoint is not None else None
    return pick_device(request.training.device or earlier or "cpu", place)


def task_of(data: TrainingData, budget: TrainingSettings) -> Task:
    """The facts that settings are chosen by."""
    header = data.store.header
    return Task(header.unit, header.closed, not data.is_stream, header.vocabulary, token_count(data.train), budget)


def _with_defaults(given: TrainingSettings, device: torch.device) -> TrainingSettings:
    """The user's settings, with a budget and a precision."""
    chosen: dict[str, Any] = _budget(given) or {"seconds": DEFAULT_SECONDS}
    if "precision" not in given.model_fields_set:
        chosen["precision"] = native_precision(device)
    return given.model_copy(update=chosen)


def _budget(given: TrainingSettings) -> dict[str, Any]:
    """The budget that was given, with None for the other kinds; empty if none was given."""
    budget = {"seconds": given.seconds, "steps": given.steps, "epochs": given.epochs}
    return budget if any(value is not None for value in budget.values()) else {}


def _new_index(request: TrainingRequest, data: TrainingData, networks: int) -> NgramIndex:
    orders, rows = plan_ngrams(task_of(data, TrainingSettings()), networks)
    return build_index(data.store, data.train, orders if request.ngram_embeddings is not False else (), rows)
