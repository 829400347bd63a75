"""The `.checkpoint` file: all that a run needs to go on as if it had not stopped. Safetensors, no pickle."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from seqmodel.errors import ModelError
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
    return Checkpoint(groups, file.metadata["progress"])
