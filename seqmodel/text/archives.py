"""Decompression of gzip, bzip2, xz and Zstandard files, all their streams included."""

from __future__ import annotations

import bz2
import io
import lzma
import sys
from collections.abc import Iterator
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO, cast

from seqmodel.errors import DataError

COMPRESSED = (".gz", ".bz2", ".xz", ".zst")
_CHUNK, _PART = 1 << 16, 1 << 20
_BEGINS = {  # signatures: the first bytes of an archive
    b"\x1f\x8b\x08": ".gz",
    b"\xfd7zXZ\0": ".xz",
    b"\x28\xb5\x2f\xfd": ".zst",
    **{b"BZh%d1AY&SY" % level: ".bz2" for level in range(1, 10)},
}
_MEMORY_LOG = 27  # 128 MiB, enough for xz -9 and zstd --long
_TEST_WITH = {".gz": "gzip -t", ".bz2": "bzip2 -t", ".xz": "xz -t", ".zst": "zstd -t"}


def compression_of(path: Path) -> str | None:
    """The suffix of a compressed file in lower case, or None for any other file."""
    suffix = path.suffix.lower()
    return suffix if suffix in COMPRESSED else None


def open_archive(path: Path, suffix: str) -> BinaryIO:
    """Open a compressed file for reading its unpacked bytes, in this process."""
    if suffix != ".gz":
        return cast(BinaryIO, _Streams(path.open("rb", buffering=0), suffix))
    import xopen

    return xopen.xopen(path, "rb", threads=0, format="gz")


def unpacked(name: str, parts: Iterator[bytes]) -> Iterator[bytes]:
    """Yield the bytes of a source unpacked if they begin with the signature of an archive, else unchanged.

    For pipes, and for files whose names have no archive suffix.

    Raises:
        DataError: if the archive is damaged; the message begins with `name`.
    """
    start = b""
    for part in parts:
        start += part
        if not any(begin.startswith(start) for begin in _BEGINS):
            break
    suffix = next((suffix for begin, suffix in _BEGINS.items() if start.startswith(begin)), None)
    parts = chain([start], parts)
    if suffix is None:
        yield from filter(None, parts)
        return
    try:
        yield from _unpacked(cast(BinaryIO, _Joined(parts)), suffix)
    except Exception as error:  # each decompressor has errors of its own
        raise archive_failure(name, suffix, error) from error


def _unpacked(file: BinaryIO, suffix: str) -> Iterator[bytes]:
    if suffix != ".gz":
        yield from iter(partial(_Streams(file, suffix).read, _PART), b"")
        return
    import gzip

    with gzip.GzipFile(fileobj=file) as archive:
        yield from iter(partial(archive.read1, _PART), b"")


class _Joined(io.RawIOBase):
    """A readable file over an iterator of byte strings."""

    def __init__(self, parts: Iterator[bytes]) -> None:
        self.parts, self.rest = parts, b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: object) -> int:
        view = memoryview(buffer)  # type: ignore[arg-type]
        self.rest = self.rest or next(self.parts, b"")
        data, self.rest = self.rest[: len(view)], self.rest[len(view) :]
        view[: len(data)] = data
        return len(data)


def archive_failure(name: str, suffix: str, error: Exception) -> DataError:
    """The error to raise for a file that could not be unpacked."""
    if "memory" in str(error).lower():
        return DataError(
            f"{name}: the compressed file needs more than {1 << _MEMORY_LOG - 20} MiB of memory",
            "Compress it again with a smaller window or dictionary.",
        )
    return DataError(f"{name}: the compressed file is truncated or damaged", f"Test it with: {_TEST_WITH[suffix]}")


class _Streams(io.RawIOBase):
    """The concatenated bzip2, xz or Zstandard streams of a file, as one readable file.

    Python's own readers take damage at the start of a later stream for the end of the file and silently drop the rest,
    and they allocate whatever memory a file asks for.
    """

    def __init__(self, file: BinaryIO, suffix: str) -> None:
        self.suffix, self.file = suffix, file
        self.engine = self._engine()

    def _engine(self) -> Any:
        if self.suffix == ".bz2":
            return bz2.BZ2Decompressor()
        if self.suffix == ".xz":
            return lzma.LZMADecompressor(memlimit=1 << _MEMORY_LOG)
        if sys.version_info >= (3, 14):
            from compression import zstd
        else:
            from backports import zstd
        return zstd.ZstdDecompressor(options={zstd.DecompressionParameter.window_log_max: _MEMORY_LOG})

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: object) -> int:
        """Fill the buffer with unpacked bytes; returns their number, 0 at the end.

        Raises:
            EOFError: if the last stream is incomplete.
            OSError, lzma.LZMAError, ZstdError: if the data are no valid stream, or need too much memory.
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
        """The first bytes of the next stream, after the zeros with which xz pads; empty at the end of the file."""
        while not (begin := rest.lstrip(b"\0") if self.suffix == ".xz" else rest):
            rest = self.file.read(_CHUNK)
            if not rest:
                return b""
        return begin

    def close(self) -> None:
        self.file.close()
        super().close()
