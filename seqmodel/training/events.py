"""What happens in a run, as values. The loop yields them; the console, the log and tests listen."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

Per = Literal["char", "token"]


@dataclass(frozen=True)
class Planned:
    """The run is about to begin; `plan` says in one line what was chosen.

    A closed vocabulary has lost the characters of unknown words, so that bits are told per token there: `per`
    says which. The later rows' bits per char times `chars_per_token` are bits per token.
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
    tokens: int


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
class RolledBack:
    """Step `failed` went wrong: the run goes on from `step` with `factor` times the learning rates it began with."""

    failed: int
    step: int
    reason: str
    factor: float


@dataclass(frozen=True)
class Finished:
    """The loop is over. `annealed` is False where it was interrupted."""

    step: int
    tokens: int
    epoch: float
    elapsed: float
    tokens_per_second: float
    annealed: bool


@dataclass(frozen=True)
class Evaluated:
    """The model as stored, on all of the held-out text, beside its baselines on the same text.

    `recurrence`, `counts` and `unigram` are bits per `per`, None where there is no such part;
    `bits_per_char` is None where `per` is "token".
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
        """Of the whole model, per `per`."""
        return math.log2(self.perplexity) if self.bits_per_char is None else self.bits_per_char


Event = (
    Planned | Noted | StepDone | Validated | Sampled | CheckpointSaved | Annealing | RolledBack | Finished | Evaluated
)
