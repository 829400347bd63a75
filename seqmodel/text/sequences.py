"""Reads a corpus as sequences: lines, paragraphs or whole files, rows of tables, or records.

All are yielded as blocks of text with `END_MARK` after each sequence, as by `read_blocks`; the longest line or row
bounds the memory.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Sequence

from seqmodel.settings import CorpusSettings
from seqmodel.text.corpus import END_MARK, CorpusSummary, read_blocks, read_lines
from seqmodel.text.sources import Source
from seqmodel.text.tables import TableReader, format_of

_TABLES = (".csv", ".tsv", ".jsonl", ".ndjson")
_MOST_NAMED = 8  # columns that a note names


def read_sequences(
    sources: Sequence[Source],
    settings: CorpusSettings,
    summary: CorpusSummary | None = None,
    any_bytes: bool = False,
) -> Iterator[str]:
    """Yield a corpus as blocks of text with `END_MARK` after each sequence; `summary` counts what is read.

    Raises:
        DataError: as `read_blocks` and `TableReader.rows`.
    """
    if settings.column is not None:
        return _rows(sources, settings, settings.column, summary, any_bytes)
    if settings.record_separator is not None:
        return _records(sources, settings, settings.record_separator, summary, any_bytes)
    return read_blocks(sources, settings, summary, any_bytes)


def _rows(
    sources: Sequence[Source], settings: CorpusSettings, column: str, summary: CorpusSummary | None, any_bytes: bool
) -> Iterator[str]:
    """Yield the texts of a column, each a sequence even if it contains line ends; in a stream each is a line.

    `summary` counts and hashes the texts with a line end after each, not the table.
    """
    stream = settings.sequence == "stream"
    for source in sources:
        if summary is not None:
            summary.files += 1
        reader = TableReader(settings.table or format_of([source.name]), column)
        for batch in reader.rows(read_lines(source, settings, any_bytes), source.name, settings.max_line, any_bytes):
            texts = [row.text for row in batch if settings.keep_blank or row.text.strip()]
            if summary is not None:
                lines = "".join(text + "\n" for text in texts)
                summary.add(lines.encode("utf-8", "surrogateescape"), lines)
            if texts:
                yield "".join(text + ("\n" if stream else END_MARK) for text in texts)
        if stream:
            yield END_MARK


def _records(
    sources: Sequence[Source], settings: CorpusSettings, separator: str, summary: CorpusSummary | None, any_bytes: bool
) -> Iterator[str]:
    """Yield the documents of files in which a separator stands between them."""
    whole = settings.model_copy(update={"sequence": "stream"})  # keeps each file's text whole, with its line ends
    for source in sources:
        cutter = RecordCutter(separator)
        for block in read_blocks([source], whole, summary, any_bytes):
            if cut := cutter.cut(block.removesuffix(END_MARK)):
                yield cut
        yield cutter.finish()


class RecordCutter:
    """Marks the ends of records in one file's blocks of text.

    The text after the separator's last newline is kept as the beginning of the next record; the rest of the separator,
    line ends around a record, and empty records are dropped.

    Example, the separator "\\n\\nX:": "X:1\\nabc\\n\\nX:2\\ndef\\n" gives "X:1\\nabc" END_MARK "X:2\\ndef" END_MARK.
    """

    def __init__(self, separator: str) -> None:
        kept = separator[separator.rfind("\n") + 1 :] if "\n" in separator else ""
        self.separator, self.mark = separator, END_MARK + kept
        self.rest = ""  # the end of the last block: perhaps the beginning of a separator, or white space before one
        self.open = False  # inside a record

    def cut(self, text: str) -> str:
        text = (self.rest + text.replace("\r\n", "\n")).replace(self.separator, self.mark)
        at = len(text[: max(0, len(text) - len(self.separator) + 1)].rstrip())
        self.rest = text[at:]
        return self._marked(text[:at])

    def finish(self) -> str:
        rest, self.rest = self.rest, ""
        return self._marked(rest + END_MARK)

    def _marked(self, text: str) -> str:
        *ended, last = text.split(END_MARK)
        return "".join([*(self._part(part.rstrip("\n")) + self._end() for part in ended), self._part(last)])

    def _part(self, text: str) -> str:
        if not self.open:
            text = text.lstrip("\n")
            if not text.strip():
                return ""
            self.open = True
        return text

    def _end(self) -> str:
        was_open, self.open = self.open, False
        return END_MARK if was_open else ""


# Notes on tables read as plain text


def table_notes(sources: Sequence[Source], settings: CorpusSettings) -> Iterator[str]:
    """Yield a note on the first file with a table's suffix, if no column was chosen."""
    if settings.column is not None:
        return
    for source in sources:
        columns = _columns(source, settings) if any(end in source.name.lower() for end in _TABLES) else []
        if columns:
            named = ", ".join(columns[:_MOST_NAMED]) + ", …" * (len(columns) > _MOST_NAMED)
            yield (
                f"{source.name}: a table is read as plain text, with all its columns; "
                f"--column NAME takes the text of one ({named})"
            )
            return


def _columns(source: Source, settings: CorpusSettings) -> list[str]:
    """The column names in a table's first line; none if it is not a table."""
    first = next(read_lines(source, settings.model_copy(update={"errors": "replace"})), None)
    if not first:
        return []
    kind = format_of([source.name])
    if kind == "jsonl":
        try:
            row = json.loads(first[0].text)
        except (ValueError, RecursionError):
            return []
        return list(row) if isinstance(row, dict) else []
    try:
        columns = first[0].body.split("\t") if kind == "tsv" else next(csv.reader([first[0].body]), [])
    except csv.Error:
        return []
    return columns if len(columns) > 1 else []
