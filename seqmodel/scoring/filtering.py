"""Filtering of lines by their score, alone or against a second model's. It reads lines and writes none."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from seqmodel.command_settings import FilterSettings
from seqmodel.errors import UsageError
from seqmodel.model.bundle import HeldOutLines
from seqmodel.scoring.anomaly import line_ends
from seqmodel.scoring.comparison import check_comparable
from seqmodel.scoring.line_mixture import LineScorer, batches_by_each
from seqmodel.scoring.lines import LineContext, LineScore
from seqmodel.scoring.tokens import ScoreFields
from seqmodel.text.corpus import Line
from seqmodel.text.inputs import LineInputs

Pair = tuple[LineScore, LineScore | None]


class RankingScorer(LineScorer, Protocol):
    """A model that ranks lines among its held-out ones."""

    @property
    def held_out_lines(self) -> HeldOutLines: ...

    def percentile(self, score: LineScore) -> float: ...


class LineRule:
    """Tells whether a line passes. With a second model the score is the first's less the second's (the cross-entropy
    difference of Moore & Lewis 2010). A blank line has no score: `keep_blank` alone decides.

    Raises:
        UsageError: if the settings say nothing, or make no sense for the models.
        ModelError: if percentiles are asked for and the model knows none.
    """

    def __init__(self, model: RankingScorer, against: LineScorer | None, settings: FilterSettings) -> None:
        self.model, self.against, self.settings = model, against, settings
        self._check_bounds()
        closed = model.header.closed or (against is not None and against.header.closed)
        self.per = settings.per or ("token" if closed else "char")
        if self.per == "char" and closed:
            raise UsageError("a closed vocabulary has no bits per char", "Give --per token or --per line.")
        if self.per == "token" and against is not None and not against.tokenizer.spells_as(model.tokenizer):
            raise UsageError("the two models have different tokens", "Compare them --per char or --per line.")
        if against is not None:
            check_comparable([model, against])
        if settings.percentiles is not None:
            _ = model.held_out_lines

    def _check_bounds(self) -> None:
        above, below = self.settings.above, self.settings.below
        if above is None and below is None:
            if self.settings.percentiles is None:
                raise UsageError("nothing says which lines pass", "Give --below, --above or --percentiles.")
            if self.against is not None:
                raise UsageError(
                    "--against needs --below or --above: percentiles are of the -m model alone",
                    "Add a bound for the difference, or leave --against out.",
                )
        if above is not None and below is not None and above >= below:
            raise UsageError(
                f"no score is above {above:g} and below {below:g}", "Swap the two; --invert passes what lies outside."
            )
        self.above = -math.inf if above is None else above
        self.below = math.inf if below is None else below

    def passes(self, row: LineScore, other: LineScore | None = None) -> bool:
        """True if the line passes; `other` is its score by the second model."""
        if not row.text.strip():
            return self.settings.keep_blank
        return self._fits(row, other) != self.settings.invert

    def _fits(self, row: LineScore, other: LineScore | None) -> bool:
        score = self._rate(row) - (0.0 if other is None else self._rate(other))
        if not self.above < score < self.below:
            return False
        if self.settings.percentiles is None:
            return True
        least, most = self.settings.percentiles
        return least <= self.model.percentile(row) <= most

    def _rate(self, row: LineScore) -> float:
        return row.bits / {"char": len(row.text), "token": len(row.ids), "line": 1}[self.per]


@dataclass
class FilteredLines:
    """The lines of some files that pass: iterate over them, or over `batches`. Counts grow as the files are read."""

    inputs: LineInputs
    rule: LineRule
    read: int = 0
    kept: int = 0
    decomposed: int = 0  # lines with characters that the model would know if they were composed

    def __iter__(self) -> Iterator[Line]:
        for batch in self.batches():
            yield from batch

    def batches(self) -> Iterator[list[Line]]:
        """The lines that pass, a list for each batch that was read; it may be empty."""
        restart = self.inputs.table is not None or self.rule.settings.context == "none"
        for _, batches in self.inputs.streams():
            for pairs in scored_by_both(self.rule.model, self.rule.against, batches, restart):
                passing = [row.line for row, other in pairs if self.rule.passes(row, other)]
                self.read += len(pairs)
                self.kept += len(passing)
                self.decomposed += sum(row.is_decomposed(self.rule.model.tokenizer) for row, _ in pairs)
                yield passing

    @property
    def header(self) -> Sequence[Line]:
        """The header lines of a table, once they are read."""
        return () if self.inputs.table is None else self.inputs.table.header_lines


def scored_by_both(
    model: LineScorer, against: LineScorer | None, batches: Iterable[list[Line]], restart: bool
) -> Iterator[list[Pair]]:
    """Score the lines of one file with the model and, if there is one, with the other; see `batches_by_each`."""
    if against is None:
        for rows in model.score_lines(batches, _context(model, restart)):
            yield [(row, None) for row in rows]
        return
    both = (model, against)
    for each in batches_by_each(both, batches, [_context(one, restart) for one in both]):
        yield [(row, other) for row, other in each]


def _context(model: LineScorer, restart: bool) -> LineContext:
    return model.reading(restart=restart, fields=ScoreFields(line_ends=line_ends(model.tokenizer)))
