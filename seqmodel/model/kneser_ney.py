"""The count model: an n-gram with interpolated modified Kneser–Ney smoothing, in NumPy, from token ids.

After Chen & Goodman (1998), estimated as `lmplz` (Heafield et al. 2013) does: the highest order keeps its
counts; a lower order counts in how many different contexts an n-gram occurs, except where it begins with the
start symbol, which nothing precedes; three discounts per order; the unigrams interpolate with the uniform
distribution.

    p(w | h) = (c(h w) − D(c)) / c(h ·) + γ(h) p(w | h without its oldest token)

Contexts form a trie, read from the newest token to the oldest: a context of k tokens is a row of level k, and
its key is (row of the context of its k − 1 newest tokens) · vocabulary + its oldest token. Keys of a level are
sorted, so finding a batch of contexts is one `searchsorted` per level.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from seqmodel.arrays import Floats, Ids, Ranges
from seqmodel.model.sorted_keys import ABSENT, find_key, find_keys
from seqmodel.tokens.batches import inputs_and_targets
from seqmodel.tokens.store import TokenStore
from seqmodel.tokens.tokenizer import END, START, never_predicted

MOST_TOKENS = 1 << 22  # tokens that are counted at most, which bounds the memory of the estimation
FALLBACK_DISCOUNTS = (0.5, 1.0, 1.5)

# Bins of the mixture's situations: by the back-off weight of the longest context found, and by the recurrence's highest
# log-probability. They are here because a bundle keeps one weight for each situation.
NOVELTY_EDGES = np.array([0.1, 0.3, 0.6], np.float32)
SURENESS_EDGES = np.array([-2.0, -0.7, -0.1], np.float32)


@dataclass(frozen=True)
class Level:
    """The contexts of one length, with the tokens that follow each.

    `keys` (rows,) are sorted; the followers of row r are `tokens[offsets[r]:offsets[r + 1]]`, sorted, with their
    (adjusted) `counts`; `discounts` are D1, D2, D3+.
    """

    keys: Ids
    offsets: npt.NDArray[np.integer[Any]]
    tokens: npt.NDArray[np.unsignedinteger[Any]]
    counts: npt.NDArray[np.unsignedinteger[Any]]
    discounts: tuple[float, float, float]

    @cached_property
    def _discount(self) -> Floats:
        """The discount of each count from 0 to 3, the last for all above."""
        return np.array([0.0, *self.discounts], np.float32)

    @cached_property
    def totals(self) -> Floats:
        """c(h ·) of every row; 1 where nothing follows."""
        return np.maximum(self._sums(self.counts), 1)

    @cached_property
    def backoff(self) -> Floats:
        """γ(h) of every row; 1 where nothing follows."""
        taken = self._sums(self._discount[np.minimum(self.counts, 3)])
        out: Floats = np.where(np.diff(self.offsets) > 0, taken / self.totals, 1).astype(np.float32)
        return out

    def _sums(self, values: npt.NDArray[Any]) -> Floats:
        """Sums of per-follower values over the rows."""
        ends = np.concatenate([[0], np.cumsum(values, dtype=np.float64)])
        out: Floats = (ends[self.offsets[1:]] - ends[self.offsets[:-1]]).astype(np.float32)
        return out

    def shares(self, at: Ids | slice, rows: Ids | int) -> Floats:
        """(c − D(c)) / c(h ·) of the followers at `at`, which belong to `rows`."""
        counts = self.counts[at]
        out: Floats = (counts - self._discount[np.minimum(counts, 3)]) / self.totals[rows]
        return out


@dataclass(frozen=True)
class CountModel:
    """Levels by context length; level 0 has one row, the empty context. `predicted` (V,): the ids that can occur."""

    vocabulary: int
    levels: tuple[Level, ...]
    predicted: npt.NDArray[np.bool_]

    @cached_property
    def unigrams(self) -> Floats:
        """The probabilities (V,) of level 0, interpolated with the uniform distribution over the predicted ids."""
        level = self.levels[0]
        p = np.where(self.predicted, level.backoff[0] / self.predicted.sum(), 0).astype(np.float32)
        p[level.tokens] += level.shares(np.arange(len(level.tokens)), np.zeros(len(level.tokens), np.int64))
        return p

    @property
    def order(self) -> int:
        return len(self.levels)

    @property
    def history(self) -> int:
        """The number of tokens before the current input that contexts reach back."""
        return max(0, self.order - 2)

    @property
    def situations(self) -> int:
        """The number of situations for which the mixture has a weight."""
        return self.order * (len(NOVELTY_EDGES) + 1) * (len(SURENESS_EDGES) + 1)

    def find(self, inputs: Ids, history: Ids) -> list[Ids]:
        """Rows (T, B) of the contexts that end at each input, for each level from 1; `ABSENT` if there is none.

        `inputs` (T, B); `history` (history, B): the inputs before them. A context never reaches back beyond a start.
        """
        if inputs.size == 1:
            return self._find_one([int(inputs[0, 0]), *history[:, 0].tolist()[::-1]])
        padded = np.concatenate([history[len(history) - self.history :], inputs])
        rows = []
        row = np.zeros_like(inputs)
        for distance, level in enumerate(self.levels[1:]):
            begin = self.history - distance
            token = padded[begin : begin + len(inputs)]
            row = find_keys(level.keys, np.where(row >= 0, row * self.vocabulary + token, -1))
            rows.append(row)
            row = np.where(token == START, ABSENT, row)
        return rows

    def _find_one(self, latest_first: list[int]) -> list[Ids]:
        """As `find` for a single input, but faster, for sampling token by token."""
        rows, row = [], 0
        for token, level in zip(latest_first, self.levels[1:], strict=False):
            if row >= 0:
                key = row * self.vocabulary + token
                row = find_key(level.keys, key)
            rows.append(np.array([[row]]))
            row = ABSENT if token == START else row
        return rows

    def _distribution(self, rows: list[Ids]) -> Floats:
        """The probabilities (1, V) for one context; see `distributions`."""
        p = self.unigrams[None].copy()
        for level, found in zip(self.levels[1:], rows, strict=True):
            row = int(found[0])
            if row < 0:
                break
            at = slice(level.offsets[row], level.offsets[row + 1])
            p *= level.backoff[row]
            p[0, level.tokens[at]] += level.shares(at, row)
        return p

    def distributions(self, rows: list[Ids], count: int) -> Floats:
        """Probabilities (count, V) for the contexts in `rows`, those of `find` flattened to (count,) per level."""
        if count == 1:
            return self._distribution(rows)
        p = np.repeat(self.unigrams[None], count, axis=0)
        for level, row in zip(self.levels[1:], rows, strict=True):
            here = np.flatnonzero(row >= 0)
            if not len(here):
                break
            found = row[here]
            p[here] *= level.backoff[found, None]
            sizes = (level.offsets[found + 1] - level.offsets[found]).astype(np.int64)
            at = _ranges(level.offsets[found].astype(np.int64), sizes)
            p[np.repeat(here, sizes), level.tokens[at]] += level.shares(at, np.repeat(found, sizes))
        return p

    def probabilities(self, rows: list[Ids], targets: Ids) -> Floats:
        """Probabilities (N,) of the targets alone; equal to `distributions` at the targets."""
        p = self.unigrams[targets].copy()
        for level, row in zip(self.levels[1:], rows, strict=True):
            here = np.flatnonzero(row >= 0)
            if not len(here):
                break
            found = row[here]
            p[here] *= level.backoff[found]
            p[here] += _share(level, found, targets[here])
        return p


def _ranges(begins: Ids, sizes: Ids) -> Ids:
    """Concatenate begin, begin + 1, … begin + size − 1 of each range."""
    ends = np.cumsum(sizes)
    out: Ids = np.arange(int(ends[-1])) + np.repeat(begins - (ends - sizes), sizes)
    return out


def _share(level: Level, rows: Ids, targets: Ids) -> Floats:
    """The discounted share (N,) of each target after its row's context, 0 if it never followed; found by bisection."""
    low, high = (level.offsets[rows + i].astype(np.int64) for i in (0, 1))
    last = high
    while True:
        open_ = low < high
        if not open_.any():
            break
        middle = (low + high) >> 1
        less = open_ & (level.tokens[np.minimum(middle, len(level.tokens) - 1)] < targets)
        low, high = np.where(less, middle + 1, low), np.where(open_ & ~less, middle, high)
    hit = (low < last) & (level.tokens[np.minimum(low, len(level.tokens) - 1)] == targets)
    return np.where(hit, level.shares(np.minimum(low, len(level.tokens) - 1), rows), 0).astype(np.float32)


def estimate(store: TokenStore, ranges: Ranges, order: int) -> CountModel:
    """Count the n-grams of a store's ranges up to `order` and smooth them."""
    vocabulary = store.header.vocabulary
    ends = store.header.sequence != "stream"
    inputs, targets = _tokens(store, ranges)
    counted = np.ones(len(targets), bool) if ends else targets != END
    contexts = list(_contexts(inputs, order, vocabulary))
    pairs = [_pairs(row, targets, counted, vocabulary) for _, row in contexts]
    levels = []
    for length in range(order):
        keys = contexts[length][0]
        grams, counts = pairs[length]
        if length + 1 < order:
            wider = pairs[length + 1][0]
            shorter = contexts[length + 1][0][wider // vocabulary] // vocabulary * vocabulary + wider % vocabulary
            different = np.bincount(np.searchsorted(grams, shorter), minlength=len(grams))
            begins = keys[grams // vocabulary] % vocabulary == START if length else np.zeros(len(grams), bool)
            counts = np.where(begins, counts, different)
        levels.append(_level(keys, grams, counts, vocabulary))
    predicted = np.ones(vocabulary, bool)
    predicted[never_predicted(ends, store.header.closed)] = False
    return CountModel(vocabulary, tuple(levels), predicted)


def _tokens(store: TokenStore, ranges: Ranges) -> tuple[Ids, Ids]:
    """Inputs and targets (N,) of the ranges, evenly sampled if there are more than MOST_TOKENS."""
    lengths = ranges[:, 1] - ranges[:, 0]
    share = min(1.0, MOST_TOKENS / max(1, int(lengths.sum())))
    taken = lengths if share == 1 else np.maximum(1, (lengths * share).astype(np.int64))
    return inputs_and_targets(store.ids, _ranges(ranges[:, 0], taken))


def _contexts(inputs: Ids, order: int, vocabulary: int) -> Iterator[tuple[Ids, Ids]]:
    """Yield, for each context length from 0, the sorted keys and the row (N,) of each position's context."""
    row = np.zeros(len(inputs), np.int64)
    yield np.zeros(1, np.int64), row
    for distance in range(order - 1):
        token = np.full(len(inputs), START)
        token[distance:] = inputs[: max(0, len(inputs) - distance)]
        key = np.where(row >= 0, row * vocabulary + token, -1)
        if distance:
            key[:distance] = -1
        keys, row = np.unique(key, return_inverse=True)
        if len(keys) and keys[0] == -1:
            keys, row = keys[1:], row - 1
        yield keys, row
        row = np.where(token == START, ABSENT, row)


def _pairs(row: Ids, targets: Ids, counted: npt.NDArray[np.bool_], vocabulary: int) -> tuple[Ids, Ids]:
    """The distinct n-grams (row · vocabulary + token), sorted, and their counts."""
    here = counted & (row >= 0)
    grams, counts = np.unique(row[here] * vocabulary + targets[here], return_counts=True)
    return grams, counts


def _level(keys: Ids, grams: Ids, counts: Ids, vocabulary: int) -> Level:
    """Make a level, with the narrowest types that hold its values."""
    offsets = np.searchsorted(grams, np.arange(len(keys) + 1) * vocabulary)
    narrow: Any = next(k for k in (np.uint8, np.uint16, np.uint32) if counts.max(initial=0) <= np.iinfo(k).max)
    wide: Any = np.uint16 if vocabulary <= 1 << 16 else np.uint32
    tokens = (grams % vocabulary).astype(wide)
    return Level(keys, offsets.astype(np.uint32), tokens, counts.astype(narrow), _discounts(counts))


def _discounts(counts: Ids) -> tuple[float, float, float]:
    """Estimate D1, D2 and D3+ from the counts of counts; FALLBACK_DISCOUNTS if those do not suffice."""
    n = np.bincount(np.minimum(counts, 5), minlength=6)[1:5].astype(np.float64)
    if (n == 0).any():
        return FALLBACK_DISCOUNTS
    y = n[0] / (n[0] + 2 * n[1])
    one, two, three = (float(k - (k + 1) * y * n[k] / n[k - 1]) for k in (1, 2, 3))
    fits = 0 <= one <= 1 and 0 <= two <= 2 and 0 <= three <= 3
    return (one, two, three) if fits else FALLBACK_DISCOUNTS
