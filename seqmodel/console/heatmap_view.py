"""Text in the terminal, coloured by surprisal."""

from __future__ import annotations

import io
import os
from typing import Literal, TextIO

from rich.console import Console
from rich.style import Style
from rich.table import Table
from rich.text import Text

from seqmodel.console.score_output import ScoreOutput
from seqmodel.errors import UsageError
from seqmodel.reports.highlight import Marking
from seqmodel.reports.palette import DARK, LIGHT, STEPS
from seqmodel.scoring.lines import LineScore
from seqmodel.text.visible import with_signs

MOST_IN_LINE = 10_000  # tokens
ENOUGH_COLOURS = ("256", "truecolor")
FEW_DARK = ("color(234)", "color(52)", "color(88)", "color(124)", "color(160)")  # on a terminal of 256 colours
FEW_LIGHT = ("color(231)", "color(224)", "color(217)", "color(210)", "color(203)")
_LIGHT_BACKGROUNDS = ("7", "15")


def styles(*, is_light: bool, is_true: bool) -> list[Style]:
    """The style (ink and paper) of each shade; with 256 colours several shades share one."""
    scheme = LIGHT if is_light else DARK
    few = FEW_LIGHT if is_light else FEW_DARK
    papers = scheme.shades if is_true else [few[round(number / STEPS * (len(few) - 1))] for number in range(STEPS + 1)]
    return [Style(color=scheme.ink, bgcolor=paper) for paper in papers]


class HeatmapOutput(ScoreOutput):
    """Prints coloured lines with number and bits per char. Sets ink and paper, to be readable on any terminal."""

    def __init__(self, marking: Marking, name_files: bool, stream: TextIO) -> None:
        """
        Raises:
            UsageError: if the output has no 256 colours.
        """
        super().__init__(stream)
        terminal = Console(file=stream)
        if not terminal.is_terminal or terminal.no_color or terminal.color_system not in ENOUGH_COLOURS:
            raise UsageError(
                "--heatmap needs a terminal with 256 colours or more",
                "Write a page with --html; FORCE_COLOR=1 and COLORTERM=truecolor colour a pipe too.",
            )
        self.marking, self.width = marking, terminal.width
        self.colours: Literal["256", "truecolor"] = "256" if terminal.color_system == "256" else "truecolor"
        self.styles = styles(
            is_light=os.environ.get("COLORFGBG", "").rpartition(";")[2] in _LIGHT_BACKGROUNDS,
            is_true=self.colours == "truecolor",
        )
        self.name_files = name_files
        self.last_file: str | None = None

    def line(self, file: str, row: LineScore) -> None:
        if self.last_file is None:
            self._print(self._legend())
            rate = "/token" if self.marking.tokenizer.closed else "/char"
            self._print(_grid("line", rate, Text()))
        if self.name_files and file != self.last_file:
            self._print(Text(with_signs(file), "bold"))
        self.last_file = file
        amount = len(row.ids) if self.marking.tokenizer.closed else len(row.text)
        self._print(_grid(str(row.line.number), f"{row.bits / amount:.2f}" if amount else "", self._text(row)))

    def _text(self, row: LineScore) -> Text:
        text = Text()
        for mark in self.marking.marks(row, MOST_IN_LINE):
            text.append(mark.text, self.styles[0 if mark.bits is None else self.marking.shade(mark.bits)])
        if len(row.ids) > MOST_IN_LINE:
            text.append(f" … {len(row.ids) - MOST_IN_LINE:,} more tokens", "dim italic")
        return text

    def _legend(self) -> Text:
        of = "word" if self.marking.by_word else "token"
        text = Text(f"surprisal of a {of}, bits: ")
        for number, style in enumerate(self.styles):
            text.append(f"{self.marking.ticks.get(number, ''):^3}", style)
        return text

    def _print(self, shown: Table | Text) -> None:
        buffer = io.StringIO()
        console = Console(
            file=buffer, width=self.width, force_terminal=True, color_system=self.colours, highlight=False
        )
        console.print(shown)
        self.stream.write(buffer.getvalue())


def _grid(number: str, rate: str, text: Text) -> Table:
    table = Table.grid(padding=(0, 2, 0, 0))
    for _ in range(2):
        table.add_column(justify="right", min_width=6, no_wrap=True, style="dim")
    table.add_column(overflow="fold")
    table.add_row(number, rate, text)
    return table
