"""Untrusted text made visible: nothing that steers a terminal is left, and whatever is printable stays."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seqmodel.text.visible import NEWLINE_SIGN, one_line, visible, with_signs

# Escapes


@settings(deadline=None)
@given(st.text())
def test_visible_text_holds_nothing_that_steers_a_terminal(text: str) -> None:
    shown = visible(text)
    assert all(char.isprintable() or char == "\n" for char in shown)
    shown.encode()  # lone surrogates too are shown by their numbers: they cannot be written


@settings(deadline=None)
@given(st.text(st.characters(categories=["L", "N", "P", "S"])))
def test_visible_leaves_printable_text_alone(text: str) -> None:
    assert visible(text) == text


@pytest.mark.parametrize(
    ("char", "shown"),
    [("\x1b", "\\x1b"), ("\x9b", "\\x9b"), ("\u202e", "\\u202e"), ("\U000e0001", "\\U000e0001"), ("\t", "\\x09")],
)
def test_control_characters_are_shown_by_their_numbers(char: str, shown: str) -> None:
    assert visible(f"a{char}b") == f"a{shown}b"


# Signs


@given(st.text())
def test_everything_is_visible_but_joiners_between_others(text: str) -> None:
    shown = with_signs(text)
    assert all(char.isprintable() or char in "\u200c\u200d" for char in shown)
    assert not any(unicodedata.category(char) in ("Cc", "Cs", "Co", "Cn", "Zl", "Zp") for char in shown)
    shown.encode()
    if len(text) == 1:
        assert shown.isprintable()


@given(st.text(st.characters(categories=["L", "N", "P", "S"])))
def test_printable_text_is_left_alone(text: str) -> None:
    assert with_signs(text) == text


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
    assert {text: with_signs(text) for text in shown} == shown


# Question marks


@given(st.text())
def test_one_line_is_one_printable_line_of_the_same_length(text: str) -> None:
    shown = one_line(text)
    assert shown.isprintable() and len(shown) == len(text)


def test_one_line_keeps_what_is_printable() -> None:
    assert one_line("é 日\n\x1b[31m\udcff\u202e") == "é 日??[31m??"
