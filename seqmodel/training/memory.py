"""A check, before a run begins, that it fits into memory: the system kills a process that needs more."""

from __future__ import annotations

import math
import os
import re
from pathlib import Path

from seqmodel.errors import ResourceError
from seqmodel.model.bundle import weight_shapes
from seqmodel.settings import ModelSettings, TrainingSettings

FLOAT = 4  # bytes
PER_WEIGHT = 4  # numbers: the weight, its gradient and both moments
PER_LAYER = 8  # numbers per token and unit of width that are kept for the backward pass, at least
_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")  # of a container
_FREE = re.compile(r"^(?:MemAvailable|SwapFree): *([0-9]+) kB$", re.MULTILINE)


def check_memory(model: ModelSettings, training: TrainingSettings, tokens: int) -> None:
    """Check that training on so many tokens can fit into memory.

    Raises:
        ResourceError: if it surely needs more memory than is free.
    """
    needed, free = least_bytes(model, training, tokens), free_bytes()
    if needed > free:
        raise ResourceError(
            f"training takes at least {needed / 1e9:,.1f} GB of memory, and {free / 1e9:,.1f} GB are free",
            "Use a smaller --width, fewer --layers or --networks, or fewer --lanes and a shorter --segment.",
        )


def least_bytes(model: ModelSettings, training: TrainingSettings, tokens: int) -> int:
    """A lower bound of the bytes of weights, optimizer and one step's activations.

    A step reads at most all `tokens`.
    """
    weights = sum(math.prod(shape) for shape in weight_shapes(model).values())
    layers = model.networks * model.layers * model.width * PER_LAYER
    return FLOAT * (PER_WEIGHT * weights + min(tokens, training.lanes * training.segment) * layers)


def free_bytes() -> float:
    """Bytes that this process may still take, swap included; infinity if the system does not say."""
    try:
        import resource
    except ImportError:  # on Windows
        return math.inf
    page = os.sysconf("SC_PAGE_SIZE")
    free = [page * os.sysconf("SC_PHYS_PAGES")]
    if found := _FREE.findall(_read("/proc/meminfo")):
        free.append(1024 * sum(map(int, found)))
    free += [int(limit) for limit in map(_read, _LIMITS) if limit.strip().isdecimal()]
    allowed, _ = resource.getrlimit(resource.RLIMIT_AS)
    if allowed != resource.RLIM_INFINITY:
        taken = _read("/proc/self/statm").split()
        free.append(allowed - page * int(taken[0]) if taken else allowed)
    return max(0, min(free))


def _read(name: str) -> str:
    try:
        return Path(name).read_text(encoding="ascii")
    except OSError:
        return ""
