"""Records of cells between separators, quoted as `csv.excel` and `csv.excel_tab` quote.

A cell that contains the separator, a quotation mark or a line end is enclosed in quotation marks; those inside it are
doubled. Knows nothing of what cells mean.

Example: `a,"say ""b"", c"` has the cells `a` and `say "b", c`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from seqmodel.text.corpus import Line

QUOTE = '"'
_QUOTED = re.compile('["\r\n]')  # a cell with one of these, or the separator, is quoted


@dataclass(frozen=True)
class Layout:
    """The separator of cells and the end of records.

    `quoting`: cells may be quoted; `spaced`: blanks before a cell are skipped, as in `a, b`.
    """

    separator: str
    quoting: bool = True
    spaced: bool = False
    newline: str = "\n"


def joined(cells: Sequence[str], layout: Layout) -> str:
    """Join cells to a record with its line end; without quoting, tabs and line ends in cells become \\t and \\n."""
    separator = layout.separator
    if not layout.quoting:
        return separator.join(cell.translate(_ESCAPES) for cell in cells) + layout.newline
    if len(cells) == 1 and not cells[0]:
        return QUOTE * 2 + layout.newline  # most readers skip blank lines
    record = separator.join(cells)
    if _QUOTED.search(record) or record.count(separator) >= len(cells):
        record = separator.join(_quoted(cell, separator) for cell in cells)
    return record + layout.newline


_ESCAPES = str.maketrans({"\t": "\\t", "\n": "\\n"})  # only file names can hold them: cells of a raw table never do


def _quoted(cell: str, separator: str) -> str:
    return f'"{cell.replace(QUOTE, QUOTE * 2)}"' if separator in cell or _QUOTED.search(cell) else cell


class NotARecord(ValueError):
    """The lines are not a valid record; the message is the reason."""


class RecordReader:
    """Joins lines to records: a record continues over line ends while a quotation mark is open."""

    def __init__(self, layout: Layout) -> None:
        self.separator, self.quoting, self.spaced = layout.separator, layout.quoting, layout.spaced
        self.lines: list[Line] = []
        self.size = 0  # characters in `lines`
        self._cells: list[str] = []
        self._open: list[str] | None = None  # the parts of a cell whose quotation mark is still open

    def feed(self, line: Line) -> list[str] | None:
        """Add a line; returns the record's cells if it is now complete, else None. `take` then returns its lines.

        Raises:
            NotARecord: if text follows the closing quotation mark of a cell.
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
        """Return the lines fed so far and forget them."""
        lines = self.lines
        self.lines, self.size, self._cells, self._open = [], 0, [], None
        return lines

    def _after_cell(self, body: str, at: int) -> int | None:
        """Read the cell, or the rest of one, at `at`; returns the start of the next cell, or None at the line's end."""
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
    """The index of the quotation mark that closes the cell, doubled ones skipped; None if the cell stays open."""
    while (at := text.find(QUOTE, at)) >= 0:
        if not text.startswith(QUOTE, at + 1):
            return at
        at += 2
    return None
