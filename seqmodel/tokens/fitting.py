"""Learns a vocabulary: counts the characters or words of a corpus and selects those that become tokens.

`char`, `word` and `byte` vocabularies follow from counts, and are written as SentencePiece models here. SentencePiece
trains `subword` vocabularies on word counts, so that neither the length nor the number of lines matters.

Characters or words that occur once are left out of a vocabulary while they are a small share of the text. They are
then spelled in bytes, which shows the model in training how unseen ones look; their total probability is about that of
Good and Turing's estimate.
"""

from __future__ import annotations

import re
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from io import BytesIO
from itertools import chain, pairwise
from pathlib import Path

import numpy as np

from seqmodel.choices import SubwordMethod
from seqmodel.errors import DataError, UsageError
from seqmodel.settings import TokenizerSettings
from seqmodel.text.corpus import END_MARK
from seqmodel.tokens.held_out import NOTHING, Places, TextPart, held_apart
from seqmodel.tokens.sentencepiece_proto import IDENTITY, field
from seqmodel.tokens.tokenizer import (
    _NEVER_A_PIECE,
    _SEGMENT,
    FIRST_PIECE,
    SPACE_SYMBOL,
    SYMBOLS,
    Tokenizer,
    text_parts,
    with_virtual_blanks,
    words_apart,
)

SAMPLE_CHARS = 64 << 20  # text on which words are counted, about
WORDS_LIMIT = 1 << 16
CHARS_LIMIT = 1 << 15
RARE_SHARE = {
    "char": 0.005,
    "word": 0.2,
}  # the largest share of a text that entries left out for occurring once may have
LONGEST_WORD = 256  # characters of a word in the vocabulary, and of a word for SentencePiece
_SYMBOL_NAME = re.compile(r"<unk>|</?s>|<0x[0-9A-F]{2}>")  # names of ids that are not text
_COUNTER_LIMIT = 1 << 21


class NoText(DataError):
    """The corpus (or the part named `where`) contains no text."""

    def __init__(self, where: str = "the corpus") -> None:
        super().__init__(f"{where} holds no text", "Name a file with some text in it.")


def fit(blocks: Iterable[str], settings: TokenizerSettings, held_out: Places = NOTHING) -> Tokenizer:
    """Learn a tokenizer from blocks of text (`END_MARK` between sequences), except the held-out places.

    Raises:
        DataError: if there is no text.
        UsageError: if the requested vocabulary size does not fit the corpus.
    """
    if settings.unit == "byte":
        return Tokenizer(vocabulary_proto([], word=False), "byte")
    parts = (part for part in held_apart(blocks, held_out) if not part.held_out)
    closed_words = settings.unit == "word" and settings.closed
    counts = _count_chars(parts) if settings.unit == "char" else _count_segments(parts, closed_words)
    if closed_words:
        del counts[" "]  # blanks separate words and are not tokens
    if not counts:
        raise NoText
    if settings.unit == "subword":
        return Tokenizer(_train_subwords(counts, settings), "subword", settings.closed)
    entries = _frequent(counts, settings)
    return Tokenizer(vocabulary_proto(entries, word=settings.unit == "word"), settings.unit, settings.closed)


def _count_chars(parts: Iterable[TextPart]) -> Counter[str]:
    totals = np.zeros(0x110000, np.int64)
    for part, _ in chain.from_iterable(text_parts(part.text, "characters") for part in parts):
        codes = np.frombuffer(part.encode("utf-32-le", "surrogatepass"), np.uint32)
        found = np.bincount(codes)
        totals[: len(found)] += found
    totals[ord(END_MARK)] = 0
    return Counter({chr(code): int(totals[code]) for code in np.flatnonzero(totals)})


def _count_segments(parts: Iterable[TextPart], closed_words: bool) -> Counter[str]:
    """Count words (with the blank before them) and white space, on an even sample if the corpus is large."""
    counts: Counter[str] = Counter()
    seen, stride = 0, 1
    for number, part in enumerate(parts):
        if number % stride:
            continue
        text = words_apart(part.text) if closed_words else part.text
        for piece, inside in text_parts(text, "blanks", part.inside):
            counts.update(_SEGMENT.findall(with_virtual_blanks(piece, inside)))
        seen += len(text)
        if seen > SAMPLE_CHARS:
            seen, stride = seen // 2, stride * 2
        if len(counts) > _COUNTER_LIMIT:
            counts = Counter({word: n for word, n in counts.items() if n > 1})
    del counts[END_MARK]
    return counts


def _frequent(counts: Counter[str], settings: TokenizerSettings) -> list[str]:
    """The entries of a char or word vocabulary, most frequent first."""
    for never in [entry for entry in counts if not _can_be_a_piece(entry) or _SYMBOL_NAME.fullmatch(entry.strip())]:
        del counts[never]
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
    once = sum(n for n in counts.values() if n == 1)
    drop_once = (
        not settings.closed and settings.vocabulary_size is None and once < RARE_SHARE[settings.unit] * counts.total()
    )
    ranked = sorted((entry for entry, n in counts.items() if not (drop_once and n == 1)), key=lambda e: (-counts[e], e))
    return ranked[:limit]


def _can_be_a_piece(entry: str) -> bool:
    return len(entry) <= LONGEST_WORD and not _NEVER_A_PIECE.search(entry)


def _train_subwords(counts: Mapping[str, int], settings: TokenizerSettings) -> bytes:
    """Train a unigram or BPE model with SentencePiece on word counts; returns its serialised form."""
    rows: Counter[str] = Counter()
    for word, count in counts.items():
        if not word.isspace():
            for part in _learnable(word):
                rows[part] += count
    if not rows:
        raise DataError("the corpus holds no words", "Use --unit char or byte for such text.")
    asked = settings.vocabulary_size
    size = max(asked, FIRST_PIECE + 2) if asked else _subword_size(sum(len(row) * count for row, count in rows.items()))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "words.tsv"
        path.write_text("".join(f"{row}\t{rows[row]}\n" for row in sorted(rows)), encoding="utf-8", newline="\n")
        while True:
            try:
                trained = _sentencepiece_model(path, settings.subword, size)
                break
            except RuntimeError as error:
                size = _possible_size(str(error), size)
    if asked not in (None, size):
        bound = "or less" if asked is not None and size < asked else "or more"
        raise UsageError(f"--vocab-size {asked} does not fit the corpus", f"Give {size} {bound}.")
    return _canonical_proto(trained, _UNIGRAM_MODEL if settings.subword == "unigram" else _BPE_MODEL)


def _learnable(word: str) -> Iterator[str]:
    """Yield a word in parts that SentencePiece can learn from.

    The parts are not too long, without characters that are never a piece, and symbols' names are cut in two.
    """
    for part in _NEVER_A_PIECE.split(word):
        cuts = [0, *(match.start() + 1 for match in _SYMBOL_NAME.finditer(part)), len(part)]
        for begin, end in pairwise(cuts):
            cut = (part[at : min(at + LONGEST_WORD, end)] for at in range(begin, end, LONGEST_WORD))
            yield from (piece for piece in cut if not piece.isspace())


def _sentencepiece_model(path: Path, method: SubwordMethod, size: int) -> bytes:
    import sentencepiece

    writer = BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        input=str(path),
        input_format="tsv",
        model_writer=writer,
        model_type=method,
        vocab_size=size,
        byte_fallback=True,
        normalization_rule_name="identity",
        add_dummy_prefix=False,
        remove_extra_whitespaces=False,
        character_coverage=0.9999,
        required_chars=SPACE_SYMBOL,  # otherwise blanks would be spelled as the bytes of U+2581
        unk_id=0,
        bos_id=1,
        eos_id=2,
        pad_id=-1,
        num_threads=1,  # the result must not depend on the machine
        minloglevel=3,
        max_sentence_length=1 << 14,
    )
    return writer.getvalue()


def _subword_size(chars: int) -> int:
    """A vocabulary size for a corpus: 2,048 for 1 MB, doubling with every fourfold."""
    return int(np.clip(2048 * (max(chars, 1) / (1 << 20)) ** 0.5, 512, 16384))


def _possible_size(message: str, size: int) -> int:
    """The next size to try, from SentencePiece's message about one that does not fit.

    Raises:
        DataError: if the message is about something else.
    """
    most = re.search(r"too high.*value <= (\d+)", message)
    least = re.search(r"smaller than required_chars\. \d+ vs (\d+)", message)
    if most is not None and int(most[1]) < size:
        return int(most[1])
    if least is not None:
        return max(size + 1, int(least[1]) + 1)
    raise DataError("SentencePiece cannot learn subwords from this corpus", "Use --unit char, or more text.")


def _canonical_proto(trained: bytes, model_type: int) -> bytes:
    """The model with the same pieces and scores, but without the trainer's settings, such as its input's name."""
    import sentencepiece

    processor = sentencepiece.SentencePieceProcessor(model_proto=trained)
    ranked = range(FIRST_PIECE, processor.get_piece_size())
    return _model_proto([(processor.id_to_piece(i), processor.get_score(i)) for i in ranked], model_type)


_NORMAL, _UNKNOWN, _CONTROL, _BYTE = 1, 2, 3, 6
_UNIGRAM_MODEL, _BPE_MODEL, _WORD_MODEL, _CHAR_MODEL = 1, 2, 3, 4


def vocabulary_proto(entries: Iterable[str], word: bool) -> bytes:
    """Serialise a SentencePiece model of the three symbols, the 256 bytes and `entries`, in this order."""
    pieces = [(e.replace(" ", SPACE_SYMBOL), float(-rank)) for rank, e in enumerate(entries, start=FIRST_PIECE)]
    return _model_proto(pieces, _WORD_MODEL if word else _CHAR_MODEL)


def _model_proto(pieces: list[tuple[str, float]], model_type: int) -> bytes:
    kinds = [_UNKNOWN, _CONTROL, _CONTROL, *[_BYTE] * 256]
    rows = [(name, float(-rank), kind) for rank, (name, kind) in enumerate(zip(SYMBOLS, kinds, strict=True))]
    rows += [(piece, score, _NORMAL) for piece, score in pieces]
    out = [field(1, field(1, piece.encode()) + field(2, score) + field(3, kind)) for piece, score, kind in rows]
    trainer = [
        field(3, model_type),
        field(4, len(rows)),
        field(35, 1),  # byte_fallback
        field(40, 0) + field(41, 1) + field(42, 2) + field(43, (1 << 64) - 1),  # unk, bos, eos, no pad
    ]
    return b"".join([*out, field(2, b"".join(trainer)), field(3, IDENTITY)])
