"""Which files of a folder are text, by their names."""

from __future__ import annotations

import os
from pathlib import Path

COMPRESSED = (".gz", ".bz2", ".xz", ".zst")
TEXT_SUFFIXES = (".txt", ".text", ".md")


def text_files(folder: Path) -> list[Path]:
    """The text files below a folder, compressed ones too, in order; what is hidden, and what links to folders lead to,
    is left out.

    Raises:
        OSError: if a folder below it may not be read: what lies there is not left out without a word.
    """
    found = []
    for base, folders, names in os.walk(folder, onerror=_refuse):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [path for path in (Path(base, name) for name in names if _is_text_name(name)) if path.is_file()]
    return sorted(found)


def _refuse(error: OSError) -> None:
    raise error


def _is_text_name(name: str) -> bool:
    stem = name.lower()
    for suffix in COMPRESSED:
        stem = stem.removesuffix(suffix)
    return stem.endswith(TEXT_SUFFIXES) and not name.startswith(".")
