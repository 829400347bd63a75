"""Carries `seqmodel filter` out: lines whose score fits pass, as they were read."""

from __future__ import annotations

import math
import re
import sys
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import tee
from typing import Literal, TextIO

from seqmodel.config import CorpusSettings
from seqmodel.console.rows import steering
from seqmodel.console.score_run import NONE, ScoreRequest, line_inputs, tell_decomposed
from seqmodel.console.terminal import say
from seqmodel.errors import UsageError
from seqmodel.inference.line_scores import LineScore, Reading
from seqmodel.inference.loaded import Model
from seqmodel.inference.oddness import line_ends
from seqmodel.inference.scoring import Wanted
from seqmodel.text.corpus import Line
from seqmodel.text.tables import TableFormat

RateOf = Literal["char", "token", "line"]
Pair = tuple[LineScore, LineScore | None]

_RANGE = re.compile(r"(\d+(?:\.\d+)?)?\.\.(\d+(?:\.\d+)?)?")


@dataclass(frozen=True)
class FilterRequest:
    """What the command line says."""

    inputs: tuple[str, ...] = ()
    below: float | None = None
    above: float | None = None
    percentiles: str | None = None
    per: RateOf | None = None
    invert: bool = False
    keep_blank: bool = False
    count: bool = False
    context: str = "carry"
    column: str | None = None
    table: TableFormat | None = None
    quiet: bool = False


def run_filter(model: Model, against: Model | None, request: FilterRequest, settings: CorpusSettings) -> None:
    """Write the lines that fit, batch by batch, or their number; the summary goes to standard error."""
    rule = LineRule.of(model, against, request)
    reads = ScoreRequest(request.inputs, column=request.column, table=request.table)
    inputs = line_inputs(model, reads, settings)
    output = LineOutput(sys.stdout)
    restart = request.column is not None or request.context == NONE
    read = kept = decomposed = 0
    for _, batches in inputs.streams():
        for pairs in scored_by_both(model, against, batches, restart):
            fitting = [row.line for row, other in pairs if rule.passes(row, other)]
            read += len(pairs)
            kept += len(fitting)
            decomposed += sum(row.is_decomposed(model.tokenizer) for row, _ in pairs)
            if not request.count:
                output.write(fitting, inputs.table.header_lines if inputs.table is not None else ())
    if request.count:
        sys.stdout.write(f"{kept}\n")
    elif inputs.table is not None:
        output.write([], inputs.table.header_lines)  # a table without rows keeps its header
    if not request.quiet:
        say(f"kept {kept:,} of {read:,} line{'s' * (read != 1)}")
        tell_decomposed(decomposed)


class LineRule:
    """Which lines pass: those whose score lies within the bounds and whose percentile within the range.

    A score is bits per char, per token or of the whole line; with `against`, the model's less the other's (the
    cross-entropy difference of Moore & Lewis 2010). A blank line has none: whether it passes is a rule of its own.
    """

    def __init__(
        self,
        model: Model,
        per: RateOf,
        bounds: tuple[float, float],
        percentiles: tuple[float, float] | None = None,
        invert: bool = False,
        keep_blank: bool = False,
    ) -> None:
        self.model, self.per, self.bounds, self.percentiles = model, per, bounds, percentiles
        self.invert, self.keep_blank = invert, keep_blank

    @classmethod
    def of(cls, model: Model, against: Model | None, request: FilterRequest) -> LineRule:
        """The rule that a request states.

        Raises:
            UsageError: if it states none, or one that makes no sense for these models.
            ModelError: if percentiles are asked for and the model knows none.
        """
        bounded = [bound for bound in (request.above, request.below) if bound is not None]
        if any(map(math.isnan, bounded)):
            raise UsageError("a bound is no number", "Give --below and --above numbers.")
        if not bounded and (against is not None or request.percentiles is None):
            raise UsageError("nothing says which lines pass", "Give --below, --above or --percentiles.")
        closed = model.header.closed or (against is not None and against.header.closed)
        per: RateOf = request.per or ("token" if closed else "char")
        if per == "char" and closed:
            raise UsageError("a closed vocabulary has no bits per char", "Give --per token or --per line.")
        if per == "token" and against is not None and against.tokenizer.proto != model.tokenizer.proto:
            raise UsageError("the two models have different tokens", "Compare them --per char or --per line.")
        percentiles = None if request.percentiles is None else _range(request.percentiles)
        if percentiles is not None:
            _ = model.held_out_lines
        above = -math.inf if request.above is None else request.above
        below = math.inf if request.below is None else request.below
        return cls(model, per, (above, below), percentiles, request.invert, request.keep_blank)

    def passes(self, row: LineScore, other: LineScore | None = None) -> bool:
        if not row.text.strip():
            return self.keep_blank
        return self._fits(row, other) != self.invert

    def _fits(self, row: LineScore, other: LineScore | None) -> bool:
        above, below = self.bounds
        score = self._rate(row) - (0.0 if other is None else self._rate(other))
        if not above < score < below:
            return False
        if self.percentiles is None:
            return True
        least, most = self.percentiles
        return least <= self.model.percentile(row) <= most

    def _rate(self, row: LineScore) -> float:
        return row.bits / {"char": len(row.text), "token": len(row.ids), "line": 1}[self.per]


def _range(text: str) -> tuple[float, float]:
    match = _RANGE.fullmatch(text)
    least, most = (float(match[1] or 0), float(match[2] or 100)) if match else (1.0, 0.0)
    if not least <= most <= 100:
        raise UsageError("the range of percentiles cannot be read", "Write 5..95, ..95 or 95.. for example.")
    return least, most


def scored_by_both(
    model: Model, against: Model | None, batches: Iterable[list[Line]], restart: bool
) -> Iterator[list[Pair]]:
    """The lines of one file, scored by the model and, where there is one, by the other.

    In paragraphs and documents a line waits until it is known what follows it, so that one model may be a line
    behind the other: what both have goes on, and the one that is behind is asked next.
    """
    if against is None:
        for rows in model.score_lines(batches, _reading(model, restart)):
            yield [(row, None) for row in rows]
        return
    both = [
        one.score_lines(copy, _reading(one, restart)) for one, copy in zip((model, against), tee(batches), strict=True)
    ]
    waiting: tuple[deque[LineScore], deque[LineScore]] = (deque(), deque())
    while True:
        behind = int(len(waiting[1]) < len(waiting[0]))
        found = next(both[behind], None)
        if found is None:
            return
        waiting[behind].extend(found)
        if many := min(map(len, waiting)):
            yield [(waiting[0].popleft(), waiting[1].popleft()) for _ in range(many)]


def _reading(model: Model, restart: bool) -> Reading:
    return model.reading(restart=restart, wanted=Wanted(line_ends=line_ends(model.tokenizer)))


class LineOutput:
    """Writes lines as they were read, byte for byte; on a terminal control characters are shown, not sent.

    The last line of a file may lack its newline: it gets one if another line follows.
    """

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream
        self.steering = steering(stream)
        self.begun = self.open = False

    def write(self, lines: Iterable[Line], header: Iterable[Line] = ()) -> None:
        """Write lines and flush; `header` comes before the first."""
        parts = []
        for line in lines if self.begun else [*header, *lines]:
            parts += [b"\n"] * self.open + [line.as_read]
            self.open = not parts[-1].endswith(b"\n")
        self.begun = True
        data = b"".join(parts)
        if self.steering:
            self.stream.write(data.decode("utf-8", "backslashreplace").translate(self.steering))
        else:
            self.stream.buffer.write(data)
        self.stream.flush()
