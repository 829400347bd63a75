"""A self-contained HTML page of scored text: coloured by surprisal, with details at each mark.

It shows a bounded number of tokens, so that browsers can show it; memory depends on that number, not on the input.
"""

from __future__ import annotations

import base64
import hashlib
import heapq
import math
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from itertools import groupby, islice

from seqmodel.reports.highlight import END_SIGN, Mark, Marking
from seqmodel.reports.palette import DARK, LIGHT
from seqmodel.scoring.lines import LineScore
from seqmodel.text.visible import NEWLINE_SIGN

MOST_TOKENS = 100_000  # of a page; a line shows at most a tenth of them
ALTERNATIVES = 5
_NAMED_TOKENS = 16  # of one mark

Figure = tuple[str, str]


@dataclass(frozen=True)
class Heading:
    """The page's heading: the model, (name, value) figures over all scored text, and notes."""

    model: str
    description: str
    figures: tuple[Figure, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True, order=True)
class _Shown:
    """A line as HTML, ordered so that the least is dropped first."""

    badness: float
    place: int  # minus the number of the line
    tokens: int
    file: str
    html: str


class ScorePage:
    """Takes scored lines in order and keeps those that the page shows: the first, or the worst by bits per char."""

    def __init__(self, marking: Marking, worst_first: bool = False, most_tokens: int = MOST_TOKENS) -> None:
        import jinja2

        self.marking, self.worst_first, self.most_tokens = marking, worst_first, most_tokens
        self.lines, self.tokens = 0, 0
        self.kept: list[_Shown] = []  # a heap
        self.left_out = -math.inf  # the highest badness of a dropped line
        self.templates = jinja2.Environment(
            loader=jinja2.PackageLoader("seqmodel.reports", "pages"),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            keep_trailing_newline=True,
        )
        self.line_template = self.templates.get_template("line.html.jinja")

    def add(self, file: str, row: LineScore) -> None:
        """Add a line of a file."""
        self.lines += 1
        badness = self._badness(row) if self.worst_first else float(-self.lines)
        if badness <= self.left_out:
            return
        tokens = 1 + min(len(row.ids), self.most_tokens // 10)  # one for the line itself
        heapq.heappush(self.kept, _Shown(badness, -self.lines, tokens, file, self._line(row, tokens - 1)))
        self.tokens += tokens
        while self.tokens > self.most_tokens:
            dropped = heapq.heappop(self.kept)
            self.left_out = dropped.badness
            self.tokens -= dropped.tokens

    def _rate(self, row: LineScore) -> float:
        """Bits per char, or per token for a closed vocabulary, which has lost characters."""
        amount = len(row.ids) if self.marking.tokenizer.closed else len(row.text)
        return row.bits / amount if amount else math.nan

    def _badness(self, row: LineScore) -> float:
        rate = self._rate(row)
        return -1.0 if math.isnan(rate) else rate

    def _line(self, row: LineScore, most: int) -> str:
        """A line as HTML, cut after `most` tokens."""
        rate = self._rate(row)
        return self.line_template.render(
            number=row.line.number,
            anchor=f"L{self.lines}",
            rate="" if math.isnan(rate) else f"{rate:.2f}",
            marks=self._marks(row, most),
            hidden=len(row.ids) - most,
            signs=(END_SIGN, NEWLINE_SIGN),
        )

    def _marks(self, row: LineScore, most: int) -> Iterator[tuple[str, int | None, str]]:
        """Yield text, shade (None between words) and details of each mark."""
        details = Details(self.marking, row, most)
        for mark in self.marking.marks(row, most):
            if mark.bits is None:
                yield mark.text, None, ""
            else:
                yield mark.text, self.marking.shade(mark.bits), "\n".join(details.of(mark, mark.bits))

    def html(self, heading: Heading) -> Iterator[str]:
        """Yield the page in parts."""
        script = (files("seqmodel.reports") / "pages" / "score.js").read_text(encoding="utf-8")
        shown = sorted(self.kept, reverse=True)
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        return self.templates.get_template("score.html.jinja").generate(
            heading=heading,
            of="word" if self.marking.by_word else "token",
            per="token" if self.marking.tokenizer.closed else "char",
            notes=[*heading.notes, *self._notes()],
            sections=[(file, [line.html for line in own]) for file, own in groupby(shown, lambda line: line.file)],
            name_files=len({line.file for line in shown}) > 1,
            light=LIGHT,
            dark=DARK,
            ticks=self.marking.ticks,
            script=script,
            digest=digest,
        )

    def _notes(self) -> Iterator[str]:
        """Yield a sentence that says which lines are shown, unless that is all of them in order."""
        shown = f"{len(self.kept):,} of {self.lines:,} lines"
        if self.worst_first:
            rate = "token" if self.marking.tokenizer.closed else "char"
            which = "All lines" if len(self.kept) == self.lines else f"The worst {shown}"
            yield f"{which}, those with the most bits per {rate} first."
        elif len(self.kept) < self.lines:
            yield f"The first {shown} are shown; the figures are those of all."


class Details:
    """Details of the marks of a line: surprisal, tokens, and the most probable tokens instead."""

    def __init__(self, marking: Marking, row: LineScore, most: int) -> None:
        self.marking = marking
        self.ids: list[int] = row.ids[:most].tolist()
        scores = row.scores.at(slice(0, most))
        self.bits: list[float] = scores.bits.tolist()
        self.ranks: list[int] = [] if scores.rank is None else scores.rank.tolist()
        self.entropy: list[float] = [] if scores.entropy is None else scores.entropy.tolist()
        self.best: list[list[int]] = [] if scores.best is None else scores.best.tolist()
        self.best_bits: list[list[float]] = [] if scores.best_bits is None else scores.best_bits.tolist()

    def of(self, mark: Mark, bits: float) -> Iterator[str]:
        """Yield a mark's details line by line; alternatives end in a percentage."""
        yield f"{mark.text}: {bits:.2f} bits"
        tokens = range(mark.first, mark.last)
        if several := len(tokens) > 1:
            named = [f"{self.marking.label(self.ids[i])} {self.bits[i]:.2f}" for i in islice(tokens, _NAMED_TOKENS)]
            yield "tokens: " + ", ".join(named) + (", …" if len(tokens) > len(named) else "")
        if self.best and tokens:
            at = mark.first
            where = "the first: " if several else f"p {2**-bits:.3g}, "
            yield f"{where}rank {self.ranks[at]:,}, entropy {self.entropy[at]:.2f} bits"
            yield "most probable:"
            for token, own in zip(self.best[at], self.best_bits[at], strict=True):
                yield f"{self.marking.label(token)} {percent(2**-own)}"


def percent(p: float) -> str:
    """A probability as a percentage of one decimal."""
    return "<0.1%" if 0 < p < 0.0005 else f"{100 * p:.1f}%"
