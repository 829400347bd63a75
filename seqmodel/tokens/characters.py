"""Sets of characters, and the characters of a training text.

Knows UTF-8, and so the characters that an incomplete spelling can still become; knows nothing of sampling.
"""

from __future__ import annotations

from bisect import bisect_right
from codecs import getincrementaldecoder
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from seqmodel.arrays import Mask
from seqmodel.tokens.stored_array import Stored
from seqmodel.tokens.tokenizer import END, FIRST_BYTE, FIRST_PIECE, Tokenizer

CODES = 0x110000
_SURROGATES = (0xD800, 0xE000)
_STRAYS = (0xDC80, 0xDD00)  # lone surrogates for invalid bytes (Python's `surrogateescape`)
_LEAST = (0, 0, 0x80, 0x800, 0x10000)  # the smallest code point of each length in UTF-8
_CHUNK = 1 << 20  # tokens


@dataclass(frozen=True)
class Characters:
    """A set of characters. `runs` (N, 2): the first code point of each run, and the one after its last.

    Bytes of invalid UTF-8 are in it as lone surrogates, as Python's `surrogateescape` decodes them.

    Example: a, b, c and é are [[97, 100], [233, 234]].
    """

    runs: npt.NDArray[np.uint32]

    @classmethod
    def marked(cls, table: Mask) -> Characters:
        """The set of the code points that are True in a table (CODES,)."""
        edges = np.flatnonzero(np.diff(table, prepend=False, append=False))
        return cls(edges.astype(np.uint32).reshape(-1, 2))

    @classmethod
    def of(cls, text: str) -> Characters:
        """The set of a text's characters."""
        table = np.zeros(CODES, bool)
        table[_codes(text)] = True
        return cls.marked(table)

    def __or__(self, other: Characters) -> Characters:
        table = np.zeros(CODES, bool)
        for low, high in np.concatenate([self.runs, other.runs]).tolist():
            table[low:high] = True
        return Characters.marked(table)

    def __len__(self) -> int:
        return int(np.diff(self.runs).sum())

    def __contains__(self, char: str) -> bool:
        return bisect_right(self._edges, ord(char)) % 2 == 1

    def has_all_of(self, texts: Sequence[str]) -> Mask:
        """A mask (N,), True for texts all of whose characters are in the set."""
        codes = _codes("".join(texts))
        outside = np.searchsorted(self.runs.ravel(), codes, side="right") % 2 == 0
        before = np.concatenate([[0], np.cumsum(outside)])
        ends = np.cumsum([0, *map(len, texts)])
        found: Mask = before[ends[1:]] == before[ends[:-1]]
        return found

    def count(self, prefix: bytes) -> int:
        """The number of characters in the set whose UTF-8 begins with `prefix`."""
        low, high = _interval(prefix)
        return self._below(high) - self._below(low) if low < high else 0

    @cached_property
    def strays(self) -> frozenset[int]:
        """The bytes of invalid UTF-8 in the set."""
        return frozenset(code - 0xDC00 for code in range(*_STRAYS) if chr(code) in self)

    @cached_property
    def _edges(self) -> list[int]:
        edges: list[int] = self.runs.ravel().tolist()
        return edges

    @cached_property
    def _spelled(self) -> tuple[list[int], list[int]]:
        """The edges of the runs that UTF-8 can spell, and the number of characters below each edge."""
        runs = self.runs[(self.runs[:, 0] < _SURROGATES[0]) | (self.runs[:, 0] >= _SURROGATES[1])].astype(np.int64)
        sizes = np.zeros_like(runs)
        sizes[:, 1] = runs[:, 1] - runs[:, 0]
        return runs.ravel().tolist(), np.cumsum(sizes).tolist()

    def _below(self, code: int) -> int:
        edges, below = self._spelled
        at = bisect_right(edges, code) - 1
        if at < 0:
            return 0
        return below[at] + (code - edges[at] if at % 2 == 0 else 0)


def union(one: Characters | None, other: Characters | None) -> Characters | None:
    """The union of two sets; None stands for all characters."""
    return None if one is None or other is None else one | other


EVERYTHING = Characters(np.array([[0, _SURROGATES[0]], [_SURROGATES[1], CODES]], np.uint32))


def are_characters(runs: npt.NDArray[Any], with_strays: bool) -> bool:
    """True if an array is valid as the runs of a set of characters."""
    if runs.dtype != np.uint32 or runs.ndim != 2 or runs.shape[1] != 2 or not len(runs):
        return False
    edges = runs.ravel()
    if edges[-1] > CODES or (edges[1:] <= edges[:-1]).any():
        return False
    lone = (runs[:, 0] < _SURROGATES[1]) & (runs[:, 1] > _SURROGATES[0])
    allowed = (runs[:, 0] >= _STRAYS[0]) & (runs[:, 1] <= _STRAYS[1]) & with_strays
    return bool((allowed | ~lone).all())


def vocabulary_characters(tokenizer: Tokenizer) -> Characters | None:
    """The characters of a vocabulary's entries; None if all of its entries are bytes."""
    text = b"".join(tokenizer.piece_bytes[FIRST_PIECE:]).decode()
    return Characters.of(text) if text else None


def training_characters(tokenizer: Tokenizer, ids: Stored, ranges: npt.NDArray[np.int64]) -> Characters:
    """The characters of the text in ranges (N, 2) of a store's ids, read part by part.

    The virtual blank before the first word of a line does not count as a blank of the text.
    """
    seen = np.zeros(tokenizer.size, bool)
    table = np.zeros(CODES, bool)
    byte_of = np.full(tokenizer.size, -1, np.int16)
    byte_of[FIRST_BYTE:FIRST_PIECE] = np.arange(256)
    byte_of[END] = ord("\n")  # ends an incomplete character
    begins_blank = np.array([data.startswith(b" ") for data in tokenizer.piece_bytes])
    ends_line = np.zeros(tokenizer.size, bool)
    ends_line[[END, *tokenizer.newline_ids]] = tokenizer.has_virtual_blanks
    has_blank = False
    decoder = getincrementaldecoder("utf-8")("surrogateescape" if tokenizer.unit == "byte" else "ignore")
    for part, before, is_first in _parts(ids, ranges):
        if is_first:  # a character cut by the beginning of the range does not count
            decoder.reset()
        seen[part] = True
        if not has_blank:
            at_line_start = ends_line[np.concatenate([[before], part[:-1]])]
            has_blank = bool((begins_blank[part] & ~at_line_start).any())
        spelled = byte_of[part]
        text = decoder.decode(spelled[spelled >= 0].astype(np.uint8).tobytes())
        table[_codes(text)] = True
    table[ord("\n")] = seen[FIRST_BYTE + ord("\n")]
    known = (tokenizer.piece_bytes[token].decode() for token in np.flatnonzero(seen) if token >= FIRST_PIECE)
    table[_codes("".join(known))] = True
    table[ord(" ")] = has_blank
    return Characters.marked(table)


def _parts(ids: Stored, ranges: npt.NDArray[np.int64]) -> Iterator[tuple[npt.NDArray[np.int64], int, bool]]:
    """Yield the ids in parts, with the id before each part, and True at the beginning of a range.

    Ranges that follow each other without a gap are read as one: a corpus of short lines has a range for each.
    """
    apart = ranges[1:, 0] != ranges[:-1, 1]
    begins, ends = ranges[np.append(True, apart)[: len(ranges)], 0], ranges[np.append(apart, True)[: len(ranges)], 1]
    for begin, end in zip(begins.tolist(), ends.tolist(), strict=True):
        for at in range(begin, end, _CHUNK):
            before = int(ids[at - 1]) if at else END
            yield np.asarray(ids[at : min(at + _CHUNK, end)]).astype(np.int64), before, at == begin


def _codes(text: str) -> npt.NDArray[np.uint32]:
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)


def _interval(prefix: bytes) -> tuple[int, int]:
    """The interval of code points, surrogates included, whose UTF-8 begins with `prefix`; empty if there are none.

    Example: e9 is 9000 to a000, e9 80 is 9000 to 9040, e9 80 80 is 9000 to 9001.
    """
    if not prefix:
        return 0, CODES
    length = utf8_length(prefix[0])
    missing = length - len(prefix)
    if missing < 0 or (length == 1 and prefix[0] >= 0x80) or any(not 0x80 <= byte < 0xC0 for byte in prefix[1:]):
        return 0, 0
    code = prefix[0] & (0x7F if length == 1 else 0x7F >> length)
    for byte in prefix[1:]:
        code = code << 6 | byte & 0x3F
    return max(code << 6 * missing, _LEAST[length]), min((code + 1) << 6 * missing, CODES)


def utf8_length(lead: int) -> int:
    """The length in bytes of a character by its first byte; 1 for a byte that begins no character."""
    return 1 if lead < 0xC2 else 2 if lead < 0xE0 else 3 if lead < 0xF0 else 4 if lead < 0xF5 else 1
