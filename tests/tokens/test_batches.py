"""What is promised of batches: every token in its turn, after what precedes it, in an order that can be resumed.

The stores here are made in memory, and each token's id tells its position, so that what a batch holds can be
traced back to where it was read.
"""

from __future__ import annotations

from collections import Counter
from functools import cache
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from seqmodel.arrays import Ranges
from seqmodel.choices import SequenceKind, Unit
from seqmodel.settings import CorpusSettings, TokenizerSettings
from seqmodel.text.corpus import END_MARK, CorpusSummary
from seqmodel.tokens import batches
from seqmodel.tokens.batches import (
    Batch,
    LaneBatches,
    PaddedBatches,
    Split,
    UnseenSpellings,
    inputs_and_targets,
    split_tokens,
    whole_store,
)
from seqmodel.tokens.fitting import fit, vocabulary_proto
from seqmodel.tokens.held_out import FEW_SEQUENCES
from seqmodel.tokens.store import StoreHeader, TokenStore, open_store, write_store
from seqmodel.tokens.tokenizer import END, FIRST_BYTE, FIRST_PIECE, START, Tokenizer

FIRST_ID = 1000  # of the token at position 0


def store_of(lengths: list[int], kind: SequenceKind = "line", newline_every: int = 0) -> TokenStore:
    """A store of sequences of these lengths (end symbols not counted); the id at position p is FIRST_ID + p."""
    ends = np.cumsum(np.array(lengths, np.int64) + 1)
    ids = np.arange(FIRST_ID, FIRST_ID + ends[-1], dtype=np.uint32)
    ids[ends - 1] = END
    tokenizer = Tokenizer(vocabulary_proto(["\n"], word=False), "char")
    newlines = ids[newline_every - 1 :: newline_every] if newline_every else ids[:0]
    tokenizer.__dict__["newline_ids"] = tuple(newlines[newlines != END].tolist())
    ids.setflags(write=False)
    ends.setflags(write=False)
    header = StoreHeader(
        unit="char",
        closed=False,
        sequence=kind,
        vocabulary=1 << 20,
        proto_bytes=0,
        tokens=len(ids),
        sequences=len(ends),
        corpus_bytes=len(ids),
        corpus_chars=0,
        corpus_lines=0,
        corpus_words=0,
        byte_tokens=0,
        unknown_tokens=0,
        corpus_digest="0" * 64,
        digest="",
    )
    return TokenStore(Path("memory"), header, tokenizer, ids, ends)


def positions_of(store: TokenStore, inputs: npt.NDArray[Any], targets: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """Where the targets stand: told by themselves, or for an end symbol by the input before it."""
    return np.where(targets == END, inputs - FIRST_ID + 1, targets - FIRST_ID).astype(np.int64)


def coverage(store: TokenStore, *ranges: Ranges) -> npt.NDArray[np.int64]:
    """How often each position of a store lies in the ranges."""
    counts = np.zeros(store.header.tokens, np.int64)
    for begin, end in np.concatenate(ranges):
        assert 0 <= begin < end <= store.header.tokens
        counts[begin:end] += 1
    return counts


def begins_of(store: TokenStore) -> set[int]:
    return {0, *store.ends[:-1].tolist()}


def epoch_of(reader: LaneBatches | PaddedBatches, number: int = 0) -> list[Batch]:
    """The batches of one epoch."""
    found: list[Batch] = []
    for batch in reader.read():
        if int(batch.epoch) > number:
            return found
        if int(batch.epoch) == number:
            found.append(batch)
    raise AssertionError


def same(first: Batch, second: Batch) -> bool:
    arrays = ("inputs", "targets", "weights", "fresh")
    return first.epoch == second.epoch and all(
        np.array_equal(getattr(first, name), getattr(second, name)) for name in arrays
    )


many_lengths = st.lists(st.integers(1, 30), min_size=FEW_SEQUENCES, max_size=200)
few_lengths = st.lists(st.integers(1, 60), min_size=1, max_size=FEW_SEQUENCES - 1)
fractions = st.sampled_from([0.05, 0.1, 0.3, 0.5, 0.9])


# The split


def wanted_tokens(store: TokenStore, fraction: float, most_bytes: int) -> int:
    return int(min(fraction * store.header.tokens, most_bytes))


def check_split(store: TokenStore, split: Split, wanted: int) -> None:
    assert (coverage(store, split.train, split.held_out) == 1).all()
    assert split.train_tokens + split.held_out_tokens == store.header.tokens
    assert split.held_out_tokens <= wanted
    assert (split.held_out_tokens > 0) == (wanted >= 8)


@settings(max_examples=150, deadline=None)
@given(many_lengths, fractions, st.integers(0, 3000), st.integers(0, 1 << 63))
@example([3] * 2001, 0.3, 10**6, 0)
@example([500] * 40 + [1] * 60, 0.05, 100, 0)
def test_a_split_holds_out_whole_sequences(lengths: list[int], fraction: float, most: int, seed: int) -> None:
    store = store_of(lengths)
    split = split_tokens(store, fraction, most, seed)
    check_split(store, split, wanted_tokens(store, fraction, most))
    if max(lengths) < wanted_tokens(store, fraction, most):
        sequences = set(zip(sorted(begins_of(store)), store.ends[:].tolist(), strict=True))
        assert {tuple(pair) for pair in split.held_out.tolist()} <= sequences
    assert all(begin in begins_of(store) for begin in split.train[:, 0].tolist())


@settings(max_examples=100, deadline=None)
@given(few_lengths, fractions, st.integers(0, 1000), st.sampled_from([0, 1, 7]))
def test_of_few_sequences_the_end_is_held_out(lengths: list[int], fraction: float, most: int, every: int) -> None:
    store = store_of(lengths, "document", every)
    split = split_tokens(store, fraction, most)
    check_split(store, split, wanted_tokens(store, fraction, most))
    if len(split.held_out):
        assert split.held_out.min() == split.train_tokens and split.held_out.max() == store.header.tokens


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(1, 300), min_size=1, max_size=60), fractions, st.integers(0, 1000), st.integers(0, 9))
def test_of_a_stream_stretches_are_held_out(lengths: list[int], fraction: float, most: int, every: int) -> None:
    store = store_of(lengths, "stream", every)
    split = split_tokens(store, fraction, most)
    check_split(store, split, wanted_tokens(store, fraction, most))


def test_what_is_held_out_of_a_stream_is_spread_and_begins_at_line_starts() -> None:
    store = store_of([200_000], "stream", 7)
    held = split_tokens(store, 0.05, 10**6, seed=2).held_out
    assert len(held) == 8 and (held[:, 1] - held[:, 0] == 1250).all()
    assert (held[:, 0] // 25_000 == np.arange(8)).all()  # one in each eighth of the text
    assert all(int(store.ids[begin - 1]) in store.tokenizer.newline_ids for begin in held[:, 0])


def test_what_is_held_out_is_spread_over_the_corpus() -> None:
    store = store_of([4] * 1000)
    held = split_tokens(store, 0.1, 10**6, seed=5).held_out
    assert len(held) == 100
    assert (held[:, 0] // 50 == np.arange(100)).all()  # one of every ten sequences


def test_a_split_is_a_pure_function_of_the_seed() -> None:
    store = store_of(list(range(1, 200)))
    one, again, other = (split_tokens(store, 0.2, 10**6, seed) for seed in (1, 1, 2))
    assert np.array_equal(one.held_out, again.held_out) and np.array_equal(one.train, again.train)
    assert not np.array_equal(one.held_out, other.held_out)


def test_too_little_text_holds_nothing_out() -> None:
    for store in (store_of([1]), store_of([3] * 38), store_of([60], "stream")):
        split = split_tokens(store, 0.05, 10**6)
        assert split.held_out.shape == (0, 2) and (coverage(store, split.train) == 1).all()


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 9), min_size=1, max_size=300), st.integers(1, 20))
def test_the_whole_store_is_a_bounded_number_of_ranges_of_whole_sequences(lengths: list[int], most: int) -> None:
    store = store_of(lengths)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batches, "MAX_BLOCKS", most)
        ranges = whole_store(store)
    assert len(ranges) <= most
    assert (coverage(store, ranges) == 1).all()
    assert set(ranges[:, 0].tolist()) <= begins_of(store)


@settings(max_examples=60, deadline=None)
@given(many_lengths, st.integers(1, 20), st.integers(0, 99))
def test_a_split_in_few_blocks_is_a_split_too(lengths: list[int], most: int, seed: int) -> None:
    store = store_of(lengths)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batches, "MAX_BLOCKS", most)
        split = split_tokens(store, 0.3, 10**6, seed)
    assert (coverage(store, split.train, split.held_out) == 1).all()


def test_bytes_are_counted_as_tokens_of_the_usual_size(tmp_path: Path) -> None:
    tokenizer = Tokenizer(vocabulary_proto([" the"], word=True), "word")
    summary = CorpusSummary()
    summary.add(b"the the the\n" * 100, "the the the\n" * 100)
    write_store(tmp_path / "a", [("the the the" + END_MARK) * 100], tokenizer, CorpusSettings(), summary)
    store = open_store(tmp_path / "a")
    assert store.bytes_per_token == 3.0
    assert split_tokens(store, 0.5, 120).held_out_tokens == 40


# Inputs


def test_the_input_is_the_token_before_or_the_start() -> None:
    store = store_of([2, 0, 1])
    inputs, targets = inputs_and_targets(store.ids, np.arange(6))
    a, b, c = FIRST_ID, FIRST_ID + 1, FIRST_ID + 4
    assert targets.tolist() == [a, b, END, END, c, END]
    assert inputs.tolist() == [START, a, b, START, START, c]


# Lanes


shapes = st.tuples(st.integers(1, 6), st.integers(1, 9))  # lanes and segment


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(1, 25), min_size=2, max_size=80), shapes, st.integers(0, 9), st.booleans())
def test_lanes_read_every_training_token_once_in_an_epoch(
    lengths: list[int], shape: tuple[int, int], seed: int, split: bool
) -> None:
    store = store_of(lengths)
    ranges = split_tokens(store, 0.3, 10**6, seed).train if split else whole_store(store)
    reader = LaneBatches(store, ranges, lanes=shape[0], segment=shape[1], seed=seed)
    for number in (0, 1):
        epoch = epoch_of(reader, number)
        assert len(epoch) == len(reader)
        assert [batch.fresh.tolist() for batch in epoch] == [[at == 0] * reader.lanes for at in range(len(epoch))]
        assert all(batch.weights.all() and batch.tokens == batch.targets.size for batch in epoch)
        assert all(len(batch.targets) == shape[1] for batch in epoch[:-1])
        inputs, targets = (np.concatenate([getattr(b, name) for b in epoch]) for name in ("inputs", "targets"))
        positions = positions_of(store, inputs, targets)
        counts = np.bincount(positions.ravel(), minlength=store.header.tokens)
        allowed = coverage(store, ranges)
        assert (counts <= allowed).all()
        assert 0 <= allowed.sum() - counts.sum() < reader.lanes
        expected_inputs, expected_targets = inputs_and_targets(store.ids, positions)
        assert np.array_equal(inputs, expected_inputs) and np.array_equal(targets, expected_targets)
        begins = begins_of(store)
        for lane in positions.T.tolist():
            for before, after in pairwise(lane):
                assert after == before + 1 or after in begins  # where the input is the start symbol


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(1, 150), min_size=1, max_size=6), shapes, st.integers(0, 9), st.integers(0, 12))
def test_lanes_of_a_stream_begin_at_line_starts_and_run_on(
    lengths: list[int], shape: tuple[int, int], seed: int, every: int
) -> None:
    store = store_of(lengths, "stream", every)
    total = store.header.tokens
    train = np.array([[0, total]])
    reader = LaneBatches(store, train, lanes=shape[0], segment=shape[1], seed=seed)
    enders = {END, *store.tokenizer.newline_ids}
    line_starts = {p for p in range(total) if p == 0 or int(store.ids[p - 1]) in enders}
    for number in (0, 1, 2):
        epoch = epoch_of(reader, number)
        inputs, targets, weights = (
            np.concatenate([getattr(b, name) for b in epoch]) for name in ("inputs", "targets", "weights")
        )
        assert (inputs[0] == START).all()
        assert np.array_equal(weights, targets != END)
        known = np.where(targets == END, -1, targets.astype(np.int64) - FIRST_ID)
        for lane, tokens in enumerate(known.T.tolist()):
            at, first = next((i, p) for i, p in enumerate(tokens) if p >= 0)
            start = (first - at) % total
            assert all(p in (-1, (start + i) % total) for i, p in enumerate(tokens))
            reach = min(batches._LINE_SEARCH, reader.lane_length)
            if number == 0:
                assert 0 <= start - lane * reader.lane_length < reach and (lane or start == 0)
            if start not in line_starts:  # no line begins in all the places that were looked at
                assert not any((start + i) % total in line_starts - {0} for i in range(reach))
            for step, position in enumerate((start + i) % total for i in range(1, len(tokens))):
                before = START if position == 0 or store.ids[position - 1] == END else store.ids[position - 1]
                assert inputs[step + 1, lane] == before


def test_lanes_of_a_stream_begin_at_the_text_s_start_first_and_elsewhere_later() -> None:
    store = store_of([1000], "stream", 10)
    reader = LaneBatches(store, whole_store(store), lanes=4, segment=8, seed=1)
    starts = [epoch_of(reader, number)[0].targets[0].tolist() for number in range(4)]
    assert starts[0] == [FIRST_ID + p for p in (0, 250, 500, 750)]
    assert len({tuple(some) for some in starts}) == 4
    assert all((token - FIRST_ID) % 10 == 0 for some in starts for token in some)


def test_epochs_of_a_stream_read_every_token() -> None:
    store = store_of([400, 300], "stream", 13)
    reader = LaneBatches(store, whole_store(store), lanes=3, segment=16, seed=4)
    seen = Counter(token for number in range(4) for batch in epoch_of(reader, number) for token in batch.targets.flat)
    assert set(seen) == set(store.ids[:].tolist())
    assert max(n for token, n in seen.items() if token != END) <= 8


def test_epochs_of_sequences_differ_in_order() -> None:
    store = store_of([5] * 50)
    reader = LaneBatches(store, whole_store(store), lanes=1, segment=300, seed=4)
    first, second = (epoch_of(reader, number)[0].targets.ravel().tolist() for number in (0, 1))
    assert first != second and sorted(first) == sorted(second) == sorted(store.ids[:].tolist())
    other = LaneBatches(store, whole_store(store), lanes=1, segment=300, seed=5)
    assert epoch_of(other)[0].targets.ravel().tolist() != first


@pytest.mark.parametrize("kind", ["line", "stream"])
def test_little_text_is_read_in_fewer_lanes(kind: SequenceKind) -> None:
    for tokens in (1, 2, 15, 16, 40):
        store = store_of([tokens - 1] if tokens > 1 else [0], kind)
        reader = LaneBatches(store, whole_store(store), lanes=32, segment=8, seed=0)
        assert reader.lanes == max(1, tokens // 16)
        assert all(batch.targets.shape[1] == reader.lanes for batch in islice(reader.read(), 12))


# Padded batches


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.integers(0, 12) | st.integers(60, 110), min_size=1, max_size=60),
    st.tuples(st.integers(1, 5), st.integers(1, 3)),
    st.integers(0, 9),
    st.sampled_from(["line", "stream"]),
)
def test_padded_batches_read_every_training_token_once_in_an_epoch(
    lengths: list[int], shape: tuple[int, int], seed: int, kind: SequenceKind
) -> None:
    store = store_of(lengths, kind, 5)
    ranges = split_tokens(store, 0.3, 10**6, seed).train
    reader = PaddedBatches(store, ranges, lanes=shape[0], segment=shape[1], seed=seed)
    begins = begins_of(store)
    ends = np.asarray(store.ends)
    for number in (0, 1):
        counts = np.zeros(store.header.tokens, np.int64)
        state: list[int] = []  # the position that each lane has come to; none where a group begins
        for batch in epoch_of(reader, number):
            length, lanes = batch.targets.shape
            assert length <= shape[1] and 0 < lanes <= shape[0]
            assert batch.fresh.all() or not batch.fresh.any()
            assert batch.weights.any() or kind == "stream"
            if batch.fresh[0]:
                state = [-1] * lanes
            assert lanes == len(state)
            for lane in range(lanes):
                for t in range(length):
                    given_, target = int(batch.inputs[t, lane]), int(batch.targets[t, lane])
                    if not batch.weights[t, lane]:
                        continue
                    first = state[lane] < 0
                    if target != END:
                        position = target - FIRST_ID
                    elif first:
                        position = -1 if given_ == START else given_ - FIRST_ID + 1
                    else:
                        position = state[lane] + 1
                    if position < 0:  # an empty sequence: which of them cannot be told
                        continue
                    counts[position] += 1
                    assert first or position == state[lane] + 1
                    state[lane] = position
                    if position in begins or (kind == "stream" and first):
                        assert given_ == START
                    else:
                        assert given_ == store.ids[position - 1]
                    assert not first or t == 0
        empty = [end - 1 for begin, end in zip(sorted(begins), ends.tolist(), strict=True) if end == begin + 1]
        expected = coverage(store, ranges)
        if kind == "stream":
            expected[ends - 1] = 0
        expected[empty] = counts[empty] = 0
        assert counts.tolist() == expected.tolist()


def test_padded_batches_weigh_empty_sequences_too() -> None:
    store = store_of([0, 3, 0, 0, 2])
    reader = PaddedBatches(store, whole_store(store), lanes=2, segment=4, seed=0)
    assert sum(batch.tokens for batch in epoch_of(reader)) == store.header.tokens == reader.total


def test_padded_batches_put_sequences_of_like_length_side_by_side() -> None:
    store = store_of([5, 50] * 40)
    reader = PaddedBatches(store, whole_store(store), lanes=4, segment=51, seed=0)
    epoch = epoch_of(reader)
    assert sum(batch.targets.size for batch in epoch) == store.header.tokens  # no padding at all


# Order


READERS = (LaneBatches, PaddedBatches)


@pytest.mark.parametrize("reads", READERS)
@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.integers(1, 40), min_size=1, max_size=50),
    shapes,
    st.sampled_from(["line", "stream"]),
    st.integers(0, 60),
    st.sampled_from([0, 7, (1 << 63) - 1]),
)
def test_reading_from_a_step_gives_what_reading_from_the_start_comes_to(
    reads: type[LaneBatches] | type[PaddedBatches],
    lengths: list[int],
    shape: tuple[int, int],
    kind: SequenceKind,
    step: int,
    seed: int,
) -> None:
    store = store_of(lengths, kind, 6)
    train = split_tokens(store, 0.2, 10**6).train
    whole = islice(reads(store, train, lanes=shape[0], segment=shape[1], seed=seed).read(), step, step + 12)
    resumed = islice(reads(store, train, lanes=shape[0], segment=shape[1], seed=seed).read(step), 12)
    assert all(same(*pair) for pair in zip(whole, resumed, strict=True))


@pytest.mark.parametrize("reads", READERS)
def test_two_readings_of_one_object_do_not_disturb_each_other(
    reads: type[LaneBatches] | type[PaddedBatches],
) -> None:
    store = store_of([3, 9, 14, 2, 7] * 9)
    reader = reads(store, whole_store(store), lanes=3, segment=4, seed=2)
    alone = list(islice(reader.read(), 90))
    first, second = reader.read(), reader.read(45)
    mixed = [(next(first), next(second)) for _ in range(45)]
    assert all(same(alone[at], pair[0]) and same(alone[at + 45], pair[1]) for at, pair in enumerate(mixed))


@pytest.mark.parametrize("reads", READERS)
def test_epochs_are_told_in_growing_fractions(reads: type[LaneBatches] | type[PaddedBatches]) -> None:
    store = store_of([3, 9, 14, 2, 7] * 9)
    reader = reads(store, whole_store(store), lanes=3, segment=4, seed=2)
    told = [batch.epoch for batch in islice(reader.read(), 3 * len(reader))]
    assert told[0] == 0.0 and told[len(reader)] == 1.0
    assert all(before < after for before, after in pairwise(told))


@pytest.mark.parametrize("reads", READERS)
def test_batches_are_copies_of_a_store_that_stays_as_it_is(
    reads: type[LaneBatches] | type[PaddedBatches], tmp_path: Path
) -> None:
    tokenizer = Tokenizer(vocabulary_proto(["a", "b", "\n"], word=False), "char")
    write_store(tmp_path / "a", [("abba" + END_MARK) * 50], tokenizer, CorpusSettings(), CorpusSummary())
    before = (tmp_path / "a").read_bytes()
    store = open_store(tmp_path / "a")
    for batch in islice(reads(store, whole_store(store), lanes=2, segment=4, seed=0).read(), 20):
        batch.inputs[:] = batch.targets[:] = 0
    assert (tmp_path / "a").read_bytes() == before


# Spellings of what is unseen


WORDS = "the cat sat on the mat\nthe dog sat on the log\n\tand the cat\n"


@cache
def learned(unit: Unit) -> Tokenizer:
    return fit([WORDS * 20 + END_MARK], TokenizerSettings(unit=unit))


def batch_of(rng: np.random.Generator, length: int, lanes: int, vocabulary: int) -> Batch:
    """A batch as a reader gives it: inputs follow targets, some lanes end and start anew."""
    targets = rng.integers(FIRST_PIECE, vocabulary, (length, lanes))
    targets[rng.random((length, lanes)) < 0.1] = END
    inputs = np.concatenate([rng.integers(FIRST_PIECE, vocabulary, (1, lanes)), targets[:-1]])
    inputs[inputs == END] = START
    if length > 3:
        inputs[length // 2, 0] = START  # the text of a stream begins anew after a cut that is no end
    weights = (rng.random((length, lanes)) < 0.95).astype(np.float32)
    return Batch(inputs, targets, weights, np.zeros(lanes, bool), 0.25)


@settings(max_examples=100, deadline=None)
@given(
    st.sampled_from(["char", "word", "subword"]),
    st.integers(0, 1 << 30),
    st.integers(1, 40),
    st.integers(1, 5),
    st.sampled_from([0.01, 0.1]),
)
def test_spellings_keep_everything_but_what_they_spell(
    unit: Unit, seed: int, length: int, lanes: int, rate: float
) -> None:
    tokenizer = learned(unit)
    batch = batch_of(np.random.default_rng(seed), length, lanes, tokenizer.size)
    before = Batch(batch.inputs.copy(), batch.targets.copy(), batch.weights.copy(), batch.fresh.copy(), batch.epoch)
    spelled = UnseenSpellings(tokenizer, rate, seed, pool=64).apply(batch, seed % 1000)
    assert same(batch, before)
    assert np.array_equal(spelled.weights, batch.weights) and np.array_equal(spelled.fresh, batch.fresh)
    assert spelled.epoch == batch.epoch and spelled.targets.shape == batch.targets.shape
    assert np.array_equal(spelled.targets == END, batch.targets == END)
    assert np.array_equal(spelled.inputs == START, batch.inputs == START)
    changed = spelled.targets != batch.targets
    assert ((spelled.targets[changed] >= FIRST_BYTE) & (spelled.targets[changed] < FIRST_PIECE)).all()
    assert (batch.weights[changed] == 1).all()
    follows = batch.inputs[1:] == batch.targets[:-1]
    assert np.array_equal(spelled.inputs[1:][follows], spelled.targets[:-1][follows])
    assert np.array_equal(spelled.inputs[0], batch.inputs[0])


def test_spellings_are_a_pure_function_of_seed_and_step() -> None:
    tokenizer = learned("char")
    batch = batch_of(np.random.default_rng(0), 64, 8, tokenizer.size)
    one, again = (UnseenSpellings(tokenizer, 0.05, seed=3, pool=64) for _ in range(2))
    for step in (5, 0, 5, 1 << 40):
        assert same(one.apply(batch, step), again.apply(batch, step))
    assert same(one.apply(batch, 5), again.apply(batch, 5))
    assert not same(one.apply(batch, 5), one.apply(batch, 6))
    assert not same(one.apply(batch, 5), UnseenSpellings(tokenizer, 0.05, seed=4, pool=64).apply(batch, 5))


def test_spellings_come_at_about_the_rate_asked_for() -> None:
    tokenizer = learned("char")
    targets = np.full((200, 50), FIRST_PIECE)
    batch = Batch(targets.copy(), targets, np.ones(targets.shape, np.float32), np.zeros(50, bool), 0.0)
    spelled = UnseenSpellings(tokenizer, 0.01, seed=1).apply(batch, 0)
    data = bytes(token - FIRST_BYTE for token in spelled.targets[spelled.targets < FIRST_PIECE].tolist())
    leads = sum(not 0x80 <= byte < 0xC0 for byte in data)
    assert 60 < leads < 140  # of 10,000 tokens; some spellings fall on others, or over the edge


def test_no_spellings_are_drawn_at_rate_zero() -> None:
    batch = batch_of(np.random.default_rng(0), 20, 4, 300)
    assert UnseenSpellings(learned("char"), 0.0, seed=1).apply(batch, 3) is batch


@pytest.mark.parametrize("unit", ["char", "word", "subword"])
def test_spellings_are_those_that_the_tokenizer_gives_to_what_it_lacks(unit: Unit) -> None:
    tokenizer = learned(unit)
    pool = UnseenSpellings(tokenizer, 0.01, seed=1, pool=1500).pool
    assert len(pool) > 1000
    begin = tokenizer.encode("cat\t").tolist()
    wrong = []
    for spelling in pool:
        text = bytes(token - FIRST_BYTE for token in spelling).decode()
        if tokenizer.encode("cat\t" + text).tolist() != [*begin, *spelling]:
            wrong.append(text)
    assert wrong == []


def test_a_spelling_that_falls_on_another_leaves_whole_characters() -> None:
    tokenizer = learned("char")
    targets = np.full((60, 4), FIRST_PIECE)
    batch = Batch(targets.copy(), targets, np.ones(targets.shape, np.float32), np.zeros(4, bool), 0.0)
    spellings = UnseenSpellings(tokenizer, 0.1, seed=1, pool=256)
    for step in range(20):
        for lane in spellings.apply(batch, step).targets.T:
            data = b"".join(tokenizer.piece_bytes[token] for token in lane.tolist())
            data.decode()  # fails where a character was cut
