"""Limits cut a sample at the first of them, however its text comes in pieces; bans hold whatever spells them."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from seqmodel.choices import Unit
from seqmodel.command_settings import SamplingSettings
from seqmodel.decoding.stopping import Bans, Limiter
from seqmodel.settings import TokenizerSettings
from seqmodel.tokens.fitting import fit

texts = st.text(st.sampled_from(["a", "b", "\n"]), max_size=12)


def expected(text: str, limits: SamplingSettings) -> tuple[str, str]:
    """The text up to the first limit, and which it was, looked at as a whole."""
    within = text[: limits.max_chars]
    found = []
    ends = [at for at, char in enumerate(within) if char == "\n"]
    if limits.max_lines is not None and len(ends) >= limits.max_lines:
        found.append((ends[limits.max_lines - 1], 1, "max_lines"))
        within = within[: found[0][0] + 1]  # a stop string that goes on beyond it is never complete
    found += [(within.find(string), 0, "stop") for string in limits.stop if string in within]
    if limits.max_chars is not None and len(text) >= limits.max_chars:
        found.append((limits.max_chars, 2, "max_chars"))
    if not found:
        return text, ""
    at, _, name = min(found)
    return text[:at], name


@settings(deadline=None, max_examples=400)
@given(
    st.lists(texts, max_size=6),
    st.lists(texts.filter(bool), max_size=2),
    st.integers(1, 12) | st.none(),
    st.integers(1, 3) | st.none(),
)
@example(["b\n", "ab"], ["b\nab"], None, 1)
@example(["b\nab"], ["b\nab"], None, 1)
@example(["ab", "\n"], ["b\n"], None, 1)
def test_pieces_are_cut_where_the_whole_would_be(
    pieces: list[str], stop: list[str], max_chars: int | None, max_lines: int | None
) -> None:
    limits = SamplingSettings(stop=tuple(stop), max_chars=max_chars, max_lines=max_lines)
    limiter = Limiter(limits)
    given_out = ""
    *first, last = pieces or [""]
    for piece in first:
        given_out += limiter.take(piece)
        if limiter.stop:
            break
    else:
        given_out += limiter.take_last(last)
    assert (given_out, limiter.stop) == expected("".join(pieces), limits)


def test_what_cannot_be_the_beginning_of_a_stop_is_shown_at_once() -> None:
    limiter = Limiter(SamplingSettings(stop=("abc",)))
    assert [limiter.take(piece) for piece in ("xa", "b", "a", "bd", "abc")] == ["x", "", "ab", "abd", ""]
    assert limiter.stop == "stop"


@pytest.mark.parametrize("unit", ["char", "word", "subword", "byte"])
def test_a_banned_string_is_completed_by_no_token_and_nothing_else_is_hindered(unit: Unit) -> None:
    tokenizer = fit(["ab ba abab é b\n" * 30], TokenizerSettings(unit=unit))
    pieces = tokenizer.piece_bytes
    strings = [b"ba", "é".encode(), b"b b"]
    bans = Bans(tokenizer, strings)
    for said in map(b"".join, product([b"a", b"b", b" ", b"\xc3"], repeat=3)):
        if any(string in said for string in strings):
            continue
        mask = bans.after(said, at_line_start=False)
        completes = np.array([any(string in said + piece for string in strings) for piece in pieces])
        np.testing.assert_array_equal(mask, completes)
