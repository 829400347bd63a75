"""Finds the inputs: the files and folders named by the user, and standard input.

Knows names; knows nothing of their content.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from seqmodel.errors import DataError, UsageError, system_reason
from seqmodel.settings import CorpusSettings
from seqmodel.text.archives import compression_of
from seqmodel.text.folders import Identity, Patterns, shown_name, text_files

STDIN = "-"

_CHECK_NAME = "Check the name; use - for standard input."


@dataclass(frozen=True)
class Source:
    """One input: a path, or an open binary file (standard input, or a temporary copy of it).

    `name` is shown to people: bytes of the path that are not UTF-8 are escaped in it.
    """

    name: str
    path: Path | None = None
    file: BinaryIO | None = None

    @property
    def compression(self) -> str | None:
        """The suffix of a compressed file, or None."""
        return compression_of(self.path) if self.path is not None else None


def find_sources(
    names: Sequence[str],
    settings: CorpusSettings | None = None,
    on_note: Callable[[str], None] = lambda note: None,
) -> list[Source]:
    """The sources for the given names of files and folders; `-` is standard input.

    Folders are searched for text files, compressed or not, in sorted order; `on_note` gets a line on the files taken.

    Raises:
        DataError: if a name does not exist, cannot be read, or is a folder without text.
        UsageError: if standard input is named twice.
    """
    found: list[Source] = []
    patterns = Patterns(settings.include, settings.exclude) if settings is not None else Patterns()
    seen: set[Identity] = set()
    for name in names:
        if name == STDIN:
            found.append(Source("<stdin>", file=sys.stdin.buffer))
            continue
        try:
            found.extend(_named(name, patterns, seen, on_note))
        except OSError as error:  # e.g. the name is too long, links form a loop, a folder is not readable
            failed = shown_name(error.filename or name)
            raise DataError(f"{failed}: cannot be read: {system_reason(error)}", _CHECK_NAME) from None
        except ValueError:
            raise DataError("an input's name holds a NUL", _CHECK_NAME) from None
    if sum(source.file is not None for source in found) > 1:
        raise UsageError("standard input is named twice", "Give - once.")
    return found


def only_source(name: str) -> Source:
    """The single source of that name.

    Raises:
        DataError: as `find_sources`.
        UsageError: if the name is a folder with several files.
    """
    sources = find_sources([name])
    if len(sources) > 1:
        raise UsageError(f"{shown_name(name)}: a folder with several files", "Name one of them.")
    return sources[0]


def _named(name: str, patterns: Patterns, seen: set[Identity], on_note: Callable[[str], None]) -> list[Source]:
    """The file of that name, or the text files in the folder of that name."""
    path = Path(name)
    if path.is_dir():
        found = text_files(path, patterns, seen)
        on_note(shown_name(found.summary()))
        return [Source(shown_name(str(file)), file) for file in found.taken]
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        raise DataError(f"{shown_name(name)}: no such file", _CHECK_NAME) from None
    return [Source(shown_name(name), path)]
