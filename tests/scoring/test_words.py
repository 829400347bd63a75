"""Word surprisal: held against enumeration, against the formula, and against the sums that DESIGN promises."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import seqmodel
from seqmodel.api.model import Model
from seqmodel.choices import SequenceKind, Unit
from seqmodel.scoring.lines import LineContext, LineScore, score_lines
from seqmodel.scoring.tokens import LN2, ScoreFields
from seqmodel.scoring.words import WordBoundary, WordKind, boundary_tokens, word_scores
from seqmodel.settings import TokenizerSettings
from seqmodel.text.corpus import Line
from seqmodel.tokens.fitting import fit
from seqmodel.tokens.tokenizer import END, START, Tokenizer
from tests.conftest import little_text
from tests.scoring.test_tokens import Remembering

UNITS: tuple[Unit, ...] = ("char", "word", "subword", "byte")
CORPUS = "ab ba\nabab b a\n\nba  ab\n\tb\nab, ba.\n" * 30

pieces = st.sampled_from(["", "ab", "a", "b", "ba", " ", "  ", "\t", "zé", ", ", "\u3000", ".", "'", "日本"])
texts = st.lists(pieces, max_size=9).map("".join)


@pytest.fixture(scope="module")
def tokenizers() -> dict[Unit, Tokenizer]:
    return {unit: fit([CORPUS], TokenizerSettings(unit=unit)) for unit in UNITS}


def scored(
    tokenizer: Tokenizer, text: str, kind: SequenceKind = "line", terminated: bool = False, before: str | None = None
) -> LineScore:
    model = Remembering(tokenizer.size, (START, END) if kind == "stream" else (START,))
    reading = LineContext(kind, True, fields=ScoreFields(boundary=boundary_tokens(tokenizer)))
    ((row,),) = score_lines(model, tokenizer, reading, [[Line(1, text, terminated, before)]])
    return row


@pytest.mark.parametrize("boundary", ["corrected", "naive"])
@pytest.mark.parametrize("kind", ["space", "unicode"])
@pytest.mark.parametrize("unit", UNITS)
def test_words_sum_to_their_line_and_are_its_words(
    unit: Unit, kind: WordKind, boundary: WordBoundary, tokenizers: dict[Unit, Tokenizer]
) -> None:
    tokenizer = tokenizers[unit]

    @given(texts, st.booleans(), st.sampled_from([None, "", "ab", "ab ", "é"]))
    @settings(max_examples=60, deadline=None)
    def check(text: str, stream: bool, before: str | None) -> None:
        row = scored(tokenizer, text, "stream" if stream else "line", stream, before)
        words = word_scores(row, tokenizer, kind, boundary)
        assert sum(word.bits for word in words) == pytest.approx(row.bits, abs=1e-9)
        if kind == "space":
            assert [text[word.start : word.end] for word in words] == (text.split() or [""])
        assert [word.first for word in words] == [0, *(word.last for word in words[:-1])]
        assert words[-1].last == len(row.ids)
        if unit in ("char", "byte") or boundary == "naive":  # tokens sum to words
            for word in words:
                own = row.scores.bits[word.first : word.last].sum()
                assert word.bits == pytest.approx(own, abs=1e-9)

    check()


WHITE = "".join(char for char in map(chr, range(0x3001)) if char.isspace())
in_white_space = st.lists(st.sampled_from([*"’é。 ", "cat", "far", ":", "zé", *WHITE]), max_size=9).map("".join)


@pytest.mark.parametrize("kind", ["space", "unicode"])
@pytest.mark.parametrize("unit", UNITS)
def test_no_word_is_below_zero_whatever_white_space_stands_before_it(
    unit: Unit, kind: WordKind, train_little: Callable[..., Path]
) -> None:
    text = little_text(150).replace("cat", "cat\u00a0:").replace("far", "far\u3000hill").replace("eat", "e’at 。")
    model = seqmodel.load(train_little(text, unit=unit, steps=60, width=16))

    @given(in_white_space)
    @settings(max_examples=50, deadline=None)
    @example("cat\u00a0: far\u3000dog")
    def check(text: str) -> None:
        (row,) = model.score([text], details=True)
        words = word_scores(row, model.tokenizer, kind)
        assert sum(word.bits for word in words) == pytest.approx(row.bits, abs=1e-9)
        assert min(word.bits for word in words) > -1e-6

    check()


def test_a_word_after_white_space_of_several_bytes_is_corrected_by_its_first_byte() -> None:
    """By hand: b counts the byte that a no-break space begins with, and not one that only other characters have."""
    tokenizer = fit([CORPUS], TokenizerSettings(unit="subword"))
    first, second = tokenizer.encode("\u00a0", inside=True).tolist()
    mask = boundary_tokens(tokenizer)
    assert mask[first] and not mask[second]
    assert not mask[tokenizer.encode("é", inside=True)].any()
    text = "ab\u00a0ba"
    row = scored(tokenizer, text)
    bits, b = row.scores.bits, row.scores.boundary
    assert b is not None
    at = row.ids.tolist().index(first)
    one, two = word_scores(row, tokenizer)
    assert one.bits == pytest.approx(bits[:at].sum() + b[at], abs=1e-9)
    assert two.bits == pytest.approx(bits[at:].sum() - b[at], abs=1e-9)


def test_a_boundary_is_no_less_probable_than_the_token_that_makes_it() -> None:
    """Even where single precision has no number as small as its probability."""

    class Sure(Remembering):
        def step(self, ids: Any, state: Any) -> Any:
            logs, state = super().step(ids, state)
            return logs * 40, state

    tokenizer = fit([CORPUS], TokenizerSettings(unit="word"))
    reading = LineContext("line", True, fields=ScoreFields(boundary=boundary_tokens(tokenizer)))
    lines = [[Line(1, "ab ba ab b", False)]]
    ((row,),) = score_lines(Sure(tokenizer.size), tokenizer, reading, lines)
    assert min(word.bits for word in word_scores(row, tokenizer)) >= 0


def test_the_formula_by_hand(tokenizers: dict[Unit, Tokenizer]) -> None:
    tokenizer = tokenizers["word"]
    row = scored(tokenizer, "ab ba b")
    model = Remembering(tokenizer.size)
    mask = boundary_tokens(tokenizer)
    ids = [START, *row.ids.tolist()]
    assert len(ids) == 5  # three words and the end
    logs, _ = model.step(np.array(ids[:-1])[:, None], model.start(1))
    b = [float(-np.log2(np.exp(logs[t, 0][mask]).sum())) for t in range(4)]
    bits = [float(logs[t, 0, ids[t + 1]]) / -LN2 for t in range(4)]
    expected = [bits[0] + b[1], bits[1] + b[2] - b[1], bits[2] - b[2] + bits[3]]
    assert [word.bits for word in word_scores(row, tokenizer)] == pytest.approx(expected, abs=1e-5)


def test_a_word_of_a_char_model_is_the_word_with_what_ends_it(train_little: Callable[..., Path]) -> None:
    """p(word, blank | before), from the scores of the strings themselves."""
    model = seqmodel.load(train_little())
    (row,) = model.score(["cat dog"])
    first, last = model.words(row)
    assert first.bits == pytest.approx(row.scores.bits[:4].sum(), abs=1e-6)
    assert last.bits == pytest.approx(row.scores.bits[4:].sum(), abs=1e-6)


def test_corrected_surprisals_of_all_words_that_may_come_sum_to_one() -> None:
    """Over a closed set of whole words the corrected probabilities of the next word are a distribution."""
    tokenizer = fit(["a b\nb a\n" * 20], TokenizerSettings(unit="word", closed=True))
    total = 0.0
    for word in ("a", "b", "c"):
        row = scored(tokenizer, f"a {word} b")
        total += 2 ** -word_scores(row, tokenizer)[1].bits
    logs, _ = Remembering(tokenizer.size).step(
        np.array([[START], [int(tokenizer.encode("a")[0])]]), Remembering(tokenizer.size).start(1)
    )
    words = [int(tokenizer.encode(word)[0]) for word in ("a", "b", "c")]
    assert total == pytest.approx(float(np.exp(logs[1, 0][words]).sum()), abs=1e-5)


def test_unicode_words_part_punctuation_from_words(tokenizers: dict[Unit, Tokenizer]) -> None:
    text = "ab, ba."
    row = scored(tokenizers["char"], text)
    assert [text[w.start : w.end] for w in word_scores(row, tokenizers["char"], "unicode")] == ["ab", ",", "ba", "."]
    row = scored(tokenizers["word"], text)  # a token for "ab," is one word
    assert [text[w.start : w.end] for w in word_scores(row, tokenizers["word"], "unicode")] == ["ab,", "ba."]


def test_words_out_of_vocabulary_are_marked(tokenizers: dict[Unit, Tokenizer]) -> None:
    cases: list[tuple[Unit, list[bool]]] = [("word", [False, True]), ("char", [False, True]), ("byte", [False, False])]
    for unit, expected in cases:
        row = scored(tokenizers[unit], "ab zé")
        assert [word.is_oov for word in word_scores(row, tokenizers[unit])] == expected


def test_white_space_beside_a_word_says_nothing_of_the_word(tokenizers: dict[Unit, Tokenizer]) -> None:
    for unit in ("word", "subword"):
        for text in ("ab  ba", " ab\tba ", "ab\u00a0ba", "ab \u3000 ba\t", "\u2028ab ba"):
            row = scored(tokenizers[unit], text)
            words = word_scores(row, tokenizers[unit])
            assert [(text[w.start : w.end], w.is_oov) for w in words] == [("ab", False), ("ba", False)], text
        row = scored(tokenizers[unit], "ab  zé\tzé")
        words = word_scores(row, tokenizers[unit])
        assert [word.is_oov for word in words] == [False, True, True]
        spans = row.spans(tokenizers[unit])
        assert all(spans[word.head, 1] > word.start for word in words)


def test_closed_words_have_their_places_in_the_text() -> None:
    tokenizer = fit(["a b\nb a\n" * 20], TokenizerSettings(unit="word", closed=True))
    text = "a  zebra\tb "
    row = scored(tokenizer, text)
    assert row.spans(tokenizer).tolist() == [[0, 1], [3, 8], [9, 10], [11, 11]]
    assert [(text[w.start : w.end], w.is_oov) for w in word_scores(row, tokenizer)] == [
        *(("a", False), ("zebra", True), ("b", False))
    ]


def test_enumerated_words_of_a_real_model_sum_to_at_most_one(train_little: Callable[..., Path]) -> None:
    """What may follow "a" as a first whole word is never more than everything."""
    model: Model = seqmodel.load(train_little("a b\nb a\nab a\n" * 40, steps=20, width=8))
    names = ["".join(letters) for size in (1, 2, 3) for letters in itertools.product("ab", repeat=size)]
    total = sum(2 ** -model.words(row)[0].bits for row in model.score([f"{name} a" for name in names]))
    assert 0.3 < total <= 1 + 1e-6
