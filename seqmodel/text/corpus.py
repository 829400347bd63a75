"""Reads files as lines and as blocks of sequences.

Knows encodings and line ends; knows nothing of tokens. A corpus is passed on as blocks of text in which `END_MARK`
marks the end of a sequence, so that the longest line bounds the memory, not the corpus.

Example, `line` sequences: the file b"one\\n\\ntwo" gives the block "one" END_MARK "two" END_MARK.
"""

from __future__ import annotations

import hashlib
import os
import re
import select
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import BinaryIO

from seqmodel.choices import SequenceKind, TextErrors
from seqmodel.errors import DataError, ResourceError, UsageError, system_reason
from seqmodel.settings import CorpusSettings
from seqmodel.text.archives import archive_failure, compression_of, open_archive, unpacked
from seqmodel.text.encodings import refuse_lone_returns, refuse_wide_encoding
from seqmodel.text.folders import Identity, Patterns, shown_name, text_files
from seqmodel.text.long_lines import Cuts, Unfinished, word_count

END_MARK = "\ud800"  # a lone surrogate, which UTF-8 text cannot contain
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
REPLACEMENT = "\ufffd"
READ_SIZE = 1 << 20
STDIN = "-"
LINES_AT_ONCE = 1 << 14  # lines in a batch at most: empty lines take far more memory than their byte

Bytes = bytes  # the field `bytes` of `CorpusSummary` hides the type

_CHECK_NAME = "Check the name; use - for standard input."
_BLANK_LINE = re.compile(r"(?m)^[^\S\n]+$")
_NEWLINES = re.compile(r"\n{2,}")


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


@dataclass(frozen=True)
class Line:
    """A line, or a part of a long line, without its terminator. `number` counts from 1 within its file."""

    number: int
    text: str
    terminated: bool
    given: str | None = None  # the context from a table's --given column
    raw: bytes | None = None  # the bytes as read, if invalid ones were replaced in `text`
    open: bool = False  # a part of a long line that continues in the next `Line`
    alone: bool = False  # a single text rather than a line of a file; scored and counted as a terminated line

    @property
    def is_ended(self) -> bool:
        """True if the line counts one line-end character in the totals of a corpus."""
        return self.terminated or self.alone

    @property
    def body(self) -> str:
        """The text without the carriage return of a CRLF line end."""
        return self.text.removesuffix("\r") if self.terminated else self.text

    @property
    def as_read(self) -> bytes:
        """The bytes of the line in its file, the newline included."""
        body = self.text.encode("utf-8", "surrogateescape") if self.raw is None else self.raw
        return body + b"\n" * self.terminated


@dataclass
class CorpusSummary:
    """Totals of the text read so far; `digest` is the SHA-256 of all (decompressed) bytes in order."""

    files: int = 0
    bytes: int = 0
    chars: int = 0
    lines: int = 0
    words: int = 0
    _hash: hashlib._Hash = field(default_factory=hashlib.sha256, repr=False)

    def add(self, data: Bytes, text: str) -> None:
        self._hash.update(data)
        self.bytes += len(data)
        self.chars += len(text) - text.count("\r\n")  # CRLF is one character
        self.words += word_count(text)
        self.lines += data.count(b"\n") + (not data.endswith(b"\n"))

    @property
    def digest(self) -> str:
        return self._hash.hexdigest()


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
        for block in _line_blocks(source, max_line, any_bytes=True):
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


@dataclass(frozen=True)
class _Block:
    """Whole lines of one file: their bytes, the byte offset of the first, and its number.

    An `open` block is a part of a long line that continues in the next block.
    """

    data: bytes
    offset: int
    line: int
    open: bool = False


def _line_blocks(
    source: Source, max_line: int, begin: int = 0, cuts: Cuts | None = None, any_bytes: bool = False
) -> Iterator[_Block]:
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
                    yield _Block(part, offset, line, open=True)
                    offset += len(part)
                block = b"".join([pending.take(), head, newline])
                _check_lengths(source, block, line, max_line)
                if block:
                    yield _Block(block, offset, line)
                offset, line = offset + len(block), line + block.count(b"\n")
            pending.add(tail)


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


def _before(blocks: Iterator[_Block], end: int) -> Iterator[_Block]:
    """Yield the lines that begin before byte `end`."""
    begun = False
    for block in blocks:
        if block.offset >= end and not begun:
            return
        beyond = block.offset + len(block.data) > end
        cut = block.data.find(b"\n", max(0, end - 1 - block.offset)) + 1 if beyond else 0
        yield replace(block, data=block.data[:cut]) if cut else block
        begun = block.open


def _check_lengths(source: Source, block: bytes, line: int, max_line: int) -> None:
    if len(block) <= max_line:
        return
    for number, content in enumerate(block.split(b"\n"), start=line):
        if len(content) > max_line:
            raise _too_long(source, number, max_line)


def _too_long(source: Source, line: int, max_line: int) -> DataError:
    return DataError(f"{source.name}, line {line}: longer than {max_line} bytes", "Split it, or raise --max-line.")


def _decode(source: Source, block: _Block, errors: TextErrors, any_bytes: bool) -> str:
    """The text of a block, without the byte order mark at the start of a file."""
    if any_bytes:
        return block.data.decode("utf-8", "surrogateescape")
    if not block.offset:
        refuse_wide_encoding(source.name, block.data)
    try:
        text = block.data.decode("utf-8", errors)
    except UnicodeDecodeError as error:
        line = block.line + block.data.count(b"\n", 0, error.start)
        raise DataError(
            f"{source.name}, line {line}, byte {block.offset + error.start}: invalid UTF-8",
            "Mend the file, or use --errors replace, or --unit byte for any bytes.",
        ) from None
    return text if block.offset else text.removeprefix("\ufeff")


def read_lines(
    source: Source,
    settings: CorpusSettings,
    any_bytes: bool = False,
    part: tuple[int, int] | None = None,
    cuts: Cuts | None = None,
) -> Iterator[list[Line]]:
    """Yield the lines of a source in batches; a batch ends where no further input is ready.

    `part` (begin, end) limits them to the lines that begin in this range of bytes; they keep their numbers. With
    `cuts`, long lines come in parts, each in a batch of its own; all but a line's last part are `open`.

    Raises:
        DataError: on invalid UTF-8, a line over the limit or a file that cannot be read.
    """
    begin, end = part or (0, sys.maxsize)
    for block in _before(_line_blocks(source, settings.max_line, begin, cuts, any_bytes), end):
        text = _decode(source, block, settings.errors, any_bytes)
        parts = text.split("\n")
        raws: Sequence[bytes | None] = (None,) * len(parts)
        if settings.errors == "replace" and not any_bytes and REPLACEMENT in text:
            raws = _raw_parts(block, parts)
        last = len(parts) - 1
        end = last + bool(parts[last])
        for at in range(0, end, LINES_AT_ONCE):
            numbers = range(at, min(at + LINES_AT_ONCE, end))
            yield [Line(block.line + i, parts[i], i < last, raw=raws[i], open=block.open) for i in numbers]


def _raw_parts(block: _Block, parts: Sequence[str]) -> list[bytes | None]:
    """The bytes of each line of a block that contains U+FFFD, and so perhaps a replaced byte; None for other lines."""
    raws = (block.data if block.offset else block.data.removeprefix(BYTE_ORDER_MARK)).split(b"\n")
    return [raw if REPLACEMENT in part else None for raw, part in zip(raws, parts, strict=True)]


def read_blocks(
    sources: Sequence[Source],
    settings: CorpusSettings,
    summary: CorpusSummary | None = None,
    any_bytes: bool = False,
) -> Iterator[str]:
    """Yield a corpus as blocks of text with `END_MARK` after each sequence; blocks begin at line starts.

    `summary` counts what is read; with `any_bytes`, invalid UTF-8 is kept as lone surrogates.

    Raises:
        DataError: on invalid UTF-8, a line over the limit or a file that cannot be read.
    """
    for source in sources:
        cutter = _Cutter(settings.sequence, settings.keep_blank)
        if summary is not None:
            summary.files += 1
        for block in _line_blocks(source, settings.max_line, any_bytes=any_bytes):
            if settings.sequence in ("line", "paragraph") and not (any_bytes or block.offset):
                refuse_lone_returns(source.name, block.data)
            text = _decode(source, block, settings.errors, any_bytes)
            if summary is not None:
                summary.add(block.data, text)
            if cut := cutter.cut(text):
                yield cut
        if cut := cutter.finish():
            yield cut


class _Cutter:
    """Marks the ends of sequences in one file's blocks.

    In paragraphs and documents a newline is held back until another line follows, because the newline before the end
    is not part of the sequence.
    """

    def __init__(self, kind: SequenceKind, keep_blank: bool) -> None:
        self.kind = kind
        self.keep_blank = keep_blank
        self.open = False  # inside a sequence; unless in a stream, its last newline is held back

    def cut(self, text: str) -> str:
        text = text.replace("\r\n", "\n")
        if self.kind == "stream":
            self.open = True
            return text
        text = text if text.endswith("\n") else text + "\n"
        if self.kind == "line":
            return self._lines(text)
        return self._paragraphs(text) if self.kind == "paragraph" else self._document(text)

    def finish(self) -> str:
        was_open, self.open = self.open, False
        return END_MARK if was_open else ""

    def _lines(self, text: str) -> str:
        if not self.keep_blank:
            text = _NEWLINES.sub("\n", _BLANK_LINE.sub("", text)).removeprefix("\n")
        return text.replace("\n", END_MARK)

    def _paragraphs(self, text: str) -> str:
        text = _BLANK_LINE.sub("", text)
        body = text.strip("\n")
        if not body:
            return self.finish()
        joint = (END_MARK if text.startswith("\n") else "\n") if self.open else ""
        self.open = not text.endswith("\n\n")
        return joint + _NEWLINES.sub(END_MARK, body) + ("" if self.open else END_MARK)

    def _document(self, text: str) -> str:
        joint = "\n" if self.open else ""
        self.open = True
        return joint + text[:-1]
