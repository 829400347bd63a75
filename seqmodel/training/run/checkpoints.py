"""The `.checkpoint` file: all that a run needs to go on as if it had not stopped. Safetensors, no pickle."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

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


@dataclass(frozen=True)
class Checkpoint:
    """Tensors by group ("weights", "best", "optimizer", "lanes", "random", "ngrams") and numbers beside them."""

    groups: Mapping[str, Mapping[str, Tensor]]
    progress: Mapping[str, Any]


def write_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write atomically.

    Raises:
        ResourceError: if the disk is full; the old checkpoint stays.
    """
    flat: dict[str, Array] = {}
    for group, tensors in checkpoint.groups.items():
        for name, tensor in tensors.items():
            flat[f"{group}/{name}"] = tensor.detach().cpu().numpy()
    ordered = dict(sorted(flat.items(), key=lambda item: (-item[1].dtype.itemsize, item[0])))
    write_tensors(path, ordered, {"format": FORMAT, "kind": KIND, "progress": dict(checkpoint.progress)})


def read_checkpoint(path: Path) -> Checkpoint:
    """
    Raises:
        ModelError: if it is missing, damaged or of a newer format.
    """
    file, tensors = read_tensors(path)
    if file.metadata.get("kind") != KIND:
        raise ModelError(f"{path}: not a checkpoint", "Name the model whose training is to be resumed with -o.")
    if file.metadata.get("format") != FORMAT:
        raise ModelError(f"{path}: made by another version of seqmodel", "Resume with the version that made it.")
    groups: dict[str, dict[str, Tensor]] = {}
    for name, array in tensors.items():
        group, _, rest = name.partition("/")
        groups.setdefault(group, {})[rest] = torch.from_numpy(array)
    progress = file.metadata.get("progress")
    return Checkpoint(groups, progress if isinstance(progress, dict) else {})


# What a checkpoint of a run holds


class Notes(Settings):
    """What a run keeps of its beginning."""

    counts: bool
    began_from: Digest | None
    learned: bool
    tokenizer: TokenizerSettings
    corpus: CorpusSettings
    store: Digest
    own_store: bool
    valid_store: Digest | None
    valid: Digest | None


class Progress(Settings):
    """The numbers of a run; see `Trainer`."""

    step: Annotated[int, Field(ge=0, lt=1 << 62)]
    tokens: Annotated[int, Field(ge=0, lt=1 << 62)]
    epoch: float = Field(ge=0, le=MAX_EPOCHS)
    bits_per_char: float | None
    elapsed: float = Field(ge=0)
    best_bits: float | None
    best_progress: float = Field(0.0, ge=0, le=1)
    worse: Count
    validated: Count = 0  # tokens of a validation; 0 in checkpoints made before it was kept
    anneal: tuple[Count | None, Annotated[int, Field(ge=1, lt=1 << 63)], float]
    recovery: tuple[Annotated[float, Field(gt=0, le=1)], Count]
    settings: TrainingSettings
    model: ModelSettings
    threads: int = Field(ge=1, le=MAX_THREADS)
    corpus_digest: Digest
    notes: Notes

    @model_validator(mode="after")
    def _one_budget(self) -> Progress:
        budgets = (self.settings.seconds, self.settings.steps, self.settings.epochs)
        if sum(budget is not None for budget in budgets) != 1:
            raise ValueError("a run has one budget")
        return self


def read_run(path: Path) -> Checkpoint:
    """Read the checkpoint of a run that is to be resumed, and see that its parts fit together.

    Raises:
        ModelError: as `read_checkpoint`, and if they do not.
    """
    checkpoint = read_checkpoint(path)
    misfit = ModelError(f"{path}: the parts of the checkpoint do not fit together", "Start anew with --force.")
    try:
        progress = Progress.model_validate(checkpoint.progress, strict=False)
    except ValidationError:
        raise misfit from None
    if not _groups_fit(checkpoint.groups, progress.model):
        raise misfit
    return Checkpoint(checkpoint.groups, progress.model_dump(mode="json"))


def _groups_fit(groups: Mapping[str, Mapping[str, Tensor]], model: ModelSettings) -> bool:
    """Whether the tensors are those of a model: so no more memory is asked for than the file had."""
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
    """Whether the lanes' states are there, all of as many lanes, with ids before them; or no lane has begun."""
    ids, noise = random.get("history"), random.get("torch")
    if ids is None or noise is None or ids.dtype != np.int64 or ids.ndim != 2 or noise.dtype != np.uint8:
        return False
    size = (ids.shape[1], state_width(model.cell, model.width))
    names = {str(number) for number in range(model.networks * model.layers)}
    states = all(lane.dtype == np.float32 and lane.shape == size for lane in lanes.values())
    known = bool(((ids >= 0) & (ids < model.vocabulary)).all())
    return not lanes or (states and known and lanes.keys() == names and len(ids) == history)
