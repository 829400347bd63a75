"""The contents of a picture of runs, apart from drawing: limits, ticks, labels and curves.

The terminal's curve and the figure are drawn from the same `Picture`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

from seqmodel.choices import Over
from seqmodel.errors import UsageError
from seqmodel.reports.history import History, Point
from seqmodel.text.visible import one_line

BEGINNING = 0.1  # of a run, whose high loss sets no limits
WITH_BASELINES = 2  # runs; with more of them each shows its final figure alone
LONGEST_NAME = 28
MOST_TICKS = 6


class CurvePoint(NamedTuple):
    """A point of a curve, in units of the axes."""

    x: float
    bits: float


Curve = tuple[CurvePoint, ...]


class Level(NamedTuple):
    """A final figure of a run."""

    label: str
    bits: float


@dataclass(frozen=True)
class Axis:
    """An axis from `low` to `high`; ticks are (value, label)."""

    title: str
    low: float
    high: float
    ticks: tuple[tuple[float, str], ...]


@dataclass(frozen=True)
class Baseline:
    """A horizontal line at `bits`; `above` if that is beyond the picture's top."""

    label: str
    bits: float
    above: bool


@dataclass(frozen=True)
class RunPicture:
    """A run's name, baselines and curves; the points of a curve are in order of x."""

    name: str
    train: Curve
    held_out: Curve
    baselines: tuple[Baseline, ...]


@dataclass(frozen=True)
class Picture:
    """Axes and runs of a picture."""

    x: Axis
    y: Axis
    runs: tuple[RunPicture, ...]


def picture(histories: Sequence[History], over: Over) -> Picture:
    """The picture of some runs over time or tokens.

    Raises:
        UsageError: if bits per char and bits per token would share an axis.
    """
    if len({history.per for history in histories}) > 1:
        raise UsageError(
            "some runs are in bits per token (closed vocabulary), others in bits per char",
            "Plot them apart.",
        )
    place = _seconds if over == "time" else _tokens
    last = max(place(point) for history in histories for point in (*history.train, *history.held_out))
    title, unit = _time_unit(last) if over == "time" else ("training tokens", 1.0)
    drawn = [
        (
            tuple(CurvePoint(place(point) / unit, point.bits) for point in history.train),
            tuple(CurvePoint(place(point) / unit, point.bits) for point in history.held_out),
        )
        for history in histories
    ]
    levels = [_levels(history) for history in histories]
    low, high = _limits(drawn, levels)
    if len(histories) > WITH_BASELINES:
        levels = [own[-1:] for own in levels]
    runs = [
        RunPicture(
            name, train, held_out, tuple(Baseline(level.label, level.bits, above=level.bits > high) for level in own)
        )
        for name, (train, held_out), own in zip(names([h.path for h in histories]), drawn, levels, strict=True)
    ]
    right = max(1.01 * last / unit, 1e-9)
    label = _plain_label if over == "time" else _short_label
    x = Axis(title, 0.0, right, _ticks(0.0, right, label))
    y = Axis(f"bits per {histories[0].per}", low, high, _ticks(low, high, _plain_label))
    return Picture(x, y, tuple(runs))


def names(paths: Sequence[Path]) -> list[str]:
    """A short name for each file: its stem, or its path if another file has the same stem."""
    stems = [path.stem for path in paths]
    chosen = [stem if stems.count(stem) == 1 else str(path) for stem, path in zip(stems, paths, strict=True)]
    # A file's name may hold anything: what is shown steers no terminal and fits into any file format.
    shown = [one_line(name) for name in chosen]
    return [name if len(name) <= LONGEST_NAME else "..." + name[3 - LONGEST_NAME :] for name in shown]


def spread(places: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Move labels apart: at least `gap` between them, from `low` to `high`, as near to `places` as possible.

    Example: [1, 1, 5], gap 2 -> [0, 2, 5]. Their order is kept; if there are too many, the last ones exceed `high`.
    """
    order = sorted(range(len(places)), key=lambda i: places[i])
    groups: list[list[float]] = []  # the wished places of labels that touch; they share the mean
    for rank, i in enumerate(order):
        groups.append([places[i] - rank * gap])
        while len(groups) > 1 and fmean(groups[-2]) > fmean(groups[-1]):
            last = groups.pop()
            groups[-1] += last
    wishes = [fmean(group) for group in groups for _ in group]
    most = high - (len(places) - 1) * gap
    found = [0.0] * len(places)
    for rank, (i, wish) in enumerate(zip(order, wishes, strict=True)):
        found[i] = max(low, min(most, wish)) + rank * gap
    return found


def _seconds(point: Point) -> float:
    return point.seconds


def _tokens(point: Point) -> float:
    return float(point.tokens)


def _time_unit(seconds: float) -> tuple[str, float]:
    return ("seconds", 1.0) if seconds < 180 else ("minutes", 60.0) if seconds < 3 * 3600 else ("hours", 3600.0)


def _levels(history: History) -> list[Level]:
    """The final figures by name; the model's own is the last."""
    final = history.evaluated
    if final is None:
        return []
    two = final.recurrence is not None
    parts = {"unigram": final.unigram, "counts": final.counts, "recurrence": final.recurrence}
    found = [Level(name, bits) for name, bits in parts.items() if bits is not None]
    return [*found, Level("together" if two else "final", final.bits)]


def _limits(drawn: Sequence[tuple[Curve, Curve]], levels: Sequence[list[Level]]) -> tuple[float, float]:
    """The limits of the y axis: from the lowest to the highest informative point, with some room.

    Points above the unigram's level, and the beginning of a run, set no limits; the last point of a run always does.
    The unigram's level is left outside if it is far above everything else.
    """
    unigrams = [bits for own in levels for name, bits in own if name == "unigram"]
    seen = [bits for own in levels for name, bits in own if name != "unigram"]
    seen += [curve[-1].bits for curves in drawn for curve in curves if curve]
    later = [bits for curves in drawn for bits in _after_beginning(curves)]
    low = min([*seen, *later])
    high = max([*seen, min(max(later), max(unigrams, default=math.inf))])
    room = max(high - low, 0.02 * high, 1e-3)
    high = max([high, *(bits for bits in unigrams if bits <= high + room / 2)])
    return max(0.0, low - 0.06 * room), high + 0.06 * room


def _after_beginning(curves: tuple[Curve, Curve]) -> list[float]:
    every = [point for curve in curves for point in curve]
    begin = BEGINNING * max(point.x for point in every)
    return [point.bits for point in every if point.x >= begin]


def _ticks(low: float, high: float, label: Callable[[float, float], str]) -> tuple[tuple[float, str], ...]:
    """Ticks at round numbers between two limits, in steps of 1, 2 or 5 times a power of ten."""
    rough = (high - low) / MOST_TICKS
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999)
    first, last = math.ceil(low / step - 1e-6), math.floor(high / step + 1e-6)
    return tuple((number * step, label(number * step, step)) for number in range(first, last + 1))


def _plain_label(value: float, step: float) -> str:
    return f"{value:.{max(0, -math.floor(math.log10(step) + 1e-9))}f}"


def _short_label(value: float, step: float) -> str:
    """A label with a letter for thousands and millions. Example: 200000 -> 200k."""
    for letter, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= size:
            return _plain_label(value / size, min(1.0, step / size)) + letter
    return _plain_label(value, step)
