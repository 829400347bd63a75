"""The `.jsonl` log of a run, read back and checked: train and held-out bits over time, and the final figures.

A run may still be writing its log, so a last line without a newline is left out. The part of a resumed run is joined to
the part before it: time goes on, and repeated steps are kept once.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, NoReturn, get_args

from seqmodel.errors import DataError, system_reason
from seqmodel.training.events import Evaluated, Event, Finished, Per, Planned, StepDone, Validated

LONGEST_ROW = 1 << 20
MOST = 1e15  # the largest number that a log may hold
_KINDS = {kind.__name__: kind for kind in get_args(Event)}
_HINT = "Name the .jsonl log that stands beside a bundle."


@dataclass(frozen=True)
class Point:
    """Bits per char or token after a number of steps, tokens and seconds of training."""

    step: int
    tokens: int
    seconds: float
    bits: float


@dataclass(frozen=True)
class History:
    """One run. `evaluated` is None while it goes on, and if no text was held out."""

    path: Path
    per: Per
    train: tuple[Point, ...]
    held_out: tuple[Point, ...]
    evaluated: Evaluated | None


def read_history(path: Path) -> History:
    """Read the log of a run.

    Raises:
        DataError: if it is missing, damaged, no log of a run, or without a step so far.
    """
    log = _LogReader(path)
    for number, row in _rows(path):
        log.take(number, row)
    return log.history()


class _LoggedPoint(NamedTuple):
    """A point and the type of its event."""

    kind: type
    point: Point


class _LogReader:
    """Collects the points of a log, row by row."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.per: Per = "char"
        self.scale = 1.0
        self.points: list[_LoggedPoint] = []
        self.evaluated: Evaluated | None = None
        self.spent = 0.0  # seconds of the parts before a resume
        self.begins = False

    def take(self, number: int, row: Any) -> None:
        name = row.get("event") if isinstance(row, dict) else None
        kind = _KINDS.get(name) if isinstance(name, str) else None
        if kind is None:
            self._refuse(number, "is not an event of a run")
        if number == 1 and kind is not Planned:
            self._refuse(number, "is not the start of a run, which the first row must be")
        if kind is Planned:
            self.per = self._per(number, row)
            self.scale = self._number(number, row, "chars_per_token") if self.per == "token" else 1.0
            self.begins, self.evaluated = True, None
        elif kind is Evaluated:
            self.evaluated = self._evaluated(number, row)
        elif kind in (StepDone, Validated, Finished):
            self._point(number, row, kind)

    def _point(self, number: int, row: dict[str, Any], kind: type) -> None:
        step, tokens, elapsed = (self._number(number, row, name) for name in ("step", "tokens", "elapsed"))
        bits = 0.0 if kind is Finished else self._number(number, row, "bits_per_char", default=math.nan)
        if kind is StepDone:
            while self.points and self.points[-1].point.step >= step:  # steps that a rollback or a resume repeats
                self.points.pop()
        if self.begins:
            self.spent = self.points[-1].point.seconds if self.points else 0.0
            self.begins = False
        point = Point(int(step), int(tokens), self.spent + elapsed, bits * self.scale)
        self.points.append(_LoggedPoint(kind, point))

    def _evaluated(self, number: int, row: dict[str, Any]) -> Evaluated:
        self._per(number, row)
        for name in ("perplexity", "tokens", "elapsed"):
            self._number(number, row, name)
        for name in ("bits_per_char", "recurrence", "counts", "unigram"):
            self._number(number, row, name, default=0.0)
        evaluated = Evaluated(**{field.name: row[field.name] for field in dataclasses.fields(Evaluated)})
        if evaluated.perplexity < 1:
            self._refuse(number, "has a perplexity below 1")
        return evaluated

    def _number(self, number: int, row: dict[str, Any], name: str, default: float | None = None) -> float:
        """A number of a row; `default` if the row holds null."""
        value = row.get(name, "")
        if value is None and default is not None:
            return default
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= MOST:
            self._refuse(number, f"has no valid {name}")
        return float(value)

    def _per(self, number: int, row: dict[str, Any]) -> Per:
        per = row.get("per")
        if per != "char" and per != "token":
            self._refuse(number, "has no valid per")
        return per  # type: ignore[no-any-return]

    def _refuse(self, number: int, what: str) -> NoReturn:
        raise DataError(f"{self.path}:{number}: the row {what}", _HINT)

    def history(self) -> History:
        train, held_out = (
            tuple(point for kind, point in self.points if kind is wanted and math.isfinite(point.bits))
            for wanted in (StepDone, Validated)
        )
        if not train and not held_out:
            raise DataError(f"{self.path}: the log holds no step yet", "Plot it when the run has made some.")
        return History(self.path, self.per, train, held_out, self.evaluated)


def _rows(path: Path) -> Iterator[tuple[int, Any]]:
    try:
        with path.open("rb") as file:
            yield from _parsed(path, file)
    except FileNotFoundError:
        raise DataError(f"{path}: no such file", _HINT) from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {system_reason(error)}", _HINT) from error


def _parsed(path: Path, file: BinaryIO) -> Iterator[tuple[int, Any]]:
    """Yield each row's number, from 1, and its value."""
    number = 0
    while line := file.readline(LONGEST_ROW):
        number += 1
        try:
            row = json.loads(line.decode("utf-8"), parse_constant=_refuse_constant)
        except (ValueError, RecursionError):
            if len(line) < LONGEST_ROW and not line.endswith(b"\n"):
                return
            raise DataError(f"{path}:{number}: the line is not a row of a log", _HINT) from None
        yield number, row


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(name)
