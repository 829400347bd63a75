"""The rank of this process in a run, as `torchrun` sets it in the environment. No torch."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from seqmodel.errors import UsageError


@dataclass(frozen=True)
class Place:
    """The number of a process among those of the run (`rank`) and of its machine (`local_rank`)."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1

    @property
    def leads(self) -> bool:
        """True for the process that writes, shows and decides; the others only share the work."""
        return self.rank == 0


def place_of_process(environment: Mapping[str, str] = os.environ) -> Place:
    """Read RANK, WORLD_SIZE, LOCAL_RANK and LOCAL_WORLD_SIZE.

    Raises:
        UsageError: if one is no number, or they contradict each other.
    """
    rank, size = _number(environment, "RANK", 0), _number(environment, "WORLD_SIZE", 1)
    place = Place(rank, size, _number(environment, "LOCAL_RANK", rank), _number(environment, "LOCAL_WORLD_SIZE", size))
    if not (0 <= rank < size and 0 <= place.local_rank < place.local_size <= size):
        raise UsageError(f"the environment says that this is process {rank} of {size}", _HINT)
    return place


_HINT = "Start several processes with torchrun, or unset RANK and WORLD_SIZE."


def _number(environment: Mapping[str, str], name: str, default: int) -> int:
    value = environment.get(name, str(default))
    if not (value.isascii() and value.isdigit()):
        raise UsageError(f"the environment variable {name} is no number", _HINT)
    return int(value)
