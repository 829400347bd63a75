"""Scores as pictures: an HTML page, coloured text in the terminal, or the chain rule row by row.

Each replaces the rows of `seqmodel score`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from seqmodel.api.model import Model
from seqmodel.console.chain_view import ChainOutput
from seqmodel.console.heatmap_view import HeatmapOutput
from seqmodel.console.rows import write_name
from seqmodel.console.score_output import ScoreOutput
from seqmodel.console.score_view import Level, ScoreView
from seqmodel.errors import UsageError
from seqmodel.files import check_folder, refuse_existing, write_alone
from seqmodel.reports.highlight import END_SIGN, Marking
from seqmodel.reports.html_page import ALTERNATIVES, Heading, ScorePage
from seqmodel.scoring.lines import LineScore
from seqmodel.scoring.totals import CorpusTotals
from seqmodel.text.visible import NEWLINE_SIGN, with_signs

STDOUT = "-"
_LARGE = 1e7  # perplexities above this are written as powers of ten


@dataclass(frozen=True)
class Pictures:
    """The picture wanted, one at most. `html` names the page's file, `model` the bundle, for the page's heading."""

    html: str | None = None
    worst_first: bool = False
    heatmap: bool = False
    explain: bool = False
    force: bool = False
    model: str = ""

    @property
    def wanted(self) -> bool:
        """True if any picture is wanted."""
        return self.html is not None or self.heatmap or self.explain

    @property
    def _option(self) -> str:
        return "--html" if self.html is not None else "--heatmap" if self.heatmap else "--explain"

    def alternatives(self, level: Level) -> int:
        """The number of most probable tokens that the picture shows at each token."""
        return ALTERNATIVES if self.html is not None and level != "word" else 0

    def check(self, level: Level, is_plain: bool) -> None:
        """Check the options. `is_plain` is False if options for the layout of rows are given.

        Raises:
            UsageError: if the options contradict each other.
        """
        if self.worst_first and self.html is None:
            raise UsageError("--worst-first sorts the lines of a page", "Add --html FILE.")
        if not self.wanted:
            return
        if sum((self.html is not None, self.heatmap, self.explain)) > 1:
            raise UsageError("--html, --heatmap and --explain exclude each other", "Give one of them.")
        if not is_plain:
            raise UsageError(
                "--html, --heatmap and --explain write no rows and are in bits",
                "Leave out --format, --base, --no-header and --no-text.",
            )
        if level in ("document", "corpus") or (self.explain and level == "word"):
            raise UsageError(f"{self._option} does not go with --by {level}", "Leave out --by.")


def picture_output(model: Model, pictures: Pictures, view: ScoreView, end: bool, stream: TextIO) -> ScoreOutput:
    """The output that draws the picture wanted. `end` is True if end symbols count.

    Raises:
        UsageError: if the page exists, or the terminal has no colours.
    """
    if pictures.explain:
        return ChainOutput(model, stream)
    marking = Marking(view.tokenizer, view.level == "word", view.words, view.boundary)
    if pictures.heatmap:
        return HeatmapOutput(marking, view.files, stream)
    return PageOutput(model, pictures, marking, end, stream)


class PageOutput(ScoreOutput):
    """Writes an HTML page when all lines are scored, and its name to standard output."""

    def __init__(self, model: Model, pictures: Pictures, marking: Marking, end: bool, stream: TextIO) -> None:
        super().__init__(stream)
        assert pictures.html is not None
        self.path = None if pictures.html == STDOUT else Path(pictures.html)
        if self.path is not None:
            refuse_existing(self.path, pictures.force)
            check_folder(self.path)
        self.force = pictures.force
        self.model, self.name, self.marking, self.end_counts = model, pictures.model, marking, end
        self.page = ScorePage(marking, pictures.worst_first)

    def line(self, file: str, row: LineScore) -> None:
        self.page.add(with_signs(file), row)

    def end(self, totals: CorpusTotals) -> None:
        parts = self.page.html(self._heading(totals))
        if self.path is None:
            self.stream.writelines(parts)
            return
        with write_alone(self.path, self.force) as file:
            file.writelines(part.encode() for part in parts)
        write_name(self.path)

    def _heading(self, totals: CorpusTotals) -> Heading:
        header = self.model.header
        network = f"{header.model.networks} networks of " if header.model.networks > 1 else ""
        shape = f"{network}{header.model.layers} × {header.model.width} {header.model.cell}"
        counts = ", mixed with Kneser–Ney counts" if header.discounts else ""
        description = f"{header.unit} tokens, {header.sequence} sequences; {shape}{counts}"
        return Heading(with_signs(self.name), description, tuple(self._figures(totals)), tuple(self._notes()))

    def _figures(self, totals: CorpusTotals) -> Iterator[tuple[str, str]]:
        ratios = {
            "bits per char": (math.nan if self.model.header.closed else totals.bits_per_char, ".3f"),
            "perplexity per token": (totals.perplexity, ",.3f"),
            "per word": (totals.word_perplexity, ",.1f" if totals.word_perplexity < _LARGE else ".2g"),
        }
        yield from ((name, f"{value:{form}}") for name, (value, form) in ratios.items() if not math.isnan(value))
        yield "bits", f"{totals.bits:,.1f}"
        yield "lines", f"{totals.lines:,}"
        yield "tokens", f"{totals.tokens:,}"

    def _notes(self) -> Iterator[str]:
        """Yield sentences that say how line ends and word boundaries are counted."""
        ends, by_word = self.model.header.model.ends, self.marking.by_word
        if not ends:
            what = f"the newline after a line counts to {'its last word' if by_word else f'it, as {NEWLINE_SIGN}'}"
            yield f"The model has no end symbol; {what}."
        elif not self.end_counts:
            yield "End symbols are left out."
        else:
            yield f"The end symbol counts to {'the last word' if by_word else f'the line, as {END_SIGN}'}."
        if by_word:
            after = self.marking.boundary == "corrected"
            yield f"A word's end counts to {'the word itself' if after else 'the next word'}."
