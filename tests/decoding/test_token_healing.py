"""Where a text goes on: held against the sum over all token sequences that spell it and more."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from copy import copy
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seqmodel.arrays import Floats, Ids
from seqmodel.choices import Unit
from seqmodel.decoding import token_healing as openings
from seqmodel.decoding.token_healing import Opening, PieceIndex, PrefixReader, Trail
from seqmodel.decoding.token_masks import SequenceForm, Speller, Spelling
from seqmodel.errors import DataError
from seqmodel.settings import TokenizerSettings
from seqmodel.tokens.fitting import fit, vocabulary_proto
from seqmodel.tokens.tokenizer import END, FIRST_BYTE, FIRST_PIECE, START, UNKNOWN, Tokenizer
from tests.decoding.test_generation import UNITS, tokenizer_for
from tests.scoring.test_tokens import Remembering

PREFIXES = ["", "t", "th", "the c", "the ", "the  ", " ", "  t", "é", "日", "the é", "xyz", "x🙂", "thex", "a\u00a0i"]
PREFIXES += ["\n", "the\n", "the\n t", "the\nca", "the\t", "\td", "a ba", "aba", "mat\u2028to", "日é", "the\x00", "▁"]

State = list[tuple[npt.NDArray[np.uint64], Speller]]


class Spelled:
    """Depends on every token so far, and gives no probability to what a speller forbids: none leaks from the texts."""

    def __init__(self, tokenizer: Tokenizer, ends: bool = True, support: Iterable[int] | None = None) -> None:
        self.inner = Remembering(tokenizer.size, (START, UNKNOWN))
        self.vocabulary = tokenizer.size
        self.spelling = Spelling(tokenizer, SequenceForm(ends))
        self.support = np.ones(tokenizer.size, bool)
        if support is not None:
            self.support[:] = False
            self.support[list(support)] = True
        self.read = 0  # tokens

    def start(self, lanes: int) -> State:
        return [(self.inner.start(1), Speller(self.spelling)) for _ in range(lanes)]

    def select(self, state: State, lanes: Ids) -> State:
        return [state[lane] for lane in lanes]

    def join(self, states: Sequence[State]) -> State:
        return [lane for state in states for lane in state]

    def step(self, ids: Ids, state: State) -> tuple[Floats, State]:
        self.read += ids.size
        out = np.empty((*ids.shape, self.vocabulary), np.float32)
        after = []
        for lane, (inner, before) in enumerate(state):
            speller = copy(before)
            for t, token in enumerate(ids[:, lane].tolist()):
                if token != START:
                    speller.push(token)
                logs, inner = self.inner.step(np.array([[token]]), inner)
                row = np.where(speller.mask & self.support, logs[0, 0], -np.inf)
                total = np.logaddexp.reduce(row)
                out[t, lane] = row - total if total > -np.inf else row
            after.append((inner, speller))
        return out, after


def paths(model: Spelled, sure: Sequence[int], prefix: str) -> Iterator[tuple[float, str]]:
    """log p, given the sure tokens, of every sequence of tokens that covers the prefix, and what it adds to it."""
    tokenizer = model.spelling.tokenizer
    goal = prefix.encode("utf-8", "surrogateescape")
    logs, state = model.step(np.array([START, *sure])[:, None], model.start(1))
    waiting: list[tuple[float, Floats, State, str]] = [(0.0, logs[-1, 0], state, tokenizer.decode(sure))]
    while waiting:
        before, row, state, shown = waiting.pop()
        for token in np.flatnonzero(row > -np.inf).tolist():
            speller = copy(state[0][1])
            text = shown + ("" if token == END else speller.push(token))
            data = text.encode("utf-8", "surrogateescape") + speller.pending
            log = before + float(row[token])
            if data.startswith(goal):
                yield log, text[len(prefix) :]
            elif goal.startswith(data) and token != END:
                logs, after = model.step(np.array([[token]]), state)
                waiting.append((log, logs[0, 0], after, text))


def ways(opening: Opening) -> Iterator[tuple[float, str]]:
    """As `paths`, from an opening."""
    for node, row in zip(opening.nodes, opening.joint, strict=True):
        for token in np.flatnonzero(row > -np.inf).tolist():
            yield float(row[token]), "" if token == END else node.take(token)[1]


def by_text(found: Iterable[tuple[float, str]]) -> dict[str, float]:
    sums: Counter[str] = Counter()
    for log, text in found:
        sums[text] += math.exp(log)  # type: ignore[assignment]
    return dict(sums)


def opened(model: Spelled, prefix: str) -> Opening:
    return PrefixReader(model, model.spelling).open(prefix)


@pytest.mark.parametrize("ends", [True, False])
@pytest.mark.parametrize("unit", UNITS)
def test_it_is_the_sum_over_all_token_sequences_that_begin_so(
    unit: Unit, ends: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(openings, "NEGLIGIBLE", 0.0)
    monkeypatch.setattr(openings, "NODES", 10_000)
    monkeypatch.setattr(openings, "REOPENED", 100)
    tokenizer = tokenizer_for(unit)
    model = Spelled(tokenizer, ends)
    several = 0
    for prefix in PREFIXES:
        sure, _ = tokenizer.encode_open(prefix)
        found = opened(model, prefix)
        expected = list(paths(model, sure.tolist(), prefix))
        assert found.missing == 0
        assert found.log_p == pytest.approx(np.logaddexp.reduce([log for log, _ in expected]), abs=1e-4)
        assert sorted(log for log, _ in ways(found)) == pytest.approx(sorted(log for log, _ in expected), abs=1e-4)
        assert by_text(ways(found)) == pytest.approx(by_text(expected), rel=1e-3)
        assert found.probabilities().sum() == pytest.approx(1)
        several += len(found.nodes) > 1
    assert (several > 5) == tokenizer.has_virtual_blanks


@pytest.mark.parametrize("unit", ["char", "word", "byte"])
def test_what_is_surely_tokenised_is_so(unit: Unit) -> None:
    """One spelling: the probability of the whole prefix is that of its sure tokens times that of the open part."""
    tokenizer = tokenizer_for(unit)
    model = Spelled(tokenizer)
    for prefix in ["the c", "the ", "a\tb", " the\n ", "x🙂 日"]:
        sure, _ = tokenizer.encode_open(prefix)
        logs, _ = model.step(np.array([START, *sure])[:, None], model.start(1))
        known = sum(float(logs[t, 0, token]) for t, token in enumerate(sure))
        whole = np.logaddexp.reduce([log for log, _ in paths(model, [], prefix)])
        assert known + opened(model, prefix).log_p == pytest.approx(whole, abs=1e-3)


def test_what_is_missing_is_not_more_than_told(monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = tokenizer_for("subword")
    model = Spelled(tokenizer)
    bounds = []
    for prefix in ["the ca", "abab", "mat dog"]:
        sure, _ = tokenizer.encode_open(prefix)
        whole = np.logaddexp.reduce([log for log, _ in paths(model, sure.tolist(), prefix)])
        for nodes in (0, 1, 3, 64):
            monkeypatch.setattr(openings, "NODES", nodes)
            monkeypatch.setattr(openings, "LANES", 2)
            found = opened(model, prefix)
            share = math.exp(found.log_p - whole)
            assert 1 - found.missing - 1e-4 <= share <= 1 + 1e-4
            bounds.append(found.missing)
    assert max(bounds) > 0.01 and min(bounds) <= openings.NEGLIGIBLE


def test_a_blank_belongs_to_the_word_after_it() -> None:
    """A word model knows "the cat" as two tokens: after "the " the second may come."""
    tokenizer = tokenizer_for("word")
    cat = tokenizer.id_of(" cat")
    (node, *_) = opened(Spelled(tokenizer), "the ").nodes
    assert cat is not None and node.remaining == b" " and node.covers[cat]
    assert node.take(cat)[1] == "cat"
    (node, *_) = opened(Spelled(tokenizer), "the").nodes
    assert node.remaining == b" the" and not node.covers[cat]
    (node,) = opened(Spelled(tokenizer), "the\n").nodes
    assert node.take(cat)[1] == "cat"


@pytest.mark.parametrize("unit", ["word", "subword"])
@pytest.mark.parametrize("prefix", ["xyzzy" * 60, "the " + "日本🙂" * 40, "http://" + "ab/" * 300, "the cat " * 400])
def test_long_runs_without_blanks_are_opened(unit: Unit, prefix: str) -> None:
    tokenizer = tokenizer_for(unit)
    model = Spelled(tokenizer, support=[END, *range(FIRST_BYTE, tokenizer.size)])
    found = opened(model, prefix)
    assert found.nodes and found.missing < 0.1 and math.isfinite(found.log_p)
    for node in found.nodes:
        assert prefix.encode().endswith(node.remaining.removeprefix(b" "))
        assert node.covers.any()


def test_a_closed_vocabulary_opens_known_and_unknown_words() -> None:
    tokenizer = Tokenizer(vocabulary_proto([" the", " then", " cat", "\n"], word=True), "word", True)
    model = Remembering(tokenizer.size, (START,))
    reader = PrefixReader(model, Spelling(tokenizer))
    (node,) = reader.open("cat  the").nodes
    texts = [node.take(token)[1] for token in np.flatnonzero(node.covers).tolist()]
    assert sorted(texts) == ["", "n"]
    (node,) = reader.open("cat ").nodes
    assert sorted(node.take(token)[1] for token in np.flatnonzero(node.covers).tolist()) == ["cat", "the", "then"]
    unknown = reader.open("cat xq")
    logs, _ = model.step(np.array([[START], [tokenizer.id_of(" cat")]]), model.start(1))
    (node,) = unknown.nodes
    assert node.log_p == pytest.approx(float(logs[-1, 0, UNKNOWN])) and node.remaining == b""
    assert sorted(np.flatnonzero(node.covers).tolist()) == [END, *range(FIRST_PIECE, tokenizer.size)]


def test_bytes_of_an_unfinished_character_are_part_of_the_prefix() -> None:
    """What comes after them is added as it is: the prefix has been written."""
    tokenizer = tokenizer_for("byte")
    (node,) = opened(Spelled(tokenizer), b"a\xc3".decode("utf-8", "surrogateescape")).nodes
    assert node.take(FIRST_BYTE + 0xA9)[1].encode("utf-8", "surrogateescape") == b"\xa9"


@pytest.mark.parametrize("unit", UNITS)
def test_a_lone_surrogate_is_no_prefix(unit: Unit) -> None:
    reader = PrefixReader(Spelled(tokenizer_for(unit)), Spelling(tokenizer_for(unit)))
    for prefix in ("\ud800", "the \ud800", "the\udfff cat"):
        with pytest.raises(DataError):
            reader.open(prefix)


# Finding tokens by their bytes

words = st.text("abé日", max_size=5)


@settings(max_examples=100, deadline=None)
@given(st.sets(words, max_size=12), words)
def test_tokens_are_found_by_how_their_bytes_begin(vocabulary: set[str], text: str) -> None:
    tokenizer = Tokenizer(vocabulary_proto(sorted(vocabulary - {""}), word=False), "char")
    index, pieces, data = PieceIndex(tokenizer), tokenizer.piece_bytes, text.encode()
    if data:
        expected = [token for token, piece in enumerate(pieces) if piece.startswith(data)]
        assert sorted(index.beginning_with(data).tolist()) == expected
    inside = [token for token, piece in enumerate(pieces) if piece and piece != data and data.startswith(piece)]
    assert sorted(index.inside(data)) == inside


# Keeping states


@settings(max_examples=60, deadline=None)
@given(st.lists(st.text("the cat", max_size=40), min_size=1, max_size=6))
def test_a_trail_gives_what_reading_anew_gives(texts: list[str]) -> None:
    tokenizer = fit(["the cat\n"], TokenizerSettings(unit="char"))
    model = Spelled(tokenizer)
    trail = Trail(model, model.spelling)
    for text in texts:
        ids = tokenizer.encode(text).astype(np.int64)
        mark = trail.after(ids)
        logs, _ = model.step(np.concatenate([[START], ids])[:, None], model.start(1))
        assert mark.length == len(ids)
        assert np.array_equal(mark.logs, logs[-1, 0])
        following, _ = model.step(np.array([[FIRST_PIECE]]), mark.state)
        expected, _ = model.step(np.array([[START, *ids.tolist(), FIRST_PIECE]]).T, model.start(1))
        assert np.array_equal(following[0], expected[-1])


def reads(trail: Trail, tokenizer: Tokenizer, text: str) -> int:
    """How many tokens are read for a text."""
    model: Any = trail.model
    before = model.read
    trail.after(tokenizer.encode(text).astype(np.int64))
    return int(model.read - before)


def test_a_keystroke_costs_one_token_and_taking_it_back_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openings, "_KEPT", 100)
    tokenizer = fit(["the cat\n"], TokenizerSettings(unit="char"))
    model = Spelled(tokenizer)
    trail = Trail(model, model.spelling)
    text = "the cat " * 25
    assert reads(trail, tokenizer, text) == 200
    assert reads(trail, tokenizer, text + "t") == 1
    assert reads(trail, tokenizer, text) == 0
    assert reads(trail, tokenizer, text[:-1]) == 0
    assert reads(trail, tokenizer, text[:-1] + "at") == 2
    assert 0 < reads(trail, tokenizer, text[:-30]) <= 64
    for end in range(len(text) - 29, len(text) + 1):
        assert reads(trail, tokenizer, text[:end]) == 1
    assert reads(trail, tokenizer, text[:-20]) == 0
    for end in range(1, 200):
        reads(trail, tokenizer, "a" * end)
        assert len(trail.marks) <= 101
