"""Tables whose column is the text: TSV, CSV (RFC 4180) and JSON lines, row by row, the other columns kept.

A row of a table is a `Line` that also holds its cells; a JSON object stands in its line as it was written. TSV cells
are those of `seqmodel score`'s own output: a backslash before t, n, r and backslash stands for a tab, a line end and
itself.
"""

from __future__ import annotations

import csv
import json
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from seqmodel.errors import DataError, UsageError
from seqmodel.kinds import TableFormat as TableFormat
from seqmodel.text.corpus import Line

_NUMBER = re.compile("[0-9]{1,9}")  # of a column
_ESCAPED = re.compile(r"\\([tnr\\])")
_MEANT = {"t": "\t", "n": "\n", "r": "\r", "\\": "\\"}


def unescaped(cell: str) -> str:
    """A TSV cell's text."""
    return _ESCAPED.sub(lambda match: _MEANT[match.group(1)], cell) if "\\" in cell else cell


@dataclass(frozen=True)
class TableRow(Line):
    """A row: `text` is that of the chosen column, `given` that of another, `others` those of further ones; `cells` are
    all of them as they were read; for JSON lines, a dictionary. `lines` are those of the file that it stands on."""

    cells: Sequence[str] | dict[str, Any] = ()
    others: tuple[str, ...] = ()
    lines: Sequence[Line] = ()

    @property
    def as_read(self) -> bytes:
        return b"".join(line.as_read for line in self.lines)


class TableReader:
    """Makes rows of lines. A column is named by the header, or is a number from 1 in a table without a header."""

    def __init__(self, kind: TableFormat, column: str, given: str | None = None, others: Sequence[str] = ()) -> None:
        self.kind, self.column, self.given, self.others = kind, column, given, others
        self.header: list[str] | None = None
        self.header_lines: Sequence[Line] = ()
        self.name, self.longest, self.errors = "", sys.maxsize, "strict"
        self.width: int | None = None  # columns, of TSV and CSV
        numbered = [_NUMBER.fullmatch(name) is not None for name in self._chosen]
        if any(numbered) and (kind == "jsonl" or not all(numbered)):
            raise UsageError("columns are given by number and by name", "Give names; JSON lines have no numbers.")
        self.has_header = kind != "jsonl" and not any(numbered)

    @property
    def _chosen(self) -> list[str]:
        return [name for name in (self.column, self.given, *self.others) if name is not None]

    def rows(
        self, batches: Iterable[list[Line]], name: str, longest: int = sys.maxsize, any_bytes: bool = False
    ) -> Iterator[list[Line]]:
        """The rows of one file, in the batches that its lines come in; the header is kept apart. `any_bytes`: cells may
        hold bytes that are no UTF-8.

        Raises:
            DataError: if a line is no row of the table, a row has more than `longest` characters, or a file's header
                differs from that of the first.
        """
        self.name, self.longest, self.errors = name, longest, "surrogateescape" if any_bytes else "strict"
        header_due = self.has_header
        for batch in self._records(_without_mark(batches) if any_bytes else batches):
            out: list[Line] = []
            for lines, cells in batch:
                if header_due:
                    self._take_header(lines, cells)
                    header_due = False
                else:
                    out.append(self._row(lines, cells))
            if out:
                yield out

    def _take_header(self, lines: Sequence[Line], cells: list[str]) -> None:
        line = lines[0]
        if self.header is not None and self.header != cells:
            raise DataError(f"{self.name}, line {line.number}: other columns than in the first file", "Score it alone.")
        if self.header is None:
            self.header, self.header_lines, self.width = cells, lines, len(cells)
        for column in self._chosen:
            if cells.count(column) != 1:
                raise DataError(
                    f"{self.name}, line {line.number}: the header does not name the column once",
                    "Check the column's name; a number names a column of a table without a header.",
                )

    def _row(self, lines: Sequence[Line], cells: Any) -> TableRow:
        line = lines[0]
        text = self._cell(line, cells, self.column)
        given = None if self.given is None else self._cell(line, cells, self.given)
        others = tuple(self._cell(line, cells, column, numbers=True) for column in self.others)
        return TableRow(line.number, text, False, given, cells=cells, others=others, lines=lines)

    def _cell(self, line: Line, cells: Any, column: str, numbers: bool = False) -> str:
        """A cell's text; with `numbers` one that is a JSON number too."""
        if self.kind == "jsonl":
            value = cells.get(column)
            if numbers and isinstance(value, int | float) and not isinstance(value, bool):
                return str(value)
            if not isinstance(value, str):
                raise self._failure(line, f"no text{' or number' * numbers} under that key")
            self._refuse_surrogates(line, value)
            return value
        at = int(column) - 1 if self.header is None else self.header.index(column)
        if self.width is None:
            self.width = len(cells)
        if len(cells) != self.width:
            raise self._failure(line, f"{len(cells)} columns where the first line has {self.width}")
        if not 0 <= at < len(cells):
            raise self._failure(line, f"{len(cells)} columns, so no column {column}")
        return unescaped(cells[at]) if self.kind == "tsv" else str(cells[at])

    def _refuse_surrogates(self, line: Line, text: str) -> None:
        """An escape in JSON may spell half a character."""
        try:
            text.encode("utf-8", self.errors)
        except UnicodeEncodeError:
            raise self._failure(line, "a lone surrogate, which is no text") from None

    def _records(self, batches: Iterable[list[Line]]) -> Iterator[list[tuple[Sequence[Line], Any]]]:
        """The lines of each record, and its cells."""
        if self.kind == "csv":
            yield from self._csv_records(batches)
            return
        for batch in batches:
            if self.kind == "tsv":
                yield [((line,), line.body.split("\t")) for line in batch]
            else:
                yield [((line,), self._object(line)) for line in batch]

    def _object(self, line: Line) -> dict[str, Any]:
        try:
            found = json.loads(line.text)
        except (ValueError, RecursionError):
            raise self._failure(line, "not a JSON object") from None
        if not isinstance(found, dict):
            raise self._failure(line, "not a JSON object")
        return found

    def _csv_records(self, batches: Iterable[list[Line]]) -> Iterator[list[tuple[Sequence[Line], list[str]]]]:
        """Records of CSV: one goes on over line ends while a quotation mark is open."""
        csv.field_size_limit(sys.maxsize)
        parts: list[Line] = []
        quotes = size = 0
        for batch in batches:
            out: list[tuple[Sequence[Line], list[str]]] = []
            for line in batch:
                parts.append(line)
                quotes += line.text.count('"')
                size += len(line.text) + 1
                if quotes % 2 == 0:
                    out.append((parts, self._csv_cells(parts)))
                    parts, quotes, size = [], 0, 0
                elif size > self.longest:
                    raise self._failure(parts[0], f"a quotation mark that is not closed in {self.longest} characters")
            yield out
        if parts:
            raise self._failure(parts[0], "a quotation mark that is never closed")

    def _csv_cells(self, lines: list[Line]) -> list[str]:
        record = "\n".join([*(line.text for line in lines[:-1]), lines[-1].body])
        try:
            rows = list(csv.reader([record], strict=True)) if record else [[""]]
        except csv.Error:
            rows = []
        if len(rows) != 1:
            raise self._failure(lines[0], "not a record of CSV")
        return rows[0]

    def _failure(self, line: Line, what: str) -> DataError:
        return DataError(
            f"{self.name}, line {line.number}: {what}", "Mend the line, or check the column's name and --input."
        )


def _without_mark(batches: Iterable[list[Line]]) -> Iterator[list[Line]]:
    """Lines without the byte order mark, which stays in a text of any bytes, but is no part of a cell."""
    for batch in batches:
        if batch and batch[0].number == 1:
            batch = [replace(batch[0], text=batch[0].text.removeprefix("\ufeff")), *batch[1:]]
        yield batch


def format_of(names: Sequence[str]) -> TableFormat:
    """The format of a table by its files' names; TSV where they do not say."""
    kinds: dict[str, TableFormat] = {".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".tsv": "tsv"}
    found = {kind for name in names for suffix, kind in kinds.items() if suffix in name.lower().split("/")[-1]}
    return found.pop() if len(found) == 1 else "tsv"
