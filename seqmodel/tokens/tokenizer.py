"""Lossless conversion of text to token ids and back, for every unit, with a SentencePiece model.

EncodedIds: 0 unknown, 1 start, 2 end, 3–258 the bytes 0–255, then the vocabulary. Text that the vocabulary lacks is
spelled in bytes (in a closed vocabulary it is the unknown id), so every string has a spelling and

    decode(encode(text)) == text

for every text without lone surrogates. SentencePiece alone does not guarantee that: it treats U+2581 as a blank,
and its `word` model loses the blank before an unknown word. Hence three rules for encoding and decoding: U+2581 is
always spelled in bytes; white space other than the blank before a word is a token of its own; and for words and
subwords, a line that begins with a blank or a word gets a virtual blank, so that a word has the same spelling at
every place.

Example (word): "the cat\\n the" -> "▁the", "▁cat", "\\n", "▁", "▁the"; decoding takes one blank off each line.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from typing import overload

import numpy as np
import numpy.typing as npt
import sentencepiece

from seqmodel.arrays import EncodedIds
from seqmodel.choices import Unit
from seqmodel.errors import DataError, ModelError
from seqmodel.text.corpus import END_MARK
from seqmodel.text.long_lines import PART, Cuts
from seqmodel.tokens.sentencepiece_proto import AS_IT_STANDS

UNKNOWN, START, END = 0, 1, 2
FIRST_BYTE = 3
FIRST_PIECE = FIRST_BYTE + 256
SYMBOLS = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]  # names of ids that are not text
SPACE_SYMBOL = "\u2581"  # a blank in SentencePiece's pieces


_SEGMENT = re.compile(rf" ?[^\s{END_MARK}]+|\s|{END_MARK}")
_LINE_BEGINS = re.compile(rf"(?:(?<=[\n{END_MARK}])|\A)(?=[ ]|[^\s{END_MARK}])")
_VIRTUAL_BLANK = re.compile(r"(?:(?<=\n)|\A) ")
_BETWEEN_WORDS = re.compile(r"[^\S\n]+")
_CLOSED_WORD = re.compile(r"\S+|\n")
_NEVER_A_PIECE = re.compile("[\u2581\u2585\x00]")
_CACHE_LIMIT = 1 << 18
_CACHED_LENGTH = 64  # characters of the longest segment whose ids are cached


@overload
def is_byte(token: int) -> bool: ...


@overload
def is_byte(token: npt.NDArray[np.integer]) -> npt.NDArray[np.bool_]: ...


def is_byte(token: int | npt.NDArray[np.integer]) -> bool | npt.NDArray[np.bool_]:
    """True for the ids of byte tokens; an array of ids gives a mask of its shape."""
    return (token >= FIRST_BYTE) & (token < FIRST_PIECE)


def never_predicted(ends: bool, closed: bool) -> list[int]:
    """The ids with probability 0: start; end in a stream; the bytes in a closed vocabulary, unknown in others."""
    unused = list(range(FIRST_BYTE, FIRST_PIECE)) if closed else [UNKNOWN]
    return [START, *([] if ends else [END]), *unused]


class Tokenizer:
    """A learned vocabulary with the rules above.

    `size` is the number of ids; `piece_bytes[id]` are the bytes that an id spells (none for the three symbols; "<unk>"
    for the unknown id of a closed vocabulary).
    """

    def __init__(self, proto: bytes, unit: Unit, closed: bool = False) -> None:
        """Load a serialised SentencePiece model.

        Raises:
            ModelError: if `proto` is not a SentencePiece model with the ids above.
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
        """True if both tokenizers give the same ids for every text."""
        return (self.proto, self.unit, self.closed) == (other.proto, other.unit, other.closed)

    @cached_property
    def newline_ids(self) -> tuple[int, ...]:
        """The ids that end a line."""
        return tuple(i for i, piece in enumerate(self.piece_bytes) if piece == b"\n")

    def id_of(self, text: str) -> int | None:
        """The id of a vocabulary entry, or None if `text` is not an entry."""
        return self._ids.get(text)

    def piece(self, token: int) -> str:
        """The name of an id: `<s>`, `<0xE2>`, or its text with U+2581 for blanks."""
        return str(self._processor.id_to_piece(token))

    @cached_property
    def _piece_ids(self) -> dict[str, int]:
        return {self.piece(token): token for token in reversed(range(self.size))}

    def id_of_piece(self, piece: str) -> int:
        """The id whose name is `piece`.

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
        """The places at which cutting a text does not change its tokens."""
        return "blanks" if self.has_virtual_blanks else "characters"

    def encode(self, text: str, inside: bool = False) -> EncodedIds:
        """The token ids (N,) of a text; `END_MARK` becomes the end symbol.

        The text begins at a line start, or `inside` a line if it is a later part of one.

        Raises:
            DataError: if the text contains another lone surrogate, which UTF-8 cannot spell.
        """
        try:
            if self.unit == "byte":
                return self._encode_bytes(text)
            if self.unit == "char":
                return self._encode_chars(text)
            return self._encode_segments(self._with_virtual_blanks(text, inside))
        except UnicodeEncodeError:
            raise _lone_surrogate() from None

    def encode_parts(self, text: str, inside: bool = False) -> Iterator[EncodedIds]:
        """Yield the ids of a long text part by part; see `encode`."""
        return (self.encode(part, within) for part, within in text_parts(text, self.cuts, inside))

    def encode_line(self, text: str, inside: bool = False) -> EncodedIds:
        """Encode text in which `END_MARK` is a lone surrogate like others, not the end of a sequence; see `encode`.

        Raises:
            DataError: if the text contains a lone surrogate.
        """
        refuse_end_mark(text)
        return self.encode(text, inside)

    def encode_open(self, text: str) -> tuple[EncodedIds, bytes]:
        """Encode a text that may continue: the ids that no continuation changes, and the remaining bytes.

        The remaining bytes include their virtual blank; their tokens depend on the continuation.

        Example (word): "the ca" -> "▁the" and b" ca"; "the\\n" -> "▁the", "\\n" and b"".

        Raises:
            DataError: if the text contains a lone surrogate.
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

    def _encode_bytes(self, text: str) -> EncodedIds:
        parts = [part.encode("utf-8", "surrogateescape") for part in text.split(END_MARK)]
        ids = np.frombuffer(b"".join(parts), np.uint8).astype(np.int32) + FIRST_BYTE
        ends = np.cumsum([len(part) for part in parts[:-1]], dtype=np.int64)
        return np.insert(ids, ends, END).astype(np.int32) if len(ends) else ids

    @cached_property
    def _char_table(self) -> EncodedIds:
        """The id of each code point, −1 if it has none; the last entry is for all larger code points."""
        codes = [ord(text) for text in self._ids if len(text) == 1]
        table = np.full(max([ord(END_MARK), *codes]) + 2, -1, np.int32)
        table[codes] = [self._ids[chr(code)] for code in codes]
        table[ord(END_MARK)] = END
        return table

    def _encode_chars(self, text: str) -> EncodedIds:
        codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
        if ((codes >= 0xD800) & (codes < 0xE000) & (codes != ord(END_MARK))).any():
            raise _lone_surrogate()
        table = self._char_table
        ids: EncodedIds = table[np.minimum(codes, len(table) - 1)]
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

    def _encode_segments(self, text: str) -> EncodedIds:
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
        """The ids of a word, with or without a blank before it, or of one white-space character."""
        segment.encode()  # refuses lone surrogates, which SentencePiece accepts
        if self.separates(segment):
            return ()
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
        """True for white space without a token: in a closed word vocabulary, all but the newline."""
        return self.closed and self.unit == "word" and segment.isspace() and segment != "\n"

    def decode(self, ids: Iterable[int]) -> str:
        """The text of ids that begin at a line start; start and end symbols are left out.

        Raises:
            DataError: if the ids spell invalid UTF-8, which those from `encode` never do.
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

    def decode_part(self, ids: Iterable[int], at_line_start: bool = True) -> str:
        """The text of ids that may begin or end inside a character, which is then left out; see `decode`."""
        errors = "surrogateescape" if self.unit == "byte" else "ignore"
        text = b"".join([self.piece_bytes[i] for i in ids]).decode("utf-8", errors)
        if at_line_start:
            return self.without_virtual_blanks(text)
        return self.without_virtual_blanks("." + text)[1:]  # keeps a first blank, which is not virtual

    def without_virtual_blanks(self, text: str) -> str:
        """Remove the virtual blank from each line of a decoded text."""
        if not self.has_virtual_blanks:
            return text
        return _VIRTUAL_BLANK.sub("", text)

    def spans(self, ids: Sequence[int] | EncodedIds, inside: bool = False) -> npt.NDArray[np.int64]:
        """The character offsets (start, end) of each token of an encoded text; shape (tokens, 2).

        All bytes of a character have its span; symbols and virtual blanks have an empty one (start == end).
        """
        if self.unit == "byte":
            return self._byte_spans(ids)
        counts = np.empty(len(ids), np.int64)
        later = np.zeros(len(ids), bool)  # continuation bytes of a character
        line_start = not inside
        for i, token in enumerate(ids):
            data = self.piece_bytes[token]
            later[i] = is_byte(int(token)) and 0x80 <= data[0] < 0xC0
            counts[i] = 0 if later[i] else self._char_counts[token]
            if line_start and self.has_virtual_blanks and data.startswith(b" "):
                counts[i] -= 1
            line_start = data.endswith(b"\n")
        ends = np.cumsum(counts)
        return np.stack([ends - np.where(later, 1, counts), ends], axis=1)

    def _byte_spans(self, ids: Sequence[int] | EncodedIds) -> npt.NDArray[np.int64]:
        """The spans of byte tokens, which may be invalid UTF-8: an invalid byte counts as a character."""
        lengths = [len(char.encode("utf-8", "surrogateescape")) for char in self.decode(ids)]
        owner = np.repeat(np.arange(len(lengths)), lengths)
        spelled = np.asarray(ids) >= FIRST_BYTE
        begins = np.append(owner, len(lengths))[np.cumsum(spelled) - spelled]
        return np.stack([begins, begins + spelled], axis=1).astype(np.int64)

    @cached_property
    def _char_counts(self) -> list[int]:
        return [len(data.decode("utf-8", "replace")) for data in self.piece_bytes]


def text_parts(text: str, cuts: Cuts, inside: bool = False) -> Iterator[tuple[str, bool]]:
    """Yield a text in parts with the same tokens, each with True if it begins inside a line.

    `inside`: the text itself begins inside a line.
    """
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
    """Insert the virtual blank at each line start; the text's beginning is not one if it is `inside` a line."""
    marked = _LINE_BEGINS.sub(" ", text)
    return marked[1:] if inside and _LINE_BEGINS.match(text) else marked


def words_apart(text: str) -> str:
    """Replace white space between words by one blank; newlines stay.

    A closed word vocabulary keeps no more of it, like the published word-level figures.
    """
    return _BETWEEN_WORDS.sub(" ", text)


def closed_words(text: str) -> list[tuple[int, int]]:
    """The spans (start, end) of the words and newlines of a text, the tokens of a closed word vocabulary."""
    return [match.span() for match in _CLOSED_WORD.finditer(text)]


def refuse_end_mark(text: str) -> None:
    """Raise `DataError` if a text contains `END_MARK`, which would be taken for the end of a sequence."""
    if END_MARK in text:
        raise _lone_surrogate()


def _lone_surrogate() -> DataError:
    return DataError("the text holds a lone surrogate", "It is no valid Unicode text; repair it first.")


def _byte_ids(text: str) -> tuple[int, ...]:
    return tuple(byte + FIRST_BYTE for byte in text.encode())
