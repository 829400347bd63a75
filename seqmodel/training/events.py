"""The events of a run. The loop yields them; the console and the log listen."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

Per = Literal["char", "token"]


@dataclass(frozen=True)
class Planned:
    """The run is about to begin; `plan` is one line with its settings.

    `per` is the unit of the bits that are shown: a token if the vocabulary is closed (unknown words have lost their
    characters), else a character. The bits per char of later events times `chars_per_token` are bits per token.
    """

    plan: str
    settings: dict[str, Any]
    parameters: int
    train_tokens: int
    held_out_tokens: int
    per: Per
    chars_per_token: float


@dataclass(frozen=True)
class Noted:
    """A note to the user."""

    text: str


@dataclass(frozen=True)
class StepDone:
    """One optimizer step. `bits_per_char` is of the training text, smoothed; `progress` runs from 0 to 1."""

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
    """Held-out bits per char on the fixed subset; `best` if it is the lowest so far."""

    step: int
    bits_per_char: float
    best: bool
    elapsed: float
    tokens: int


@dataclass(frozen=True)
class Sampled:
    """A short sample of the model at this step."""

    step: int
    text: str


@dataclass(frozen=True)
class CheckpointSaved:
    """A checkpoint was written, in so many seconds."""

    step: int
    path: str
    seconds: float


@dataclass(frozen=True)
class Annealing:
    """The held-out figure no longer improves: the learning rate now falls to zero, and the run ends."""

    step: int
    reason: str


@dataclass(frozen=True)
class RolledBack:
    """Step `failed` diverged: the run goes on from `step` with `factor` times its first learning rates."""

    failed: int
    step: int
    reason: str
    factor: float


@dataclass(frozen=True)
class Finished:
    """The loop is over. `annealed` is False if it was interrupted."""

    step: int
    tokens: int
    epoch: float
    elapsed: float
    tokens_per_second: float
    annealed: bool


@dataclass(frozen=True)
class Evaluated:
    """The final figures: the stored model and its baselines on the held-out text.

    `recurrence`, `counts` and `unigram` are bits per `per`, None if the model has no such part;
    `bits_per_char` is None if `per` is "token".
    """

    bits_per_char: float | None
    perplexity: float
    per: Per
    recurrence: float | None
    counts: float | None
    unigram: float | None
    tokens: int
    elapsed: float

    @property
    def bits(self) -> float:
        """Bits of the whole model, per `per`."""
        return math.log2(self.perplexity) if self.bits_per_char is None else self.bits_per_char


Event = (
    Planned | Noted | StepDone | Validated | Sampled | CheckpointSaved | Annealing | RolledBack | Finished | Evaluated
)
