"""Reads the bytes of a source in blocks of whole lines, decompressed, as soon as they are ready.

Knows files, pipes and archives; knows nothing of encodings and sequences.
"""

from __future__ import annotations

import os
import select
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from typing import BinaryIO

from seqmodel.errors import DataError, ResourceError, system_reason
from seqmodel.text.archives import archive_failure, open_archive, unpacked
from seqmodel.text.long_lines import Cuts, Unfinished
from seqmodel.text.sources import Source

READ_SIZE = 1 << 20


@dataclass(frozen=True)
class LineBlock:
    """Whole lines of one file: their bytes, the byte offset of the first, and its number.

    An `open` block is a part of a long line that continues in the next block.
    """

    data: bytes
    offset: int
    line: int
    open: bool = False


def line_blocks(
    source: Source, max_line: int, begin: int = 0, cuts: Cuts | None = None, any_bytes: bool = False
) -> Iterator[LineBlock]:
    """Yield a source from the first line that begins at byte `begin` or later, in blocks of whole lines.

    Only the last block may lack its newline. With `cuts`, a long line comes in parts, but only once it is known to be
    within `max_line`.

    Raises:
        DataError: if the source cannot be read, or a line is longer than `max_line` bytes.
    """
    pending = Unfinished(cuts)
    with _opened(source) as file:
        offset, line = _sought(source, file, begin) if begin else (0, 1)
        for data in chain(_reads(source, file, any_bytes), [b""]):  # b"" marks the end
            head, newline, tail = data.rpartition(b"\n")
            if pending.size + (data.index(b"\n") if newline else len(tail)) > max_line:
                raise _too_long(source, line, max_line)
            if newline or not data:
                for part in pending.parts():
                    yield LineBlock(part, offset, line, open=True)
                    offset += len(part)
                block = b"".join([pending.take(), head, newline])
                _check_lengths(source, block, line, max_line)
                if block:
                    yield LineBlock(block, offset, line)
                offset, line = offset + len(block), line + block.count(b"\n")
            pending.add(tail)


def blocks_before(blocks: Iterator[LineBlock], end: int) -> Iterator[LineBlock]:
    """Yield the lines that begin before byte `end`."""
    begun = False
    for block in blocks:
        if block.offset >= end and not begun:
            return
        beyond = block.offset + len(block.data) > end
        cut = block.data.find(b"\n", max(0, end - 1 - block.offset)) + 1 if beyond else 0
        yield replace(block, data=block.data[:cut]) if cut else block
        begun = block.open


def spooled(source: Source, max_line: int) -> Source:
    """A source that can be read repeatedly: standard input, FIFOs and devices are copied to a temporary file.

    Raises:
        DataError: if it cannot be read, or a line is longer than `max_line` bytes (a device may never end).
        ResourceError: if the copy does not fit on the disk.
    """
    if source.path is not None and source.path.is_file():
        return source
    try:
        spool: BinaryIO = tempfile.TemporaryFile()  # noqa: SIM115  # the source keeps it
        for block in line_blocks(source, max_line, any_bytes=True):
            spool.write(block.data)
    except OSError as error:
        raise ResourceError(
            f"{source.name}: cannot be copied to a temporary file", "Set TMPDIR to a folder with space."
        ) from error
    return Source(source.name, file=spool)


class _opened:
    """Context manager: opens a source, decompressed by its suffix; does not close standard input and spooled files."""

    def __init__(self, source: Source) -> None:
        self.source = source

    def __enter__(self) -> BinaryIO:
        source = self.source
        if source.file is not None:
            if source.file is not sys.stdin.buffer:
                source.file.seek(0)
            return source.file
        assert source.path is not None
        try:
            if source.compression:
                self.handle: BinaryIO = open_archive(source.path, source.compression)
            else:
                self.handle = source.path.open("rb", buffering=0)
        except OSError as error:
            raise _unreadable(source, error) from error
        return self.handle

    def __exit__(self, *exc: object) -> None:
        if self.source.file is None:
            self.handle.close()


def _reads(source: Source, file: BinaryIO, any_bytes: bool) -> Iterator[bytes]:
    """Yield the bytes of an open source as soon as they are ready, those ready together joined.

    Archives without an archive's suffix are unpacked, unless the text may be `any_bytes`.
    """
    read = partial(_read_ready, file) if _is_pipe(file) else partial(file.read, READ_SIZE)
    parts = iter(read, b"") if source.compression or any_bytes else unpacked(source.name, iter(read, b""))
    try:
        yield from parts
    except DataError:
        raise
    except (EOFError, ValueError, OSError) as error:
        raise _read_failure(source, error) from error
    except Exception as error:  # each decompressor has errors of its own (zlib, lzma, zstd)
        if type(error).__module__ in ("builtins",):
            raise
        raise _read_failure(source, error) from error


def _read_failure(source: Source, error: Exception) -> DataError:
    if source.compression:
        return archive_failure(source.name, source.compression, error)
    return _unreadable(source, error)


def _unreadable(source: Source, error: Exception) -> DataError:
    return DataError(f"{source.name}: cannot be read: {system_reason(error)}", "Check the file.")


def _is_pipe(file: BinaryIO) -> bool:
    return file is sys.stdin.buffer and not os.path.isfile(f"/dev/fd/{file.fileno()}")


def _read_ready(file: BinaryIO) -> bytes:
    """Wait for input, then return all that is ready, about READ_SIZE bytes at most."""
    descriptor = file.fileno()
    select.select([descriptor], [], [])  # another user of the pipe may have made it non-blocking
    data = os.read(descriptor, READ_SIZE)
    parts = [data]
    size = len(data)
    while data and size < READ_SIZE and select.select([descriptor], [], [], 0)[0]:
        data = os.read(descriptor, READ_SIZE)
        parts.append(data)
        size += len(data)
    return b"".join(parts)


def _sought(source: Source, file: BinaryIO, begin: int) -> tuple[int, int]:
    """Move to the first line that begins at byte `begin` or later; returns its offset and number."""
    offset, line = 0, 1
    for data in _reads(source, file, True):
        cut = data.find(b"\n", max(0, begin - 1 - offset)) + 1
        if cut and offset + cut >= begin:
            offset, line = offset + cut, line + data.count(b"\n", 0, cut)
            file.seek(offset)
            break
        offset, line = offset + len(data), line + data.count(b"\n")
    return offset, line


def _check_lengths(source: Source, block: bytes, line: int, max_line: int) -> None:
    if len(block) <= max_line:
        return
    for number, content in enumerate(block.split(b"\n"), start=line):
        if len(content) > max_line:
            raise _too_long(source, number, max_line)


def _too_long(source: Source, line: int, max_line: int) -> DataError:
    return DataError(f"{source.name}, line {line}: longer than {max_line} bytes", "Split it, or raise --max-line.")
