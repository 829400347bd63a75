"""The device that computes the network: the CPU or a GPU."""

from __future__ import annotations

import torch

from seqmodel.choices import Device, Precision
from seqmodel.errors import UsageError
from seqmodel.training.ranks import Place

CPU = torch.device("cpu")


def pick_device(wanted: Device, place: Place) -> torch.device:
    """The device of this process. `auto` prefers CUDA to MPS to the CPU; each process gets a GPU of its own.

    Raises:
        UsageError: if this machine lacks the device, or has too few for its processes.
    """
    if wanted == "cuda" or (wanted == "auto" and torch.cuda.is_available()):
        if not torch.cuda.is_available():
            raise _missing("cuda", "PyTorch finds no CUDA device here")
        if (count := torch.cuda.device_count()) <= place.local_rank:
            raise _missing("cuda", f"this machine has {count} GPUs for {place.local_size} processes")
        return torch.device("cuda", place.local_rank)
    if wanted == "mps" or (wanted == "auto" and place.size == 1 and torch.backends.mps.is_available()):
        if not torch.backends.mps.is_available():
            raise _missing("mps", "PyTorch finds no Apple GPU here")
        if place.size > 1:
            raise _missing("mps", "several processes cannot share it")
        return torch.device("mps")
    return CPU


def _missing(name: str, reason: str) -> UsageError:
    return UsageError(f"device {name}: {reason}", "Leave --device out, or use --device cpu.")


def native_precision(device: torch.device = CPU) -> Precision:
    """bf16 if the device has instructions for it, else fp32."""
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    can = torch.cpu.get_capabilities() if device.type == "cpu" else {}
    return "bf16" if can.get("avx512_bf16") or can.get("amx_bf16") else "fp32"
