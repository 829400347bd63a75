"""Reading compressed files to their very end."""

from __future__ import annotations

import bz2
import io
import lzma
from pathlib import Path
from typing import BinaryIO, cast

_CHUNK = 1 << 16


def open_archive(path: Path, suffix: str) -> BinaryIO:
    """What is packed in a file of this suffix. No other program is run."""
    if suffix in (".bz2", ".xz"):
        return cast(BinaryIO, _Streams(path, suffix))
    import xopen

    return xopen.xopen(path, "rb", threads=0, format=suffix[1:])


class _Streams(io.RawIOBase):
    """The streams of bzip2 or xz in a file, one after another. Python's own readers take what is damaged at the
    beginning of a later one for the end of the file, and what stands there is lost without a word."""

    def __init__(self, path: Path, suffix: str) -> None:
        self.suffix = suffix
        self.file = path.open("rb", buffering=0)
        self.engine = self._engine()

    def _engine(self) -> bz2.BZ2Decompressor | lzma.LZMADecompressor:
        return bz2.BZ2Decompressor() if self.suffix == ".bz2" else lzma.LZMADecompressor()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: object) -> int:
        """
        Raises:
            EOFError: if a stream has no end.
            OSError, lzma.LZMAError: if what stands there is no stream.
        """
        view = memoryview(buffer)  # type: ignore[arg-type]
        while True:
            rest = b""
            if self.engine.eof:
                rest = self._next_stream(self.engine.unused_data)
                if not rest:
                    return 0
                self.engine = self._engine()
            elif self.engine.needs_input:
                rest = self.file.read(_CHUNK)
                if not rest:
                    raise EOFError
            data = self.engine.decompress(rest, len(view))
            if data:
                view[: len(data)] = data
                return len(data)

    def _next_stream(self, rest: bytes) -> bytes:
        """Its first bytes; xz pads with zeros."""
        while not (begin := rest.lstrip(b"\0") if self.suffix == ".xz" else rest):
            rest = self.file.read(_CHUNK)
            if not rest:
                return b""
        return begin

    def close(self) -> None:
        self.file.close()
        super().close()
