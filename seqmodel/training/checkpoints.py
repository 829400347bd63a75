"""The `.checkpoint` file: all that a run needs to go on as if it had not stopped. Safetensors, no pickle."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import Field, ValidationError
from torch import Tensor

from seqmodel.config import (
    CorpusSettings,
    Count,
    Digest,
    ModelSettings,
    Settings,
    TokenizerSettings,
    TrainingSettings,
)
from seqmodel.errors import ModelError
from seqmodel.kinds import MAX_THREADS
from seqmodel.model.bundle import index_fits, weight_shapes
from seqmodel.model.cells import state_width
from seqmodel.model.ngram_index import NgramIndex
from seqmodel.model.tensors import Array, read_tensors, write_tensors

FORMAT = 2
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
    valid: Digest | None


class Progress(Settings):
    """The numbers of a run; see `Trainer`."""

    step: Count
    tokens: Count
    epoch: float = Field(ge=0)
    bits_per_char: float | None
    elapsed: float = Field(ge=0)
    best_bits: float | None
    worse: Count
    anneal: tuple[Count | None, Annotated[int, Field(ge=1, lt=1 << 63)], float]
    recovery: tuple[float, Count]
    settings: TrainingSettings
    model: ModelSettings
    threads: int = Field(ge=1, le=MAX_THREADS)
    corpus_digest: Digest
    notes: Notes


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
    shapes = weight_shapes(model)
    for group in [group for group in ("weights", "best") if groups.get(group) or group == "weights"]:
        weights = groups.get(group, {})
        if {name: tuple(tensor.shape) for name, tensor in weights.items()} != shapes:
            return False
        if not all(w.dtype == torch.float32 and bool(torch.isfinite(w).all()) for w in weights.values()):
            return False
    keys = tuple(groups.get("ngrams", {}).get(str(order)) for order, _ in model.ngram_rows)
    arrays = tuple(key.numpy() for key in keys if key is not None)
    index = NgramIndex(model.vocabulary, tuple(order for order, _ in model.ngram_rows), arrays)
    if (
        len(arrays) != len(groups.get("ngrams", {}))
        or len(arrays) != len(keys)
        or not index_fits(index, model.ngram_rows)
    ):
        return False
    return _lanes_fit(groups, model, index.history)


def _lanes_fit(groups: Mapping[str, Mapping[str, Tensor]], model: ModelSettings, history: int) -> bool:
    """Whether the lanes' states are there, of one number of lanes, with ids before them; or no lane has begun."""
    random = groups.get("random", {})
    ids, noise = random.get("history"), random.get("torch")
    if ids is None or noise is None or ids.dtype != torch.int64 or ids.ndim != 2 or noise.dtype != torch.uint8:
        return False
    lanes = groups.get("lanes", {})
    if not lanes:
        return True
    size = (ids.shape[1], state_width(model.cell, model.width))
    names = {str(number) for number in range(model.networks * model.layers)}
    states = all(lane.dtype == torch.float32 and tuple(lane.shape) == size for lane in lanes.values())
    known = bool(((ids >= 0) & (ids < model.vocabulary)).all())
    return states and known and lanes.keys() == names and len(ids) == history
