"""Completions: held against all ways to finish a word, on models whose every path can be followed."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable
from copy import copy
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import seqmodel
from seqmodel.api.model import Model
from seqmodel.choices import Unit
from seqmodel.command_settings import CompletionSettings
from seqmodel.decoding import completion
from seqmodel.decoding.completion import Completer
from seqmodel.errors import DataError, UsageError
from seqmodel.settings import TokenizerSettings
from seqmodel.tokens.fitting import fit, vocabulary_proto
from seqmodel.tokens.tokenizer import END, FIRST_BYTE, FIRST_PIECE, START, Tokenizer
from tests.decoding.test_generation import UNITS, tokenizer_for
from tests.decoding.test_token_healing import Spelled, paths
from tests.scoring.test_tokens import Remembering, Table

CORPUS = "ab ba\nabab b a\n\nba  ab\n\tb\na b b a ab\n" * 30
LENGTH = 4  # characters of the completions that are looked for one by one


def small(unit: Unit, spelled_space: bool = False) -> Spelled:
    """A model of few tokens: a and b, blanks, newlines, tabs, and perhaps a space that is spelled in three bytes."""
    tokenizer = fit([CORPUS], TokenizerSettings(unit=unit))
    spelled = "\u3000".encode() if spelled_space else b""
    spelled += {"byte": b" ab\n\t", "word": b" ab"}.get(unit, b"")
    support = [END, *(FIRST_BYTE + byte for byte in spelled), *range(FIRST_PIECE, tokenizer.size)]
    return Spelled(tokenizer, support=support)


def complete(model: Spelled, prefix: str, k: int = 5, effort: int = 256) -> completion.Completions:
    completer = Completer(model, model.spelling.tokenizer, form=model.spelling.form)
    return completer.complete(prefix, CompletionSettings(k=k, effort=effort))


def enumerated(model: Spelled, prefix: str) -> dict[str, float]:
    """The probability of each completion of at most LENGTH characters, by following every path."""
    tokenizer = model.spelling.tokenizer
    word = re.compile(r"\S*" if prefix and not prefix[-1].isspace() else r"\s*\S*")
    sure, _ = tokenizer.encode_open(prefix)
    sums: Counter[str] = Counter()
    total = math.exp(np.logaddexp.reduce([log for log, _ in paths(model, sure.tolist(), prefix)]))
    logs, state = model.step(np.array([START, *sure])[:, None], model.start(1))
    waiting = [(1.0, logs[-1, 0], state, tokenizer.decode(sure))]
    while waiting:
        p, row, state, shown = waiting.pop()
        for token in np.flatnonzero(row > -np.inf).tolist():
            speller = copy(state[0][1])
            text = shown + (speller.finish() if token == END else speller.push(token))
            q = p * math.exp(float(row[token]))
            seen = min(len(text), len(prefix))
            if text[:seen] != prefix[:seen]:
                continue
            added = text[len(prefix) :]
            match = word.match(added)
            assert match is not None
            ended = match.end() < len(added)
            if token == END:
                ended = len(text) >= len(prefix)
            if ended:
                sums[added[: match.end()]] += q / total  # type: ignore[assignment]
            elif token != END and len(added) <= LENGTH:
                logs, after = model.step(np.array([[token]]), state)
                waiting.append((q, logs[0, 0], after, text))
    return {text: p for text, p in sums.items() if len(text) <= LENGTH}


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("spelled_space", [False, True])
@pytest.mark.parametrize("prefix", ["", "a", "b ", "a\nb", "\t"])
def test_probabilities_are_sums_over_all_paths(unit: Unit, prefix: str, spelled_space: bool) -> None:
    """As far as they have been followed: another spelling may be missing."""
    model = small(unit, spelled_space)
    expected = enumerated(model, prefix)
    found = complete(model, prefix, k=10_000, effort=600)
    likely = 0
    for one in found.best:
        if len(one.text) < LENGTH:
            p = expected[one.text]
            assert p - found.missing - 1e-6 <= one.probability <= p * (1 + 1e-3)
            if unit != "subword" and not spelled_space:
                assert one.probability == pytest.approx(p, rel=1e-3)
            likely += p > 0.01
    assert likely > 2
    assert sum(one.probability for one in found.best) + found.missing == pytest.approx(1)


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("prefix", ["", "a", "ab ", "a  ", " ", "\n", "b\t", "ba\u3000"])
def test_the_best_of_a_short_search_are_those_of_a_long_one(unit: Unit, prefix: str) -> None:
    model = small(unit)
    expected = complete(model, prefix, k=200, effort=1500).best
    for k in (1, 4):
        found = complete(model, prefix, k=k)
        assert found.settled and len(found.best) == k
        if unit != "subword":
            assert [one.text for one in found.best] == [one.text for one in expected[:k]]
        for one, other in zip(found.best, expected, strict=False):
            assert one.probability == pytest.approx(other.probability, rel=0.25 if unit == "subword" else 1e-4)


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("lanes", [1, 3, 50])
def test_effort_bounds_what_is_read(unit: Unit, lanes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(completion, "LANES", lanes)
    model = small(unit)
    completer = Completer(model, model.spelling.tokenizer)
    before = completer.next_tokens("ab a", CompletionSettings(k=1))  # reads the prefix
    missing = 1.0
    for effort in (1, 7, 40, 200):
        model.read = 0
        found = completer.complete("ab a", CompletionSettings(k=1000, effort=effort))
        opened = 8 * (unit in ("word", "subword"))  # tokens inside "a"
        assert effort <= model.read <= effort + opened
        assert not found.settled and found.missing <= missing + 1e-9
        missing = found.missing
    assert completer.next_tokens("ab a", CompletionSettings(k=1)) == before


def chain(unit: Unit, *steps: tuple[str, str, float]) -> tuple[Tokenizer, Completer]:
    """A first-order model of a few characters or words."""
    names = sorted({name for one, other, _ in steps for name in (one, other)} - {"<s>", "</s>"})
    tokenizer = Tokenizer(vocabulary_proto(names, word=unit == "word"), unit)
    place = {"<s>": START, "</s>": END} | {name: tokenizer.id_of(name) for name in names}
    p = np.zeros((tokenizer.size, tokenizer.size))
    for one, other, probability in steps:
        p[place[one], place[other]] = probability
    return tokenizer, Completer(Table(p), tokenizer)


def test_characters_by_hand() -> None:
    """ab, abb …: the word ends at a blank or the end, and the chances of both are one."""
    steps = [("<s>", "a", 1.0), ("a", "b", 0.5), ("a", " ", 0.3), ("a", "</s>", 0.2), ("b", "b", 0.25)]
    steps += [("b", " ", 0.5), ("b", "</s>", 0.25), (" ", "a", 0.5), (" ", " ", 0.25), (" ", "</s>", 0.25)]
    _, completer = chain("char", *steps)
    found = completer.complete("a", CompletionSettings(k=3))
    assert {one.text: one.probability for one in found.best} == pytest.approx({"": 0.5, "b": 0.375, "bb": 0.09375})
    assert found.missing <= 0.5 * 0.25**2 + 1e-6 and found.settled
    found = completer.complete("a ", CompletionSettings(k=3))
    assert [one.text for one in found.best] == ["", "a", "ab"]
    assert [one.probability for one in found.best] == pytest.approx([0.25, 0.25, 0.1875])


def test_words_by_hand() -> None:
    """What begins as the text does, in proportion; all of a vocabulary's words need nothing read."""
    steps = [("<s>", " the", 1.0), (" the", " cat", 0.4), (" the", " car", 0.2), (" the", " dog", 0.3)]
    _, completer = chain("word", *steps, (" the", "</s>", 0.1), (" cat", "</s>", 1.0), (" car", "</s>", 1.0))
    found = completer.complete("the ca", CompletionSettings(k=5, effort=1))
    assert [(one.text, round(one.probability, 6)) for one in found.best] == [("t", 0.666667), ("r", 0.333333)]
    assert found.missing == pytest.approx(0, abs=1e-6) and found.settled
    found = completer.complete("the ", CompletionSettings(k=2, effort=1))
    assert [(one.text, round(one.probability, 6)) for one in found.best] == [("cat", 0.444444), ("dog", 0.333333)]
    found = completer.complete("the", CompletionSettings(k=5))
    assert [(one.text, round(one.probability, 6)) for one in found.best] == [("", 1.0)]


def test_next_tokens_cover_the_end_of_the_text() -> None:
    steps = [("<s>", " the", 1.0), (" the", " cat", 0.4), (" the", " car", 0.2), (" the", " dog", 0.4)]
    _, completer = chain("word", *steps)
    found = completer.next_tokens("the ca", CompletionSettings())
    assert [(one.token, round(one.probability, 6)) for one in found.best] == [("▁cat", 0.666667), ("▁car", 0.333333)]
    assert [one.token for one in completer.next_tokens("the ", CompletionSettings(k=2)).best] == ["▁cat", "▁dog"]
    for unit in UNITS:
        tokenizer = tokenizer_for(unit)
        model = Spelled(tokenizer)
        every = CompletionSettings(k=tokenizer.size)
        p = [one.probability for one in Completer(model, tokenizer).next_tokens("the c", every).best]
        assert sum(p) == pytest.approx(1, abs=2e-3) and p == sorted(p, reverse=True)


def test_a_closed_vocabulary_completes_with_the_words_that_it_knows() -> None:
    tokenizer = fit([CORPUS], TokenizerSettings(unit="word", closed=True))
    completer = Completer(Spelled(tokenizer), tokenizer)
    for prefix, begin in {"ab a": "a", "ab ": "", "a\n": "", "ab  b": "b"}.items():
        for one in completer.complete(prefix, CompletionSettings(k=20)).best:
            assert one.text.strip() == "" or tokenizer.id_of(" " + begin + one.text.strip()) is not None
    completer = Completer(Remembering(tokenizer.size), tokenizer)
    (one,) = completer.complete("ab zz", CompletionSettings()).best  # nothing is known of an unknown word but its end
    assert one.text == "" and one.probability == pytest.approx(1)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.text("ab \n\té", max_size=12), min_size=1, max_size=4))
@pytest.mark.parametrize("unit", UNITS)
def test_what_was_completed_before_changes_nothing(unit: Unit, texts: list[str]) -> None:
    tokenizer = tokenizer_for(unit)
    model = Spelled(tokenizer)
    completer = Completer(model, tokenizer)
    for text in texts:
        found = completer.complete(text, CompletionSettings(k=3, effort=20))
        assert found == complete(model, text, k=3, effort=20)
        assert 0 <= found.missing <= 1
        assert all(0 < one.probability <= 1 + 1e-6 for one in found.best)


# A trained model


def test_a_trained_model_completes_as_it_scores(train_little: Callable[..., Path]) -> None:
    model = seqmodel.load(train_little(steps=120, width=48))
    for prefix in ("ca", "cat d", "anna "):
        best = model.complete(prefix, 3, any_text=True)
        assert len(best) == 3
        rows = model.score([prefix + one.text for one in best], details=True)
        for one, row in zip(best, rows, strict=True):
            assert row.scores.boundary is not None
            bits = row.scores.bits[len(prefix) : -1].sum() + row.scores.boundary[-1]
            assert one.probability == pytest.approx(2.0**-bits, rel=0.1)  # what is not spelled so is left out here


def test_states_joined_go_on_as_each_would(little_model: Model) -> None:
    runtime = little_model.runtime
    texts = ["cat d", "anna", "xé"]
    alone, states = [], []
    for text in texts:
        ids = np.array([START, *little_model.tokenizer.encode(text)])
        states.append(runtime.step(ids[:, None], runtime.start(1))[1])
        alone.append(runtime.step(np.array([[FIRST_PIECE]]), states[-1])[0][0, 0])
    together, _ = runtime.step(np.full((1, len(texts)), FIRST_PIECE), runtime.join(states))
    np.testing.assert_allclose(together[0], np.stack(alone), atol=1e-4)


def test_from_python(little_model: Model) -> None:
    best = little_model.complete("cat d", k=2)
    assert best[0].text == "og" and best[0].probability > best[1].probability
    assert little_model.completions("cat d", 2).best == tuple(best)
    assert little_model.next_tokens("cat d", 1).best[0].token == "o"
    assert len(little_model.complete()) == 5
    for wrong in ({"k": 0}, {"k": 2.5}, {"effort": 0}, {"nonsense": 1}):
        with pytest.raises(UsageError):
            little_model.complete("cat", **wrong)
    with pytest.raises(UsageError, match="newline"):
        little_model.complete("cat\ndog")
    with pytest.raises(DataError):
        little_model.complete("cat\ud800")
