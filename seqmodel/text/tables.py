"""Reads texts from a column of TSV, CSV or JSON lines, row by row, and keeps the other columns.

A row is a `Line` with its cells; a JSON object's line is kept as written. TSV and CSV are quoted as pandas and R do by
default; raw TSV is not quoted.
"""

from __future__ import annotations

import json
import re
import sys
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from seqmodel.choices import TableFormat
from seqmodel.errors import DataError, UsageError
from seqmodel.text.corpus import Line
from seqmodel.text.delimited import Layout, NotARecord, RecordReader

_NUMBER = re.compile("[0-9]{1,9}")  # a column's number
_NUMBER_AS_NAME = re.compile("=+[0-9]{1,9}")
_NAME_LIKE = re.compile(r"[\w .()%#/-]{1,40}")  # names that an error may show: others may be the user's text
_SHOWN = 12  # column names that an error shows
_TAB, _COMMA = Layout("\t"), Layout(",")
_OTHERS = {"csv": (Layout(";"), _TAB, Layout(",", spaced=True))}  # other layouts that files with this suffix may have
_NEXT = "Mend the line, or check the column's name and --input."


@dataclass(frozen=True)
class TableRow(Line):
    """A row of a table: `text` from the chosen column, `given` from the context column, `others` from further columns.

    `cells` are all of its cells (a dictionary for JSON lines), `lines` its lines in the file.
    """

    cells: Sequence[str] | dict[str, Any] = ()
    others: tuple[str, ...] = ()
    lines: Sequence[Line] = ()
    alone: bool = True

    @property
    def as_read(self) -> bytes:
        return b"".join(line.as_read for line in self.lines)


class TableReader:
    """Parses lines as rows.

    A column is a name in the header, or a number from 1 in a table without a header; `=7` is the name 7. With
    `skip_bad`, lines that are not rows are left out and counted; None if the user has no such option. `layout` is that
    of the TSV or CSV, known after the first line.
    """

    def __init__(
        self,
        kind: TableFormat,
        column: str,
        given: str | None = None,
        others: Sequence[str] = (),
        skip_bad: bool | None = None,
    ) -> None:
        chosen = [name for name in (column, given, *others) if name is not None]
        numbered = [kind != "jsonl" and _NUMBER.fullmatch(name) is not None for name in chosen]
        if any(numbered) and not all(numbered):
            raise UsageError("columns are given by number and by name", "Give names (=7 is the name 7), or numbers.")
        self.kind, self.has_header, self.skip_bad = kind, kind != "jsonl" and not any(numbered), skip_bad
        self.column, self.given, self.others = _plain(column), given and _plain(given), [_plain(one) for one in others]
        self.header: list[str] | None = None
        self.header_lines: Sequence[Line] = ()
        self.width: int | None = None  # columns, in TSV and CSV
        self.skipped, self.example_skipped = 0, ""
        self.layout = replace(_COMMA if kind == "csv" else _TAB, quoting=kind != "raw-tsv")
        self.name, self.longest, self.errors = "", sys.maxsize, "strict"
        self._header_due = False
        self._record = RecordReader(self.layout)
        self._places = {} if self.has_header or kind == "jsonl" else {name: int(name) - 1 for name in chosen}

    @property
    def kind_written(self) -> Literal["tsv", "csv", "jsonl"]:
        """The format for writing rows as they were read."""
        return "tsv" if self.kind == "raw-tsv" else self.kind

    def rows(
        self, batches: Iterable[list[Line]], name: str, longest: int = sys.maxsize, any_bytes: bool = False
    ) -> Iterator[list[Line]]:
        """Yield the rows of one file, in the batches of its lines, without the header.

        Rows before a bad one are yielded before its error is raised. With `any_bytes`, cells may be invalid UTF-8.

        Raises:
            DataError: if a line is not a row and bad ones are not skipped; if the header lacks a column or differs from
                that of the first file.
        """
        self.name, self.longest, self.errors = name, longest, "surrogateescape" if any_bytes else "strict"
        self._header_due = self.has_header
        self._record = RecordReader(self.layout)
        for batch in _without_mark(batches) if any_bytes else batches:
            yield from self._batch(batch)
        while self._record.lines:
            first, *rest = self._record.take()
            self.skip(self._failure(first, "a quotation mark that is never closed"))
            yield from self._batch(rest)

    def skip(self, error: DataError) -> None:
        """Count a bad row.

        Raises:
            DataError: the given error, if bad rows are not skipped or the row is the header.
        """
        if not self.skip_bad or self._header_due:
            raise error
        self.skipped += 1
        self.example_skipped = self.example_skipped or error.message

    def _batch(self, lines: Iterable[Line]) -> Iterator[list[Line]]:
        out: list[Line] = []
        try:
            for record, cells in self._records(lines):
                if self._header_due:
                    self._take_header(record, cells)
                    continue
                if self.width is None and self.kind != "jsonl":
                    self._first(record, cells)
                try:
                    out.append(self._row(record, cells))
                except DataError as error:
                    self.skip(error)
        except DataError:
            if out:
                yield out
            raise
        if out:
            yield out

    def _records(self, lines: Iterable[Line]) -> Iterator[tuple[Sequence[Line], Any]]:
        """Yield the lines and the cells of each record; after a bad line, the next one may begin a record."""
        waiting = deque(lines)
        while waiting:
            line = waiting.popleft()
            try:
                cells = self._object(line) if self.kind == "jsonl" else self._cells(line)
            except DataError as error:
                self.skip(error)
                waiting.extendleft(reversed(self._record.take()[1:]))
            else:
                if cells is not None:
                    yield [line] if self.kind == "jsonl" else self._record.take(), cells

    def _cells(self, line: Line) -> list[str] | None:
        """The cells of the record that ends with this line, or None."""
        try:
            cells = self._record.feed(line)
        except NotARecord as error:
            if self._header_due and self._in_other_layout(self._record.lines):
                return []
            raise self._failure(self._record.lines[0], str(error)) from None
        if cells is None and self._record.size > self.longest:
            raise self._failure(
                self._record.lines[0], f"a quotation mark that is not closed in {self.longest} characters"
            )
        return cells

    # Header

    def _take_header(self, lines: Sequence[Line], cells: list[str]) -> None:
        line = lines[0]
        if not self._names_columns(cells) and (other := self._in_other_layout(lines)):
            self.layout, cells = other
            self._record = RecordReader(self.layout)
        if self.header is not None and self.header != cells:
            raise DataError(f"{self.name}, line {line.number}: other columns than in the first file", "Score it alone.")
        if not self._names_columns(cells):
            raise self._no_column(lines, cells)
        if self.header is None:
            self.header, self.header_lines = cells, lines
            self._first(lines, cells)
        self._places = {name: cells.index(name) for name in self._chosen}
        self._header_due = False

    @property
    def _chosen(self) -> list[str]:
        return [name for name in (self.column, self.given, *self.others) if name is not None]

    def _names_columns(self, cells: Sequence[str]) -> bool:
        return all(cells.count(name) == 1 for name in self._chosen)

    def _in_other_layout(self, lines: Sequence[Line]) -> tuple[Layout, list[str]] | None:
        """Another layout in which the header has the chosen columns, with the header's cells; None if there is none."""
        for layout in _OTHERS.get(self.kind, ()):
            cells = _only_record(lines, layout)
            plain = _only_record(lines, replace(layout, spaced=False))
            if layout.spaced and (plain is None or not all(cell.startswith(" ") for cell in plain[1:])):
                continue
            if cells is not None and self._names_columns(cells):
                return layout, cells
        return None

    def _no_column(self, lines: Sequence[Line], cells: Sequence[str]) -> DataError:
        twice = any(cells.count(name) > 1 for name in self._chosen)
        what = "names the column twice" if twice else "does not name the column"
        where = f"{self.name}, line {lines[0].number}: read as {self.kind}, the header {what}"
        if twice:
            return DataError(where, "Rename one.")
        by_others = [found for one in (_COMMA, *_OTHERS["csv"]) if (found := _only_record(lines, one))]
        if self.kind != "csv" and any(map(self._names_columns, by_others)):
            return DataError(f"{where}, read as CSV it does", "Give --input csv.")
        cells = max([list(cells), *by_others], key=len)
        return DataError(
            f"{where}; {_found(cells) if len(cells) > 1 else 'found ' + _columns(cells)}",
            "Check the name, and the format by --input; in a table without a header give the column's number.",
        )

    def _first(self, lines: Sequence[Line], cells: Sequence[str]) -> None:
        """Set the table's header and width from its first record."""
        self.width = len(cells)
        beyond = [place + 1 for place in self._places.values() if place not in range(len(cells))]
        if beyond:
            raise DataError(
                f"{self.name}, line {lines[0].number}: {_columns(cells)}, so none of that number",
                f"A number counts columns from 1; ={beyond[0]} is the name {beyond[0]}.",
            )
        self.layout = replace(self.layout, newline="\r\n" if lines[-1].as_read.endswith(b"\r\n") else "\n")

    # Rows

    def _row(self, lines: Sequence[Line], cells: Any) -> TableRow:
        line = lines[0]
        if self.kind != "jsonl" and len(cells) != self.width:
            blank = cells == [""]
            raise self._failure(
                line, "a blank line" if blank else f"{_columns(cells)} where the first line has {self.width}"
            )
        text = self._cell(line, cells, self.column)
        given = None if self.given is None else self._cell(line, cells, self.given)
        others = tuple(self._cell(line, cells, column, numbers=True) for column in self.others)
        return TableRow(line.number, text, False, given, cells=cells, others=others, lines=lines)

    def _cell(self, line: Line, cells: Any, column: str, numbers: bool = False) -> str:
        """The text of a cell; with `numbers`, a JSON number is accepted too."""
        if self.kind != "jsonl":
            return str(cells[self._places[column]])
        value = cells.get(column)
        if numbers and isinstance(value, int | float) and not isinstance(value, bool):
            return str(value)
        if not isinstance(value, str):
            what = "text" + " or number" * numbers
            if column in cells:
                raise self._failure(line, f"null where the {what} should be" if value is None else f"no {what} there")
            raise self._failure(line, f"no {what} under that key; {_found(list(cells))}")
        self._refuse_surrogates(line, value)
        return value

    def _refuse_surrogates(self, line: Line, text: str) -> None:
        """Refuse text with a lone surrogate, which a JSON escape may spell."""
        try:
            text.encode("utf-8", self.errors)
        except UnicodeEncodeError:
            raise self._failure(line, "a lone surrogate, which is no text") from None

    def _object(self, line: Line) -> dict[str, Any]:
        if not line.text.strip():
            raise self._failure(line, "a blank line")
        try:
            found = json.loads(line.text)
        except (ValueError, RecursionError):
            raise self._failure(line, "not a JSON object") from None
        if not isinstance(found, dict):
            raise self._failure(line, "not a JSON object")
        return found

    def _failure(self, line: Line, what: str, hint: str = _NEXT) -> DataError:
        if "quotation" in what and self.kind == "tsv":
            hint = "Mend the line; a table without quoting is read by --input raw-tsv."
        skip = " Or leave such lines out with --skip-bad." if self.skip_bad is not None else ""
        return DataError(f"{self.name}, line {line.number}: {what}", hint + skip)


def _plain(column: str) -> str:
    """A column's name without the `=` that marks a number as a name."""
    return column[1:] if _NUMBER_AS_NAME.fullmatch(column) else column


def _only_record(lines: Sequence[Line], layout: Layout) -> list[str] | None:
    """The cells of lines that form exactly one record, else None."""
    reader = RecordReader(layout)
    try:
        fed = [reader.feed(line) for line in lines]
    except NotARecord:
        return None
    return fed[-1] if fed[:-1].count(None) == len(fed) - 1 else None


def _columns(cells: Sequence[str]) -> str:
    return f"{len(cells)} column{'s' * (len(cells) != 1)}"


def _found(names: Sequence[str]) -> str:
    """The existing columns, for an error; only their number if some do not look like names, as they may be text."""
    if not all(map(_NAME_LIKE.fullmatch, names)):
        return f"found {_columns(names)}"
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"found: {', '.join(names[:_SHOWN])}{more}"


def _without_mark(batches: Iterable[list[Line]]) -> Iterator[list[Line]]:
    """Yield the lines without the byte order mark, which reading as `any_bytes` keeps."""
    for batch in batches:
        if batch and batch[0].number == 1:
            batch = [replace(batch[0], text=batch[0].text.removeprefix("\ufeff")), *batch[1:]]
        yield batch


def format_of(names: Sequence[str]) -> TableFormat:
    """The format of a table by the suffixes of its files; TSV if they have none or disagree."""
    kinds: dict[str, TableFormat] = {".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".tsv": "tsv"}
    found = {kind for name in names for suffix, kind in kinds.items() if suffix in name.lower().split("/")[-1]}
    return found.pop() if len(found) == 1 else "tsv"
