"""The index of n-grams that have an embedding: those that the training text repeats, listed exactly.

An n-gram is the token at a position and the n − 1 tokens before it. Each listed n-gram has a row of the n-gram table;
all others share row 0, which is zero. So there are no collisions, and dropout in training shows the model n-grams
without a row, as new text will.

Works on ids with NumPy, for training and inference alike.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from seqmodel.arrays import Ids, Ranges
from seqmodel.model.sorted_keys import ABSENT, find_key, find_keys
from seqmodel.tokens.batches import inputs_and_targets
from seqmodel.tokens.store import TokenStore
from seqmodel.tokens.tokenizer import START, UNKNOWN

NO_ROW = 0
SAMPLE_TOKENS = 4 << 20
_CHUNK = 1 << 16


@dataclass(frozen=True)
class NgramIndex:
    """The listed n-grams: for each order its sorted keys, Σ token(t−k) · vocabulary^k."""

    vocabulary: int
    orders: tuple[int, ...]
    keys: tuple[Ids, ...]

    @property
    def history(self) -> int:
        """The number of tokens before the current one that the n-grams reach back."""
        return max(self.orders, default=1) - 1

    @property
    def rows(self) -> int:
        """The number of rows in the table, row 0 included."""
        return 1 + sum(len(keys) for keys in self.keys)

    def find(self, inputs: Ids, history: Ids) -> Ids:
        """Table rows of the n-grams that end at each input.

        `inputs` (T, B); `history` (history, B): the inputs before them. Returns (T, B, orders).
        """
        if inputs.size == 1:
            return self._find_one([int(inputs[0, 0]), *history[:, 0].tolist()[::-1]])
        found = np.empty((*inputs.shape, len(self.orders)), np.int64)
        first = 1
        for slot, (keys, wanted) in enumerate(zip(self.keys, self._keys_of(inputs, history), strict=True)):
            at = find_keys(keys, wanted)
            found[..., slot] = np.where(at == ABSENT, NO_ROW, at + first)
            first += len(keys)
        return found

    def _find_one(self, latest_first: list[int]) -> Ids:
        """As `find` for a single input, but faster, for sampling token by token."""
        found = []
        first, key, power, begun = 1, latest_first[0], 1, latest_first[0] == START
        orders = dict(zip(self.orders, self.keys, strict=True))
        for order in range(2, max(self.orders, default=1) + 1):
            token = START if begun else latest_first[order - 1]
            power *= self.vocabulary
            key += token * power
            begun |= token == START
            if order in orders:
                at = find_key(orders[order], key)
                found.append(NO_ROW if at == ABSENT else at + first)
                first += len(orders[order])
        return np.array([[found]], np.int64)

    def _keys_of(self, inputs: Ids, history: Ids) -> Iterable[Ids]:
        return ngram_keys(inputs, history, self.orders, self.vocabulary)


def ngram_keys(inputs: Ids, history: Ids, orders: Sequence[int], vocabulary: int) -> Iterable[Ids]:
    """Yield, for each order, the keys (T, B) of the n-grams that end at each input; before a start, all is start.

    Example, vocabulary 10, order 2: inputs 1 5 6 (1 is the start) give 11, 15, 56 as pairs (1,1) (1,5) (5,6).
    """
    if not orders:
        return
    padded = np.concatenate([history, inputs])
    behind = len(history)
    key, power = inputs.copy(), 1
    begun = inputs == START
    for distance in range(1, max(orders)):
        before = np.where(begun, START, padded[behind - distance : len(padded) - distance])
        power *= vocabulary
        key = key + before * power
        begun |= before == START
        if distance + 1 in orders:
            yield key


def next_history(inputs: Ids, history: Ids) -> Ids:
    """The history after these inputs, (history, B)."""
    return np.concatenate([history, inputs])[len(inputs) :] if len(history) else history


def possible_orders(vocabulary: int, most: int = 4) -> tuple[int, ...]:
    """The orders from 2 to `most` whose keys fit into 63 bits."""
    return tuple(n for n in range(2, most + 1) if vocabulary**n < 1 << 63)


def build_index(
    store: TokenStore, ranges: Ranges, orders: tuple[int, ...], most_rows: int, least_count: int = 2
) -> NgramIndex:
    """Index the most frequent n-grams of each order that occur at least `least_count` times.

    The orders share `most_rows`; rows that a lower order leaves unused go to the next. Large corpora are sampled.
    """
    vocabulary = store.header.vocabulary
    parts: list[list[Ids]] = [[] for _ in orders]
    for positions in _sample(ranges):
        inputs = inputs_and_targets(store.ids, positions)[0][:, None]
        history = np.full((max(orders, default=1) - 1, 1), UNKNOWN)
        for part, keys in zip(parts, ngram_keys(inputs, history, orders, vocabulary), strict=True):
            part.append(keys[:, 0])
    listed = []
    left = most_rows
    for number, part in enumerate(parts):
        keys, counts = np.unique(np.concatenate(part), return_counts=True)
        often = counts >= least_count
        keys, counts = keys[often], counts[often]
        share = left if number == len(parts) - 1 else left // 2
        if len(keys) > share:
            keys = np.sort(keys[np.argsort(-counts, kind="stable")[:share]])
        left -= len(keys)
        listed.append(keys)
    return NgramIndex(vocabulary, orders, tuple(listed))


def _sample(ranges: Ranges) -> Iterable[Ids]:
    """Yield positions of the ranges in evenly spread chunks of about SAMPLE_TOKENS in total.

    A chunk may span several ranges, as the text of each begins with a start symbol.
    """
    ends = np.cumsum(ranges[:, 1] - ranges[:, 0])
    total = int(ends[-1]) if len(ends) else 0
    shift = ranges[:, 1] - ends  # store position − position in the joined ranges
    stride = max(1, total // SAMPLE_TOKENS)
    for begin in range(0, total, stride * _CHUNK):
        among = np.arange(begin, min(begin + _CHUNK, total))
        yield among + shift[np.searchsorted(ends, among, side="right")]
