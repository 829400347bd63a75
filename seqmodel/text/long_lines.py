"""Cuts long lines into parts, so that processing them takes the memory of one part.

Knows the places where a cut does not change the tokens; knows nothing else of tokens.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from typing import BinaryIO, Literal

from seqmodel.errors import ResourceError

Cuts = Literal["blanks", "characters"]  # before a blank, or before any character
PART = 1 << 20  # bytes, or characters


def word_count(text: str) -> int:
    """Count the words between white space, part by part: splitting a long text would take many times its memory."""
    count = 0
    for at in range(0, len(text), PART):
        part = text[at : at + PART]
        count += len(part.split()) - (at > 0 and not text[at - 1].isspace() and not part[0].isspace())
    return count


class Unfinished:
    """The beginning of a line whose end has not been read yet.

    A long one that may be cut is kept in a temporary file.
    """

    def __init__(self, cuts: Cuts | None) -> None:
        self.cuts = cuts
        self.size = 0
        self.last: list[bytes] = []
        self.file: BinaryIO | None = None

    def add(self, data: bytes) -> None:
        """Append bytes to the line.

        Raises:
            ResourceError: if the disk is full.
        """
        self.size += len(data)
        self.last.append(data)
        if self.cuts is not None and self.size > PART:
            try:
                if self.file is None:
                    self.file = tempfile.TemporaryFile()  # noqa: SIM115  # closed by `close`
                while self.last:
                    self.file.write(self.last.pop(0))
                self.file.flush()
            except OSError as error:
                raise ResourceError(
                    "a long line cannot be copied to a temporary file", "Set TMPDIR to a folder with space."
                ) from error

    def parts(self) -> Iterator[bytes]:
        """Yield the parts of a line kept in a file, except the last, which is never empty."""
        file, self.file = self.file, None
        if file is None:
            return
        with file:
            file.seek(0)
            while data := file.read(PART):
                at = self._cut(data)
                if at > 0:
                    yield b"".join([*self.last, data[:at]])
                    self.last = []
                self.last.append(data[at:])

    def take(self) -> bytes:
        """Return the rest of the line (the whole line if it was not cut) and forget it."""
        rest = b"".join(self.last)
        self.size, self.last = 0, []
        return rest

    def _cut(self, data: bytes) -> int:
        """The index of the last possible cut, before the last character or the last blank; 0 if there is none."""
        if self.cuts == "blanks":
            return max(0, data.rfind(b" "))
        for at in range(len(data) - 1, max(-1, len(data) - 5), -1):
            if not 0x80 <= data[at] < 0xC0:
                return at
        return len(data) - 1 if len(data) > 3 else 0  # no UTF-8 character has four continuation bytes
