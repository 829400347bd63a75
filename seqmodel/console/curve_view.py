"""Training curves in the terminal, in braille dots with axes and a legend; off a terminal in ASCII.

A cell of a terminal holds 2 × 4 braille dots. Without a terminal, colour or braille a cell holds one character: `o` for
held-out and `.` for train, or for several runs a letter each, capital for held-out.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from rich.console import Console
from rich.text import Text

from seqmodel.choices import Over
from seqmodel.reports.figure_data import Baseline, Curve, Picture, picture, spread
from seqmodel.reports.history import read_history

COLOURS = ("cyan", "yellow", "magenta", "green", "blue", "red")
SIZE_OFF_TERMINAL = (80, 24)
LEAST, MOST = (40, 10), (160, 40)  # columns and lines
LEAST_HEIGHT = 6  # lines of the curves alone
_BRAILLE = ((0x01, 0x02, 0x04, 0x40), (0x08, 0x10, 0x20, 0x80))  # by column and row of a cell

Cell = tuple[int, int]  # column and row, from the upper left


@dataclass(frozen=True)
class Signs:
    """The characters of axes, ticks and dashes."""

    upright: str
    corner: str
    level: str
    tick_right: str
    tick_down: str
    dash: str
    above: str


BOX = Signs("│", "└", "─", "┤", "┬", "╌", "↑")
ASCII = Signs("|", "+", "-", "+", "+", "-", "^")


class Sheet:
    """A grid of `columns` × `lines` cells, each a character with a style."""

    def __init__(self, columns: int, lines: int) -> None:
        self.columns, self.lines = columns, lines
        self.cells: dict[Cell, tuple[str, str]] = {}

    def put(self, column: int, row: int, text: str, style: str = "") -> None:
        """Write text from a cell on to the right; characters outside the grid are dropped."""
        for offset, char in enumerate(text):
            if 0 <= column + offset < self.columns and 0 <= row < self.lines:
                self.cells[column + offset, row] = char, style

    def text(self) -> Text:
        """All rows as styled text, without trailing blanks."""
        shown = Text(no_wrap=True, overflow="ignore")
        for row in range(self.lines):
            last = max((column for column in range(self.columns) if (column, row) in self.cells), default=-1)
            for column in range(last + 1):
                shown.append(*self.cells.get((column, row), (" ", "")))
            shown.append("\n")
        return shown


class Plane:
    """The inside of the picture, `columns` × `lines` cells from (left, 0); maps values to cells."""

    def __init__(self, shown: Picture, left: int, columns: int, lines: int) -> None:
        self.shown, self.left, self.columns, self.lines = shown, left, columns, lines

    def across(self, x: float, parts: int = 1) -> int:
        """The column of a value on the x axis, from 0, in columns or in `parts` of a column."""
        axis = self.shown.x
        return round((x - axis.low) / (axis.high - axis.low) * (self.columns * parts - 1))

    def down(self, y: float, parts: int = 1) -> int:
        """The row of a value on the y axis, from 0 at the top, in rows or in `parts` of a row."""
        axis = self.shown.y
        return round((axis.high - y) / (axis.high - axis.low) * (self.lines * parts - 1))

    def dots(self, curve: Curve, across: int, down: int) -> set[Cell]:
        """The dots that a curve passes through, without those outside; a cell has `across` × `down` dots."""
        corners = [(self.across(x, across), self.down(y, down)) for x, y in curve]
        height = self.lines * down
        found = {(x, y) for x, y in corners[:1] if 0 <= y < height}
        for (x0, y0), (x1, y1) in pairwise(corners):
            number = max(abs(x1 - x0), min(abs(y1 - y0), 8 * height), 1)
            for part in range(number + 1):
                x, y = round(x0 + (x1 - x0) * part / number), round(y0 + (y1 - y0) * part / number)
                if 0 <= y < height:
                    found.add((x, y))
        return found


def show_curves(paths: Sequence[Path], over: Over) -> None:
    """Read logs and draw their curves on standard output, as large as the terminal allows."""
    shown = picture([read_history(path) for path in paths], over)
    plain = not sys.stdout.isatty() or bool(os.environ.get("NO_COLOR")) or os.environ.get("TERM") == "dumb"
    plain = plain or not _has_braille(sys.stdout.encoding)
    size = shutil.get_terminal_size(SIZE_OFF_TERMINAL)
    room = (size.columns - 1, size.lines - 2) if sys.stdout.isatty() else SIZE_OFF_TERMINAL
    columns, lines = (max(least, min(most, n)) for least, most, n in zip(LEAST, MOST, room, strict=True))
    console = Console(file=sys.stdout, highlight=False, no_color=plain, force_terminal=not plain)
    console.print(curves(shown, columns, lines, plain), end="", soft_wrap=True, crop=False)


def _has_braille(encoding: str) -> bool:
    try:
        "⣿└╌".encode(encoding)
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def curves(shown: Picture, columns: int, lines: int, plain: bool) -> Text:
    """The picture and its legend on about `columns` × `lines` cells: ASCII if `plain`, else braille in colour."""
    signs = ASCII if plain else BOX
    below = 4 + len(shown.runs)
    height = max(LEAST_HEIGHT, lines - below)
    sheet = Sheet(columns, height + below)
    left = 2 + max(len(label) for _, label in shown.y.ticks)
    notes = _notes(shown, plain, signs)
    right = 2 + max((len(text) for text, _, _ in notes), default=0)
    if columns - left - right < columns // 2 or len(notes) > height:
        notes, right = [], 1
    plane = Plane(shown, left, columns - left - right, height)
    _draw_axes(sheet, plane, signs)
    _draw_levels(sheet, plane, notes, signs, plain)
    draw = _draw_letters if plain else _draw_braille
    draw(sheet, plane)
    _draw_legend(sheet, plane, plain)
    return sheet.text()


def _style(number: int) -> str:
    return COLOURS[number % len(COLOURS)]


def _letter(number: int) -> str:
    return "ABCDEFGHIJKLMNOPQRSTUVWXYZ"[number % 26]


def _marks(shown: Picture, number: int) -> tuple[str, str]:
    """The characters of a run's held-out and train curves in ASCII."""
    return ("o", ".") if len(shown.runs) == 1 else (_letter(number), _letter(number).lower())


def _notes(shown: Picture, plain: bool, signs: Signs) -> list[tuple[str, float, str]]:
    """The labels to the right of the picture, from the top: text, height on the axis, style."""
    several = plain and len(shown.runs) > 1
    levels = [(number, baseline) for number, run in enumerate(shown.runs) for baseline in run.baselines]
    levels.sort(key=_falling)
    return [
        (
            f"{_letter(number) + ' ' if several else ''}{baseline.label} {baseline.bits:.3f}"
            f"{' ' + signs.above if baseline.above else ''}",
            min(baseline.bits, shown.y.high),
            _style(number),
        )
        for number, baseline in levels
    ]


def _falling(level: tuple[int, Baseline]) -> float:
    _, baseline = level
    return -baseline.bits


def _draw_axes(sheet: Sheet, plane: Plane, signs: Signs) -> None:
    left, bottom, shown = plane.left, plane.lines + 1, plane.shown
    sheet.put(0, 0, shown.y.title)
    for row in range(plane.lines):
        sheet.put(left - 1, row + 1, signs.upright)
    for place, label in shown.y.ticks:
        row = plane.down(place) + 1
        sheet.put(left - 2 - len(label), row, label)
        sheet.put(left - 1, row, signs.tick_right)
    sheet.put(left - 1, bottom, signs.corner + signs.level * plane.columns)
    free = 0
    for place, label in shown.x.ticks:
        column = left + plane.across(place)
        begin = column - len(label) // 2
        sheet.put(column, bottom, signs.tick_down)
        if begin >= free:
            sheet.put(begin, bottom + 1, label)
            free = begin + len(label) + 1
    sheet.put(left + (plane.columns - len(shown.x.title)) // 2, bottom + 2, shown.x.title)


def _draw_levels(sheet: Sheet, plane: Plane, notes: list[tuple[str, float, str]], signs: Signs, plain: bool) -> None:
    for number, run in enumerate(plane.shown.runs):
        for baseline in run.baselines:
            if not baseline.above:
                row = plane.down(baseline.bits) + 1
                dashes = (signs.dash + " " * plain) * plane.columns
                sheet.put(plane.left, row, dashes[: plane.columns], f"dim {_style(number)}")
    places = spread([plane.down(level) for _, level, _ in notes], 1, 0, plane.lines - 1)
    for (text, _, style), place in zip(notes, places, strict=True):
        sheet.put(plane.left + plane.columns + 1, int(place + 0.5) + 1, text, style)


def _draw_letters(sheet: Sheet, plane: Plane) -> None:
    for curve in (1, 0):  # held-out last, so that it covers train
        for number, run in enumerate(plane.shown.runs):
            for x, y in plane.dots((run.held_out, run.train)[curve], 1, 1):
                sheet.put(plane.left + x, y + 1, _marks(plane.shown, number)[curve])


def _draw_braille(sheet: Sheet, plane: Plane) -> None:
    """Draw train in single dots, held-out in double ones; a cell takes the colour of the last curve drawn in it."""
    styles: dict[Cell, str] = {}
    for strong in (False, True):
        dots: dict[Cell, int] = {}  # a cell with held-out dots shows no train dots
        for number, run in enumerate(plane.shown.runs):
            found = plane.dots(run.held_out if strong else run.train, 2, 4)
            if strong:
                found |= {(x, y + 1) for x, y in found if y + 1 < plane.lines * 4}
            for x, y in found:
                cell = x // 2, y // 4
                dots[cell] = dots.get(cell, 0) | _BRAILLE[x % 2][y % 4]
                styles[cell] = f"bold {_style(number)}" if strong else _style(number)
        for (column, row), bits in dots.items():
            sheet.put(plane.left + column, row + 1, chr(0x2800 + bits), styles[column, row])


def _draw_legend(sheet: Sheet, plane: Plane, plain: bool) -> None:
    """Write a line for each run: its name, the signs of its curves and their last values."""
    runs = plane.shown.runs
    width = min(max(len(run.name) for run in runs), sheet.columns // 4)
    for number, run in enumerate(runs):
        row, style = plane.lines + 4 + number, _style(number)
        strong, weak = _marks(plane.shown, number) if plain else ("⠶⠶", "⠒⠒")
        column = 2
        sheet.put(column, row, run.name[-width:], style)
        column += width + 3
        for mark, look, label, curve in (
            (strong, f"bold {style}", "held-out", run.held_out),
            (weak, style, "train", run.train),
        ):
            if curve:
                text = f"{label} {curve[-1].bits:.3f}"
                sheet.put(column, row, mark, look)
                sheet.put(column + len(mark) + 1, row, text)
                column += len(mark) + len(text) + 4
