"""Learning a vocabulary: what a corpus's characters or words are, and which of them become tokens.

`char`, `word` and `byte` vocabularies follow from counts, and are written as SentencePiece models by hand;
`subword` vocabularies are trained by SentencePiece on the counts of words, so that no line of the corpus is
too long, too odd or too many for it.

What occurs once is left out of a char or word vocabulary as long as it is rare altogether: it is then spelled
in bytes, and what the model sees of that in training is what unseen characters and words look like
(their probability is that of Good and Turing).
"""

from __future__ import annotations

import re
import struct
import tempfile
from collections import Counter
from collections.abc import Iterable, Mapping
from io import BytesIO
from pathlib import Path

import numpy as np

from seqmodel.config import TokenizerSettings
from seqmodel.errors import DataError, UsageError
from seqmodel.text.corpus import END_MARK
from seqmodel.tokens.tokenizer import (
    _LINE_BEGINS,
    _NEVER_A_PIECE,
    _SEGMENT,
    FIRST_PIECE,
    SPACE_SYMBOL,
    Tokenizer,
)

SAMPLE_CHARS = 64 << 20  # how much text words and subwords are counted on, about
WORDS_LIMIT = 1 << 16
CHARS_LIMIT = 1 << 15
RARE_SHARE = {
    "char": 0.005,
    "word": 0.2,
}  # what occurs once is left out only while it makes up less than this
_SYMBOL_NAME = re.compile(r" ?(<unk>|</?s>|<0x[0-9A-F]{2}>)")  # how ids that are no text are written
_COUNTER_LIMIT = 1 << 21


def fit(blocks: Iterable[str], settings: TokenizerSettings) -> Tokenizer:
    """Learn a tokenizer from blocks of text (`END_MARK` between sequences).

    Raises:
        DataError: if there is no text.
        UsageError: if the vocabulary size asked for does not fit the corpus.
    """
    if settings.unit == "byte":
        return Tokenizer(vocabulary_proto([], word=False), "byte")
    counts = _count_chars(blocks) if settings.unit == "char" else _count_segments(blocks)
    if not counts:
        raise DataError("the corpus holds no text", "Name a file with some text in it.")
    if settings.unit == "subword":
        return Tokenizer(_train_subwords(counts, settings), "subword", settings.closed)
    entries = _frequent(counts, settings)
    return Tokenizer(vocabulary_proto(entries, word=settings.unit == "word"), settings.unit, settings.closed)


def _count_chars(blocks: Iterable[str]) -> Counter[str]:
    totals = np.zeros(0x110000, np.int64)
    for block in blocks:
        codes = np.frombuffer(block.encode("utf-32-le", "surrogatepass"), np.uint32)
        part = np.bincount(codes)
        totals[: len(part)] += part
    totals[ord(END_MARK)] = 0
    return Counter({chr(code): int(totals[code]) for code in np.flatnonzero(totals)})


def _count_segments(blocks: Iterable[str]) -> Counter[str]:
    """Counts of words (with the blank before them) and white space, on an even sample if the corpus is large."""
    counts: Counter[str] = Counter()
    seen, stride = 0, 1
    for number, block in enumerate(blocks):
        if number % stride:
            continue
        counts.update(_SEGMENT.findall(_LINE_BEGINS.sub(" ", block)))
        seen += len(block)
        if seen > SAMPLE_CHARS:
            seen, stride = seen // 2, stride * 2
        if len(counts) > _COUNTER_LIMIT:
            counts = Counter({word: n for word, n in counts.items() if n > 1})
    del counts[END_MARK]
    return counts


def _frequent(counts: Counter[str], settings: TokenizerSettings) -> list[str]:
    """The entries of a char or word vocabulary, most frequent first."""
    limit = CHARS_LIMIT if settings.unit == "char" else WORDS_LIMIT
    if settings.vocabulary_size is not None:
        limit = settings.vocabulary_size - FIRST_PIECE
        if limit < 1:
            raise UsageError(
                f"--vocab-size {settings.vocabulary_size} leaves no room beside the bytes",
                f"Give {FIRST_PIECE + 1} or more.",
            )
        if limit > len(counts):
            raise UsageError(
                f"--vocab-size {settings.vocabulary_size} is more than the corpus has",
                f"Give {len(counts) + FIRST_PIECE} or less.",
            )
    for never in [entry for entry in counts if _NEVER_A_PIECE.search(entry) or _SYMBOL_NAME.fullmatch(entry)]:
        del counts[never]
    once = sum(n for n in counts.values() if n == 1)
    drop_once = (
        not settings.closed and settings.vocabulary_size is None and once < RARE_SHARE[settings.unit] * counts.total()
    )
    ranked = sorted((entry for entry, n in counts.items() if not (drop_once and n == 1)), key=lambda e: (-counts[e], e))
    return ranked[:limit]


def _train_subwords(counts: Mapping[str, int], settings: TokenizerSettings) -> bytes:
    """A unigram or BPE model trained by SentencePiece on word counts."""
    import sentencepiece

    rows = [
        f"{word}\t{count}\n"
        for word, count in sorted(counts.items())
        if not (word.isspace() or _NEVER_A_PIECE.search(word) or len(word) > 1000)
    ]
    if not rows:
        raise DataError("the corpus holds no words", "Use --unit char or byte for such text.")
    chars = sum(len(word) * count for word, count in counts.items())
    size = settings.vocabulary_size or _subword_size(chars)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "words.tsv"
        path.write_text("".join(rows), encoding="utf-8", newline="\n")
        while True:
            writer = BytesIO()
            try:
                sentencepiece.SentencePieceTrainer.train(
                    input=str(path),
                    input_format="tsv",
                    model_writer=writer,
                    model_type=settings.subword,
                    vocab_size=size,
                    byte_fallback=True,
                    normalization_rule_name="identity",
                    add_dummy_prefix=False,
                    remove_extra_whitespaces=False,
                    character_coverage=0.9999,
                    unk_id=0,
                    bos_id=1,
                    eos_id=2,
                    pad_id=-1,
                    num_threads=1,  # the result must not depend on the machine
                    minloglevel=3,
                    max_sentence_length=1 << 14,
                )
                return writer.getvalue()
            except RuntimeError as error:
                size = _possible_size(str(error), settings.vocabulary_size)


def _subword_size(chars: int) -> int:
    """A vocabulary size for a corpus: 2,048 for 1 MB, doubling with every fourfold."""
    return int(np.clip(2048 * (max(chars, 1) / (1 << 20)) ** 0.5, 512, 16384))


def _possible_size(message: str, asked: int | None) -> int:
    """The size that SentencePiece would accept, from its message, or an error for the user."""
    most = re.search(r"too high.*value <= (\d+)", message)
    least = re.search(r"smaller than required_chars\. \d+ vs (\d+)", message)
    found = most or least
    if found is None:
        raise DataError("SentencePiece cannot learn subwords from this corpus", "Use --unit char, or more text.")
    if asked is None:
        return int(found[1]) + (0 if most else 64)
    side = f"{found[1]} or less" if most else f"more than {found[1]}"
    raise UsageError(f"--vocab-size {asked} does not fit the corpus", f"Give {side}.")


# The wire format of sentencepiece_model.proto, as much of it as a list of pieces needs.
_NORMAL, _UNKNOWN, _CONTROL, _BYTE = 1, 2, 3, 6
_CHAR_MODEL, _WORD_MODEL = 4, 3


def vocabulary_proto(entries: Iterable[str], word: bool) -> bytes:
    """A SentencePiece model that holds the three symbols, the 256 bytes and `entries`, in this order."""
    pieces = [("<unk>", _UNKNOWN), ("<s>", _CONTROL), ("</s>", _CONTROL)]
    pieces += [(f"<0x{byte:02X}>", _BYTE) for byte in range(256)]
    pieces += [(entry.replace(" ", SPACE_SYMBOL), _NORMAL) for entry in entries]
    out = [
        _field(1, _field(1, piece.encode()) + _field(2, float(-rank)) + _field(3, kind))
        for rank, (piece, kind) in enumerate(pieces)
    ]
    trainer = [
        _field(3, _WORD_MODEL if word else _CHAR_MODEL),
        _field(4, len(pieces)),
        _field(35, 1),  # byte_fallback
        _field(40, 0) + _field(41, 1) + _field(42, 2) + _field(43, (1 << 64) - 1),  # unk, bos, eos, no pad
    ]
    normalizer = [_field(1, b"identity"), _field(3, 0), _field(4, 0), _field(5, 1)]
    return b"".join([*out, _field(2, b"".join(trainer)), _field(3, b"".join(normalizer))])


def _field(number: int, value: int | float | bytes) -> bytes:
    """One field of a protocol-buffer message: varint, 32-bit float, or length-delimited."""
    if isinstance(value, bytes):
        return _varint(number << 3 | 2) + _varint(len(value)) + value
    if isinstance(value, float):
        return _varint(number << 3 | 5) + struct.pack("<f", value)
    return _varint(number << 3) + _varint(value)


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
