"""Beam search: as good as a search of everything where it is that wide, greedy where it is one wide."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from seqmodel.api.model import Model
from seqmodel.choices import Unit
from seqmodel.command_settings import SamplingSettings
from seqmodel.decoding.beam import LengthNormalisation, beam
from seqmodel.decoding.generation import Sample, generate
from seqmodel.decoding.token_masks import SequenceForm, Spelling
from seqmodel.errors import DataError
from seqmodel.scoring.tokens import score_sequences
from seqmodel.tokens.fitting import vocabulary_proto
from seqmodel.tokens.tokenizer import END, FIRST_BYTE, FIRST_PIECE, START, UNKNOWN, Tokenizer
from tests.decoding.test_generation import letters, tokenizer_for
from tests.inference.exact import PREFIXES, random_table, sequences
from tests.scoring.test_tokens import Remembering, Table

UNITS: tuple[Unit, ...] = ("char", "word", "subword", "byte")
seeds = st.integers(0, 1 << 30)
ANY_LENGTH = SamplingSettings()


def chain_of(rows: dict[str, dict[str, float]]) -> tuple[Tokenizer, Table]:
    """A chain over letters: "^" is the start, "$" the end."""
    tokenizer = Tokenizer(vocabulary_proto(list("abc"), word=False), "char")
    ids = {"^": START, "$": END} | {letter: FIRST_PIECE + i for i, letter in enumerate("abc")}
    p = np.zeros((tokenizer.size, tokenizer.size))
    for before, row in rows.items():
        for after, value in row.items():
            p[ids[before], ids[after]] = value
    return tokenizer, Table(p)


def greedy(model: Any, tokenizer: Tokenizer, prefix: str, **limits: Any) -> Sample:
    ends = limits.pop("ends", True)
    pieces = generate(
        model, tokenizer, prefix, SamplingSettings(temperature=0, any_text=True, **limits), form=SequenceForm(ends)
    )
    (sample,) = (piece.sample for piece in pieces if piece.done)
    return sample


@pytest.mark.parametrize("unit", UNITS)
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_one_wide_is_greedy(unit: Unit, data: st.DataObject) -> None:
    ends = data.draw(st.booleans())
    tokenizer, model = random_table(unit, data.draw(seeds), ends)
    anything = Spelling(tokenizer, SequenceForm(ends)).anything / tokenizer.size
    model.p += 0.01 * anything  # there is always something that may come
    # In other units sampling goes on from all spellings of a prefix, a beam from the one that `encode` gives.
    prefix = data.draw(st.sampled_from(PREFIXES[unit] if unit == "char" else [""]))
    limits: dict[str, Any] = {
        "max_tokens": data.draw(st.integers(1, 12)),
        "max_chars": data.draw(st.sampled_from([None, 1, 3, 8])),
        "max_lines": data.draw(st.sampled_from([None, None, 1, 2])),
        "stop": data.draw(st.sampled_from([(), (), ("a",), ("ab", "\n"), ("ba",)])),
    }
    expected = greedy(model, tokenizer, prefix, ends=ends, **limits)
    found = beam(model, tokenizer, prefix, 1, SamplingSettings(**limits), form=SequenceForm(ends))
    if unit == "subword" and expected.stop == "end":
        (scores,) = score_sequences(model, [np.append(tokenizer.encode(prefix + expected.text), END)])
        canonical = scores.bits[len(tokenizer.encode(prefix)) :].sum()
        assume(abs(canonical - expected.bits) < 1e-3)
    (sample,) = found
    assert sample.bits == pytest.approx(expected.bits, abs=1e-4)
    assert (sample.text, sample.tokens, sample.stop) == (expected.text, expected.tokens, expected.stop)


def test_both_limits_at_once_are_told_as_a_sample_tells_them() -> None:
    tokenizer, model = random_table("byte", 0, ends=False)
    model.p = (
        np.where(np.arange(tokenizer.size) == FIRST_BYTE + 0xC3, 1.0, 0.0) + 0 * model.p
    )  # a character's beginning
    expected = greedy(model, tokenizer, "", ends=False, max_tokens=1, max_chars=1)
    (sample,) = beam(
        model, tokenizer, "", 1, SamplingSettings(max_tokens=1, max_chars=1), form=SequenceForm(ends=False)
    )
    assert (sample.text, sample.stop) == (expected.text, expected.stop) == ("\udcc3", "max_chars")


@pytest.mark.parametrize("normalisation", ["none", "per-token"])
@pytest.mark.parametrize("unit", UNITS)
@settings(max_examples=12, deadline=None)
@given(data=st.data())
def test_as_wide_as_everything_it_finds_the_best(
    unit: Unit, normalisation: LengthNormalisation, data: st.DataObject
) -> None:
    """Of at most two tokens and the end; what is longer reaches the limit."""
    tokenizer, model = random_table(unit, data.draw(seeds))
    prefix = data.draw(st.sampled_from(PREFIXES[unit]))
    found = beam(model, tokenizer, prefix, 800, SamplingSettings(max_tokens=3), length_normalisation=normalisation)
    whole = [sample for sample in found if sample.stop == "end"]
    exact = sequences(tokenizer, model, prefix, longest=2)
    assert len(whole) == len(exact)
    for sample in whole if "\udcc3" not in prefix else []:  # what follows half a character makes it whole
        assert 2.0**-sample.bits == pytest.approx(exact[prefix + sample.text], rel=1e-4)
    scores = [sample.bits / (sample.tokens if normalisation == "per-token" else 1) for sample in found]
    assert scores == sorted(scores)
    assert [sample.index for sample in found] == list(range(len(found)))


def test_a_beam_finds_what_greedy_walks_past() -> None:
    """a looks best but what follows it is spread; b leads to a sure thing."""
    tokenizer, model = chain_of(
        {"^": {"a": 0.6, "b": 0.4}, "a": {"a": 0.35, "b": 0.25, "$": 0.4}, "b": {"b": 0.05, "$": 0.95}}
    )
    (first,) = beam(model, tokenizer, "", 1, ANY_LENGTH)
    best, second = beam(model, tokenizer, "", 2, ANY_LENGTH)
    assert (first.text, round(2**-first.bits, 6)) == ("a", 0.24)
    assert (best.text, round(2**-best.bits, 6)) == ("b", 0.38)
    assert second.text == "a"


def test_a_whole_one_is_not_lost_to_open_ones_that_look_better() -> None:
    tokenizer, model = chain_of(
        {
            "^": {"a": 0.35, "b": 0.35, "$": 0.3},
            "a": {"a": 0.5, "b": 0.4, "$": 0.1},
            "b": {"a": 0.4, "b": 0.5, "$": 0.1},
        }
    )
    assert beam(model, tokenizer, "", 3, ANY_LENGTH)[0].text == ""


def test_a_whole_one_takes_no_place_from_the_open_ones() -> None:
    tokenizer, model = chain_of(
        {"^": {"$": 0.4, "a": 0.31, "b": 0.29}, "a": {"a": 0.3, "b": 0.3, "$": 0.4}, "b": {"$": 1}}
    )
    assert [one.text for one in beam(model, tokenizer, "", 2, ANY_LENGTH)] == ["", "b"]


def test_it_goes_on_while_an_open_one_may_come_among_the_best() -> None:
    tokenizer, model = chain_of(
        {"^": {"a": 0.4, "$": 0.3, "b": 0.3}, "a": {"c": 0.9, "$": 0.1}, "b": {"$": 1}, "c": {"$": 1}}
    )
    best, second = beam(model, tokenizer, "", 2, ANY_LENGTH)
    assert (best.text, round(2**-best.bits, 6)) == ("ac", 0.36)
    assert round(2**-second.bits, 6) == 0.3


def test_length_normalisation_prefers_long_ones_of_few_surprises() -> None:
    """The empty one: 1 bit in one token; "ab": 1.39 bits in three."""
    tokenizer, model = chain_of(
        {"^": {"$": 0.5, "a": 0.5}, "a": {"a": 0.1, "b": 0.85, "$": 0.05}, "b": {"a": 0.02, "$": 0.9, "b": 0.08}}
    )
    assert [one.text for one in beam(model, tokenizer, "", 2, ANY_LENGTH)] == ["", "ab"]
    by_token = beam(model, tokenizer, "", 2, ANY_LENGTH, length_normalisation="per-token")
    assert [one.text for one in by_token] == ["ab", ""]
    assert by_token[0].bits == pytest.approx(-np.log2(0.5 * 0.85 * 0.9), abs=1e-5)


def test_a_search_by_token_ends_when_as_many_have_ended_as_it_is_wide() -> None:
    """Though an open one is more probable than both, which with more tokens would lift it past them."""
    tokenizer, model = chain_of(
        {"^": {"a": 0.5, "$": 0.3, "b": 0.2}, "a": {"a": 0.9, "$": 0.02, "b": 0.08}, "b": {"$": 0.95, "b": 0.05}}
    )
    found = beam(model, tokenizer, "", 2, ANY_LENGTH, length_normalisation="per-token")
    assert [one.text for one in found] == ["b", ""]


def test_a_model_that_remembers_is_continued_from_its_own_states() -> None:
    tokenizer = tokenizer_for("char")
    model = Remembering(tokenizer.size, (START, UNKNOWN))
    prefix = tokenizer.encode("the").tolist()
    for sample in beam(model, tokenizer, "the", 8, SamplingSettings(max_tokens=6)):
        ids = tokenizer.encode("the" + sample.text).tolist() + [END] * (sample.stop == "end")
        if len(ids) == len(prefix) + sample.tokens:  # else it stopped inside a character
            assert sample.bits == pytest.approx(sum(model.oracle(ids)[len(prefix) :]), abs=1e-4)


@pytest.mark.parametrize("width", [1, 4, 40])
def test_a_wider_beam_is_no_worse_than_what_top_proves(width: int, little_model: Model) -> None:
    found = beam(little_model.runtime, little_model.tokenizer, "", width, ANY_LENGTH, form=SequenceForm(one_line=True))
    proved = list(little_model.top(width))
    assert len(found) == width
    assert all(one.bits >= best.bits - 1e-3 for one, best in zip(found, proved, strict=True))
    if width == 40:
        assert found[0].text == proved[0].text


def test_what_reads_the_same_at_the_limit_counts_once() -> None:
    tokenizer = tokenizer_for("word")
    found = beam(Remembering(tokenizer.size, (START, UNKNOWN)), tokenizer, "", 30, SamplingSettings(max_chars=2))
    assert len({(sample.text, sample.stop) for sample in found}) == len(found) > 3
    assert all(len(sample.text) <= 2 for sample in found)
    (short,), (long,) = tokenizer.encode("ab"), tokenizer.encode("abab")
    p = np.zeros((tokenizer.size, tokenizer.size))
    p[START, [short, long]] = 0.4, 0.6
    (sample,) = beam(Table(p), tokenizer, "", 3, SamplingSettings(max_chars=2))
    assert (sample.text, round(2**-sample.bits, 6)) == ("ab", 0.6)


def test_the_prefix_is_checked() -> None:
    tokenizer, model = letters()
    with pytest.raises(DataError):
        beam(model, tokenizer, "\udcff", 2, ANY_LENGTH)
