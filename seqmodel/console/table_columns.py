"""A table's own columns, which pass through, and new ones that come after them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from seqmodel.console.rows import RowFormat, Verbatim
from seqmodel.errors import UsageError
from seqmodel.text.corpus import Line
from seqmodel.text.tables import TableReader, TableRow, unescaped


class TableColumns:
    """The columns of what is read by `reader` and written as `style`, and the names of the new ones."""

    def __init__(self, reader: TableReader, style: RowFormat, new: Sequence[str]) -> None:
        if reader.kind == "jsonl" != style:
            raise UsageError("JSON lines have no fixed columns", "Write them as --format jsonl too.")
        self.reader, self.style, self.new = reader, style, list(new)

    def names(self) -> list[str]:
        """All column names; for JSON lines those of the new ones.

        Raises:
            UsageError: if a new column has the name of one of the table's.
        """
        if self.reader.header is None:
            return [*(str(number + 1) for number in range(self.reader.width or 0)), *self.new]
        if set(self.new) & set(self.reader.header):
            raise _taken()
        if self.style == self.reader.kind == "tsv":
            return [*map(Verbatim, self.reader.header), *self.new]
        return [*self.reader.header, *self.new]

    def cells(self, line: Line) -> list[Any]:
        """A row's own cells."""
        assert isinstance(line, TableRow)
        cells = line.cells
        if isinstance(cells, dict):
            return []
        if self.reader.kind != "tsv":
            return list(cells)
        return [Verbatim(cell) if self.style == "tsv" else unescaped(cell) for cell in cells]

    def beside(self, line: Line) -> str:
        """A row's own object, of JSON lines, as it was written; nothing for others."""
        assert isinstance(line, TableRow)
        if not isinstance(line.cells, dict):
            return ""
        if not line.cells.keys().isdisjoint(self.new):
            raise _taken()
        return line.lines[0].text


def _taken() -> UsageError:
    return UsageError(
        "the table already has a column with the name of a score", "Rename the new ones by --column-prefix."
    )
