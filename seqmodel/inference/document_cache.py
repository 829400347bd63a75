"""The document cache: an n-gram of the sequence so far, whose probabilities change with every token that is read.

    p(w | h) = max(c(h w) − D, 0) / c(h ·) + D · N(h ·) / c(h ·) · p(w | h without its oldest token)

c counts the tokens read since the sequence began, N counts different followers; below the empty context lies the
uniform distribution (interpolated absolute discounting, Ney, Essen & Kneser 1994).

Knows ids alone: neither text nor the model beside it. Counts are values: reading on makes new ones. Probabilities of a
text's own tokens are computed many at once, by sorting; whole distributions token by token.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from seqmodel.model.sorted_keys import ABSENT, find_keys

Floats = npt.NDArray[np.float64]
Numbers = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]

LONGEST = 8  # order, where keys fit. Tiny-shakespeare, 80 to 90 %: 1.361 nats at 8, 1.364 at 6, 1.383 at 4
DISCOUNT = 0.6  # 0.5 to 0.75 differ by 0.001 nats
MOST_TOKENS = 1 << 20  # kept of a document, in some 60 MB; then the older half is forgotten
NO_TOKEN = -1


def order_of(vocabulary: int) -> int:
    """Order of the longest n-grams whose keys fit into 63 bits, at most `LONGEST`."""
    return max(1, min(LONGEST, int(63 / math.log2(max(2, vocabulary)))))


@dataclass(frozen=True)
class Level:
    """Counts of the contexts of one length: sorted keys of contexts and of (context, follower) pairs, and how often
    each came. `followers` counts the different followers of each context.
    """

    contexts: Numbers
    times: Numbers
    followers: Numbers
    pairs: Numbers
    pair_times: Numbers


@dataclass(frozen=True)
class Known:
    """Counts before each of N tokens came, by level (levels, N): of its context, of the token after that context, and
    of different tokens after that context.
    """

    times: Numbers
    pair_times: Numbers
    followers: Numbers

    @property
    def matched(self) -> Numbers:
        """Number of levels (N,) whose context had come before."""
        return np.asarray((self.times > 0).sum(axis=0))

    def probabilities(self, uniform: float) -> Floats:
        """The cache's probability (N,) of each token; `uniform` is the probability below the empty context."""
        p = np.full(self.times.shape[1], uniform)
        for times, pair_times, followers in zip(self.times, self.pair_times, self.followers, strict=True):
            kept = np.maximum(pair_times - DISCOUNT, 0) + DISCOUNT * followers * p
            p = np.where(times > 0, kept / np.maximum(times, 1), p)
        return p

    def since(self, first: int) -> Known:
        """The counts of the tokens from index `first` on."""
        return Known(*(values[:, first:] for values in (self.times, self.pair_times, self.followers)))

    def at_longest(self, values: Numbers) -> Numbers:
        """Of values (levels, N), those (N,) at the longest known context; 0 if none is known."""
        longest = np.maximum(self.matched - 1, 0)
        found = np.take_along_axis(values, longest[None], axis=0)[0]
        return np.where(self.matched > 0, found, 0)


@dataclass(frozen=True)
class Counts:
    """Counts of a document: its `tokens`, its n-grams by level, and the last tokens read.

    These are the `context` of the next (oldest first, NO_TOKEN before the first).
    """

    vocabulary: int
    levels: tuple[Level, ...]
    tokens: Numbers
    context: Numbers

    @classmethod
    def none(cls, vocabulary: int) -> Counts:
        nothing = np.empty(0, np.int64)
        order = order_of(vocabulary)
        empty = Level(nothing, nothing, nothing, nothing, nothing)
        return cls(vocabulary, (empty,) * order, nothing, np.full(order - 1, NO_TOKEN))

    @property
    def room(self) -> int:
        """Number of tokens that may be counted before the older half is forgotten."""
        return MOST_TOKENS - len(self.tokens)

    def after(self, tokens: Numbers) -> Counts:
        """The same counts after tokens that are read as context, and not counted."""
        return replace(self, context=np.concatenate([self.context, tokens])[len(tokens) :])

    def and_then(self, tokens: Numbers, counted: int | None = None) -> tuple[Known, Counts]:
        """Counts known before each token came, and the document's counts after the first `counted` (default: all).

        Example: after "a b a", that "b" comes is known to level 0 (1 of 3) and to level 1 ("a" was followed by it).
        """
        counted = len(tokens) if counted is None else counted
        found, levels = [], []
        for level, (contexts, there) in zip(self.levels, self._contexts(tokens), strict=True):
            known, grown = _counted(level, contexts, contexts * self.vocabulary + tokens, there, counted)
            found.append(known)
            levels.append(grown)
        new = tokens[:counted]
        after = replace(self.after(new), levels=tuple(levels), tokens=np.concatenate([self.tokens, new]))
        return Known(*(np.array(rows) for rows in zip(*found, strict=True))), after._bounded()

    def _bounded(self) -> Counts:
        if self.room > 0:
            return self
        return Counts.none(self.vocabulary).and_then(self.tokens[len(self.tokens) // 2 :])[1]

    def _contexts(self, tokens: Numbers) -> Iterator[tuple[Numbers, Flags]]:
        """Yield for each level the keys (N,) of the contexts before the tokens, and a mask (N,) of those that exist.

        The key of the k tokens before place t is Σ token(t − i) · vocabulary^(k − i).
        """
        read = np.concatenate([self.context, tokens])
        keys, there = np.zeros(len(tokens), np.int64), np.ones(len(tokens), bool)
        yield keys, there
        for back in range(1, len(self.levels)):
            before = read[len(self.context) - back : len(read) - back]
            there = there & (before != NO_TOKEN)
            keys = np.where(there, keys * self.vocabulary + before, 0)
            yield keys, there


def _counted(
    level: Level, contexts: Numbers, pairs: Numbers, there: Flags, counted: int
) -> tuple[tuple[Numbers, Numbers, Numbers], Level]:
    """Counts of a level before each token, and the level after the first `counted` tokens."""
    times, pair_times, followers = (np.zeros(len(there), np.int64) for _ in range(3))
    new_here = there & (np.arange(len(there)) < counted)
    contexts, pairs, kept = contexts[there], pairs[there], new_here[there]
    order, begins = _runs(contexts)
    times[there] = _earlier(order, begins) + _looked_up(level.contexts, level.times, contexts)
    pair_times[there] = _earlier(*_runs(pairs)) + _looked_up(level.pairs, level.pair_times, pairs)
    first = (pair_times[there] == 0).astype(np.int64)
    sums = np.concatenate([[0], np.cumsum(first[order])])
    firsts = np.empty(len(order), np.int64)
    firsts[order] = sums[:-1] - sums[begins]
    followers[there] = firsts + _looked_up(level.contexts, level.followers, contexts)
    contexts, pairs, first = contexts[kept], pairs[kept], first[kept]
    every = np.concatenate([level.contexts, contexts])
    keys, all_times, all_followers = _summed(
        every, np.append(level.times, np.ones_like(contexts)), np.append(level.followers, first)
    )
    both, both_times = _summed(np.concatenate([level.pairs, pairs]), np.append(level.pair_times, np.ones_like(pairs)))
    return (times, pair_times, followers), Level(keys, all_times, all_followers, both, both_times)


def _runs(keys: Numbers) -> tuple[Numbers, Numbers]:
    """Sorted order of the keys, and in that order the begin of each one's run of equal keys."""
    order = np.argsort(keys, kind="stable")
    in_order = keys[order]
    new = np.append(True, in_order[1:] != in_order[:-1])[: len(keys)]
    return order, np.maximum.accumulate(np.where(new, np.arange(len(keys)), 0))


def _earlier(order: Numbers, begins: Numbers) -> Numbers:
    """Number of equal keys before each. Example: keys 5 7 5 5 -> 0 0 1 2."""
    out = np.empty(len(order), np.int64)
    out[order] = np.arange(len(order)) - begins
    return out


def _looked_up(keys: Numbers, values: Numbers, wanted: Numbers) -> Numbers:
    """Value of each wanted key, 0 for missing ones."""
    at = find_keys(keys, wanted)
    return np.where(at == ABSENT, 0, values[at]) if len(keys) else np.zeros_like(wanted)


def _summed(keys: Numbers, *values: Numbers) -> tuple[Numbers, ...]:
    """Distinct keys, sorted, and the sums of their values."""
    order = np.argsort(keys, kind="stable")
    in_order = keys[order]
    begins = np.flatnonzero(np.append(True, in_order[1:] != in_order[:-1])[: len(keys)])
    if not len(begins):
        return (keys, *values)
    return (in_order[begins], *(np.add.reduceat(each[order], begins) for each in values))


class Lists:
    """Counts that grow token by token within one call: `counts`, and lists of the followers after them."""

    def __init__(self, counts: Counts) -> None:
        self.counts = counts
        self.context: list[int] = counts.context.tolist()
        self.added: list[dict[int, list[int]]] = [{} for _ in counts.levels]

    def read(self, token: int, count: bool) -> None:
        """Read a token, and count it if `count`."""
        if count:
            for added, key in zip(self.added, self._keys(), strict=False):
                added.setdefault(key, []).append(token)
        self.context = [*self.context, token][len(self.context) + 1 - len(self.counts.context) :]

    def _keys(self) -> Iterator[int]:
        """Keys of the contexts that exist, from the empty one to the longest."""
        key = 0
        yield key
        for token in reversed(self.context):
            if token == NO_TOKEN:
                return
            key = key * self.counts.vocabulary + token
            yield key

    def distribution(self, uniform: Floats) -> tuple[Floats, tuple[int, int, int]]:
        """The cache's distribution (V,) of the next token, and its situation.

        The situation is the number of levels that know the context, the count of the longest known one, and the number
        of different tokens after it.
        """
        p, situation = uniform, (0, 0, 0)
        for number, key in enumerate(self._keys()):
            tokens, times = self._followers(number, key)
            if not len(tokens):
                break
            total = int(times.sum())
            p = p * (DISCOUNT * len(tokens) / total)
            p[tokens] += (times - DISCOUNT) / total
            situation = (number + 1, total, len(tokens))
        return p, situation

    def _followers(self, number: int, key: int) -> tuple[Numbers, Numbers]:
        """Distinct tokens that followed a context, and how often each did."""
        level, vocabulary = self.counts.levels[number], self.counts.vocabulary
        begin, end = np.searchsorted(level.pairs, [key * vocabulary, (key + 1) * vocabulary])
        tokens, times = level.pairs[begin:end] - key * vocabulary, level.pair_times[begin:end]
        added = self.added[number].get(key)
        if added is None:
            return tokens, times
        return _summed(np.append(tokens, added), np.append(times, np.ones(len(added), np.int64)))  # type: ignore[return-value]
