"""A table's own columns, which pass through, followed by new ones."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TextIO

from seqmodel.console.rows import LAYOUTS, RowFormat, RowWriter
from seqmodel.console.terminal import say
from seqmodel.errors import UsageError
from seqmodel.text.corpus import Line
from seqmodel.text.delimited import Layout
from seqmodel.text.tables import TableReader, TableRow


class TableColumns:
    """The columns of the table that `reader` reads, followed by the `new` ones; `style` None keeps the table's format.

    A new column whose name the table already has is renamed as `instead` says.
    """

    def __init__(
        self, reader: TableReader, style: RowFormat | None, new: Sequence[str], instead: Mapping[str, str] | None = None
    ) -> None:
        self.style: RowFormat = style or reader.kind_written
        if reader.kind == "jsonl" != self.style:
            raise UsageError("JSON lines have no fixed columns", "Write them as --format jsonl too.")
        self.reader, self.new, self.instead = reader, list(new), instead or {}
        self.as_read = style is None
        self.renamed: dict[str, str] = {}

    def writer(self, stream: TextIO, header: bool, first: Line | None = None) -> RowWriter:
        """The writer of the rows. The table's header, or the `first` row of JSON lines, must have been read.

        Raises:
            UsageError: if two columns would have one name.
        """
        own = self._own(first)
        self.renamed = {name: self.instead[name] for name in self.new if name in own and name in self.instead}
        self.new = [self.renamed.get(name, name) for name in self.new]
        self._refuse_taken(own)
        if self.style == "jsonl" and len(set(own)) < len(own):
            raise UsageError("the table has two columns of one name", "JSON lines cannot hold them; rename one.")
        names = self.new if self.reader.kind == "jsonl" else [*own, *self.new]
        return RowWriter(stream, names, self.style, header and self.reader.has_header, self._layout)

    def cells(self, line: Line) -> list[Any]:
        """The cells of a row; none for JSON lines."""
        assert isinstance(line, TableRow)
        return [] if isinstance(line.cells, dict) else list(line.cells)

    def beside(self, line: Line) -> str:
        """The text of a row of JSON lines; empty for other tables."""
        assert isinstance(line, TableRow)
        if not isinstance(line.cells, dict):
            return ""
        self._refuse_taken(line.cells)
        return line.lines[0].text

    @property
    def _layout(self) -> Layout | None:
        """The layout to write: the table's own, or that of the style with the table's line ends; None for JSON."""
        if self.style == "jsonl":
            return None
        if self.as_read:
            return replace(self.reader.layout, spaced=False)
        return replace(LAYOUTS[self.style], newline=self.reader.layout.newline)

    def _own(self, first: Line | None) -> list[str]:
        if self.reader.header is not None:
            return self.reader.header
        if isinstance(first, TableRow) and isinstance(first.cells, dict):
            return list(first.cells)
        return [str(number + 1) for number in range(self.reader.width or 0)]

    def _refuse_taken(self, own: Sequence[str] | Mapping[str, Any]) -> None:
        if not set(own).isdisjoint(self.new):
            raise UsageError(
                "the table already has a column with the name of a score", "Rename the new ones by --column-prefix."
            )


class TableWriter:
    """Writes a table's rows with new cells beside them. It begins with the first row, when the column names are known.

    `on_renamed` is called then with the new columns that were renamed (usual name -> name).
    """

    def __init__(
        self,
        table: TableColumns,
        stream: TextIO,
        header: bool,
        on_renamed: Callable[[Mapping[str, str]], None] = lambda renamed: None,
    ) -> None:
        self.table, self.stream, self.header, self.on_renamed = table, stream, header, on_renamed
        self.writer: RowWriter | None = None

    def write(self, line: Line, rows: Iterable[Sequence[Any]]) -> None:
        """Write rows of new cells, each beside the cells of `line`.

        Raises:
            UsageError: if two columns would have one name.
        """
        writer = self._begin(line)
        own = self.table.cells(line)
        writer.write(([*own, *cells] for cells in rows), self.table.beside(line))

    def end(self) -> None:
        """Write the header of a table without rows."""
        if self.table.reader.header is not None:
            self._begin()

    def _begin(self, first: Line | None = None) -> RowWriter:
        if self.writer is None:
            self.writer = self.table.writer(self.stream, self.header, first)
            self.on_renamed(self.table.renamed)
        return self.writer


def say_renamed(renamed: Mapping[str, str]) -> None:
    """Say which new columns were renamed. `renamed` maps usual names to new ones."""
    for usual, name in renamed.items():
        say(f"the table has a column {usual} already: the new one is {name}")


def say_skipped(reader: TableReader | None) -> None:
    """Say how many rows the reader left out."""
    if reader is not None and reader.skipped:
        many = f"{reader.skipped:,} row{'s' * (reader.skipped != 1)}"
        say(f"skipped {many}, such as: {reader.example_skipped}")
