"""Which n-grams of tokens the training text has, in a filter of fixed size: it may say yes wrongly, never no wrongly.

A Bloom filter (Bloom 1970) over the windows of the last k tokens at every place of the text; what lies before a
sequence's start is the start symbol, so that the windows at its first places tell how sequences begin, and that at the
end of a short one tells the whole. Two hashes give all (Kirsch & Mitzenmacher 2008).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from seqmodel.kinds import Unit
from seqmodel.tokens.store import Ranges, TokenStore
from seqmodel.tokens.tokenizer import END, START

WINDOWS: dict[Unit, int] = {"char": 16, "byte": 16, "subword": 6, "word": 4}
MOST_HASHES = 8
_CHUNK = 1 << 18
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)

IdArray = npt.NDArray[np.int64]
Hashes = npt.NDArray[np.uint64]


@dataclass(frozen=True)
class Fingerprint:
    """`bits` (bytes,) of the filter; `window` tokens; `hashes` bits are set for each window."""

    bits: npt.NDArray[np.uint8]
    window: int
    hashes: int

    @cached_property
    def false_positives(self) -> float:
        """The probability that a window which the text lacks is found all the same."""
        share = int(np.bitwise_count(self.bits).sum()) / (8 * len(self.bits))
        return float(share**self.hashes)

    def has(self, ids: IdArray) -> npt.NDArray[np.bool_]:
        """For each token (N,) of a sequence that begins with the start symbol: is the window that ends there known?"""
        first = np.zeros(len(ids), bool)
        first[:1] = True
        found = np.ones(len(ids), bool)
        for place in _places(_hashed(ids, first, self.window), self.hashes, len(self.bits)):
            found &= (self.bits[place >> np.uint64(3)] >> (place & np.uint64(7)).astype(np.uint8) & 1).astype(bool)
        return found


def build_fingerprint(store: TokenStore, ranges: Ranges, size: int) -> Fingerprint:
    """The filter, of `size` bytes, of a store's ranges."""
    window = WINDOWS[store.header.unit]
    tokens = int((ranges[:, 1] - ranges[:, 0]).sum())
    hashes = int(np.clip(round(8 * size / max(1, tokens) * np.log(2)), 1, MOST_HASHES))
    bits = np.zeros(size, np.uint8)
    for begin, end in ranges:
        for at in range(begin, end, _CHUNK):
            known = _windows(store, int(begin), at, min(at + _CHUNK, int(end)), window)
            for place in _places(known, hashes, size):
                np.bitwise_or.at(bits, place >> np.uint64(3), np.uint8(1) << (place & np.uint64(7)).astype(np.uint8))
    return Fingerprint(bits, window, hashes)


def _windows(store: TokenStore, begin: int, at: int, end: int, window: int) -> Hashes:
    """Hashes of the windows that end at the positions from `at` to `end` and do not reach beyond `begin`."""
    low = max(begin, at - window + 1)
    ids = np.asarray(store.ids[low:end]).astype(np.int64)
    before = END if low == 0 else int(store.ids[low - 1])
    first = np.concatenate([[before], ids[:-1]]) == END
    whole = np.maximum.accumulate(np.where(first, np.arange(len(ids)), -1)) >= 0
    whole |= np.arange(len(ids)) >= window - 1  # those before reach beyond what was read, unless a sequence begins
    whole[: at - low] = False
    return _hashed(ids, first, window)[whole]


def _hashed(ids: IdArray, first: npt.NDArray[np.bool_], window: int) -> Hashes:
    """A hash for each position (N,): of its last tokens, the start symbol standing for what comes before a sequence."""
    begun = first.copy()
    out = _mixed(ids)
    for distance in range(1, window):
        token = np.full(len(ids), START)
        token[distance:] = ids[:-distance] if distance < len(ids) else ids[:0]
        out = out * _MULTIPLIER + _mixed(np.where(begun, START, token))
        begun[distance:] |= first[:-distance] if distance < len(ids) else first[:0]
    return _scrambled(out)


def _mixed(ids: IdArray) -> Hashes:
    return _scrambled((ids.astype(np.uint64) + np.uint64(1)) * _MULTIPLIER)


def _scrambled(x: Hashes) -> Hashes:
    """All bits of a hash depend on all of x (the last steps of splitmix64, Steele et al. 2014)."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    out: Hashes = x ^ (x >> np.uint64(31))
    return out


def _places(hashed: Hashes, hashes: int, size: int) -> Iterator[Hashes]:
    low, high = hashed & np.uint64(0xFFFFFFFF), (hashed >> np.uint64(32)) | np.uint64(1)
    for number in range(hashes):
        yield (low + np.uint64(number) * high) % np.uint64(8 * size)
