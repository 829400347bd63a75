"""How the time of a run is shared, and whether it has become slow. Knows clock readings and counts alone."""

from __future__ import annotations

from collections import deque

WINDOW_SECONDS = 5.0  # over which a rate is taken
REST_SECONDS = 30.0  # of training between one re-timing and the next
COLLAPSE = 0.5  # of the best rate


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
