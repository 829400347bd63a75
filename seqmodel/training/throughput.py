"""The division of a run's time, and the detection of a slow-down. Knows clock readings and counts only."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass

VALIDATION_SHARE = 0.05  # of the time, at most
CHECKPOINT_SHARE = 0.03
CHECKPOINT_SECONDS = 30.0
SAMPLE_SECONDS = 15.0
WINDOW_SECONDS = 5.0  # over which a rate is measured
REST_SECONDS = 30.0  # of training, at least, between two timings of the threads
COLLAPSE = 0.5  # of the best rate
ENDING_SHARE = 0.05  # of the budget, at most, is reserved for the end
ONE_VALIDATION_SHARE = 0.01
SAVING_SECONDS = 0.2  # to write the bundle, which is not measured
FINAL_COST = 1.5  # time per token of the final figures, relative to a validation
LEAST_SCORED = 1 << 12  # tokens; figures of fewer are mostly noise


class Timer:
    """A timer for repeated work: due at most every `least` seconds, and for at most `share` of the time."""

    def __init__(self, least: float, share: float, now: float) -> None:
        self.least, self.share = least, share
        self.wait, self.last = least, now

    def is_due(self, now: float) -> bool:
        """True if the work should be done at the clock reading `now`."""
        return now - self.last > self.wait

    def done(self, began: float, now: float) -> None:
        """Record that the work was done from `began` until `now`."""
        self.wait, self.last = max(self.least, (now - began) / self.share), now


@dataclass
class LoopTiming:
    """The clock readings and timers of one call of `Trainer.events`.

    `start` is that of the call, `began` that of the run's budget; `first_tokens` had been trained on before.
    """

    start: float
    began: float
    deadline: float
    first_tokens: int

    def __post_init__(self) -> None:
        self.validation = Timer(1.0, VALIDATION_SHARE, self.start)
        self.sample = Timer(SAMPLE_SECONDS, VALIDATION_SHARE, self.start)
        self.saving = Timer(CHECKPOINT_SECONDS, CHECKPOINT_SHARE, self.start)

    def share(self, now: float, reserved: float) -> float:
        """The share (0 to 1) of the budget that is spent `now`, if so many seconds are reserved for the end."""
        return min(1.0, max(0.0, now - self.began) / max(1e-9, self.deadline - reserved - self.began))


class SlowdownWatch:
    """Watches the training speed for a collapse."""

    def __init__(self) -> None:
        self.spent = 0.0
        self.asked = -REST_SECONDS + 2 * WINDOW_SECONDS  # the first seconds are not representative
        self.best = 0.0
        self.recent: deque[tuple[float, int]] = deque()

    def has_collapsed(self, seconds: float, tokens: int) -> bool:
        """Record a step. Returns True when the threads should be timed again, and then starts anew."""
        self.spent += seconds
        self.recent.append((seconds, tokens))
        length = sum(each for each, _ in self.recent)
        if length < WINDOW_SECONDS:
            return False
        rate = sum(count for _, count in self.recent) / length
        while self.recent and length - self.recent[0][0] >= WINDOW_SECONDS:
            length -= self.recent.popleft()[0]
        self.best = max(self.best, rate)
        if rate >= COLLAPSE * self.best or self.spent - self.asked < REST_SECONDS:
            return False
        self.asked, self.best = self.spent, 0.0
        self.recent.clear()
        return True


class EndReserve:
    """The time reserved for the end of a run of `budget` seconds: the last validation, the final figures, the files.

    The scoring speed is measured during the run. The end gets at most `ENDING_SHARE` of the budget; if that is too
    little, `affordable` returns the number of held-out tokens that can be scored.
    """

    def __init__(self, budget: float | None, held_out: int) -> None:
        self.budget, self.held_out = budget, held_out
        self.validated = 0  # tokens per validation
        self.per_token = 0.0

    def scored(self, tokens: int, seconds: float) -> None:
        """Record that so many held-out tokens were scored in so many seconds."""
        self.per_token = seconds / max(1, tokens)

    @property
    def validation_seconds(self) -> float:
        """The expected seconds of one validation."""
        return self.validated * self.per_token

    @property
    def most(self) -> float:
        """The most seconds that the end may take."""
        return math.inf if self.budget is None else ENDING_SHARE * self.budget

    @property
    def seconds(self) -> float:
        """Seconds to reserve for the end."""
        if self.budget is None:
            return 0.0
        figures = FINAL_COST * self.held_out * self.per_token
        return min(self.most, SAVING_SECONDS + self.validation_seconds + figures)

    def validation_tokens(self, most: int) -> int:
        """The tokens per validation, at most `most`, so that one takes a small share of the budget."""
        if self.budget is None or not self.per_token:
            return most
        return max(LEAST_SCORED, min(most, int(ONE_VALIDATION_SHARE * self.budget / self.per_token)))

    def affordable(self, left: float) -> int:
        """The number of held-out tokens that can be scored in the `left` seconds, at least `LEAST_SCORED`."""
        if self.budget is None or not self.per_token:
            return self.held_out
        seconds = max(left, self.seconds - self.validation_seconds) - SAVING_SECONDS
        return min(self.held_out, max(LEAST_SCORED, int(seconds / (FINAL_COST * self.per_token))))
