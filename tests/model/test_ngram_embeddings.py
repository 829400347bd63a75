"""The index of n-grams against a dictionary of tuples."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seqmodel.arrays import Ids
from seqmodel.model.ngram_embeddings import NO_ROW, NgramIndex, build_index, next_history, ngram_keys, possible_orders
from seqmodel.settings import CorpusSettings, TokenizerSettings
from seqmodel.tokens.batches import whole_store
from seqmodel.tokens.store import TokenStore, make_store, open_store
from seqmodel.tokens.tokenizer import END, START, UNKNOWN

VOCABULARY = 6
ORDERS = (2, 3, 4)


def tuples_at(inputs: list[int], before: list[int], order: int) -> list[tuple[int, ...]]:
    """The n-gram (oldest first) that ends at each input; what lies before a start is start."""
    found = []
    for at in range(len(inputs)):
        tokens = [*before, *inputs[: at + 1]][-order:]
        for place in range(len(tokens) - 1, -1, -1):
            if tokens[place] == START:
                tokens[:place] = [START] * place
                break
        found.append(tuple(tokens))
    return found


def as_key(gram: tuple[int, ...], vocabulary: int) -> int:
    return sum(token * vocabulary**distance for distance, token in enumerate(reversed(gram)))


def as_tuple(key: int, order: int, vocabulary: int) -> tuple[int, ...]:
    return tuple(key // vocabulary**distance % vocabulary for distance in range(order - 1, -1, -1))


ids = st.integers(0, VOCABULARY - 1)
lanes_of_ids = st.integers(1, 3).flatmap(
    lambda lanes: st.lists(st.lists(ids, min_size=lanes, max_size=lanes), min_size=1, max_size=14)
)
key_sets = st.tuples(*(st.sets(st.integers(0, VOCABULARY**order - 1), max_size=200) for order in ORDERS))


@given(lanes_of_ids, key_sets, st.data())
@settings(max_examples=150, deadline=None)
def test_rows_are_those_of_a_dictionary_of_tuples_whatever_the_segments(
    rows_of_ids: list[list[int]], keys: tuple[set[int], ...], data: st.DataObject
) -> None:
    inputs = np.array(rows_of_ids, np.int64)
    index = NgramIndex(VOCABULARY, ORDERS, tuple(np.array(sorted(some), np.int64) for some in keys))
    table: dict[tuple[int, ...], int] = {}
    for order, some in zip(ORDERS, keys, strict=True):
        for key in sorted(some):
            table[as_tuple(key, order, VOCABULARY)] = len(table) + 1
    assert index.rows == len(table) + 1
    before = [data.draw(st.lists(ids, min_size=3, max_size=3)) for _ in range(inputs.shape[1])]
    history = np.array(before, np.int64).T
    cuts = sorted(data.draw(st.sets(st.integers(1, max(1, len(inputs) - 1)), max_size=4)))
    parts = []
    for part in np.split(inputs, cuts):
        parts.append(index.find(part, history))
        history = next_history(part, history)
    found = np.concatenate(parts)
    assert found.shape == (*inputs.shape, len(ORDERS))
    for lane in range(inputs.shape[1]):
        for slot, order in enumerate(ORDERS):
            grams = tuples_at(inputs[:, lane].tolist(), before[lane], order)
            assert found[:, lane, slot].tolist() == [table.get(gram, NO_ROW) for gram in grams]


def test_what_precedes_a_start_does_not_matter() -> None:
    index = NgramIndex(VOCABULARY, ORDERS, tuple(np.arange(VOCABULARY**order) for order in ORDERS))
    alone = np.array([START, 4, 5, 3, 3])[:, None]
    fresh = np.full((3, 1), UNKNOWN, np.int64)
    expected = index.find(alone, fresh)
    for before in ([2, 3, 4], [START, 5, 5], [3, START, 3]):
        assert (index.find(alone, np.array(before)[:, None]) == expected).all()
        joined = np.concatenate([np.array(before)[:, None], alone])
        assert (index.find(joined, fresh)[3:] == expected).all()


def test_the_example_in_the_documentation_holds() -> None:
    inputs = np.array([[1], [5], [6]])
    (keys,) = ngram_keys(inputs, np.full((1, 1), UNKNOWN), (2,), 10)
    assert keys[:, 0].tolist() == [11, 15, 56]


def test_without_orders_there_are_no_rows_but_the_zero_row() -> None:
    index = NgramIndex(VOCABULARY, (), ())
    assert (index.history, index.rows) == (0, 1)
    inputs = np.array([[1, 2], [3, 4]])
    empty = np.empty((0, 2), np.int64)
    assert index.find(inputs, empty).shape == (2, 2, 0)
    assert next_history(inputs, empty).shape == (0, 2)


def test_orders_are_those_whose_keys_fit_into_63_bits() -> None:
    assert possible_orders(300) == (2, 3, 4)
    assert possible_orders(1 << 20) == (2, 3)
    assert all(vocabulary**4 < 1 << 63 for vocabulary in (300, 55108) if 4 in possible_orders(vocabulary))
    assert possible_orders(55109) == (2, 3)


def test_keys_near_the_top_of_63_bits_are_found() -> None:
    vocabulary = 55108
    order = possible_orders(vocabulary)[-1]
    gram = (vocabulary - 1,) * order
    key = as_key(gram, vocabulary)
    index = NgramIndex(vocabulary, (order,), (np.array([0, key]),))
    inputs = np.array(gram)[:, None]
    assert index.find(inputs, np.full((order - 1, 1), UNKNOWN)).ravel().tolist() == [0] * (order - 1) + [2]


# Building


def store_of(folder: Path, text: str) -> TokenStore:
    (folder / "corpus.txt").write_text(text)
    make_store(folder / "x.tokens", [str(folder / "corpus.txt")], TokenizerSettings(), CorpusSettings())
    return open_store(folder / "x.tokens")


def sequences_of(store: TokenStore, ranges: Ids) -> list[list[int]]:
    """The inputs of each sequence of the ranges: start, then all tokens but the end symbol."""
    out = []
    for begin, end in ranges:
        part = np.asarray(store.ids[begin:end]).tolist()
        while part:
            stop = part.index(END)
            out.append([START, *part[:stop]])
            part = part[stop + 1 :]
    return out


def counted(sequences: list[list[int]], order: int) -> Counter[tuple[int, ...]]:
    counts: Counter[tuple[int, ...]] = Counter()
    for inputs in sequences:
        counts.update(tuples_at(inputs, [START] * order, order))
    return counts


def listed(index: NgramIndex, slot: int) -> set[tuple[int, ...]]:
    return {as_tuple(int(key), index.orders[slot], index.vocabulary) for key in index.keys[slot]}


TEXT = "".join(f"{word}\n" for word in ["abab", "abba", "b", "aab", "babab", "ab", "bbb", "abab", "ca"])


def test_the_index_lists_exactly_what_is_repeated(tmp_path: Path) -> None:
    store = store_of(tmp_path, TEXT)
    ranges = whole_store(store)
    index = build_index(store, ranges, ORDERS, 1000)
    for slot, order in enumerate(ORDERS):
        counts = counted(sequences_of(store, ranges), order)
        assert listed(index, slot) == {gram for gram, n in counts.items() if n >= 2}
        assert (np.diff(index.keys[slot]) > 0).all()


def test_when_rows_are_short_the_most_frequent_are_kept(tmp_path: Path) -> None:
    store = store_of(tmp_path, TEXT)
    ranges = whole_store(store)
    index = build_index(store, ranges, ORDERS, 9)
    assert [len(keys) for keys in index.keys] == [4, 2, 3]
    for slot, order in enumerate(ORDERS):
        counts = counted(sequences_of(store, ranges), order)
        kept = listed(index, slot)
        assert min(counts[gram] for gram in kept) >= max(n for gram, n in counts.items() if gram not in kept)


@pytest.mark.parametrize("lines", [40, 400])
def test_text_that_is_held_out_lists_nothing(lines: int, tmp_path: Path) -> None:
    """Rows that training never meets would keep their random first values."""
    store = store_of(tmp_path, "abab\nxyxyxy\n" * lines + "baba\n")
    ends = np.asarray(store.ends)
    begins = np.concatenate([[0], ends[:-1]])
    train = np.stack([begins, ends], 1)[0::2]  # every second sequence, in ranges with gaps between them
    index = build_index(store, train, (2, 3), 1000)
    allowed = {2: counted(sequences_of(store, train), 2), 3: counted(sequences_of(store, train), 3)}
    for slot, order in enumerate((2, 3)):
        real = {gram for gram in listed(index, slot) if UNKNOWN not in gram}
        assert real <= set(allowed[order])
        assert real == {gram for gram, n in allowed[order].items() if n >= 2}
