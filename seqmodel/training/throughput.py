"""How the time of a run is shared, and whether it has become slow. Knows clock readings and counts alone."""

from __future__ import annotations

import math
from collections import deque

WINDOW_SECONDS = 5.0  # over which a rate is taken
REST_SECONDS = 30.0  # of training between one re-timing and the next
COLLAPSE = 0.5  # of the best rate
ENDING_SHARE = 0.05  # of the budget, at most, is kept for the end
ONE_VALIDATION_SHARE = 0.01
SAVING_SECONDS = 0.2  # for writing the bundle, beside what is measured
FINAL_COST = 1.5  # the final figures' time for a token, in that of a validation
LEAST_SCORED = 1 << 12  # tokens, below which a figure is mostly noise


class Cadence:
    """When something is due again, so that it takes at most `share` of the time and comes at most every `least`
    seconds."""

    def __init__(self, least: float, share: float, now: float) -> None:
        self.least, self.share = least, share
        self.wait, self.last = least, now

    def is_due(self, now: float) -> bool:
        return now - self.last > self.wait

    def done(self, began: float, now: float) -> None:
        """It took from `began` until `now`."""
        self.wait, self.last = max(self.least, (now - began) / self.share), now


class Pace:
    """Watches the tokens per second of training alone, and tells when they have collapsed."""

    def __init__(self) -> None:
        self.spent = 0.0
        self.asked = -REST_SECONDS + 2 * WINDOW_SECONDS  # the first seconds tell nothing
        self.best = 0.0
        self.recent: deque[tuple[float, int]] = deque()

    def has_collapsed(self, seconds: float, tokens: int) -> bool:
        """Count a step; whether it is time to time the threads again. Having said so, it begins anew."""
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


class Ending:
    """The time kept for the end of a run of `budget` seconds: the last validation, the final figures, the files.

    How fast held-out text is scored is learned from what has been scored. The end gets a small share of the budget at
    most; where that is not enough, `affordable` tells how much of the held-out text can be scored.
    """

    def __init__(self, budget: float | None, held_out: int) -> None:
        self.budget, self.held_out = budget, held_out
        self.validated = 0  # tokens of a validation
        self.per_token = 0.0

    def scored(self, tokens: int, seconds: float) -> None:
        """So many tokens of held-out text were scored in so many seconds."""
        self.per_token = seconds / max(1, tokens)

    @property
    def validation_seconds(self) -> float:
        return self.validated * self.per_token

    @property
    def most(self) -> float:
        """Seconds that the end may take."""
        return math.inf if self.budget is None else ENDING_SHARE * self.budget

    @property
    def seconds(self) -> float:
        """To be kept for the end."""
        if self.budget is None:
            return 0.0
        figures = FINAL_COST * self.held_out * self.per_token
        return min(self.most, SAVING_SECONDS + self.validation_seconds + figures)

    def validation_tokens(self, most: int) -> int:
        """Tokens of a validation, at most `most`, that takes a small share of the budget."""
        if self.budget is None or not self.per_token:
            return most
        return max(LEAST_SCORED, min(most, int(ONE_VALIDATION_SHARE * self.budget / self.per_token)))

    def affordable(self, left: float) -> int:
        """Tokens of the held-out text that the final figures may be of, where `left` seconds are left; never so few
        that they tell nothing."""
        if self.budget is None or not self.per_token:
            return self.held_out
        seconds = max(left, self.seconds - self.validation_seconds) - SAVING_SECONDS
        return min(self.held_out, max(LEAST_SCORED, int(seconds / (FINAL_COST * self.per_token))))
