"""The `.checkpoint` file, from which an interrupted run is resumed exactly. Safetensors, no pickle."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, NamedTuple, TypeVar

import numpy as np
import torch
from pydantic import Field, ValidationError, model_validator
from torch import Tensor

from seqmodel.arrays import Array
from seqmodel.choices import MAX_THREADS
from seqmodel.errors import ModelError
from seqmodel.model.bundle import in_range, index_fits, weight_shapes
from seqmodel.model.cells import state_width
from seqmodel.model.ngram_embeddings import NgramIndex
from seqmodel.model.tensors import read_tensors, write_tensors
from seqmodel.settings import (
    MAX_EPOCHS,
    CorpusSettings,
    Count,
    Digest,
    ModelSettings,
    Settings,
    TokenizerSettings,
    TrainingSettings,
)

FORMAT = 3
KIND = "checkpoint"

Groups = Mapping[str, Mapping[str, Tensor]]  # "weights", "best", "optimizer", "lanes", "random", "ngrams"


# The contents


class StartRecord(Settings):
    """The record of a run's start: how its text was read, and from which stores and bundle it began."""

    counts: bool
    began_from: Digest | None
    learned: bool  # the vocabulary's settings are known
    tokenizer: TokenizerSettings
    corpus: CorpusSettings
    store: Digest
    own_store: bool  # the run made the store, and removes it
    valid_store: Digest | None
    valid: Digest | None


class AnnealState(NamedTuple):
    """The annealing of `optimization.Schedule`; `start` is None before it has begun."""

    start: Count | None
    steps: Annotated[int, Field(ge=1, lt=1 << 63)]
    scale: float


class RecoveryState(NamedTuple):
    """The factor of the learning rates, and the number of times that the run went back."""

    factor: Annotated[float, Field(gt=0, le=1)]
    tries: Count


class StepProgress(Settings):
    """The numbers that a step changes."""

    step: Annotated[int, Field(ge=0, lt=1 << 62)]
    tokens: Annotated[int, Field(ge=0, lt=1 << 62)]
    epoch: float = Field(ge=0, le=MAX_EPOCHS)
    bits_per_char: float | None


class Progress(StepProgress):
    """The numbers and settings of a trainer; see `loop.Trainer`. `notes` is None if it belongs to no run."""

    elapsed: float = Field(ge=0)
    best_bits: float | None
    best_progress: float = Field(0.0, ge=0, le=1)
    worse: Count
    validated: Count = 0  # tokens per validation; 0 in older checkpoints
    anneal: AnnealState
    recovery: RecoveryState
    settings: TrainingSettings
    model: ModelSettings
    threads: int = Field(ge=1, le=MAX_THREADS)
    corpus_digest: Digest
    notes: StartRecord | None = None


class RunProgress(Progress):
    """The progress of a run that can be resumed."""

    notes: StartRecord

    @model_validator(mode="after")
    def _one_budget(self) -> RunProgress:
        budgets = (self.settings.seconds, self.settings.steps, self.settings.epochs)
        if sum(budget is not None for budget in budgets) != 1:
            raise ValueError("a run has one budget")
        return self


AnyProgress = TypeVar("AnyProgress", bound=Progress)


@dataclass(frozen=True)
class Snapshot:
    """The state that a step changes: tensors by group, and numbers."""

    groups: Groups
    progress: StepProgress


@dataclass(frozen=True)
class Checkpoint(Snapshot):
    """The state of a trainer."""

    progress: Progress


@dataclass(frozen=True)
class RunCheckpoint(Checkpoint):
    """The state of a run that can be resumed."""

    progress: RunProgress


# The file


def write_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint atomically.

    Raises:
        ResourceError: if the disk is full; the old checkpoint stays.
    """
    flat: dict[str, Array] = {}
    for group, tensors in checkpoint.groups.items():
        for name, tensor in tensors.items():
            flat[f"{group}/{name}"] = tensor.detach().cpu().numpy()
    ordered = dict(sorted(flat.items(), key=lambda item: (-item[1].dtype.itemsize, item[0])))
    progress = checkpoint.progress.model_dump(mode="json")
    write_tensors(path, ordered, {"format": FORMAT, "kind": KIND, "progress": progress})


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint.

    Raises:
        ModelError: if it is missing, damaged or of another format.
    """
    groups, progress = _read(path, Progress)
    return Checkpoint(groups, progress)


def read_run(path: Path) -> RunCheckpoint:
    """Read the checkpoint of a run that is to be resumed, and check that its parts fit together.

    Raises:
        ModelError: as `read_checkpoint`, and if they do not.
    """
    groups, progress = _read(path, RunProgress)
    if not _groups_fit(groups, progress.model):
        raise _misfit(path)
    return RunCheckpoint(groups, progress)


def _read(path: Path, kind: type[AnyProgress]) -> tuple[Groups, AnyProgress]:
    file, tensors = read_tensors(path)
    if file.metadata.get("kind") != KIND:
        raise ModelError(f"{path}: not a checkpoint", "Name the model whose training is to be resumed with -o.")
    if file.metadata.get("format") != FORMAT:
        raise ModelError(f"{path}: made by another version of seqmodel", "Resume with the version that made it.")
    groups: dict[str, dict[str, Tensor]] = {}
    for name, array in tensors.items():
        group, _, rest = name.partition("/")
        groups.setdefault(group, {})[rest] = torch.from_numpy(array)
    try:
        return groups, kind.model_validate(file.metadata.get("progress"), strict=False)
    except ValidationError:
        raise _misfit(path) from None


def _misfit(path: Path) -> ModelError:
    return ModelError(f"{path}: the parts of the checkpoint do not fit together", "Start anew with --force.")


def _groups_fit(groups: Groups, model: ModelSettings) -> bool:
    """True if the tensors have the shapes of the model, so that it needs no more memory than the file had."""
    kinds = ("weights", "best", "ngrams", "lanes", "random")
    weights, best, keys, lanes, random = (
        {name: tensor.numpy() for name, tensor in groups.get(kind, {}).items()} for kind in kinds
    )
    if not _weights_fit(weights, model) or not (_weights_fit(best, model) or not best):
        return False
    names = [str(order) for order, _ in model.ngram_rows]
    if keys.keys() != set(names):
        return False
    index = NgramIndex(
        model.vocabulary, tuple(order for order, _ in model.ngram_rows), tuple(keys[name] for name in names)
    )
    return index_fits(index, model.ngram_rows) and _lanes_fit(lanes, random, model, index.history)


def _weights_fit(weights: Mapping[str, Array], model: ModelSettings) -> bool:
    shapes = {name: weight.shape for name, weight in weights.items()}
    kinds = {weight.dtype for weight in weights.values()}
    return shapes == weight_shapes(model) and kinds == {np.dtype(np.float32)} and in_range(weights)


def _lanes_fit(lanes: Mapping[str, Array], random: Mapping[str, Array], model: ModelSettings, history: int) -> bool:
    """True if every state has the same number of lanes, with their earlier ids; or if no lane has begun."""
    ids, noise = random.get("history"), random.get("torch")
    if ids is None or noise is None or ids.dtype != np.int64 or ids.ndim != 2 or noise.dtype != np.uint8:
        return False
    size = (ids.shape[1], state_width(model.cell, model.width))
    names = {str(number) for number in range(model.networks * model.layers)}
    states = all(lane.dtype == np.float32 and lane.shape == size for lane in lanes.values())
    known = bool(((ids >= 0) & (ids < model.vocabulary)).all())
    return not lanes or (states and known and lanes.keys() == names and len(ids) == history)
