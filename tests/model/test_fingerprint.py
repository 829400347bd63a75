"""The filter never misses what the training text has, and errs no more often than it says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seqmodel.config import CorpusSettings, TokenizerSettings
from seqmodel.inference.novelty import copying
from seqmodel.kinds import SequenceKind, Unit
from seqmodel.model import fingerprint
from seqmodel.model.fingerprint import WINDOWS, Fingerprint, build_fingerprint
from seqmodel.tokens.store import TokenStore, make_store, open_store
from seqmodel.tokens.tokenizer import END, START

LINES = ["the cat sat on the mat by the door", "a dog", "anna", "the cat ran", "by the door a dog sat and sat and sat"]


@pytest.fixture
def made(tmp_path: Path) -> Callable[..., TokenStore]:
    def make(lines: list[str], unit: Unit = "char", kind: SequenceKind = "line") -> TokenStore:
        (tmp_path / "c.txt").write_text("\n".join(lines) + "\n")
        path = tmp_path / "c.tokens"
        make_store(path, (str(tmp_path / "c.txt"),), TokenizerSettings(unit=unit), CorpusSettings(sequence=kind))
        return open_store(path)

    return make


def whole(store: TokenStore) -> np.ndarray[tuple[int, int], np.dtype[np.int64]]:
    return np.array([[0, len(store.ids)]])


def windows(sequence: list[int], size: int) -> list[tuple[int, ...]]:
    """The last tokens at each place, the start symbol standing for what comes before."""
    padded = [START] * (size - 1) + sequence
    return [tuple(padded[i : i + size]) for i in range(len(sequence))]


@pytest.mark.parametrize("unit", ["char", "word", "subword", "byte"])
@pytest.mark.parametrize("chunk", [1, 7, 1 << 18])
def test_every_window_of_the_text_is_known_and_hardly_another(
    unit: Unit, chunk: int, made: Callable[..., TokenStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fingerprint, "_CHUNK", chunk)
    store = made(LINES * 3, unit)
    found = build_fingerprint(store, whole(store), 1 << 13)
    seen = {window for line in LINES for window in windows([*store.tokenizer.encode(line), END], WINDOWS[unit])}
    random = np.random.default_rng(1)
    others = 0
    for _ in range(200):
        ids = random.choice(np.unique(store.ids), 12).astype(np.int64)
        for hit, window in zip(found.has(ids), windows(ids.tolist(), WINDOWS[unit]), strict=True):
            assert hit or window not in seen
            others += bool(hit) and window not in seen
    for line in LINES:
        assert found.has(np.append(store.tokenizer.encode(line), END).astype(np.int64)).all()
    assert others <= 2400 * (found.false_positives * 3) + 2


def test_what_is_outside_the_ranges_is_not_in_the_filter(made: Callable[..., TokenStore]) -> None:
    store = made(["abcdefghijklmnopqrstuvwxyz" * 3], kind="stream")
    found = build_fingerprint(store, np.array([[30, 60]]), 1 << 12)
    ids = np.asarray(store.ids).astype(np.int64)
    known = found.has(ids[: len(ids)])
    alphabet = set(range(30 + 15, 60)) | {at for at in range(len(ids)) if at % 26 in {n % 26 for n in range(45, 60)}}
    assert all(known[at] for at in range(45, 60))
    assert not [at for at in range(len(ids)) if known[at] and at not in alphabet]


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
        ("", "the cat sang", 10, False),  # as a beginning goes
        ("", "zzzz the cat sat on the mat zzzz", len("the cat sat on the mat "), False),
        ("", "mmmm mat by mmmm", 0, False),  # shorter than a window
        ("the c", "at ran", 6, True),
        ("zzz the cat sat on", " the mat by zz", len(" the mat by "), False),
    ],
)
def test_the_longest_copy_by_hand(
    prefix: str, text: str, chars: int, is_whole: bool, made: Callable[..., TokenStore]
) -> None:
    store = made([*LINES, "z"])
    found = build_fingerprint(store, whole(store), 1 << 16)
    before = np.append([START], store.tokenizer.encode(prefix)).astype(np.int64)
    ids = np.append(store.tokenizer.encode(text), END).astype(np.int64)
    result = copying(found, store.tokenizer, before, ids, len(prefix))
    assert (result.chars, result.is_whole) == (chars, is_whole)


@settings(max_examples=40, deadline=None)
@given(
    before=st.text("xyz", max_size=20),
    span=st.tuples(st.integers(3, 30), st.integers(16, 40)),
    after=st.text("xyz", max_size=20),
    given_chars=st.integers(0, 30),
)
def test_the_longest_copy_is_told_in_characters(
    before: str, span: tuple[int, int], after: str, given_chars: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("copy")
    text = "q" + "".join(np.random.default_rng(5).choice(list("abcdefgh"), 80)) + "xyz"
    (folder / "c.txt").write_text(text + "\n")
    make_store(folder / "c.tokens", (str(folder / "c.txt"),), TokenizerSettings(), CorpusSettings())
    store = open_store(folder / "c.tokens")
    found = build_fingerprint(store, whole(store), 1 << 16)
    copied = text[span[0] : sum(span)]
    said = "x" + before + copied + after  # no sequence begins with x, and of its letters the text has but the last
    prefix = min(given_chars, len(said))
    ids = store.tokenizer.encode(said).astype(np.int64)
    given_ids, new = np.append(START, ids[:prefix]), ids[prefix:]
    begin = 1 + len(before)
    expected = begin + len(copied) - max(begin, prefix) if prefix < begin + len(copied) else 0
    assert copying(found, store.tokenizer, given_ids, new, prefix).chars == expected
