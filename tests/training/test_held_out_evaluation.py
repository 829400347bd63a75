"""The final figures: the unigram baseline against a count by hand, and what an event says of them."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seqmodel.choices import SequenceKind, Unit
from seqmodel.model.bundle import HeldOut
from seqmodel.scoring.lines import LineContext, LineScore, score_lines
from seqmodel.settings import CorpusSettings, TokenizerSettings
from seqmodel.text.corpus import read_lines
from seqmodel.text.sources import Source
from seqmodel.tokens.batches import split_tokens
from seqmodel.tokens.store import make_store, open_store
from seqmodel.tokens.tokenizer import END, START, never_predicted
from seqmodel.training import held_out_evaluation as final
from seqmodel.training.held_out_evaluation import ExpertScores, evaluated, held_out_lines, per_unit, unigram_bits
from seqmodel.training.training_data import TrainingData
from tests.conftest import little_text
from tests.scoring.test_tokens import Remembering


def data_of(folder: Path, sequence: SequenceKind, closed: bool = False) -> TrainingData:
    (folder / "corpus.txt").write_text(little_text())
    tokenizer = TokenizerSettings(unit="word" if closed else "char", closed=closed)
    make_store(folder / "x.tokens", [str(folder / "corpus.txt")], tokenizer, CorpusSettings(sequence=sequence))
    store = open_store(folder / "x.tokens")
    split = split_tokens(store, 0.1, 100_000)
    return TrainingData(store, split.train, store, split.held_out)


@pytest.mark.parametrize(("sequence", "closed"), [("line", False), ("stream", False), ("line", True)])
def test_the_unigram_baseline_is_what_counting_by_hand_gives(
    sequence: SequenceKind, closed: bool, tmp_path: Path
) -> None:
    data = data_of(tmp_path, sequence, closed)
    ids = data.store.ids[:].tolist()
    train, held_out = (
        [token for begin, end in ranges.tolist() for token in ids[begin:end] if sequence == "line" or token != END]
        for ranges in (data.train, data.held_out)
    )
    counts = Counter(train)
    possible = data.store.header.vocabulary - len(never_predicted(sequence == "line", closed))
    total = len(train) + possible
    bits = math.fsum(-math.log2((counts[token] + 1) / total) for token in held_out)
    assert (END in held_out) == (sequence == "line")
    assert unigram_bits(data) == pytest.approx(bits, rel=1e-12)


@pytest.mark.parametrize("at_once", [1, 7, 1 << 20])
def test_tokens_are_counted_whole_however_they_are_read(at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(final, "_COUNTED_AT_ONCE", at_once)
    ids, ranges = np.arange(50, dtype=np.uint16) % 5, np.array([[0, 3], [10, 31], [49, 50]])
    expected = Counter(ids[position] for begin, end in ranges.tolist() for position in range(begin, end))
    assert final._token_counts(ids, ranges, 6).tolist() == [expected[token] for token in range(6)]
    assert final._token_counts(ids, np.empty((0, 2), np.int64), 3).tolist() == [0, 0, 0]


def test_of_a_large_text_a_part_of_each_range_is_counted() -> None:
    ids = np.repeat(np.arange(4, dtype=np.uint16), 100)
    ranges = np.array([[0, 100], [100, 200], [200, 300], [300, 400]])
    assert final._token_counts(ids, ranges, 4, most=80).tolist() == [20, 20, 20, 20]
    assert final._token_counts(ids, ranges, 4, most=2).tolist() == [1, 1, 1, 1]


def scores_of(recurrence: Any, counts: Any, stretches: int = 40) -> ExpertScores:
    stretch = np.arange(len(recurrence)) * stretches // len(recurrence)
    return ExpertScores(recurrence, counts, np.arange(len(recurrence)) % 7, stretch)


def test_an_expert_that_is_better_alone_gets_the_mixture() -> None:
    """The counts are of use by chance in a few places: weights fitted there lose elsewhere."""
    random = np.random.default_rng(3)
    recurrence = np.full(700, 0.5)
    counts = np.where(random.random(700) < 0.05, 0.9, 0.47)
    alone = -np.log2(recurrence).sum()
    for experts, share in (((recurrence, counts * 0.9), 1.0), ((counts * 0.9, recurrence), 0.0)):
        weights, bits = final._fitted(scores_of(*experts), 7)
        assert bits.sum() <= alone + 0.2
        assert weights == pytest.approx(np.full(7, share), abs=1e-3)


HELD_OUT = HeldOut(
    sequences=2, tokens=8, chars=16, bits=24.0, recurrence_bits=28.0, counts_bits=32.0, unigram_bits=48.0
)


def test_the_event_tells_bits_per_char() -> None:
    event = evaluated(HELD_OUT, "char", 2.0)
    assert (event.bits_per_char, event.bits) == (1.5, 1.5)
    assert (event.recurrence, event.counts, event.unigram) == (1.75, 2.0, 3.0)
    assert (event.perplexity, event.tokens, event.elapsed) == (8.0, 8, 2.0)


def test_the_event_tells_bits_per_token_where_characters_are_lost() -> None:
    event = evaluated(HELD_OUT, "token", 2.0)
    assert event.bits_per_char is None and event.bits == pytest.approx(3.0)
    assert (event.recurrence, event.counts, event.unigram) == (3.5, 4.0, 6.0)


def test_what_there_is_not_is_none() -> None:
    event = evaluated(HeldOut(sequences=1, tokens=8, chars=8, bits=8.0), "char", 0.0)
    assert (event.recurrence, event.counts, event.unigram) == (None, None, None)


def test_a_closed_vocabulary_is_told_per_token(tmp_path: Path) -> None:
    assert per_unit(data_of(tmp_path, "line", closed=True)) == "token"
    assert per_unit(data_of(tmp_path, "line")) == "char"


# Lines of the held-out text

TEXT = "cat dog\n\n anna  boil\tkite\n\nZürich\r\n   \nthe cat\nfar ✓\n" * 4 + "cat, dog 🐟"


def data_and_rows(
    folder: Path, kind: SequenceKind, unit: Unit, closed: bool = False
) -> tuple[TrainingData, list[LineScore]]:
    """All of a text as held-out text, and what `score` makes of its lines."""
    corpus = CorpusSettings(sequence=kind, keep_blank=True)
    path = folder / "corpus.txt"
    path.write_bytes(TEXT.encode())
    make_store(folder / "x.tokens", [str(path)], TokenizerSettings(unit=unit, closed=closed), corpus)
    store = open_store(folder / "x.tokens")
    everything = np.array([[0, store.header.tokens]])
    model = Remembering(store.tokenizer.size, (START, END) if kind == "stream" else (START,))
    batches = read_lines(Source("corpus.txt", path), corpus)
    rows = [row for rows in score_lines(model, store.tokenizer, LineContext(kind), batches) for row in rows]
    return TrainingData(store, everything[:0], store, everything), rows


def bits_of(rows: list[LineScore]) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    return np.concatenate([row.scores.bits for row in rows])


@pytest.mark.parametrize("unit", ["char", "word", "subword", "byte"])
@pytest.mark.parametrize("kind", ["line", "paragraph", "document", "stream"])
def test_held_out_lines_are_those_that_score_would_tell_of(kind: SequenceKind, unit: Unit, tmp_path: Path) -> None:
    data, rows = data_and_rows(tmp_path, kind, unit)
    bits, lengths = held_out_lines(data, bits_of(rows))
    told = [row for row in rows if row.text and len(row.ids)]
    assert lengths.tolist() == [len(row.text) for row in told]
    assert bits.tolist() == pytest.approx([row.bits for row in told])
    assert len(told) == len(TEXT.split("\n")) - 8 - 4 * (kind == "paragraph")


@pytest.mark.parametrize("kind", ["line", "stream"])
def test_in_a_closed_vocabulary_lines_are_as_long_as_they_have_tokens(kind: SequenceKind, tmp_path: Path) -> None:
    data, rows = data_and_rows(tmp_path, kind, "word", closed=True)
    bits, lengths = held_out_lines(data, bits_of(rows))
    told = [row for row in rows if row.text.strip()]
    assert lengths.tolist() == [len(row.ids) for row in told]
    assert bits.tolist() == pytest.approx([row.bits for row in told])


def test_lines_that_a_stretch_cuts_are_left_out(tmp_path: Path) -> None:
    data, rows = data_and_rows(tmp_path, "stream", "char")
    all_bits = bits_of(rows)
    ends = np.cumsum([len(row.ids) for row in rows]).tolist()
    ends[-1] += 1  # its end symbol, without which the last line is not known to be whole
    starts = [0, *ends[:-1]]
    total = data.store.header.tokens

    @given(st.lists(st.integers(0, total), min_size=2, max_size=6, unique=True).map(sorted))
    @settings(max_examples=100, deadline=None)
    def check(cuts: list[int]) -> None:
        ranges = np.array(cuts[: len(cuts) // 2 * 2]).reshape(-1, 2)
        held_out = TrainingData(data.store, data.train, data.store, ranges)
        bits, lengths = held_out_lines(held_out, np.concatenate([all_bits[a:b] for a, b in ranges.tolist()]))
        inside = [
            row
            for a, b in ranges.tolist()
            for row, start, end in zip(rows, starts, ends, strict=True)
            if a <= start and end <= b and row.text
        ]
        assert lengths.tolist() == [len(row.text) for row in inside]
        assert bits.tolist() == pytest.approx([row.bits for row in inside])

    check()
