"""Probabilities as a table with bars, for a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TextIO

from rich.bar import Bar
from rich.console import Console
from rich.table import Table
from rich.text import Text

from seqmodel.text.visible import visible

BAR_WIDTH = 32


def show_bars(out: TextIO, names: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Print rows of a text and numbers. A bar shows the first number, in proportion to the largest."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for name in names:
        table.add_column(name, justify="left" if name == names[0] else "right", no_wrap=True)
    table.add_column("")
    largest = max((number for _, number, *_ in rows), default=0.0)
    for text, *numbers in rows:
        shown = Text(visible(text).replace("\n", "\\n"))
        table.add_row(shown, *(f"{number:.4f}" for number in numbers), Bar(largest, 0, numbers[0], width=BAR_WIDTH))
    Console(file=out, highlight=False).print(table)
