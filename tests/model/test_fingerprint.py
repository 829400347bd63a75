"""The filter never misses what the training text has, and errs no more often than it says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seqmodel.choices import SequenceKind, Unit
from seqmodel.decoding.copying import copying
from seqmodel.model import fingerprint
from seqmodel.model.fingerprint import LONGEST, Fingerprint, build_fingerprint, codes_of
from seqmodel.settings import CorpusSettings, TokenizerSettings
from seqmodel.tokens.store import TokenStore, make_store, open_store

LINES = [
    "the cat sat on the mat by the door",
    "a dog",
    "anna",
    "el ñandú 🙂🙂 sat",
    " the cat ran",
    "by the door a dog sat and sat and sat",
]


@pytest.fixture
def made(tmp_path: Path) -> Callable[..., TokenStore]:
    def make(
        lines: list[str], unit: Unit = "char", kind: SequenceKind = "line", vocabulary: int | None = None
    ) -> TokenStore:
        (tmp_path / "c.txt").write_text("\n".join(lines) + "\n")
        path = tmp_path / "c.tokens"
        tokenizer = TokenizerSettings(unit=unit, vocabulary_size=vocabulary)
        make_store(path, (str(tmp_path / "c.txt"),), tokenizer, CorpusSettings(sequence=kind))
        return open_store(path)

    return make


def whole(store: TokenStore) -> np.ndarray[tuple[int, int], np.dtype[np.int64]]:
    return np.array([[0, len(store.ids)]])


def longest_copies(text: str, training: list[str]) -> list[int]:
    """For each place of a text the longest span that ends there and stands in one of the training text's sequences."""
    return [
        max(end - begin for begin in range(end + 1) if any(text[begin:end] in each for each in training))
        for end in range(1, len(text) + 1)
    ]


UNITS = [("char", None), ("word", None), ("word", 270), ("subword", None), ("byte", None)]


@pytest.mark.parametrize(("kind", "chunk"), [("line", 1), ("stream", 7), ("line", 1 << 18)])
@pytest.mark.parametrize(("unit", "vocabulary"), UNITS)
def test_spans_are_those_of_the_text_whatever_its_tokens(
    unit: Unit,
    vocabulary: int | None,
    chunk: int,
    kind: SequenceKind,
    made: Callable[..., TokenStore],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(fingerprint, "_CHUNK", chunk)
    store = made(LINES * 2, unit, kind, vocabulary)
    found = build_fingerprint(store, whole(store), 1 << 16)
    assert found.hashes == 8 and found.false_positives < 1e-4
    training = LINES if kind == "line" else ["\n".join(LINES * 2) + "\n"]
    for text in [*LINES, "ananas sat", "zzz the cat sang ñandú!", "a dog\nanna", "🙂ú"]:
        expected = longest_copies(text, training)
        spans = found.spans(codes_of(text)).tolist()
        assert [min(span, LONGEST) for span in spans] == [min(span, LONGEST) for span in expected]
        assert all(span >= true for span, true in zip(spans, expected, strict=True))


def test_what_is_outside_the_ranges_is_not_in_the_filter(made: Callable[..., TokenStore]) -> None:
    text = "".join(np.random.default_rng(3).choice(list("abcdefgh"), 90))
    store = made([text], kind="stream")
    found = build_fingerprint(store, np.array([[10, 30], [60, 80]]), 1 << 14)
    expected = longest_copies(text, [text[10:30], text[60:80]])
    assert [min(span, LONGEST) for span in found.spans(codes_of(text))] == [min(span, LONGEST) for span in expected]


def test_how_sequences_begin_and_end_is_known_only_of_those_that_are_there(made: Callable[..., TokenStore]) -> None:
    store = made(["abcdefgh", "stuvwxyz"])
    found = build_fingerprint(store, np.array([[3, 9], [9, 15]]), 1 << 14)  # "defgh" to its end, "stuvwx" without
    assert [copying(found, "", text, True).is_whole for text in ("defgh", "stuvwx", "abcdefgh")] == [False] * 3
    both = build_fingerprint(store, whole(store), 1 << 14)
    assert [copying(both, "", text, True).is_whole for text in ("defgh", "stuvwx", "abcdefgh")] == [False, False, True]


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 3000), st.integers(1 << 8, 1 << 12))
def test_the_rate_of_false_alarms_is_the_one_told(tokens: int, size: int) -> None:
    random = np.random.default_rng(tokens)
    hashed = random.integers(0, 1 << 63, tokens, dtype=np.uint64)
    hashes = int(np.clip(round(8 * size / tokens * np.log(2)), 1, 8))
    bits = np.zeros(size, np.uint8)
    for place in fingerprint._places(hashed, hashes, size):
        np.bitwise_or.at(bits, place >> np.uint64(3), np.uint8(1) << (place & np.uint64(7)).astype(np.uint8))
    told = Fingerprint(bits, 16, hashes).false_positives
    others = random.integers(0, 1 << 63, 4000, dtype=np.uint64)
    hit = np.ones(4000, bool)
    for place in fingerprint._places(others, hashes, size):
        hit &= (bits[place >> np.uint64(3)] >> (place & np.uint64(7)).astype(np.uint8) & 1).astype(bool)
    assert abs(hit.mean() - told) < 5 * (told * (1 - told) / 4000) ** 0.5 + 0.01


@pytest.mark.parametrize(
    ("prefix", "text", "chars", "is_whole"),
    [
        ("", "anna", 4, True),
        ("", "a dog", 5, True),
        ("", "the cat sang", len("the cat sa"), False),  # the end of it is a beginning of a word
        ("", "zzzz the cat sat on the mat zzzz", len("the cat sat on the mat "), False),
        ("", "mmmm mat by mmmm", len(" mat by "), False),
        (" the c", "at ran", 6, True),
        ("the c", "at ran", 6, False),  # it begins with a blank
        ("zzz the cat sat on", " the mat by zz", len(" the mat by "), False),
        ("a d", "", 0, False),
        ("a dog", "", 0, True),
    ],
)
@pytest.mark.parametrize("unit", ["char", "subword", "word"])
def test_the_longest_copy_by_hand(
    unit: Unit, prefix: str, text: str, chars: int, is_whole: bool, made: Callable[..., TokenStore]
) -> None:
    store = made([*LINES, "z"], unit)
    found = build_fingerprint(store, whole(store), 1 << 16)
    result = copying(found, prefix, text, ends=True)
    assert (result.chars, result.is_whole) == (chars, is_whole)
    assert not copying(found, prefix, text, ends=False).is_whole
