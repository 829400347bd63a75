"""When a run has gone wrong: the loss is no number, or far above what it was. It knows figures and snapshots alone."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from seqmodel.errors import SeqmodelError

if TYPE_CHECKING:
    from seqmodel.training.run.checkpoints import Checkpoint

KEEP_STEPS = 256  # between snapshots: some seconds, so that copying the weights costs next to nothing
MOST_TRIES = 3
SMOOTHING = 0.05
SETTLED_STEPS = 100  # before which a loss may still be anything
# A text that turns to another subject costs a fraction of a bit more; this much more, for so long, is no text's doing.
FAR_ABOVE_BITS, FAR_ABOVE_SHARE, FAR_ABOVE_STEPS = 2.0, 0.5, 50


@dataclass
class Recovery:
    """`trouble` is told the loss of every step; `good` is the state to go back to; `factor` scales the rates."""

    factor: float = 1.0
    tries: int = 0
    good: Checkpoint | None = None
    _seen: int = field(default=0, init=False)
    _smooth: float = field(default=math.nan, init=False)
    _best: float = field(default=math.inf, init=False)
    _above: int = field(default=0, init=False)

    def is_due(self, step: int) -> bool:
        """Whether a snapshot should be kept at this step; never of a state that may already be bad."""
        return self.good is None or (step % KEEP_STEPS == 0 and not self._above)

    def trouble(self, bits: float) -> str:
        """What is wrong after a step of so many bits per token; empty if nothing is."""
        if not math.isfinite(bits):
            return f"the loss became {bits}"
        self._seen += 1
        self._smooth = bits if math.isnan(self._smooth) else (1 - SMOOTHING) * self._smooth + SMOOTHING * bits
        if self._seen < SETTLED_STEPS:
            return ""
        self._best = min(self._best, self._smooth)
        far = self._smooth > self._best + max(FAR_ABOVE_BITS, FAR_ABOVE_SHARE * self._best)
        self._above = self._above + 1 if far else 0
        return "the loss rose far above what it was" if self._above >= FAR_ABOVE_STEPS else ""

    def roll_back(self, reason: str, step: int) -> Checkpoint:
        """The state to go back to, for another try with half the learning rate.

        Raises:
            SeqmodelError: after a few tries.
        """
        if self.tries >= MOST_TRIES or self.good is None:
            raise SeqmodelError(
                f"{reason} at step {step}, and again with an eighth of the learning rate",
                "Train with a much lower --learning-rate, or look for what is odd in the text.",
            )
        self.tries += 1
        self.factor /= 2
        self._seen, self._smooth, self._best, self._above = 0, math.nan, math.inf, 0
        return self.good
