"""Inputs of a command: texts from its command line, lines of files, a column of tables, or a share of a file."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from seqmodel.errors import UsageError
from seqmodel.settings import CorpusSettings
from seqmodel.text.corpus import Line, read_lines
from seqmodel.text.long_lines import Cuts
from seqmodel.text.sources import Source, find_sources
from seqmodel.text.tables import TableReader

_SHARD = re.compile("([0-9]{1,9})/([0-9]{1,9})")


@dataclass(frozen=True)
class Shard:
    """Share `number` (from 1) of `of` equal shares of a file."""

    number: int
    of: int

    @classmethod
    def parse(cls, text: str) -> Shard:
        """Parse a share such as `2/4`.

        Raises:
            UsageError: if `text` is not a valid share.
        """
        match = _SHARD.fullmatch(text)
        number, of = (int(part) for part in match.groups()) if match else (0, 0)
        if not 1 <= number <= of:
            raise UsageError("takes I/N, such as 1/4 for the first of four shares", setting="shard")
        return cls(number, of)

    def bounds(self, size: int) -> tuple[int, int]:
        """The range (begin, end) of bytes in which this share's lines begin, in a file of `size` bytes."""
        return size * (self.number - 1) // self.of, size * self.number // self.of


@dataclass(frozen=True)
class LineInputs:
    """Lines to read, file by file."""

    sources: Sequence[Source]
    texts: Sequence[str] = ()
    settings: CorpusSettings = field(default_factory=CorpusSettings)
    any_bytes: bool = False
    table: TableReader | None = None
    shard: Shard | None = None
    cuts: Cuts | None = None  # where long lines may be cut; not used for tables

    @classmethod
    def of(
        cls,
        names: Iterable[str],
        texts: Sequence[str],
        settings: CorpusSettings,
        any_bytes: bool,
        on_note: Callable[[str], None] = lambda note: None,
    ) -> LineInputs:
        """The inputs for names of files and folders, or for texts; standard input if both are empty.

        `on_note` gets a line on the files taken from a folder.

        Raises:
            UsageError: if both names and texts are given.
            DataError: if a file is missing.
        """
        names = list(names)
        if names and texts:
            raise UsageError("both --text and files are given", "Give one of them.")
        return cls([] if texts else find_sources(names or ["-"], settings, on_note), texts, settings, any_bytes)

    def streams(self) -> Iterator[tuple[str, Iterator[list[Line]]]]:
        """Yield each file's name and its lines in batches; a batch ends where no further input is ready."""
        if self.texts:
            given = [Line(number, text, False, alone=True) for number, text in enumerate(self.texts, start=1)]
            yield "", iter([given])
        for source in self.sources:
            part = None if self.shard is None else self._part(source, self.shard)
            lines = read_lines(source, self.settings, self.any_bytes, part, self.cuts)
            if self.table is not None:
                lines = self.table.rows(lines, source.name, self.settings.max_line, self.any_bytes)
            yield source.name, lines

    def _part(self, source: Source, shard: Shard) -> tuple[int, int]:
        if source.path is None or source.compression or not source.path.is_file():
            raise UsageError(
                f"{source.name}: only a regular, uncompressed file has shards", "Name one, or decompress it."
            )
        return shard.bounds(source.path.stat().st_size)
