"""Recovery from divergence: a loss that is not finite, or far above its best. Knows losses and snapshots only."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from seqmodel.errors import SeqmodelError

if TYPE_CHECKING:
    from seqmodel.training.run.checkpoints import Snapshot

KEEP_STEPS = 256  # between snapshots: a few seconds, so that copying the weights costs little
MOST_TRIES = 3
SMOOTHING = 0.05
SETTLED_STEPS = 100  # earlier losses are not judged
# A change of subject costs a fraction of a bit; a rise of this size and length is a divergence.
FAR_ABOVE_BITS, FAR_ABOVE_SHARE, FAR_ABOVE_STEPS = 2.0, 0.5, 50


@dataclass
class Recovery:
    """Watches the loss. `good` is the state to go back to; `factor` scales the learning rates."""

    factor: float = 1.0
    tries: int = 0
    good: Snapshot | None = None
    _seen: int = field(default=0, init=False)
    _smooth: float = field(default=math.nan, init=False)
    _best: float = field(default=math.inf, init=False)
    _above: int = field(default=0, init=False)

    def is_due(self, step: int) -> bool:
        """True if a snapshot should be taken at this step; never while the loss is suspicious."""
        return self.good is None or (step % KEEP_STEPS == 0 and not self._above)

    def trouble(self, bits: float) -> str:
        """Record a step's bits per token. Returns the reason if training has diverged, else an empty text."""
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

    def roll_back(self, reason: str, step: int) -> Snapshot:
        """Halve the learning rates and return the state to go back to.

        Raises:
            SeqmodelError: after `MOST_TRIES` tries.
        """
        if self.tries >= MOST_TRIES or self.good is None:
            raise SeqmodelError(
                f"{reason} at step {step}, and again with an eighth of the learning rate",
                "Train with a much lower --learning-rate, or check the text for binary data and repetitions.",
            )
        self.tries += 1
        self.factor /= 2
        self._seen, self._smooth, self._best, self._above = 0, math.nan, math.inf, 0
        return self.good
