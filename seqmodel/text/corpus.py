"""From files to text: where a corpus lies, how its bytes are read, and how its lines become sequences.

Knows files, encodings and line ends; knows nothing of tokens. A corpus travels as blocks of text in which
`END_MARK` stands for the end of a sequence, so that memory is bounded by the longest line, not by the corpus.

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

END_MARK = "\ud800"  # a lone surrogate: no UTF-8 text can hold it
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
REPLACEMENT = "\ufffd"
READ_SIZE = 1 << 20
STDIN = "-"
LINES_AT_ONCE = 1 << 14  # in a batch of lines: an empty one costs far more than its byte

Bytes = bytes  # `CorpusSummary` has a field of that name

_CHECK_NAME = "Check the name; use - for standard input."
_BLANK_LINE = re.compile(r"(?m)^[^\S\n]+$")
_NEWLINES = re.compile(r"\n{2,}")


@dataclass(frozen=True)
class Source:
    """One input: a path, or an open binary file (standard input, or what was spooled from it). `name` is for people:
    what is no UTF-8 in a path stands there as an escape."""

    name: str
    path: Path | None = None
    file: BinaryIO | None = None

    @property
    def compression(self) -> str | None:
        """The suffix of a compressed file."""
        return compression_of(self.path) if self.path is not None else None


@dataclass(frozen=True)
class Line:
    """A line without its terminator, or a part of one. `number` counts from 1 within its file."""

    number: int
    text: str
    terminated: bool
    given: str | None = None  # what it is to be scored given, where that stands beside it
    raw: bytes | None = None  # its bytes, where some were replaced in the text
    open: bool = False  # it goes on in the next one
    alone: bool = False  # no line of a file but a text by itself, scored and counted as a line that ends

    @property
    def is_ended(self) -> bool:
        """True if a line end counts among its characters in the totals of a corpus."""
        return self.terminated or self.alone

    @property
    def body(self) -> str:
        """The text without its line end: a carriage return before the newline is part of that."""
        return self.text.removesuffix("\r") if self.terminated else self.text

    @property
    def as_read(self) -> bytes:
        """What stood in the file, the newline included."""
        body = self.text.encode("utf-8", "surrogateescape") if self.raw is None else self.raw
        return body + b"\n" * self.terminated


@dataclass
class CorpusSummary:
    """What was read so far; `digest` is the SHA-256 over the (decompressed) bytes, file after file."""

    files: int = 0
    bytes: int = 0
    chars: int = 0
    lines: int = 0
    words: int = 0
    _hash: hashlib._Hash = field(default_factory=hashlib.sha256, repr=False)

    def add(self, data: Bytes, text: str) -> None:
        self._hash.update(data)
        self.bytes += len(data)
        self.chars += len(text) - text.count("\r\n")  # a line end is one character
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
    """The inputs that the names of files and folders, and `-` for standard input, stand for.

    Folders are searched for text, compressed or not, in sorted order; `on_note` is told which files are taken.

    Raises:
        DataError: if a name does not exist, cannot be read, or is a folder without text.
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
        except OSError as error:  # too long a name, a loop of links, a folder that may not be read
            failed = shown_name(error.filename or name)
            raise DataError(f"{failed}: cannot be read: {system_reason(error)}", _CHECK_NAME) from None
        except ValueError:
            raise DataError("an input's name holds a NUL", _CHECK_NAME) from None
    if sum(source.file is not None for source in found) > 1:
        raise UsageError("standard input is named twice", "Give - once.")
    return found


def only_source(name: str) -> Source:
    """The one input of that name.

    Raises:
        DataError: as `find_sources`.
        UsageError: if it is a folder with several files.
    """
    sources = find_sources([name])
    if len(sources) > 1:
        raise UsageError(f"{shown_name(name)}: a folder with several files", "Name one of them.")
    return sources[0]


def _named(name: str, patterns: Patterns, seen: set[Identity], on_note: Callable[[str], None]) -> list[Source]:
    """The file, or the text files in the folder, of that name."""
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
    """A source that can be read more than once: standard input, FIFOs and devices are copied to a temporary file.

    Raises:
        DataError: if it cannot be read, or a line is over the limit: a device may never end.
        ResourceError: if there is no space.
    """
    if source.path is not None and source.path.is_file():
        return source
    try:
        spool: BinaryIO = tempfile.TemporaryFile()
        for block in _line_blocks(source, max_line, any_bytes=True):
            spool.write(block.data)
    except OSError as error:
        raise ResourceError(
            f"{source.name}: cannot be copied to a temporary file", "Set TMPDIR to a folder with space."
        ) from error
    return Source(source.name, file=spool)


class _opened:
    """Opens a source for one reading, decompressing by suffix; leaves standard input and spools open."""

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
    """The bytes of an open source, as they come: what is ready now is joined, what is not is not waited for. An archive
    that no name tells of is unpacked, unless any bytes are text."""
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
    """Wait for some bytes, then take all that is ready, up to READ_SIZE."""
    descriptor = file.fileno()
    select.select([descriptor], [], [])  # who shares the pipe may have said that reading never waits
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
    """Whole lines of one file: their bytes, where they begin (byte offset), and the first one's number. A block that is
    `open` is a part of a line, which goes on in the next one."""

    data: bytes
    offset: int
    line: int
    open: bool = False


def _line_blocks(
    source: Source, max_line: int, begin: int = 0, cuts: Cuts | None = None, any_bytes: bool = False
) -> Iterator[_Block]:
    """The source's bytes, from the first line that begins at byte `begin` or later, in blocks of whole lines; only the
    last may lack its newline. With `cuts` long lines come in parts, once they are known not to be too long."""
    pending = Unfinished(cuts)
    with _opened(source) as file:
        offset, line = _sought(source, file, begin) if begin else (0, 1)
        for data in chain(_reads(source, file, any_bytes), [b""]):  # which is the end
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
    """Go to the first line that begins at byte `begin` or later; its offset and number."""
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
    """The lines that begin before byte `end`."""
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
    """The lines of a source in batches; a batch ends where no further input is ready. `part` limits them to those that
    begin between two bytes (begin, end); they keep their numbers. With `cuts` long lines come in parts: all but the
    last of a line are `open`, and batches of their own.

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
    """The bytes of those lines of a block in which something may have been replaced."""
    raws = (block.data if block.offset else block.data.removeprefix(BYTE_ORDER_MARK)).split(b"\n")
    return [raw if REPLACEMENT in part else None for raw, part in zip(raws, parts, strict=True)]


def read_blocks(
    sources: Sequence[Source],
    settings: CorpusSettings,
    summary: CorpusSummary | None = None,
    any_bytes: bool = False,
) -> Iterator[str]:
    """A corpus as blocks of text with `END_MARK` after each sequence; blocks are cut at line starts.

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

    In paragraphs and documents the newline after a line is held back until another line follows: the
    newline before an end is no part of the sequence.
    """

    def __init__(self, kind: SequenceKind, keep_blank: bool) -> None:
        self.kind = kind
        self.keep_blank = keep_blank
        self.open = False  # a sequence has begun and not ended; outside streams its last newline is held back

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
