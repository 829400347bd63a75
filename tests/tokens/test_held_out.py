"""What is promised of held-out text: it is chosen before a vocabulary is learned, and nothing is learned from it."""

from __future__ import annotations

import hashlib
import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seqmodel.arrays import Ranges
from seqmodel.choices import SequenceKind, Unit
from seqmodel.errors import ModelError
from seqmodel.settings import CorpusSettings, TokenizerSettings
from seqmodel.text.corpus import END_MARK, read_blocks
from seqmodel.text.sources import find_sources
from seqmodel.tokens.batches import split_store
from seqmodel.tokens.held_out import NOTHING, Places, held_apart, plan_held_out
from seqmodel.tokens.store import TokenStore, make_store, open_store
from seqmodel.tokens.tokenizer import END, FIRST_BYTE, FIRST_PIECE
from seqmodel.tokens.vocabulary_notes import LEARNED_ON_ALL, unknown_share, vocabulary_notes

KINDS: tuple[SequenceKind, ...] = ("line", "paragraph", "document", "stream")
UNITS: tuple[Unit, ...] = ("char", "word", "subword", "byte")


def numbered(kind: SequenceKind, lines: int = 600) -> str:
    """Lines, each with a character and a word of its own; blank lines between some."""
    own = (f"the cat sat {chr(0x4E00 + i)} by the sea{i}x and the cat sat on it" for i in range(lines))
    return "".join(line + ("\n\n" if kind == "paragraph" and i % 5 == 4 else "\n") for i, line in enumerate(own))


def stored(folder: Path, text: str, kind: SequenceKind = "line", unit: Unit = "char", **more: Any) -> TokenStore:
    """A store of a text, what is held out chosen first."""
    (folder / "corpus.txt").write_bytes(text.encode())
    chosen = TokenizerSettings.model_validate({"unit": unit, **more})
    make_store(folder / "x.tokens", [str(folder / "corpus.txt")], chosen, CorpusSettings(sequence=kind), hold_out=True)
    return open_store(folder / "x.tokens")


def held_out(store: TokenStore) -> Ranges:
    assert store.held_out is not None
    return store.held_out


def text_of(store: TokenStore, ranges: Ranges) -> list[str]:
    return [store.tokenizer.decode(store.ids[begin:end].tolist()) for begin, end in ranges.tolist()]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("unit", ["char", "word", "subword"])
def test_no_vocabulary_is_learned_from_what_is_held_out(unit: Unit, kind: SequenceKind, tmp_path: Path) -> None:
    store = stored(tmp_path, numbered(kind), kind, unit)
    split = split_store(store)
    assert np.array_equal(split.held_out, held_out(store))
    total = store.header.corpus_chars
    kept, train = "".join(text_of(store, split.held_out)), "".join(text_of(store, split.train))
    assert 0.03 * total < len(kept) <= 0.05 * (total + 600)
    pieces = [store.tokenizer.piece_bytes[token].decode() for token in range(FIRST_PIECE, store.tokenizer.size)]
    only = set(kept) - set(train)
    assert only and not [piece for piece in pieces if only & set(piece)]
    if unit == "word":
        words = {word for word in kept.split() if word not in train.split()}
        assert words and not words & {piece.strip() for piece in pieces}
    if unit == "char":
        ids = np.concatenate([store.ids[begin:end] for begin, end in split.held_out.tolist()])
        spelled = ((ids >= FIRST_BYTE) & (ids < FIRST_PIECE)).sum()
        assert spelled >= 3 * len(only)  # each of the characters takes three bytes


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("unit", UNITS)
def test_a_split_covers_the_text_once(unit: Unit, kind: SequenceKind, tmp_path: Path) -> None:
    store = stored(tmp_path, numbered(kind), kind, unit)
    split = split_store(store)
    ranges = sorted([*split.train.tolist(), *split.held_out.tolist()])
    assert ranges[0][0] == 0 and ranges[-1][1] == store.header.tokens
    assert all(one[1] == other[0] for one, other in pairwise(ranges))
    text = "".join(read_blocks(find_sources([str(tmp_path / "corpus.txt")]), CorpusSettings(sequence=kind)))
    assert store.ids[:].tolist() == store.tokenizer.encode(text).tolist()
    if kind != "stream":
        assert set(split.held_out[:, 1].tolist()) <= set(store.ends[:].tolist())


@pytest.mark.parametrize("kind", KINDS)
def test_every_unit_holds_out_the_same_text(kind: SequenceKind, tmp_path: Path) -> None:
    text = numbered(kind)
    kept = {}
    for unit in UNITS:
        store = stored(tmp_path, text, kind, unit)
        kept[unit] = text_of(store, held_out(store))
    assert kept["char"] == kept["byte"] and kept["word"] == kept["subword"]
    assert kept["char"] == kept["word"] or kind == "stream"  # whose stretches have a length in tokens


def test_a_tokenizer_from_elsewhere_holds_out_the_same_text(tmp_path: Path) -> None:
    """So that a run that goes on from a bundle does not train on what the bundle's run held out."""
    first = stored(tmp_path, numbered("line"), "line", "word")
    again = tmp_path / "again.tokens"
    corpus = [str(tmp_path / "corpus.txt")]
    make_store(again, corpus, TokenizerSettings(), CorpusSettings(), first.tokenizer, hold_out=True)
    assert np.array_equal(held_out(open_store(again)), held_out(first))


def test_a_store_made_twice_has_the_same_bytes(tmp_path: Path) -> None:
    one = stored(tmp_path, numbered("stream"), "stream", "word").path.read_bytes()
    assert stored(tmp_path, numbered("stream"), "stream", "word").path.read_bytes() == one


def test_too_little_text_holds_nothing_out(tmp_path: Path) -> None:
    store = stored(tmp_path, "a few words\n" * 3)
    assert held_out(store).shape == (0, 2) and len(split_store(store).train)


@pytest.mark.parametrize("ranges", [[[5, 4]], [[4, 8], [6, 9]], [[0, 1 << 40]], [[-4, 8]], [[1, 9], [9, 14]]])
def test_ranges_that_cannot_be_are_a_model_error(ranges: list[list[int]], tmp_path: Path) -> None:
    store = stored(tmp_path, numbered("line", 100))
    raw = store.path.read_bytes()
    head, body = raw[:8], raw[8 + 4096 :]
    body = body[: -16 * len(held_out(store))] + np.array(ranges, "<i8").tobytes()
    fields = json.loads(raw[8 : 8 + 4096]) | {"digest": "", "held_out_ranges": len(ranges)}
    own = json.dumps(fields, separators=(",", ":")).encode()
    fields["digest"] = hashlib.sha256(own + hashlib.sha256(body).digest()).hexdigest()
    store.path.write_bytes(head + json.dumps(fields).encode().ljust(4096) + body)
    with pytest.raises(ModelError, match="damaged"):
        open_store(store.path)


# Text held apart


words = st.text(st.sampled_from("ab é"), max_size=9)
lines = st.lists(words, min_size=1, max_size=60)


@settings(max_examples=150, deadline=None)
@given(lines, st.data())
def test_text_held_apart_is_the_text_however_it_comes_in_blocks(lines: list[str], data: st.DataObject) -> None:
    whole = [line + "\n" for line in lines]
    text = "".join(whole) + END_MARK
    length = data.draw(st.integers(1, 12))
    gap = data.draw(st.integers(2 * length, 40))
    begins = np.arange(data.draw(st.integers(0, 20)), max(1, len(text) - 2 * length), gap, dtype=np.int64)
    places = Places(begins, np.full(len(begins), length, np.int64), data.draw(st.integers(1, length)))
    one = list(held_apart([text], places))
    assert "".join(part.text for part in one) == text
    assert sum(len(part.text) for part in one if part.held_out) <= length * len(begins)
    cuts = sorted(data.draw(st.sets(st.integers(1, max(1, len(whole) - 1)))))
    groups = [whole[begin:end] for begin, end in pairwise([0, *cuts, len(whole)])]
    some = list(held_apart([*("".join(group) for group in groups if group), END_MARK], places))
    assert marked(some) == marked(one)


def marked(parts: list[Any]) -> list[tuple[str, bool]]:
    return [(char, part.held_out) for part in parts for char in part.text]


def test_a_stretch_begins_at_a_line_start_or_else_a_blank_and_ends_before_a_blank() -> None:
    def held(text: str, begin: int, length: int, reach: int) -> list[str]:
        places = Places(np.array([begin]), np.array([length]), reach)
        return [part.text for part in held_apart([text], places) if part.held_out]

    assert held("one two\nthree four five\nsix\n", 5, 11, 11) == ["three four"]
    assert held("one two\nthree four five\nsix\n", 8, 11, 11) == ["three four"]
    assert held("one two three four five six", 5, 11, 11) == [" three four"]
    assert held("one two three four five six", 5, 12, 12) == [" three four"]
    assert held("one two\nthree", 5, 9, 9) == ["three"]
    assert held("abcdefghijklmnop", 5, 4, 4) == ["fghi"]


def test_held_out_sequences_are_spread_over_the_corpus_and_bounded(tmp_path: Path) -> None:
    blocks = ["abcd" + END_MARK] * 1000
    places = plan_held_out(blocks, "line", "char", tmp_path)
    assert (places.begins // 100 == np.arange(50)).all() and (places.lengths == 5).all() and not places.reach
    many = plan_held_out(["日本語だ" + END_MARK] * 400_000, "line", "char", tmp_path)
    assert 0.9 * 200_000 < 13 * len(many.begins) <= 200_000
    assert plan_held_out(["ab" + END_MARK], "line", "char", tmp_path) is NOTHING


# Notes


def test_words_that_do_not_recur_are_told_of(tmp_path: Path) -> None:
    lines = "".join("".join(chr(0x4E00 + (i * k) % 97) for k in range(3, 11)) + f"{i}\n" for i in range(800))
    store = stored(tmp_path, lines, unit="word")
    assert unknown_share(store, held_out(store)) == 1.0
    (note,) = vocabulary_notes(store, held_out(store), own=store)
    assert note.startswith("100% of the held-out text is words that the vocabulary lacks") and "--unit char" in note
    assert vocabulary_notes(stored(tmp_path, lines, unit="char"), held_out(store)) == []


@pytest.mark.parametrize("closed", [False, True])
def test_words_that_recur_are_not(closed: bool, tmp_path: Path) -> None:
    store = stored(tmp_path, numbered("line"), unit="word", closed=closed)
    # Two of a line's thirteen words are of that line only: a character of three bytes, and "sea" with one to three
    # digits and an "x". The other eleven words have 30 letters.
    share = unknown_share(store, held_out(store))
    assert share == pytest.approx(2 / 13) if closed else 8 / 38 <= share <= 10 / 40
    assert vocabulary_notes(store, held_out(store), own=store) == []


def test_a_store_that_holds_nothing_out_says_that_its_vocabulary_knows_all(tmp_path: Path) -> None:
    (tmp_path / "corpus.txt").write_text(numbered("line"))
    corpus, path = [str(tmp_path / "corpus.txt")], tmp_path / "old.tokens"
    make_store(path, corpus, TokenizerSettings(unit="word"), CorpusSettings())
    old = open_store(path)
    held = split_store(old).held_out
    assert old.held_out is None and len(held) and (np.asarray(old.ids[held[0, 1] - 1]) == END)
    assert vocabulary_notes(old, held, own=old) == [LEARNED_ON_ALL]
    make_store(tmp_path / "b.tokens", corpus, TokenizerSettings(), CorpusSettings(), old.tokenizer)
    assert vocabulary_notes(old, held, own=open_store(tmp_path / "b.tokens")) == []  # another text's vocabulary
    make_store(path, corpus, TokenizerSettings(unit="byte"), CorpusSettings())
    assert vocabulary_notes(open_store(path), held, own=open_store(path)) == []
