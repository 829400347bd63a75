"""Selects the text files of a folder, by their content or by patterns.

Knows names, links and the first bytes of a file; knows nothing of sequences.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path

from seqmodel.errors import DataError
from seqmodel.text.archives import compression_of, open_archive
from seqmodel.text.encodings import wide_encoding

LOOKED_AT = 1 << 16  # bytes that decide whether a file is text
SHOWN = 3  # left-out files that a summary names
_VERSION_CONTROL = {"CVS", "_darcs"}  # those of other systems have hidden names
_TEXT_CONTROLS = b"\t\n\r\f\b\x1b\x1a\x85"
_CONTROLS = bytes(code for code in range(32) if code not in _TEXT_CONTROLS)
_MOST_CONTROLS = 0.005
_TRAINING_LOG = b'{"event": "Planned", '  # the beginning of the log beside a bundle

Identity = tuple[int, int]  # device and inode: the same for all names of a file


@dataclass(frozen=True)
class Patterns:
    """Shell patterns, matched against a file's name and its path below the folder.

    With `include` None, files that contain text are taken; else the files that match, whatever they contain.
    """

    include: Sequence[str] | None = None
    exclude: Sequence[str] | None = None

    def excludes(self, below: str) -> bool:
        return _matches(below, self.exclude or ()) or (self.include is not None and not _matches(below, self.include))


@dataclass
class FolderFiles:
    """The files taken from a folder, in order, and the reasons against the others."""

    folder: Path
    taken: list[Path] = field(default_factory=list)
    left: list[tuple[Path, str]] = field(default_factory=list)

    def summary(self) -> str:
        """One line on the files taken and left out; it may contain any character that file names do.

        Example: `tunes: 12 files taken (11 .abc, 1 .md); 2 left out: cover.png (no text), old.abc (a second name)`.
        """
        kinds = Counter(path.suffix or path.name for path in self.taken).most_common()
        listed = ", ".join(f"{count:,} {kind}" for kind, count in kinds[:SHOWN]) + ", …" * (len(kinds) > SHOWN)
        files = f"{len(self.taken):,} file{'s' * (len(self.taken) != 1)} taken" + f" ({listed})" * bool(listed)
        return f"{self.folder}: {files}{self._left_out()}"

    def _left_out(self) -> str:
        if not self.left:
            return ""
        shown = [f"{path.relative_to(self.folder)} ({reason})" for path, reason in self.left[:SHOWN]]
        more = [f"{len(self.left) - SHOWN:,} more"] if len(self.left) > SHOWN else []
        return f"; {len(self.left):,} left out: {', '.join(shown + more)}"


def shown_name(name: str) -> str:
    """A path as valid UTF-8, other bytes escaped."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def text_files(folder: Path, patterns: Patterns, seen: set[Identity]) -> FolderFiles:
    """Find the text files below a folder, compressed ones included; hidden files and version control are skipped.

    Files in `seen` are left out, and those taken are added to it, so that no file is taken twice.

    Raises:
        OSError: if a folder below it cannot be read.
        DataError: if there is no text.
    """
    found = FolderFiles(folder)
    # Files come before links to them.
    for path in sorted(_files_below(folder, found), key=lambda path: (path.is_symlink(), path)):
        reason = _reason_against(path, path.relative_to(folder).as_posix(), patterns, seen)
        if reason is None:
            found.taken.append(path)
        else:
            found.left.append((path, reason))
    found.taken.sort()
    found.left.sort()
    if not found.taken:
        raise DataError(
            f"{shown_name(found.summary())}: the folder holds no text",
            "Name the files, or check --include and --exclude.",
        )
    return found


def _files_below(folder: Path, found: FolderFiles) -> Iterator[Path]:
    for base, folders, names in os.walk(folder, onerror=_refuse):
        folders[:] = [name for name in folders if not name.startswith(".") and name not in _VERSION_CONTROL]
        found.left += [(Path(base, name), "a link to a folder") for name in folders if Path(base, name).is_symlink()]
        yield from (Path(base, name) for name in names if not name.startswith("."))


def _refuse(error: OSError) -> None:
    raise error


def _reason_against(path: Path, below: str, patterns: Patterns, seen: set[Identity]) -> str | None:
    """The reason to leave a file out; None if it is taken, which adds it to `seen`."""
    if patterns.excludes(below):
        return "excluded" if _matches(below, patterns.exclude or ()) else "not included"
    if not path.exists():
        return "a broken link"
    if not path.is_file():
        return "no file"
    status = path.stat()
    if (status.st_dev, status.st_ino) in seen:
        return "a second name of a file"
    reason = None if patterns.include is not None else _kind_against(path)
    if reason is None:
        seen.add((status.st_dev, status.st_ino))
    return reason


def _kind_against(path: Path) -> str | None:
    """The reason that a file's content is not text, or None.

    Unreadable files and text in another encoding are taken, so that reading them raises the error.
    """
    try:
        start = _beginning(path)
    except Exception:  # each decompressor raises its own errors
        return None
    if not start:
        return "empty"
    if start.startswith(_TRAINING_LOG):
        return "a log of training"
    return None if _holds_text(start) else "no text"


def _beginning(path: Path) -> bytes:
    """The first (unpacked) bytes of a file."""
    packed = compression_of(path)
    with open_archive(path, packed) if packed else path.open("rb") as file:
        parts = [b""]
        while sum(map(len, parts)) < LOOKED_AT and (data := file.read(LOOKED_AT)):
            parts.append(data)
        return b"".join(parts)


def _holds_text(start: bytes) -> bool:
    if wide_encoding(start) is not None:
        return True
    controls = len(start) - len(start.translate(None, _CONTROLS))
    return b"\0" not in start and not start.startswith(b"%PDF-") and controls <= _MOST_CONTROLS * len(start)


def _matches(below: str, patterns: Sequence[str]) -> bool:
    name = below.rpartition("/")[2]
    return any(fnmatchcase(below, pattern) or fnmatchcase(name, pattern) for pattern in patterns)
