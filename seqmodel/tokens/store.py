"""The token store: a corpus as token ids in one file, written once and read in place, never loaded whole.

Layout, little-endian: 8 bytes magic, a header of HEADER_SIZE bytes (JSON, padded with blanks), the
SentencePiece model, zeros up to a multiple of 8, the ids (uint16 or uint32; each sequence ends with the end
symbol), zeros up to a multiple of 8, the position after the end symbol of each sequence (int64), and the held-out
ranges of ids (pairs of int64; none in stores of version 1). The header contains a SHA-256 over itself (with that
field empty) and everything after it.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from pydantic import Field, ValidationError

from seqmodel.arrays import Array, EncodedIds, Ranges
from seqmodel.choices import SequenceKind, Unit
from seqmodel.errors import ModelError, UsageError, system_reason
from seqmodel.files import atomic_write
from seqmodel.settings import MAX_VOCABULARY, CorpusSettings, Count, Digest, Settings, TokenizerSettings
from seqmodel.text.corpus import CorpusSummary
from seqmodel.text.line_blocks import spooled
from seqmodel.text.sequences import read_sequences, table_notes
from seqmodel.text.sources import find_sources
from seqmodel.tokens.fitting import NoText, fit
from seqmodel.tokens.held_out import NOTHING, Places, held_apart, plan_held_out
from seqmodel.tokens.stored_array import Stored, StoredArray
from seqmodel.tokens.tokenizer import END, FIRST_PIECE, UNKNOWN, Tokenizer, is_byte, never_predicted

MAGIC = b"SEQMTOK1"
HEADER_SIZE = 4096
_COPY = 1 << 20


class StoreHeader(Settings):
    """The metadata of a store."""

    version: int = Field(2, ge=1, le=2)
    unit: Unit
    closed: bool
    sequence: SequenceKind
    vocabulary: int = Field(ge=4, le=MAX_VOCABULARY)
    proto_bytes: int = Field(ge=0, le=1 << 30)
    tokens: int = Field(ge=1, lt=1 << 63)
    sequences: int = Field(ge=1, lt=1 << 63)
    corpus_bytes: Count
    corpus_chars: Count
    corpus_lines: Count
    corpus_words: Count
    byte_tokens: Count
    unknown_tokens: Count
    corpus_digest: Digest
    digest: str
    tokenizer: TokenizerSettings | None = None  # settings of the vocabulary; None if it was learned on another corpus
    corpus: CorpusSettings | None = None
    held_out_ranges: int | None = Field(None, ge=0, le=1 << 20)  # their number; None if the store records no split

    @property
    def dtype(self) -> np.dtype[np.unsignedinteger]:
        return np.dtype("<u2") if self.vocabulary <= 1 << 16 else np.dtype("<u4")


@dataclass(frozen=True)
class TokenStore:
    """An open store: `ids` (tokens,) and `ends` (sequences,) are read from the file, or were loaded into memory.

    `held_out` (ranges, 2) was kept from learning the vocabulary; None if the store records no split.
    """

    path: Path
    header: StoreHeader
    tokenizer: Tokenizer
    ids: Stored
    ends: Stored
    held_out: Ranges | None = None

    @property
    def bytes_per_token(self) -> float:
        return self.header.corpus_bytes / self.header.tokens


class _Body:
    """Writes and hashes the part of the file after the header."""

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self.hash = hashlib.sha256()
        self.size = 0

    def write(self, data: bytes) -> None:
        self.file.write(data)
        self.hash.update(data)
        self.size += len(data)

    def align(self) -> None:
        self.write(bytes(-self.size % 8))


def write_store(
    path: Path,
    blocks: Iterable[str],
    tokenizer: Tokenizer,
    corpus: CorpusSettings,
    summary: CorpusSummary,
    learned: TokenizerSettings | None = None,
    places: Places | None = None,
) -> None:
    """Encode blocks of text (`END_MARK` between sequences) into a store; `summary` is read after the last block.

    `learned`: the settings with which the vocabulary was learned from this text, or None if it was not; `places`: the
    held-out places.

    Raises:
        DataError: if the corpus holds no text.
        ResourceError: if the disk is full.
    """
    dtype = np.dtype("<u2") if tokenizer.size <= 1 << 16 else np.dtype("<u4")
    tokens = sequences = spelled = unknown = 0
    held_out = _HeldOutRanges(corpus.sequence)
    with atomic_write(path) as file, tempfile.TemporaryFile(dir=path.parent) as index:
        file.write(MAGIC + b" " * HEADER_SIZE)
        body = _Body(file)
        body.write(tokenizer.proto)
        body.align()
        for ids, is_held_out in _encoded(tokenizer, blocks, places or NOTHING):
            ends = np.flatnonzero(ids == END) + (tokens + 1)
            index.write(ends.astype("<i8").tobytes())
            body.write(ids.astype(dtype).tobytes())
            if is_held_out:
                held_out.add(tokens, ends, tokens + len(ids))
            tokens += len(ids)
            sequences += len(ends)
            spelled += int(is_byte(ids).sum())
            unknown += int((ids == UNKNOWN).sum())
        if not sequences or tokens == sequences:
            raise NoText
        body.align()
        index.seek(0)
        while data := index.read(_COPY):
            body.write(data)
        body.write(held_out.array.astype("<i8").tobytes())
        header = StoreHeader(
            unit=tokenizer.unit,
            closed=tokenizer.closed,
            sequence=corpus.sequence,
            vocabulary=tokenizer.size,
            proto_bytes=len(tokenizer.proto),
            tokens=tokens,
            sequences=sequences,
            corpus_bytes=summary.bytes,
            corpus_chars=summary.chars,
            corpus_lines=summary.lines,
            corpus_words=summary.words,
            byte_tokens=spelled,
            unknown_tokens=unknown,
            corpus_digest=summary.digest,
            digest="",
            tokenizer=learned,
            corpus=corpus,
            held_out_ranges=len(held_out.array) if places is not None else None,
        )
        header = header.model_copy(update={"digest": _digest(header, body.hash)})
        file.seek(len(MAGIC))
        file.write(_json(header).ljust(HEADER_SIZE))


def _encoded(tokenizer: Tokenizer, blocks: Iterable[str], places: Places) -> Iterator[tuple[EncodedIds, bool]]:
    """Yield the ids of a corpus part by part, each with True if it is held out."""
    for part in held_apart(blocks, places):
        for ids in tokenizer.encode_parts(part.text, part.inside):
            yield ids, part.held_out


class _HeldOutRanges:
    """Collects held-out ranges of ids in order: each a sequence, the end of one, or a stretch of a stream."""

    def __init__(self, kind: SequenceKind) -> None:
        self.is_stream = kind == "stream"
        self.bounds: list[list[int]] = []
        self.goes_on = False  # the last range continues if the next ids are held out too

    def add(self, begin: int, ends: Ranges, stop: int) -> None:
        """Add the range from `begin` to `stop`; `ends` are the ends of sequences in it."""
        cuts = [] if self.is_stream else ends.tolist()
        for end in [*cuts, stop]:
            if begin == end:
                continue
            if self.goes_on and self.bounds[-1][1] == begin:
                self.bounds[-1][1] = end
            else:
                self.bounds.append([begin, end])
            begin, self.goes_on = end, end not in cuts

    @property
    def array(self) -> Ranges:
        return np.array(self.bounds, np.int64).reshape(-1, 2)


def sequences_in(ids: Array) -> list[Array]:
    """Split ids (N,) after each end symbol; the last part is what follows the last one, and may be empty."""
    return np.split(ids, np.flatnonzero(ids == END) + 1)


def numbers_of(ends: Stored, positions: Ranges) -> Ranges:
    """For each position, the number of the first sequence that ends at or after it; there must be one."""
    found = np.zeros(len(positions), np.int64)
    for at in range(0, len(ends), _COPY):
        found += np.searchsorted(ends[at : at + _COPY], positions)
    return found


def is_store(path: Path) -> bool:
    """True if a file begins as a token store does; False for pipes, which are not read."""
    try:
        if not path.is_file():
            return False
        with path.open("rb") as file:
            return file.read(len(MAGIC)) == MAGIC
    except OSError:
        return False


def open_store(path: Path) -> TokenStore:
    """Open and check a store. The file is opened only once, as another may replace it meanwhile.

    Raises:
        ModelError: if it is not a store, was cut short, or differs from its header.
    """
    damaged = ModelError(f"{path}: the token store is damaged", "Make it again with seqmodel tokenize.")
    try:
        with path.open("rb") as file:
            start = file.read(len(MAGIC) + HEADER_SIZE)
            if not start.startswith(MAGIC):
                raise ModelError(f"{path}: not a token store", "Make one with seqmodel tokenize.")
            header = StoreHeader.model_validate_json(start[len(MAGIC) :])
            ids_at = len(MAGIC) + HEADER_SIZE + _aligned(header.proto_bytes)
            ends_at = ids_at + _aligned(header.tokens * header.dtype.itemsize)
            held_out_at = ends_at + 8 * header.sequences
            if os.fstat(file.fileno()).st_size != held_out_at + 16 * (header.held_out_ranges or 0):
                raise damaged
            proto = file.read(header.proto_bytes)
            body = hashlib.sha256(proto)
            while data := file.read(_COPY):
                body.update(data)
            if _digest(header, body) != header.digest or not _ids_fit(file, header, ids_at, ends_at):
                raise damaged
            ids = StoredArray(path, file, header.dtype, ids_at, header.tokens)
            ends = StoredArray(path, file, "<i8", ends_at, header.sequences)
            held_out = None
            if header.held_out_ranges is not None:
                file.seek(held_out_at)
                held_out = np.fromfile(file, "<i8").astype(np.int64).reshape(-1, 2)
                if not _ranges_fit(held_out, header, ends):
                    raise damaged
    except OSError as error:
        raise ModelError(f"{path}: {system_reason(error)}", "Make a token store with seqmodel tokenize.") from error
    except (ValidationError, json.JSONDecodeError, UnicodeDecodeError):
        raise damaged from None
    tokenizer = Tokenizer(proto, header.unit, header.closed)
    if tokenizer.size != header.vocabulary:
        raise damaged
    return TokenStore(path, header, tokenizer, ids, ends, held_out)


def _digest(header: StoreHeader, body: hashlib._Hash) -> str:
    return hashlib.sha256(_json(header.model_copy(update={"digest": ""})) + body.digest()).hexdigest()


def _json(header: StoreHeader) -> bytes:
    """Serialise a header without fields that are None, so that headers older than a field keep their digest."""
    return header.model_dump_json(exclude_none=True).encode()


def _ids_fit(file: BinaryIO, header: StoreHeader, ids_at: int, ends_at: int) -> bool:
    """True if all ids can occur in a text of this vocabulary, and the index has the places of the end symbols."""
    counted = 0
    possible = np.ones(max(header.vocabulary, FIRST_PIECE), bool)
    possible[never_predicted(True, header.closed)] = False
    for at in range(0, header.tokens, _COPY):
        file.seek(ids_at + at * header.dtype.itemsize)
        part = np.fromfile(file, header.dtype, min(_COPY, header.tokens - at))
        if part.max() >= header.vocabulary or not possible[part].all():
            return False
        found = np.flatnonzero(part == END) + (at + 1)
        file.seek(ends_at + 8 * counted)
        if not np.array_equal(found, np.fromfile(file, "<i8", len(found))):
            return False
        counted += len(found)
    return counted == header.sequences and found[-1:].tolist() == [header.tokens]


def _ranges_fit(ranges: Ranges, header: StoreHeader, ends: Stored) -> bool:
    """True if ranges are valid as held-out ranges: in order, without overlap and within the ids.

    Unless in a stream, each must be a sequence. The first may lack its beginning if all the rest is held out.
    """
    begins, stops = ranges[:, 0], ranges[:, 1]
    if not len(ranges):
        return True
    if begins[0] < 0 or stops[-1] > header.tokens or not (begins < stops).all() or not (stops[:-1] <= begins[1:]).all():
        return False
    if header.sequence == "stream":
        return True
    numbers = numbers_of(ends, stops)
    starts = np.where(numbers, ends[np.maximum(numbers - 1, 0)], 0)
    if begins[0] > starts[0]:
        starts[0] = begins[0]
        if numbers[0] + len(ranges) != header.sequences:
            return False
    return np.array_equal(ends[numbers], stops) and np.array_equal(starts, begins)


def _aligned(size: int) -> int:
    return size + -size % 8


def make_store(
    path: Path,
    inputs: Sequence[str],
    settings: TokenizerSettings,
    corpus: CorpusSettings,
    tokenizer: Tokenizer | None = None,
    hold_out: bool = False,
    on_note: Callable[[str], None] = lambda note: None,
) -> None:
    """Make a token store from the text in `inputs`.

    The corpus is read once to choose the held-out part (with `hold_out`), once to learn a vocabulary from the rest
    (unless a tokenizer is given), and once to encode it. `on_note` gets a line on folders and tables among the inputs.

    Raises:
        DataError: if the corpus cannot be read or contains no text.
        UsageError: if the settings contradict each other, or the vocabulary size does not fit.
    """
    if settings.closed and settings.unit in ("subword", "byte"):
        raise UsageError(f"--closed-vocab does not go with --unit {settings.unit}", "It is for words and characters.")
    if settings.unit == "byte" and settings.vocabulary_size is not None:
        raise UsageError("--vocab-size does not go with --unit byte", "A byte vocabulary has one size; leave it out.")
    sources = find_sources(inputs, corpus, on_note)
    if tokenizer is None or hold_out:
        sources = [spooled(source, corpus.max_line) for source in sources]
    for note in table_notes(sources, corpus):
        on_note(note)
    unit = tokenizer.unit if tokenizer else settings.unit
    learned = settings if tokenizer is None else None
    summary = CorpusSummary()

    def blocks(summary: CorpusSummary | None = None) -> Iterator[str]:
        return read_sequences(sources, corpus, summary, unit == "byte")

    try:
        places = plan_held_out(blocks(), corpus.sequence, unit, path.parent) if hold_out else None
        if tokenizer is None:
            tokenizer = fit(blocks(), settings, places or NOTHING)
        write_store(path, blocks(summary), tokenizer, corpus, summary, learned, places)
    except NoText:
        raise (NoText(sources[0].name) if len(sources) == 1 else NoText()) from None
