"""Sets of characters count what UTF-8 makes of them; those of a training text are what it holds, however spelled."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seqmodel.choices import SequenceKind, Unit
from seqmodel.settings import CorpusSettings, TokenizerSettings
from seqmodel.tokens import characters
from seqmodel.tokens.characters import EVERYTHING, Characters, are_characters, training_characters, union
from seqmodel.tokens.fitting import fit, vocabulary_proto
from seqmodel.tokens.store import make_store, open_store
from seqmodel.tokens.tokenizer import END, Tokenizer

UNITS: tuple[Unit, ...] = ("char", "word", "subword", "byte")
SOME = st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from("ab\x7f\x80\u07ff\u0800\ud7ff\ue000\uffff🙂"))


@given(SOME, st.binary(max_size=4))
def test_characters_are_counted_by_how_they_begin(text: str, prefix: bytes) -> None:
    for beginning in (prefix, text.encode()[:2], text[-1:].encode()[:-1]):
        expected = sum(char.encode().startswith(beginning) for char in set(text))
        assert Characters.of(text).count(beginning) == expected


@pytest.mark.parametrize("length", [1, 2])
def test_all_characters_are_counted(length: int) -> None:
    found = dict[bytes, int]()
    for code in [*range(0xD800), *range(0xE000, 0x110000)]:
        beginning = chr(code).encode()[:length]
        found[beginning] = found.get(beginning, 0) + 1
    for number in range(256**length):
        prefix = number.to_bytes(length)
        assert EVERYTHING.count(prefix) == found.get(prefix, 0)


@given(SOME, SOME)
def test_sets_of_characters(one: str, other: str) -> None:
    first, second = Characters.of(one), Characters.of(other)
    assert len(first) == len(set(one)) and all(char in first for char in one)
    assert all((char in first) == (char in one) for char in other + "aß🙂")
    both = union(first, second)
    assert both is not None and np.array_equal(both.runs, Characters.of(one + other).runs)
    assert union(first, None) is None
    assert not one or are_characters(first.runs, with_strays=False)
    texts = [one, other, "", one + other, other[:1]]
    assert first.has_all_of(texts).tolist() == [set(text) <= set(one) for text in texts]


def found_in(text: str, unit: Unit, folder: Path, sequence: SequenceKind) -> set[str]:
    """The characters that are found in the tokens of a text."""
    path = folder / "corpus.txt"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    make_store(folder / "x.tokens", [str(path)], TokenizerSettings(unit=unit), CorpusSettings(sequence=sequence))
    store = open_store(folder / "x.tokens")
    found = training_characters(store.tokenizer, store.ids, np.array([[0, store.header.tokens]]))
    return {chr(code) for low, high in found.runs.tolist() for code in range(low, high)}


RARE = "the cat\nsat on it, é日 once\n\tthe cat\n" + "the cat sat\n" * 40 + "🙂 and\u00a0never again\u2028\n"


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("part", [1, 7, 1 << 20])
@pytest.mark.parametrize("sequence", ["line", "stream"])
def test_all_that_a_text_holds_is_found(
    unit: Unit, part: int, sequence: SequenceKind, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(characters, "_CHUNK", part)
    expected = set(RARE) if sequence == "stream" else set(RARE) - {"\n"}
    assert found_in(RARE, unit, tmp_path, sequence) == expected


@pytest.mark.parametrize("unit", ["word", "subword"])
@pytest.mark.parametrize("line", ["", "a b", " a", "a ", "\u00a0a"])
def test_a_blank_that_only_stands_virtually_before_words_is_none(unit: Unit, line: str, tmp_path: Path) -> None:
    text = "cat\ndog\nbird\n" * 20 + line + "\n"
    assert found_in(text, unit, tmp_path, "line") == set("catdogbird" + line)
    assert found_in(text, unit, tmp_path, "stream") == set("catdogbird\n" + line)


def test_bytes_of_no_character_are_found_as_such(tmp_path: Path) -> None:
    text = "aé\udce9b\n\udce2\udc82\n\udcac"  # the bytes of a euro sign, cut by a newline
    assert found_in(text, "byte", tmp_path, "stream") == set(text)
    assert found_in(text, "byte", tmp_path, "line") == set(text) - {"\n"}


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 40), max_size=6))
def test_of_a_character_that_is_cut_nothing_is_found(cuts: list[int]) -> None:
    """What is held out is not trained on, nor is what its neighbours would spell with it left out."""
    tokenizer = Tokenizer(vocabulary_proto(["a"], word=False), "char")
    ids = np.append(tokenizer.encode("aé日a🙂" * 3), END)
    bounds = sorted({min(cut, len(ids)) for cut in cuts})
    ranges = np.array(list(zip(bounds[::2], bounds[1::2], strict=False)), np.int64).reshape(-1, 2)
    found = training_characters(tokenizer, ids, ranges)
    data = [b"".join(tokenizer.piece_bytes[token] for token in ids[begin:end]) for begin, end in ranges.tolist()]
    assert np.array_equal(found.runs, Characters.of("".join(one.decode("utf-8", "ignore") for one in data)).runs)


def test_the_vocabulary_may_hold_more_than_the_text() -> None:
    tokenizer = fit(["abc abc xyz xyz\n"], TokenizerSettings(unit="word"))
    found = training_characters(tokenizer, tokenizer.encode("abc abc"), np.array([[0, 2]]))
    assert np.array_equal(found.runs, Characters.of("abc ").runs)
