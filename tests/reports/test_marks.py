"""A line as marks: all of its text is there, visibly, and the marks' bits are the line's."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import seqmodel
from seqmodel.inference.line_scores import LineScore
from seqmodel.inference.loaded import Model
from seqmodel.reports.marks import END_SIGN, NEWLINE_SIGN, Mark, Marking, visible
from seqmodel.text.corpus import Line

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
nasty = st.lists(
    st.sampled_from([*"ab \t\r\x00\x1b\x85", "cat", " dog", "\u202e", "\u200d", "ß", "日", "🐟"]), max_size=9
)


@pytest.fixture(scope="module")
def models(train_little: Callable[..., Path]) -> dict[str, Model]:
    small = {"steps": 5, "width": 16}
    return {
        "char": seqmodel.load(train_little()),
        "word": seqmodel.load(train_little(unit="word", **small)),
        "byte": seqmodel.load(train_little(unit="byte", **small)),
        "closed": seqmodel.load(train_little(unit="word", closed_vocab=True, **small)),
    }


def scored(model: Model, text: str) -> LineScore:
    (row,) = model.score([text], details=True)
    return row


def joined(marks: list[Mark]) -> str:
    """What marks show; a joiner is shown by its number or not, as it stands alone in its mark or not."""
    return "".join(mark.text for mark in marks).replace("\u200c", "⟨U+200C⟩").replace("\u200d", "⟨U+200D⟩")


def visible_apart(text: str) -> str:
    return "".join(map(visible, text))


def total(marks: list[Mark]) -> float:
    return sum(mark.bits for mark in marks if mark.bits is not None)


@settings(deadline=None, max_examples=60)
@given(text=texts | nasty.map("".join), unit=st.sampled_from(["char", "word", "byte", "closed"]))
def test_tokens_show_the_text_and_add_up(models: dict[str, Model], text: str, unit: str) -> None:
    row = scored(models[unit], text)
    marks = list(Marking(models[unit].tokenizer).marks(row))
    assert marks[-1].text == END_SIGN
    assert joined(marks[:-1]) == visible_apart(text)
    assert total(marks) == pytest.approx(row.bits)
    assert [token for mark in marks for token in range(mark.first, mark.last)] == list(range(len(row.ids)))


@settings(deadline=None, max_examples=60)
@given(text=texts | nasty.map("".join), unit=st.sampled_from(["char", "word", "byte", "closed"]))
def test_words_show_the_text_and_add_up(models: dict[str, Model], text: str, unit: str) -> None:
    row = scored(models[unit], text)
    marks = list(Marking(models[unit].tokenizer, by_word=True).marks(row))
    coloured = [mark for mark in marks if mark.bits is not None]
    if text.strip():
        assert [mark.text for mark in coloured] == [visible(word) for word in text.split()]
        assert joined(marks) == visible_apart(text)
    else:
        assert [mark.text for mark in coloured] == [END_SIGN]
    assert total(marks) == pytest.approx(row.bits, abs=1e-6)


def test_a_character_spelled_in_bytes_is_one_mark(models: dict[str, Model]) -> None:
    marks = list(Marking(models["char"].tokenizer).marks(scored(models["char"], "a☃")))
    assert [(mark.text, mark.last - mark.first) for mark in marks] == [("a", 1), ("☃", 3), (END_SIGN, 1)]


def test_what_a_closed_vocabulary_does_not_score_has_no_bits(models: dict[str, Model]) -> None:
    marks = list(Marking(models["closed"].tokenizer).marks(scored(models["closed"], " cat  zebra ")))
    assert [(mark.text, mark.bits is None) for mark in marks] == [
        *((" ", True), ("cat", False), ("  ", True), ("zebra", False), (" ", True), (END_SIGN, False))
    ]


def test_a_newline_that_ends_a_line_is_a_mark_and_one_within_is_text(train_little: Callable[..., Path]) -> None:
    model = seqmodel.load(train_little(sequence="stream", steps=20, width=16))
    ((row,),) = model.score_lines([[Line(1, "cat", True)]])
    assert [mark.text for mark in Marking(model.tokenizer).marks(row)] == ["c", "a", "t", NEWLINE_SIGN]
    (inner,) = model.score(["a\nb"])
    assert [mark.text for mark in Marking(model.tokenizer).marks(inner)] == ["a", NEWLINE_SIGN, "b", NEWLINE_SIGN]


@pytest.mark.parametrize("by_word", [False, True])
def test_a_long_line_is_cut_after_so_many_tokens(models: dict[str, Model], by_word: bool) -> None:
    row = scored(models["char"], "cat dog boil")
    marks = list(Marking(models["char"].tokenizer, by_word).marks(row, most=8))
    assert "".join(mark.text for mark in marks) == ("cat dog" if by_word else "cat dog ")
    assert marks[-1].last <= 8


@given(st.text())
def test_everything_is_visible_but_joiners_between_others(text: str) -> None:
    shown = visible(text)
    assert all(char.isprintable() or char in "\u200c\u200d" for char in shown)
    assert not any(unicodedata.category(char) in ("Cc", "Cs", "Co", "Cn", "Zl", "Zp") for char in shown)
    shown.encode()
    if len(text) == 1:
        assert shown.isprintable()


@given(st.text(st.characters(categories=["L", "N", "P", "S"])))
def test_printable_text_is_left_alone(text: str) -> None:
    assert visible(text) == text


def test_signs() -> None:
    shown = {
        "\t": "⟨TAB⟩",
        "\x00": "⟨NUL⟩",
        "\x1b": "⟨ESC⟩",
        "\x07": "⟨U+0007⟩",
        "\u202e": "⟨U+202E⟩",
        "\xa0": "⟨U+00A0⟩",
    }
    shown |= {
        "\udcff": "⟨xFF⟩",
        "\n": NEWLINE_SIGN,
        " ": " ",
        "é": "é",
        "👩\u200d👧": "👩\u200d👧",
        "\u200d": "⟨U+200D⟩",
    }
    assert {text: visible(text) for text in shown} == shown
