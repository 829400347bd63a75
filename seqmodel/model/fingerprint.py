"""A filter of fixed size for the training text's character n-grams, with false positives but no false negatives.

A Bloom filter (Bloom 1970) of all n-grams of 1 to `longest` characters. Each sequence is enclosed in a start and an end
symbol, so that n-grams include the beginnings and ends of sequences. The n-grams are of characters for every unit, as a
copy may begin or end inside a token. Two hashes give all others (Kirsch & Mitzenmacher 2008).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from seqmodel.arrays import Mask, Ranges
from seqmodel.text.corpus import END_MARK
from seqmodel.tokens.store import TokenStore, sequences_in
from seqmodel.tokens.tokenizer import END, FIRST_BYTE

LONGEST = 16
MOST_HASHES = 8
DISTINCT = 0.5  # assumed share of distinct n-grams: 0.3 in molecules, 0.48 in names, 0.6 in plays
BEGIN, FINISH = 0x110000, 0x110001  # codes of the start and end symbols, above all characters
_CHUNK = 1 << 18
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)

Codes = npt.NDArray[np.uint32]
Lengths = npt.NDArray[np.int64]
Hashes = npt.NDArray[np.uint64]


@dataclass(frozen=True)
class Fingerprint:
    """The filter: `bits` (bytes,), n-grams of up to `longest` characters, `hashes` bits set for each."""

    bits: npt.NDArray[np.uint8]
    longest: int
    hashes: int

    @cached_property
    def false_positives(self) -> float:
        """The probability that the filter reports an n-gram that the text lacks."""
        share = int(np.bitwise_count(self.bits).sum()) / (8 * len(self.bits))
        return float(share**self.hashes)

    def spans(self, codes: Codes) -> Lengths:
        """The length of the longest span of the training text that ends at each code (N,); shape (N,).

        Never too small. It may be too large because of false positives, and above `longest` characters because
        overlapping n-grams may come from different places of the training text.
        """
        known = self._known(codes).tolist()
        out, span = [], 0
        for length in known:
            span = span + 1 if length == self.longest else min(span + 1, length)
            out.append(span)
        return np.array(out, np.int64)

    def _known(self, codes: Codes) -> Lengths:
        """The length (N,) up to which all n-grams that end at each code are in the filter."""
        lengths = np.zeros(len(codes), np.int64)
        known = np.ones(len(codes), bool)
        for size, hashed in enumerate(_hashed(codes, self.longest), start=1):
            known[: size - 1] = False
            for place in _places(hashed, self.hashes, len(self.bits)):
                known &= (self.bits[place >> np.uint64(3)] >> (place & np.uint64(7)).astype(np.uint8) & 1).astype(bool)
            if not known.any():
                break
            lengths += known
        return lengths


def codes_of(text: str) -> Codes:
    """The code points (N,) of a text."""
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4").astype(np.uint32)


def build_fingerprint(store: TokenStore, ranges: Ranges, size: int, longest: int = LONGEST) -> Fingerprint:
    """Build the filter of a store's ranges, in `size` bytes."""
    tokens = int((ranges[:, 1] - ranges[:, 0]).sum())
    entries = tokens * store.header.corpus_chars / max(1, store.header.tokens) * longest * DISTINCT
    hashes = int(np.clip(round(8 * size / max(1.0, entries) * np.log(2)), 1, MOST_HASHES))
    bits = np.zeros(size, np.uint8)
    for codes, depths, new in _batches(_pieces(store, ranges), longest):
        for length, hashed in enumerate(_hashed(codes, longest), start=1):
            whole = new & (depths >= length)
            for place in _places(hashed[whole], hashes, size):
                np.bitwise_or.at(bits, place >> np.uint64(3), np.uint8(1) << (place & np.uint64(7)).astype(np.uint8))
    return Fingerprint(bits, longest, hashes)


# Text of the ranges


def _pieces(store: TokenStore, ranges: Ranges) -> Iterator[tuple[Codes, bool]]:
    """Yield the codes of the ranges, with symbols between sequences, piece by piece.

    Each comes with True unless it continues the piece before.
    """
    for begin, end in ranges.tolist():
        at, anew = begin, True
        starts_line = begin == 0 or _ends_line(store, begin - 1)
        while at < end:
            upto = _character_end(store, min(at + _CHUNK, end), end)
            text = _text(store, np.asarray(store.ids[at:upto]), starts_line)
            codes = _with_symbols(codes_of(text), before=anew and (begin == 0 or store.ids[begin - 1] == END))
            if len(codes):
                yield codes, anew
                anew = False
            at, starts_line = upto, _ends_line(store, upto - 1)


def _ends_line(store: TokenStore, at: int) -> bool:
    token = int(store.ids[at])
    return token == END or store.tokenizer.piece_bytes[token].endswith(b"\n")


def _character_end(store: TokenStore, at: int, most: int) -> int:
    """The first position from `at` on that is not inside a character spelled in bytes; at most three later."""
    following = np.asarray(store.ids[at : min(at + 3, most)]).astype(np.int64)
    later = (following >= FIRST_BYTE + 0x80) & (following < FIRST_BYTE + 0xC0)
    return at + (len(later) if later.all() else int(np.argmin(later)))


def _text(store: TokenStore, ids: npt.NDArray[np.unsignedinteger], starts_line: bool) -> str:
    """The text of some ids, `END_MARK` between sequences; incomplete characters at a range's ends are left out."""
    parts = enumerate(sequences_in(ids))
    return END_MARK.join(
        store.tokenizer.decode_part(part.tolist(), starts_line or number > 0) for number, part in parts
    )


def _with_symbols(codes: Codes, before: bool) -> Codes:
    """Replace each mark between sequences by an end and a start symbol, and insert a start symbol if `before`."""
    marks = np.flatnonzero(codes == ord(END_MARK))
    codes = np.insert(codes, marks + 1, BEGIN)
    codes[marks + np.arange(len(marks))] = FINISH
    return np.insert(codes, 0, BEGIN) if before else codes


def _batches(pieces: Iterable[tuple[Codes, bool]], longest: int) -> Iterator[tuple[Codes, Lengths, Mask]]:
    """Join pieces to larger batches, each beginning with the end of the one before.

    Yields the codes (N,), the length of the longest n-gram of one sequence that ends at each, and True for new codes.
    """
    codes, firsts = np.empty(0, np.uint32), np.empty(0, bool)
    for group in _grouped(pieces):
        codes, firsts = codes[-longest:], firsts[-longest:]
        before = len(codes)
        codes = np.concatenate([codes, *(piece for piece, _ in group)])
        anew = np.concatenate([np.arange(len(piece)) == (0 if begins else -1) for piece, begins in group])
        firsts = np.concatenate([firsts, anew | (codes[before:] == BEGIN)])
        places = np.arange(len(codes))
        depths = 1 + places - np.maximum.accumulate(np.where(firsts, places, -longest))
        yield codes, depths, places >= before


def _grouped(pieces: Iterable[tuple[Codes, bool]]) -> Iterator[list[tuple[Codes, bool]]]:
    group: list[tuple[Codes, bool]] = []
    total = 0
    for piece in pieces:
        group.append(piece)
        total += len(piece[0])
        if total >= _CHUNK:
            yield group
            group, total = [], 0
    if group:
        yield group


# Hashes


def _hashed(codes: Codes, longest: int) -> Iterator[Hashes]:
    """Yield, for each length from 1, the hashes (N,) of the n-grams that end at each code.

    Hashes of n-grams that would begin before the first code are meaningless.
    """
    mixed = _scrambled((codes.astype(np.uint64) + np.uint64(1)) * _MULTIPLIER)
    out = np.zeros(len(codes), np.uint64)
    for distance in range(longest):
        out *= _MULTIPLIER
        out[distance:] += mixed[: max(0, len(codes) - distance)]
        yield _scrambled(out)


def _scrambled(x: Hashes) -> Hashes:
    """Mix the bits of x, so that each depends on all (the last steps of splitmix64, Steele et al. 2014)."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    out: Hashes = x ^ (x >> np.uint64(31))
    return out


def _places(hashed: Hashes, hashes: int, size: int) -> Iterator[Hashes]:
    low, high = hashed & np.uint64(0xFFFFFFFF), (hashed >> np.uint64(32)) | np.uint64(1)
    for number in range(hashes):
        yield (low + np.uint64(number) * high) % np.uint64(8 * size)
