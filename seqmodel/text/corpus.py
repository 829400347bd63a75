"""Reads files as lines and as blocks of sequences.

Knows encodings and line ends; knows nothing of tokens. A corpus is passed on as blocks of text in which `END_MARK`
marks the end of a sequence, so that the longest line bounds the memory, not the corpus.

Example, `line` sequences: the file b"one\\n\\ntwo" gives the block "one" END_MARK "two" END_MARK.
"""

from __future__ import annotations

import hashlib
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from seqmodel.choices import SequenceKind, TextErrors
from seqmodel.errors import DataError
from seqmodel.settings import CorpusSettings
from seqmodel.text.encodings import refuse_lone_returns, refuse_wide_encoding
from seqmodel.text.line_blocks import LineBlock, blocks_before, line_blocks
from seqmodel.text.long_lines import Cuts, word_count
from seqmodel.text.sources import Source

END_MARK = "\ud800"  # a lone surrogate, which UTF-8 text cannot contain
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
REPLACEMENT = "\ufffd"
LINES_AT_ONCE = 1 << 14  # lines in a batch at most: empty lines take far more memory than their byte

Bytes = bytes  # the field `bytes` of `CorpusSummary` hides the type

_BLANK_LINE = re.compile(r"(?m)^[^\S\n]+$")
_NEWLINES = re.compile(r"\n{2,}")


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
    for block in blocks_before(line_blocks(source, settings.max_line, begin, cuts, any_bytes), end):
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
        for block in line_blocks(source, settings.max_line, any_bytes=any_bytes):
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


def _raw_parts(block: LineBlock, parts: Sequence[str]) -> list[bytes | None]:
    """The bytes of each line of a block that contains U+FFFD, and so perhaps a replaced byte; None for other lines."""
    raws = (block.data if block.offset else block.data.removeprefix(BYTE_ORDER_MARK)).split(b"\n")
    return [raw if REPLACEMENT in part else None for raw, part in zip(raws, parts, strict=True)]


def _decode(source: Source, block: LineBlock, errors: TextErrors, any_bytes: bool) -> str:
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
