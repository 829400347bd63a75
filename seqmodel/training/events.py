"""What happens in a run, as values. The loop yields them; the console, the log and tests listen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Planned:
    """The run is about to begin; `plan` says in one line what was chosen."""

    plan: str
    settings: dict[str, Any]
    parameters: int
    train_tokens: int
    held_out_tokens: int


@dataclass(frozen=True)
class Noted:
    """Something that the user may want to know."""

    text: str


@dataclass(frozen=True)
class StepDone:
    """One optimizer step. `bits_per_char` is the training text's, smoothed; `progress` runs from 0 to 1."""

    step: int
    tokens: int
    epoch: float
    bits_per_char: float
    tokens_per_second: float
    progress: float
    elapsed: float
    learning_rate: float


@dataclass(frozen=True)
class Validated:
    """Held-out bits per char on the fixed subset; `best` if none was lower so far."""

    step: int
    bits_per_char: float
    best: bool
    elapsed: float


@dataclass(frozen=True)
class Sampled:
    """A short continuation by the model as it is now."""

    step: int
    text: str


@dataclass(frozen=True)
class CheckpointSaved:
    step: int
    path: str
    seconds: float


@dataclass(frozen=True)
class Annealing:
    """Held-out text no longer gains: the learning rate goes to zero now, and the run then stops."""

    step: int
    reason: str


@dataclass(frozen=True)
class Finished:
    """The loop is over. `annealed` is False where it was interrupted."""

    step: int
    tokens: int
    epoch: float
    elapsed: float
    tokens_per_second: float
    annealed: bool


Event = Planned | Noted | StepDone | Validated | Sampled | CheckpointSaved | Annealing | Finished
