"""Splits a store into training and held-out ranges, and reads the training ranges as batches.

Every order is a pure function of seed, epoch and step, so that a resumed run reads what the uninterrupted one
would have read. Memory does not grow with the corpus.

In the ids each sequence ends with the end symbol. The input at a position is the token before it. After an end
symbol, and at the beginning, the input is the start symbol, at which a model forgets everything before.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from seqmodel.arrays import Ids, Ranges
from seqmodel.tokens.held_out import HELD_OUT_BYTES, HELD_OUT_SHARE, choose_places
from seqmodel.tokens.store import TokenStore, numbers_of
from seqmodel.tokens.stored_array import Stored
from seqmodel.tokens.tokenizer import END, FIRST_BYTE, FIRST_PIECE, START, Tokenizer

MAX_BLOCKS = 1 << 16
_WINDOW = 16  # segments read at once
_LINE_SEARCH = 4096  # tokens in which a line start is looked for, for a lane of a stream


def token_count(ranges: Ranges) -> int:
    """The number of tokens in the ranges."""
    return int((ranges[:, 1] - ranges[:, 0]).sum())


@dataclass(frozen=True)
class Split:
    """Ranges of a store: `train`, blocks that are shuffled as units, and `held_out` for validation."""

    train: Ranges
    held_out: Ranges

    @property
    def train_tokens(self) -> int:
        return token_count(self.train)

    @property
    def held_out_tokens(self) -> int:
        return token_count(self.held_out)


@dataclass(frozen=True)
class Batch:
    """One truncated back-propagation segment, time first.

    `inputs`, `targets` (T, B) ids; `weights` (T, B) is 0 where a target does not count; `fresh` (B,) is True for lanes
    that reset their state before this segment; `epoch` counts epochs from the start of training.
    """

    inputs: Ids
    targets: Ids
    weights: npt.NDArray[np.float32]
    fresh: npt.NDArray[np.bool_]
    epoch: float

    @property
    def tokens(self) -> int:
        return int(self.weights.sum())


def split_store(store: TokenStore) -> Split:
    """The split that the store records, or a new one for stores that record none.

    A new one comes too late to keep the held-out text from the vocabulary.
    """
    if store.held_out is None:
        return split_tokens(store, HELD_OUT_SHARE, HELD_OUT_BYTES)
    return _split_at(store, store.held_out)


def split_tokens(store: TokenStore, fraction: float, most_bytes: int, seed: int = 0) -> Split:
    """Hold out a fraction of the sequences, or stretches of a stream, spread evenly; the end if sequences are few.

    The held-out part is at most about `most_bytes` of text, estimated from its number of tokens.
    """
    total, kind = store.header.tokens, store.header.sequence
    wanted = int(min(fraction * total, most_bytes / max(store.bytes_per_token, 1e-9)))
    places = choose_places(kind, total, store.ends, wanted, seed)
    spans = places.spans
    if places.reach:
        starts = [_line_start(store, begin, places.reach) for begin in places.begins.tolist()]
        spans = np.stack([starts, np.minimum(starts + places.lengths, total)], 1).astype(np.int64)
    if places.reach and kind != "stream":  # the end of the text
        ends = np.asarray(store.ends)
        whole = ends[ends > spans[0, 0]]
        spans = np.stack([np.concatenate([spans[0, :1], whole[:-1]]), whole], 1).astype(np.int64)
    return _split_at(store, spans)


def _split_at(store: TokenStore, held_out: Ranges) -> Split:
    """The split that holds out these ranges: any ranges of a stream, else whole sequences or the end of the text."""
    total = store.header.tokens
    if store.header.sequence == "stream":
        edges = np.concatenate([[0], held_out.ravel(), [total]]).astype(np.int64).reshape(-1, 2)
        return Split(edges[edges[:, 0] < edges[:, 1]], held_out)
    numbers = numbers_of(store.ends, held_out[:, 1])
    cut = total
    if len(held_out):
        first = int(numbers[0])
        begin = int(store.ends[first - 1]) if first else 0
        cut = int(held_out[0, 0]) if held_out[0, 0] > begin else total
    return Split(_blocks(store, numbers if cut == total else numbers[:0], cut), held_out)


def whole_store(store: TokenStore) -> Ranges:
    """All sequences of a store, in at most `MAX_BLOCKS` ranges."""
    return _blocks(store, np.empty(0, np.int64), store.header.tokens)


def _blocks(store: TokenStore, without: Ids, stop: int) -> Ranges:
    """Ranges of whole sequences up to position `stop`, except those whose numbers are in `without`."""
    count = store.header.sequences
    group = -(-count // MAX_BLOCKS)
    first = np.unique(np.concatenate([np.arange(0, count, group), without, without + 1]))
    first = first[first < count]
    last = np.append(first[1:], count)
    kept = ~np.isin(first, without)
    begins = np.where(first[kept], store.ends[np.maximum(first[kept] - 1, 0)], 0)
    ends = np.minimum(store.ends[last[kept] - 1], stop)
    ranges = np.stack([begins, ends], 1).astype(np.int64)
    return ranges[ranges[:, 0] < ranges[:, 1]]


def _line_start(store: TokenStore, position: int, reach: int) -> int:
    """The first line start within `reach` tokens from a position; the position itself if there is none."""
    if position == 0 or reach < 1:
        return position
    near = np.asarray(store.ids[position - 1 : position - 1 + reach])
    found = np.flatnonzero(np.isin(near, [*store.tokenizer.newline_ids, END]))
    return position + int(found[0]) if len(found) else position


def inputs_and_targets(ids: Stored, positions: Ids) -> tuple[Ids, Ids]:
    """The tokens at `positions` as targets, and the model's input for each; both have the shape of `positions`."""
    targets = ids[positions].astype(np.int64)
    before = ids[np.maximum(positions - 1, 0)].astype(np.int64)
    return np.where((positions == 0) | (before == END), START, before), targets


class LaneBatches:
    """Batches for cells that can reset at any position: the shuffled blocks as one text, cut into parallel lanes.

    Lanes carry their state from segment to segment within an epoch. A stream is not shuffled: its lanes begin at line
    starts, which differ by epoch, with the start symbol.
    """

    def __init__(self, store: TokenStore, ranges: Ranges, *, lanes: int, segment: int, seed: int) -> None:
        self.store, self.ranges, self.seed, self.segment = store, ranges, seed, segment
        self.total = token_count(ranges)
        self.lanes = max(1, min(lanes, self.total // (2 * segment)))
        self.lane_length = max(1, self.total // self.lanes)
        self.segments = -(-self.lane_length // segment)
        self.is_stream = store.header.sequence == "stream"

    def __len__(self) -> int:
        return self.segments

    def read(self, step: int = 0) -> Iterator[Batch]:
        """Yield batches endlessly, from a step (counted from the start of training) on."""
        while True:
            epoch, at = divmod(step, self.segments)
            for batch in self._epoch(epoch, at):
                yield batch
                step += 1

    def _epoch(self, epoch: int, at: int) -> Iterator[Batch]:
        generator = np.random.Generator(np.random.Philox(key=[self.seed, epoch]))
        shift = 0
        order = np.arange(len(self.ranges))
        if self.is_stream:
            shift = int(generator.integers(self.lane_length)) if epoch else 0
        else:
            order = generator.permutation(len(self.ranges))
        begins = self.ranges[order, 0]
        offsets = np.concatenate([[0], np.cumsum(self.ranges[order, 1] - begins)])
        lane_starts = np.arange(self.lanes, dtype=np.int64) * self.lane_length + shift

        def positions(virtual: Ids) -> Ids:
            virtual = virtual % self.total
            block = np.searchsorted(offsets, virtual, side="right") - 1
            return np.asarray(begins[block] + virtual - offsets[block])

        if self.is_stream:
            lane_starts = np.array([self._stream_start(positions, int(start)) for start in lane_starts])
        while at < self.segments:
            first = at * self.segment
            length = min(_WINDOW * self.segment, self.lane_length - first)
            virtual = lane_starts[None, :] + np.arange(first, first + length)[:, None]  # (W, B)
            inputs, targets = inputs_and_targets(self.store.ids, positions(virtual))
            if self.is_stream and at == 0:
                inputs[0] = START
            weights = (targets != END if self.is_stream else np.ones_like(targets)).astype(np.float32)
            for begin in range(0, length, self.segment):
                part = slice(begin, begin + self.segment)
                fresh = np.full(self.lanes, at == 0)
                yield Batch(inputs[part], targets[part], weights[part], fresh, epoch + at / self.segments)
                at += 1

    def _stream_start(self, positions: object, virtual: int) -> int:
        assert callable(positions)
        reach = min(_LINE_SEARCH, self.lane_length)
        before = self.store.ids[positions(np.arange(virtual - 1, virtual - 1 + reach))]
        found = np.flatnonzero(np.isin(before, [*self.store.tokenizer.newline_ids, END]))
        return virtual + int(found[0]) if virtual and len(found) else virtual


class PaddedBatches:
    """Batches for cells that reset only between segments: sequences of similar length side by side, padded.

    Sequences longer than `32 * segment` are cut into stretches, each read from an empty state.
    """

    def __init__(self, store: TokenStore, ranges: Ranges, *, lanes: int, segment: int, seed: int) -> None:
        self.store, self.ranges, self.seed, self.segment = store, ranges, seed, segment
        self.is_stream = store.header.sequence == "stream"
        self.lanes = lanes
        self.stretch = 32 * segment
        self.total = token_count(ranges)
        self._plans: dict[int, list[tuple[Ranges, int]]] = {}
        self._lengths: list[int] = []

    def __len__(self) -> int:
        """Segments in the first epoch; other epochs differ slightly."""
        return self._epoch_length(0)

    def _epoch_length(self, epoch: int) -> int:
        while len(self._lengths) <= epoch:
            self._lengths.append(sum(-(-longest // self.segment) for _, longest in self._plan(len(self._lengths))))
        return self._lengths[epoch]

    def read(self, step: int = 0) -> Iterator[Batch]:
        """Yield batches endlessly, from a step (counted from the start of training) on."""
        epoch = 0
        while step >= self._epoch_length(epoch):
            step -= self._epoch_length(epoch)
            epoch += 1
        while True:
            length = self._epoch_length(epoch)
            for number, batch in enumerate(self._epoch(epoch, length)):
                if number >= step:
                    yield batch
            epoch, step = epoch + 1, 0

    def _plan(self, epoch: int) -> list[tuple[Ranges, int]]:
        """The shuffled groups of an epoch: ranges that are read side by side, and the length of the longest."""
        if epoch not in self._plans:
            generator = np.random.Generator(np.random.Philox(key=[self.seed, epoch]))
            pieces = self._stretches()
            pieces = pieces[generator.permutation(len(pieces))]
            lengths = pieces[:, 1] - pieces[:, 0]
            groups: list[tuple[Ranges, int]] = []
            pool = self.lanes * 64  # sequences among which those of similar length are grouped
            for begin in range(0, len(pieces), pool):
                some = np.argsort(lengths[begin : begin + pool], kind="stable") + begin
                groups += [
                    (pieces[part], int(lengths[part].max()))
                    for part in np.split(some, range(self.lanes, len(some), self.lanes))
                ]
            self._plans = {epoch: [groups[i] for i in generator.permutation(len(groups))]}
        return self._plans[epoch]

    def _stretches(self) -> Ranges:
        """All sequences of the ranges, long ones cut into stretches."""
        found = []
        ends = np.asarray(self.store.ends)
        for begin, end in self.ranges:
            inside = ends[np.searchsorted(ends, begin, side="right") : np.searchsorted(ends, end, side="left")]
            found.append(np.concatenate([[begin], inside, [end]]))
        bounds = np.unique(np.concatenate(found))
        pairs = np.stack([bounds[:-1], bounds[1:]], 1)
        starts = np.sort(self.ranges[:, 0])
        held = np.searchsorted(starts, pairs[:, 0], side="right") - 1
        pairs = pairs[pairs[:, 1] <= np.sort(self.ranges[:, 1])[held]]  # drops the gaps, which are held out
        long = pairs[:, 1] - pairs[:, 0] > self.stretch
        cut = [np.append(np.arange(b, e, self.stretch), e) for b, e in pairs[long]]
        return np.concatenate([pairs[~long], *(np.stack([c[:-1], c[1:]], 1) for c in cut)]).astype(np.int64)

    def _epoch(self, epoch: int, length: int) -> Iterator[Batch]:
        at = 0
        for ranges, longest in self._plan(epoch):
            sizes = ranges[:, 1] - ranges[:, 0]
            for begin in range(0, longest, self.segment):
                time = np.arange(begin, min(begin + self.segment, longest))[:, None]
                positions = np.minimum(ranges[None, :, 0] + time, self.store.header.tokens - 1)
                inputs, targets = inputs_and_targets(self.store.ids, positions)
                if self.is_stream and begin == 0:
                    inputs[0] = START
                counts = (time < sizes[None, :]) & ~(self.is_stream & (targets == END))
                yield Batch(
                    inputs,
                    targets,
                    counts.astype(np.float32),
                    np.full(len(ranges), begin == 0),
                    epoch + at / length,
                )
                at += 1


# Ranges of scripts and symbols, equally likely, from which characters that a corpus lacks are drawn.
_UNICODE_RANGES = (
    (0x21, 0x7F), (0xA0, 0x100), (0x100, 0x250), (0x300, 0x530), (0x530, 0x900), (0x900, 0x1100),
    (0x1100, 0x2000), (0x2000, 0x2C00), (0x2C00, 0x3400), (0x3400, 0xA000), (0xA000, 0xD800),
    (0xE000, 0x10000), (0x10000, 0x1F300), (0x1F300, 0x1FB00), (0x1FB00, 0x40000),
)  # fmt: skip


class UnseenSpellings:
    """Replaces random stretches of a batch by spellings of unseen characters and words, to train the byte tokens.

    Otherwise a corpus without rare characters would never train them, and their probability would be almost 0.
    `rate` is the expected number of spellings per token.
    """

    def __init__(self, tokenizer: Tokenizer, rate: float, seed: int, pool: int = 4096) -> None:
        self.rate = 0.0 if tokenizer.closed else rate
        self.seed = seed
        generator = np.random.Generator(np.random.Philox(key=[seed, 1 << 40]))
        self.pool = [_spelling(tokenizer, generator) for _ in range(pool)] if self.rate else []
        self.pool = [spelling for spelling in self.pool if spelling]

    def apply(self, batch: Batch, step: int) -> Batch:
        """A copy of the batch with some stretches replaced; a pure function of seed and step."""
        if not self.pool:
            return batch
        generator = np.random.Generator(np.random.Philox(key=[self.seed, (1 << 41) + step]))
        count = int(generator.poisson(self.rate * batch.tokens))
        if not count:
            return batch
        inputs, targets = batch.inputs.copy(), batch.targets.copy()
        length, lanes = targets.shape
        kept = (targets != END) & (batch.weights > 0)  # positions that may be replaced
        for _ in range(count):
            spelling = self.pool[int(generator.integers(len(self.pool)))]
            t, lane = int(generator.integers(length)), int(generator.integers(lanes))
            stop = t + len(spelling)
            if stop >= length or not kept[t:stop, lane].all() or (inputs[t + 1 : stop + 1, lane] == START).any():
                continue
            edges = targets[[t, stop], lane]
            if ((edges >= FIRST_BYTE + 0x80) & (edges < FIRST_BYTE + 0xC0)).any():
                continue  # an edge is inside a character spelled in bytes
            kept[t:stop, lane] = False
            targets[t:stop, lane] = spelling
            inputs[t + 1 : stop + 1, lane] = spelling
        return Batch(inputs, targets, batch.weights, batch.fresh, batch.epoch)


def _spelling(tokenizer: Tokenizer, generator: np.random.Generator) -> list[int]:
    """The byte tokens of a character or word that the vocabulary lacks; empty if the one drawn is in it."""
    low, high = _UNICODE_RANGES[int(generator.integers(len(_UNICODE_RANGES)))]
    text = chr(int(generator.integers(low, high)))
    if tokenizer.unit == "word" and tokenizer.size > FIRST_PIECE:
        word = tokenizer.piece_bytes[int(generator.integers(FIRST_PIECE, tokenizer.size))].decode()
        at = int(generator.integers(1, max(2, len(word)))) if word.startswith(" ") else 0
        text = (word[:at] + text + word[at + 1 :])[:10]
        if generator.random() < 0.5:  # known letters in an unknown order
            text = word[:1] + "".join(generator.permutation(list(word[1:10])))
    if tokenizer.id_of(text) is not None:
        return []
    return [byte + FIRST_BYTE for byte in text.encode()]
