"""Text to token ids and back, without loss: one class over a SentencePiece model for every unit.

Ids: 0 unknown, 1 start, 2 end, 3–258 the bytes 0–255, then the vocabulary. What the vocabulary lacks is
spelled in bytes (unless it is closed: then it is the unknown id), so every string has a spelling and

    decode(encode(text)) == text

for every text without lone surrogates. SentencePiece alone does not give that: it treats U+2581 as a blank,
and its `word` model loses the blank of an unknown word. Hence three rules here, the same for encoding and
decoding: U+2581 is always spelled in bytes; white space other than the blank before a word stands alone; and
for words and subwords one virtual blank stands before a line that begins with a blank or a word, so that a
word is spelled the same wherever it stands.

Example (word): "the cat\\n the" -> "▁the", "▁cat", "\\n", "▁", "▁the"; decoding takes one blank off each line.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property

import numpy as np
import numpy.typing as npt
import sentencepiece

from seqmodel.choices import Unit
from seqmodel.errors import DataError, ModelError
from seqmodel.text.corpus import END_MARK
from seqmodel.text.long_lines import PART, Cuts
from seqmodel.tokens.sentencepiece_proto import AS_IT_STANDS

UNKNOWN, START, END = 0, 1, 2
FIRST_BYTE = 3
FIRST_PIECE = FIRST_BYTE + 256
SYMBOLS = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]  # how ids that are no text are shown
SPACE_SYMBOL = "\u2581"  # what SentencePiece writes for a blank

Ids = npt.NDArray[np.int32]

_SEGMENT = re.compile(rf" ?[^\s{END_MARK}]+|\s|{END_MARK}")
_LINE_BEGINS = re.compile(rf"(?:(?<=[\n{END_MARK}])|\A)(?=[ ]|[^\s{END_MARK}])")
_VIRTUAL_BLANK = re.compile(r"(?:(?<=\n)|\A) ")
_BETWEEN_WORDS = re.compile(r"[^\S\n]+")
_CLOSED_WORD = re.compile(r"\S+|\n")
_NEVER_A_PIECE = re.compile("[\u2581\u2585\x00]")
_CACHE_LIMIT = 1 << 18
_CACHED_LENGTH = 64  # characters of a segment whose ids are kept


def never_predicted(ends: bool, closed: bool) -> list[int]:
    """The ids whose probability is zero: start; end in a stream; unknown, or in a closed vocabulary the bytes."""
    unused = list(range(FIRST_BYTE, FIRST_PIECE)) if closed else [UNKNOWN]
    return [START, *([] if ends else [END]), *unused]


class Tokenizer:
    """A learned vocabulary and the rules above.

    `size` counts all ids; `piece_bytes[id]` is what an id stands for (empty for the three symbols).
    """

    def __init__(self, proto: bytes, unit: Unit, closed: bool = False) -> None:
        """
        Raises:
            ModelError: if `proto` is no SentencePiece model with the layout above.
        """
        self.proto = proto
        self.unit: Unit = unit
        self.closed = closed
        try:
            self._processor = sentencepiece.SentencePieceProcessor(model_proto=proto + AS_IT_STANDS)
        except Exception as error:
            raise ModelError("the tokenizer cannot be read", "The file is damaged; use another copy.") from error
        processor = self._processor
        self.size: int = processor.get_piece_size()
        if self.size < FIRST_PIECE or not (processor.is_byte(FIRST_BYTE) and processor.is_byte(FIRST_PIECE - 1)):
            raise ModelError("the tokenizer has no byte pieces", "It was not made by seqmodel; train one with it.")
        try:
            names = [processor.id_to_piece(i) for i in range(self.size)]
        except UnicodeDecodeError:
            raise ModelError("the tokenizer holds a piece that is no UTF-8", "Use another copy of the file.") from None
        if names[:FIRST_PIECE] != SYMBOLS:
            raise ModelError("the tokenizer has other symbols", "It was not made by seqmodel; train one with it.")
        texts = [piece.replace(SPACE_SYMBOL, " ") for piece in names[FIRST_PIECE:]]
        self._ids = {text: FIRST_PIECE + i for i, text in enumerate(texts)}
        self.piece_bytes: list[bytes] = [
            b"",
            b"",
            b"",
            *(bytes([b]) for b in range(256)),
            *(t.encode() for t in texts),
        ]
        if closed:
            self.piece_bytes[UNKNOWN] = b" <unk>" if self.has_virtual_blanks else b"<unk>"
        self._cache: dict[str, tuple[int, ...]] = {END_MARK: (END,)}

    @property
    def has_virtual_blanks(self) -> bool:
        return self.unit in ("word", "subword")

    def spells_as(self, other: Tokenizer) -> bool:
        """Whether the two give the same ids for every text."""
        return (self.proto, self.unit, self.closed) == (other.proto, other.unit, other.closed)

    @cached_property
    def newline_ids(self) -> tuple[int, ...]:
        """The ids that end a line."""
        return tuple(i for i, piece in enumerate(self.piece_bytes) if piece == b"\n")

    def id_of(self, text: str) -> int | None:
        """The id of a vocabulary entry, or None if `text` is spelled otherwise."""
        return self._ids.get(text)

    def piece(self, token: int) -> str:
        """How an id is shown: `<s>`, `<0xE2>`, or its text with U+2581 for blanks."""
        return str(self._processor.id_to_piece(token))

    @cached_property
    def _piece_ids(self) -> dict[str, int]:
        return {self.piece(token): token for token in reversed(range(self.size))}

    def id_of_piece(self, piece: str) -> int:
        """The id that is shown as `piece`.

        Raises:
            DataError: if there is none.
        """
        try:
            return self._piece_ids[piece]
        except KeyError:
            raise DataError(
                "a piece is not in the vocabulary", "Give the pieces that seqmodel tokenize wrote."
            ) from None

    @property
    def cuts(self) -> Cuts:
        """Where a text may be cut so that its parts have the tokens of the whole."""
        return "blanks" if self.has_virtual_blanks else "characters"

    def encode(self, text: str, inside: bool = False) -> Ids:
        """Token ids of a text that begins at a line start or, as the later parts of a line do, `inside` one; `END_MARK`
        gives the end symbol.

        Raises:
            DataError: if the text holds a lone surrogate (no UTF-8 can spell it).
        """
        try:
            if self.unit == "byte":
                return self._encode_bytes(text)
            if self.unit == "char":
                return self._encode_chars(text)
            return self._encode_segments(self._with_virtual_blanks(text, inside))
        except UnicodeEncodeError:
            raise _lone_surrogate() from None

    def encode_parts(self, text: str, inside: bool = False) -> Iterator[Ids]:
        """As `encode`, of a long text part by part."""
        return (self.encode(part, within) for part, within in text_parts(text, self.cuts, inside))

    def encode_line(self, text: str, inside: bool = False) -> Ids:
        """As `encode`, for text that is no block of sequences: the mark of an end is a lone surrogate there.

        Raises:
            DataError: if the text holds a lone surrogate.
        """
        refuse_end_mark(text)
        return self.encode(text, inside)

    def encode_open(self, text: str) -> tuple[Ids, bytes]:
        """As `encode_line`, for a text that may go on: the ids that stand whatever follows, and the bytes after them,
        whose tokens depend on it (with the virtual blank before them).

        Example (word): "the ca" -> "▁the" and b" ca"; "the\\n" -> "▁the", "\\n" and b"".

        Raises:
            DataError: if the text holds a lone surrogate.
        """
        refuse_end_mark(text)
        if not self.has_virtual_blanks:
            return self.encode(text), b""
        text = self._with_virtual_blanks(text)
        at = len(text)
        if at and not text[-1].isspace():
            at -= len(text.rsplit(None, 1)[-1])
        if text[at - 1 : at] == " ":
            at -= 1
        try:
            return self._encode_segments(text[:at]), text[at:].encode()
        except UnicodeEncodeError:
            raise _lone_surrogate() from None

    def _with_virtual_blanks(self, text: str, inside: bool = False) -> str:
        return with_virtual_blanks(words_apart(text) if self.closed else text, inside)

    def _encode_bytes(self, text: str) -> Ids:
        parts = [part.encode("utf-8", "surrogateescape") for part in text.split(END_MARK)]
        ids = np.frombuffer(b"".join(parts), np.uint8).astype(np.int32) + FIRST_BYTE
        ends = np.cumsum([len(part) for part in parts[:-1]], dtype=np.int64)
        return np.insert(ids, ends, END).astype(np.int32) if len(ends) else ids

    @cached_property
    def _char_table(self) -> Ids:
        """Code point -> id, −1 where there is none; the last entry stands for all code points beyond."""
        codes = [ord(text) for text in self._ids if len(text) == 1]
        table = np.full(max([ord(END_MARK), *codes]) + 2, -1, np.int32)
        table[codes] = [self._ids[chr(code)] for code in codes]
        table[ord(END_MARK)] = END
        return table

    def _encode_chars(self, text: str) -> Ids:
        codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
        if ((codes >= 0xD800) & (codes < 0xE000) & (codes != ord(END_MARK))).any():
            raise _lone_surrogate()
        table = self._char_table
        ids: Ids = table[np.minimum(codes, len(table) - 1)]
        unknown = ids < 0
        if not unknown.any():
            return ids
        if self.closed:
            return np.where(unknown, np.int32(UNKNOWN), ids)
        spelled = "".join(map(chr, codes[unknown])).encode()
        values = codes[unknown]
        lengths = np.ones(len(ids), np.int64)
        lengths[unknown] = 1 + (values >= 0x80) + (values >= 0x800) + (values >= 0x10000)
        out = np.repeat(ids, lengths)
        out[out < 0] = np.frombuffer(spelled, np.uint8).astype(np.int32) + FIRST_BYTE
        return out

    def _encode_segments(self, text: str) -> Ids:
        cache = self._cache
        out: list[int] = []
        for segment in _SEGMENT.findall(text):
            ids = cache.get(segment)
            if ids is None:
                ids = self._spell(segment)
                if len(cache) < _CACHE_LIMIT and len(segment) <= _CACHED_LENGTH:
                    cache[segment] = ids
            out.extend(ids)
        return np.array(out, np.int32)

    def _spell(self, segment: str) -> tuple[int, ...]:
        """Ids of a word with or without the blank before it, or of one white-space character."""
        segment.encode()  # SentencePiece passes lone surrogates on; we do not
        if self.separates(segment):
            return ()  # of a closed word vocabulary
        whole = self._ids.get(segment)
        if whole is not None and (self.unit == "word" or segment.isspace()):
            return (whole,)
        if self.closed:
            return (UNKNOWN,)
        if self.unit == "word" or segment.isspace():
            return _byte_ids(segment)
        out: list[int] = []
        at = 0
        for match in _NEVER_A_PIECE.finditer(segment):
            out.extend(self._processor.encode(segment[at : match.start()]))
            out.extend(_byte_ids(match.group()))
            at = match.end()
        out.extend(self._processor.encode(segment[at:]))
        return tuple(out)

    def separates(self, segment: str) -> bool:
        """Whether a segment is white space that is no token, as all but the newline is in a closed word vocabulary."""
        return self.closed and self.unit == "word" and segment.isspace() and segment != "\n"

    def decode(self, ids: Iterable[int]) -> str:
        """The text, from a line start on, that ids stand for; start and end symbols are left out.

        Raises:
            DataError: if the bytes spelled by the ids are no UTF-8 (cannot happen for what `encode` gave).
        """
        data = b"".join([self.piece_bytes[i] for i in ids])
        if self.unit == "byte":
            return data.decode("utf-8", "surrogateescape")
        try:
            return self.without_virtual_blanks(data.decode())
        except UnicodeDecodeError:
            raise DataError(
                "the token ids spell invalid UTF-8", "Give ids that seqmodel tokenize --ids wrote."
            ) from None

    def without_virtual_blanks(self, text: str) -> str:
        """Take the virtual blank off each line of a decoded text."""
        if not self.has_virtual_blanks:
            return text
        return _VIRTUAL_BLANK.sub("", text)

    def spans(self, ids: Sequence[int] | Ids, inside: bool = False) -> npt.NDArray[np.int64]:
        """Character offsets (start, end) of each token of a text that `encode` gave; shape (tokens, 2).

        All the bytes of one character share its span; symbols and virtual blanks have none (start == end).
        """
        if self.unit == "byte":
            return self._byte_spans(ids)
        counts = np.empty(len(ids), np.int64)
        later = np.zeros(len(ids), bool)  # a later byte of a character that has begun
        line_start = not inside
        for i, token in enumerate(ids):
            data = self.piece_bytes[token]
            later[i] = FIRST_BYTE <= token < FIRST_PIECE and 0x80 <= data[0] < 0xC0
            counts[i] = 0 if later[i] else self._char_counts[token]
            if line_start and self.has_virtual_blanks and data.startswith(b" "):
                counts[i] -= 1
            line_start = data.endswith(b"\n")
        ends = np.cumsum(counts)
        return np.stack([ends - np.where(later, 1, counts), ends], axis=1)

    def _byte_spans(self, ids: Sequence[int] | Ids) -> npt.NDArray[np.int64]:
        """As `spans`, where any bytes may come: one that belongs to no character is one by itself."""
        lengths = [len(char.encode("utf-8", "surrogateescape")) for char in self.decode(ids)]
        owner = np.repeat(np.arange(len(lengths)), lengths)
        is_byte = np.asarray(ids) >= FIRST_BYTE
        begins = np.append(owner, len(lengths))[np.cumsum(is_byte) - is_byte]
        return np.stack([begins, begins + is_byte], axis=1).astype(np.int64)

    @cached_property
    def _char_counts(self) -> list[int]:
        return [len(data.decode("utf-8", "replace")) for data in self.piece_bytes]


def text_parts(text: str, cuts: Cuts, inside: bool = False) -> Iterator[tuple[str, bool]]:
    """A text, which may begin `inside` a line, in parts that have its tokens; and whether each begins inside a line."""
    begin = 0
    while begin < len(text):
        end = begin + PART
        if cuts == "blanks" and end < len(text):
            found = text.rfind(" ", begin + 1, end)
            if found < 0:
                found = text.find(" ", end)
            end = found if found > 0 else len(text)
        yield text[begin:end], text[begin - 1] not in ("\n", END_MARK) if begin else inside
        begin = end


def with_virtual_blanks(text: str, inside: bool = False) -> str:
    """The text with the virtual blank at each line start; its own beginning is none if that is `inside` a line."""
    marked = _LINE_BEGINS.sub(" ", text)
    return marked[1:] if inside and _LINE_BEGINS.match(text) else marked


def words_apart(text: str) -> str:
    """The text with one blank wherever white space stands between words: all that a closed word vocabulary keeps of
    it, as the published word-level figures do. Newlines stay."""
    return _BETWEEN_WORDS.sub(" ", text)


def closed_words(text: str) -> list[tuple[int, int]]:
    """Where the tokens of a closed word vocabulary stand in a text: its words and newlines, as (start, end)."""
    return [match.span() for match in _CLOSED_WORD.finditer(text)]


def refuse_end_mark(text: str) -> None:
    """Raise `DataError` if a text holds the lone surrogate that marks an end in blocks of a corpus."""
    if END_MARK in text:
        raise _lone_surrogate()


def _lone_surrogate() -> DataError:
    return DataError("the text holds a lone surrogate", "It is no valid Unicode text; repair it first.")


def _byte_ids(text: str) -> tuple[int, ...]:
    return tuple(byte + FIRST_BYTE for byte in text.encode())
