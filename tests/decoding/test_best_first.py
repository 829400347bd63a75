"""The most probable sequences come in order, each once and none left out; what is not proved does not say it is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import seqmodel
from seqmodel.choices import Unit
from seqmodel.command_settings import SearchSettings
from seqmodel.decoding.best_first import NODE_BYTES, TopSearch, TopSequence
from seqmodel.decoding.token_masks import SequenceForm
from seqmodel.errors import DataError, UsageError
from seqmodel.inference.sequence_model import SequenceModel
from seqmodel.tokens.tokenizer import END, FIRST_BYTE, FIRST_PIECE, START, UNKNOWN, Tokenizer
from tests.decoding.test_generation import letters, tokenizer_for
from tests.inference.exact import PREFIXES, random_table, sequences
from tests.scoring.test_tokens import Remembering, Table

UNITS: tuple[Unit, ...] = ("char", "word", "subword", "byte")
BITS = 9.0
seeds = st.integers(0, 1 << 30)


def top(model: SequenceModel, tokenizer: Tokenizer, prefix: str = "", **limits: Any) -> list[TopSequence]:
    return list(TopSearch(model, tokenizer, prefix, SearchSettings(**limits)))


def check_order(rows: list[TopSequence]) -> None:
    assert [row.rank for row in rows] == list(range(1, len(rows) + 1))
    assert len({row.text for row in rows}) == len(rows)
    bits = [row.bits for row in rows]
    assert bits == sorted(bits)
    assert [row.cumulative for row in rows] == pytest.approx(np.cumsum([row.probability for row in rows]))


@pytest.mark.parametrize("unit", UNITS)
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_all_above_a_bound_are_found_in_order_each_once(unit: Unit, data: st.DataObject) -> None:
    tokenizer, model = random_table(unit, data.draw(seeds))
    prefix = data.draw(st.sampled_from(PREFIXES[unit]))
    exact = sequences(tokenizer, model, prefix, 2.0 ** -(BITS + 0.01))
    rows = top(model, tokenizer, prefix, count=100_000, max_bits=BITS)
    check_order(rows)
    assert all(row.proved for row in rows)
    for row in rows:
        assert row.probability == pytest.approx(exact[row.text], rel=1e-4)
        assert row.tokens == len(tokenizer.encode(row.text)) - len(tokenizer.encode(prefix)) + 1
    assert {row.text for row in rows} >= {text for text, p in exact.items() if p > 2.0 ** -(BITS - 0.01)}


@pytest.mark.parametrize("unit", UNITS)
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_what_is_proved_is_the_true_order_whatever_the_limits(unit: Unit, data: st.DataObject) -> None:
    tokenizer, model = random_table(unit, data.draw(seeds))
    exact = sorted(sequences(tokenizer, model, "", 2.0 ** -(BITS + 0.01)).values(), reverse=True)
    rows = top(
        model,
        tokenizer,
        max_bits=BITS,
        count=data.draw(st.integers(1, 40)),
        frontier=data.draw(st.sampled_from([1, 2, 3, 5, 1000])),
        effort=data.draw(st.integers(1, 200)),
        memory=data.draw(st.sampled_from([1, 8 * NODE_BYTES, 1 << 30])),
    )
    check_order(rows)
    proved = [row.probability for row in rows if row.proved]
    assert [row.proved for row in rows] == sorted((row.proved for row in rows), reverse=True)
    assert proved == pytest.approx(exact[: len(proved)], rel=1e-4)


def test_a_known_chain_gives_what_is_computed_by_hand() -> None:
    """P(a) = .6, P(b) = .3, P(end) = .1; after a: .2, .3, .5; after b: .5, .1, .4."""
    tokenizer, model = letters()
    rows = top(model, tokenizer, count=5)
    expected = {"a": 0.3, "b": 0.12, "": 0.1, "ba": 0.075, "ab": 0.072}
    assert {row.text: round(row.probability, 6) for row in rows} == expected
    assert [row.text for row in rows] == list(expected)
    given_b = top(model, tokenizer, "b", count=2)
    assert [(row.text, round(row.probability, 6), row.tokens) for row in given_b] == [("b", 0.4, 1), ("ba", 0.25, 2)]


@pytest.mark.parametrize("limits", [{"frontier": 2}, {"memory": 4 * NODE_BYTES}])
def test_a_small_frontier_drops_the_less_probable_and_says_so(limits: dict[str, Any]) -> None:
    """A crowd of fair beginnings comes to little; one that seemed worse has the most probable sequence."""
    tokenizer = tokenizer_for("char")
    crowd, poor = list(range(FIRST_PIECE, FIRST_PIECE + 6)), FIRST_PIECE + 6
    p = np.zeros((tokenizer.size, tokenizer.size))
    p[START, crowd], p[START, poor] = 0.15, 0.1
    for token in crowd:
        p[token, crowd] = 0.9 / 6
        p[token, END] = 0.1
    p[poor, END] = 1
    best = tokenizer.decode([poor])
    (row,) = top(Table(p), tokenizer, count=1)
    assert (row.text, row.proved) == (best, True)
    search = TopSearch(Table(p), tokenizer, "", SearchSettings(count=30, **limits))
    rows = list(search)
    assert search.dropped and not search.spent
    assert len(rows) > 0 and search.proved == sum(row.proved for row in rows) < len(rows)
    everything = top(Table(p), tokenizer, count=30)
    assert all(row.proved for row in everything)
    assert [row.bits for row in rows if row.proved] == [row.bits for row in everything[: search.proved]]


def test_a_model_that_never_ends_spends_the_effort_and_stops() -> None:
    tokenizer, model = random_table("char", 1, ends=False)
    search = TopSearch(model, tokenizer, "", SearchSettings(effort=500))
    assert list(search) == []
    assert (search.extended, search.spent, search.covered) == (500, True, 0.0)


def test_when_there_are_no_others_it_stops() -> None:
    tokenizer, model = letters()
    p = np.zeros_like(model.p)
    p[START, FIRST_PIECE] = p[FIRST_PIECE, END] = 1
    search = TopSearch(Table(p), tokenizer, "", SearchSettings())
    (row,) = search
    assert (row.text, row.bits, row.cumulative, row.proved) == ("a", 0, 1, True)
    assert not (search.spent or search.dropped)


def test_rounding_never_makes_a_sequence_more_probable_than_its_beginning() -> None:
    tokenizer, model = letters()
    p = np.zeros_like(model.p)
    p[START, FIRST_PIECE] = p[FIRST_PIECE, END] = 1 + 1e-6
    (row,) = top(Table(p), tokenizer)
    assert (row.bits, row.probability) == (0, 1)


def test_a_sequence_comes_as_soon_as_it_is_proved() -> None:
    tokenizer = tokenizer_for("char")
    search = TopSearch(Remembering(tokenizer.size, (START, UNKNOWN)), tokenizer, "", SearchSettings(count=120))
    extended = []
    for _ in search:
        extended.append(search.extended)
    assert extended[0] < extended[60] < extended[-1]


def test_states_stay_with_their_beginnings() -> None:
    """A model that remembers every token gives each sequence the probability that the scorer finds."""
    tokenizer = tokenizer_for("char")
    model = Remembering(tokenizer.size, (START, UNKNOWN, *range(FIRST_BYTE, tokenizer.size - 4)))
    rows = top(model, tokenizer, count=500)
    assert max(row.tokens for row in rows) > 3
    for row in rows:
        assert row.bits == pytest.approx(sum(model.oracle([*tokenizer.encode(row.text).tolist(), END])), abs=1e-4)


# Trained models

SETTINGS: dict[str, dict[str, Any]] = {
    **{unit: {"unit": unit} for unit in UNITS},
    "closed words": {"unit": "word", "closed_vocab": True, "steps": 20},
    "lstm": {"cell": "lstm", "ngram": "off", "unit": "word", "steps": 20, "width": 16},
    "several": {"cell": "gru", "networks": 2, "steps": 5, "width": 16},
    "paragraph": {
        "sequence": "paragraph",
        "text": "cat dog\n\neat far\ngood\n\ncat\n\ngood hill\n\n" * 40,
        "steps": 20,
    },
    "document": {"sequence": "document", "text": "cat\n", "steps": 5},
}


@pytest.mark.parametrize("name", SETTINGS)
def test_bits_are_those_of_score_and_no_sample_is_left_out(name: str, train_little: Callable[..., Path]) -> None:
    model = seqmodel.load(train_little(**SETTINGS[name]))
    rows = list(model.top(40))
    check_order(rows)
    assert len(rows) == 40 and all(row.proved for row in rows)
    scores = [score.bits for score in model.score([row.text for row in rows])]
    assert [row.bits for row in rows] == pytest.approx(scores, abs=1e-3)
    found = {row.text for row in rows}
    samples = [sample.text for sample in model.generate(count=200, seed=1, temperature=0.6) if sample.stop == "end"]
    probable = {score.text for score in model.score(samples) if score.bits < rows[-1].bits - 1e-3}
    assert probable and probable <= found


@pytest.mark.parametrize("unit", UNITS)
def test_a_prefix_conditions(unit: Unit, train_little: Callable[..., Path]) -> None:
    model = seqmodel.load(train_little(unit=unit))
    whole = {row.text: row.bits for row in model.top(400)}
    tokens = model.tokenizer.encode("anna").tolist()
    rows = list(model.top(10, "anna"))
    (prefix,) = model.score(["anna"])
    given = float(prefix.scores.bits[: len(tokens)].sum())
    assert rows[0].text in whole and len(rows) == 10
    for row in rows:
        assert model.tokenizer.encode(row.text).tolist()[: len(tokens)] == tokens
        assert row.bits + given == pytest.approx(whole.get(row.text, row.bits + given), abs=1e-3)
    within = [text for text in whole if model.tokenizer.encode(text).tolist()[: len(tokens)] == tokens]
    assert [row.text for row in rows][: len(within)] == within[:10]


def test_a_line_has_no_newline_though_a_model_gives_it_some_probability() -> None:
    tokenizer = tokenizer_for("char")
    newline = tokenizer.id_of("\n")
    assert newline is not None
    p = np.zeros((tokenizer.size, tokenizer.size))
    p[:, [newline, END]] = 0.5
    assert [row.text for row in top(Table(p), tokenizer, count=2)] == ["", "\n"]
    assert [
        row.text for row in TopSearch(Table(p), tokenizer, "", SearchSettings(), form=SequenceForm(one_line=True))
    ] == [""]


def test_what_cannot_be_is_refused(little_model: seqmodel.Model, train_little: Callable[..., Path]) -> None:
    stream = seqmodel.load(train_little(steps=5, width=16, sequence="stream"))
    words = seqmodel.load(train_little(unit="word"))
    for model, n, prefix in ((stream, 1, ""), (little_model, 0, ""), (little_model, 1, "a\nb"), (words, 1, "cat ")):
        with pytest.raises(UsageError):
            model.top(n, prefix)
    with pytest.raises(DataError):
        little_model.top(1, "\udcff")


def test_the_prefix_of_a_closed_vocabulary_keeps_its_words(train_little: Callable[..., Path]) -> None:
    model = seqmodel.load(train_little(**SETTINGS["closed words"]))
    rows = list(model.top(5, "zebra cat"))
    assert len(rows) == 5 and all(row.text.startswith("zebra cat") for row in rows)
    given = float(model.score(["zebra cat"])[0].scores.bits[:2].sum())
    assert [row.bits + given for row in rows] == pytest.approx(
        [score.bits for score in model.score([row.text for row in rows])], abs=1e-3
    )


@pytest.mark.parametrize("settings", [{"unit": "word"}, SETTINGS["lstm"], SETTINGS["several"]])
def test_joined_states_go_on_as_each_alone(settings: dict[str, Any], train_little: Callable[..., Path]) -> None:
    model = seqmodel.load(train_little(**settings))
    states = []
    for text in ("anna", "zebra ☃", "cat dog"):
        ids = [START, *model.tokenizer.encode(text).tolist()]
        states.append(model.runtime.step(np.array(ids)[:, None], model.runtime.start(1))[1])
    following = np.array([[FIRST_PIECE, FIRST_PIECE + 1, FIRST_PIECE]])
    together, _ = model.runtime.step(following, model.runtime.join(states))
    for lane, state in enumerate(states):
        alone, _ = model.runtime.step(following[:, [lane]], state)
        np.testing.assert_allclose(together[:, lane], alone[:, 0], atol=2e-5)
