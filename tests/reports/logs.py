"""Logs as a run writes them, made without a run."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from seqmodel.training.events import Evaluated, Event, Finished, Per, Planned, StepDone, Validated
from seqmodel.training.run.log import RunLog

EVALUATED = Evaluated(2.25, 4.8, "char", 2.5, 2.75, 4.5, 100, 10.5)


def planned(per: Per = "char", chars_per_token: float = 1.0) -> Planned:
    return Planned("plan", {}, 10, 100, 100, per, chars_per_token)


def step(number: int, elapsed: float, bits: float) -> StepDone:
    return StepDone(number, 100 * number, 0.1, bits, 100.0, 0.5, elapsed, 1e-3)


def validated(number: int, elapsed: float, bits: float) -> Validated:
    return Validated(number, bits, True, elapsed, 100 * number)


def finished(number: int, elapsed: float) -> Finished:
    return Finished(number, 100 * number, 1.0, elapsed, 100.0, True)


def falling(last: int = 10, first: float = 9.0, floor: float = 2.5) -> list[Event]:
    """Steps a second apart whose bits fall towards a floor; held-out ones every other step, a little lower."""
    events: list[Event] = [planned()]
    for number in range(1, last + 1):
        bits = floor + (first - floor) * math.exp(2.0 * (1 - number))
        events.append(step(number, float(number), bits + 0.25))
        if number % 2 == 0:
            events.append(validated(number, number + 0.5, bits))
    return [*events, finished(last, last + 0.75)]


def write_log(path: Path, *parts: Sequence[Event]) -> Path:
    """A log of one run, its first part and those that resumed it."""
    for number, events in enumerate(parts):
        with RunLog(path, append=number > 0) as log:
            for event in events:
                log.add(event)
    return path
