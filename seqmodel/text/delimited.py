"""Records of cells between separators, quoted as `csv.excel` and `csv.excel_tab` quote.

A cell that holds the separator, a quotation mark or a line end stands in quotation marks, those inside it doubled.
Knows nothing of what cells mean.

Example: `a,"say ""b"", c"` has the cells `a` and `say "b", c`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from seqmodel.text.corpus import Line

QUOTE = '"'
_QUOTED = re.compile('["\r\n]')  # what, beside the separator, puts a cell into quotation marks


@dataclass(frozen=True)
class Layout:
    """What divides cells and ends records. `quoting`: cells may be quoted; `spaced`: blanks before a cell are no part
    of it, as in `a, b`."""

    separator: str
    quoting: bool = True
    spaced: bool = False
    newline: str = "\n"


def joined(cells: Sequence[str], layout: Layout) -> str:
    """The record of these cells, its line end included. Without quoting, a cell's own tabs and line ends are escaped by
    a backslash."""
    separator = layout.separator
    if not layout.quoting:
        return separator.join(cell.translate(_ESCAPES) for cell in cells) + layout.newline
    if len(cells) == 1 and not cells[0]:
        return QUOTE * 2 + layout.newline  # a blank line is no record to most readers
    record = separator.join(cells)
    if _QUOTED.search(record) or record.count(separator) >= len(cells):
        record = separator.join(_quoted(cell, separator) for cell in cells)
    return record + layout.newline


_ESCAPES = str.maketrans({"\t": "\\t", "\n": "\\n"})  # of a file's name: no cell of a raw table holds them


def _quoted(cell: str, separator: str) -> str:
    return f'"{cell.replace(QUOTE, QUOTE * 2)}"' if separator in cell or _QUOTED.search(cell) else cell


class NotARecord(ValueError):
    """Lines that are no record; says why."""


class RecordReader:
    """Takes lines until they are a record: one goes on over line ends while a quotation mark is open."""

    def __init__(self, layout: Layout) -> None:
        self.separator, self.quoting, self.spaced = layout.separator, layout.quoting, layout.spaced
        self.lines: list[Line] = []
        self.size = 0  # characters of these
        self._cells: list[str] = []
        self._open: list[str] | None = None  # the parts of a cell whose quotation mark is not closed

    def feed(self, line: Line) -> list[str] | None:
        """Take a line; the record's cells, if it is complete. Its lines are in `lines` until it is taken.

        Raises:
            NotARecord: if a quoted cell goes on after its closing quotation mark.
        """
        self.lines.append(line)
        self.size += len(line.text) + 1
        body = line.body
        if self._open is None and (not self.quoting or QUOTE not in body) and not self.spaced:
            return body.split(self.separator)
        at: int | None = 0
        while at is not None:
            at = self._after_cell(body, at)
        if self._open is None:
            return self._cells
        self._open.append(line.text[len(body) :] + "\n")
        return None

    def take(self) -> list[Line]:
        """The lines that have been fed, which are forgotten."""
        lines = self.lines
        self.lines, self.size, self._cells, self._open = [], 0, [], None
        return lines

    def _after_cell(self, body: str, at: int) -> int | None:
        """Take the cell, or the rest of one, that begins at `at`; where the next one begins."""
        if self._open is None and self.spaced:
            at = len(body) - len(body[at:].lstrip(" "))
        if self._open is None and not (self.quoting and body.startswith(QUOTE, at)):
            cell, separator, _ = body[at:].partition(self.separator)
            self._cells.append(cell)
            return at + len(cell) + len(separator) if separator else None
        if self._open is None:
            self._open, at = [], at + 1
        end = _closing(body, at)
        self._open.append(body[at : len(body) if end is None else end].replace(QUOTE * 2, QUOTE))
        if end is None:
            return None
        self._cells.append("".join(self._open))
        self._open = None
        if end + 1 == len(body):
            return None
        if not body.startswith(self.separator, end + 1):
            raise NotARecord("a quotation mark that closes before its cell ends")
        return end + 1 + len(self.separator)


def _closing(text: str, at: int) -> int | None:
    """Where the quotation mark stands that closes the cell; doubled ones do not."""
    while (at := text.find(QUOTE, at)) >= 0:
        if not text.startswith(QUOTE, at + 1):
            return at
        at += 2
    return None
