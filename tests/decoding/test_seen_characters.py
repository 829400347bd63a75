"""What is sampled and searched for holds only characters of the training text, and known words where sampling is
narrowed; prefixes and scores stay open."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import seqmodel
from seqmodel.api.model import MixedModel, mix
from seqmodel.choices import Unit
from seqmodel.command_settings import CompletionSettings, SamplingSettings, SearchSettings
from seqmodel.decoding.beam import beam
from seqmodel.decoding.best_first import TopSearch
from seqmodel.decoding.completion import Completer
from seqmodel.decoding.generation import Sample, generate
from seqmodel.decoding.sampling import as_one_choice, top_k, top_p
from seqmodel.decoding.token_masks import SequenceForm, Speller, Spelling
from seqmodel.model.bundle import read_bundle, write_bundle
from seqmodel.tokens.characters import Characters
from seqmodel.tokens.fitting import vocabulary_proto
from seqmodel.tokens.tokenizer import END, FIRST_BYTE, FIRST_PIECE, START, Tokenizer
from tests.decoding.test_generation import Weighted, tokenizer_for
from tests.inference.exact import PREFIXES, random_table
from tests.scoring.test_tokens import Table

UNITS: tuple[Unit, ...] = ("char", "word", "subword", "byte")
ALPHABETS = ["ab the", "cat\n", "the日éq", "q🙂 \t", "ab\u00a0é ", "xyz", "é\ud7ff\uffff", "the \udcff\udce6b日"]


def characters_for(unit: Unit, text: str) -> Characters:
    """Of a text; bytes that are no characters are those of byte models alone."""
    return Characters.of(text if unit == "byte" else text.encode("utf-8", "ignore").decode())


def holds(characters: Characters, text: str) -> bool:
    return all(char in characters for char in text)


def walk(spelling: Spelling, prefix: str, random: np.random.Generator, length: int = 40) -> tuple[list[int], str, bool]:
    """Tokens and text of a random walk over what is allowed, bytes and other kinds of tokens alike; True if it ends."""
    speller = Speller(spelling)
    speller.follow(spelling.tokenizer.encode(prefix).tolist())
    speller = speller.narrowed(spelling)
    ids, text = list[int](), ""
    while len(ids) < length:
        allowed = np.flatnonzero(speller.mask)
        assert len(allowed), "there is always something that may come"
        spelled = (allowed >= FIRST_BYTE) & (allowed < FIRST_PIECE)
        kinds = [group for group in (allowed[spelled], allowed[~spelled]) if len(group)]
        token = int(random.choice(kinds[random.integers(len(kinds))]))
        if token == END:
            return ids, text + speller.finish(), True
        ids.append(token)
        text += speller.push(token)
    return ids, text, False


@pytest.mark.parametrize("prefix", ["", "the", "x🙂", "日本", "a ", "zzz\u00a0"])
@pytest.mark.parametrize("alphabet", ALPHABETS)
@pytest.mark.parametrize("unit", UNITS)
def test_no_walk_leaves_the_characters_or_comes_to_a_dead_end(unit: Unit, alphabet: str, prefix: str) -> None:
    tokenizer, characters = tokenizer_for(unit), characters_for(unit, alphabet)
    spelling = Spelling(tokenizer).narrowed(characters)
    random = np.random.default_rng(5)
    before, ended = tokenizer.encode(prefix).tolist(), 0
    for _ in range(60):
        ids, text, is_whole = walk(spelling, prefix, random)
        assert holds(characters, text)
        ended += is_whole
        if is_whole and unit != "subword":
            assert tokenizer.encode(prefix + text).tolist() == before + ids
    assert ended


@pytest.mark.parametrize("unit", UNITS)
def test_all_that_is_made_of_the_characters_may_come(unit: Unit) -> None:
    """Also what has no token; but a character that ends a word in bytes cannot, since that is not spelled so anyway."""
    tokenizer = tokenizer_for(unit)
    texts = ["the cat", "qé日 zé\nx", "\tthe  dog", "é" * 20, " q", "  q", "hub a\n\n", "日日 the日 日"]
    spelling = Spelling(tokenizer).narrowed(Characters.of("".join(texts)))
    for text in texts:
        speller = Speller(spelling)
        for token in [*tokenizer.encode(text).tolist(), END]:
            assert speller.mask[token], (text, token)
            if token != END:
                speller.push(token)


@pytest.mark.parametrize("unit", ["word", "subword"])
def test_a_blank_that_the_text_lacks_begins_lines_alone(unit: Unit) -> None:
    """A word model whose lines are one word each never writes two."""
    tokenizer, random = tokenizer_for(unit), np.random.default_rng(2)
    spelling = Spelling(tokenizer).narrowed(Characters.of("thecatq\n"))
    texts = [walk(spelling, "", random)[1] for _ in range(300)]
    assert not any(" " in text for text in texts)
    assert any("q" in text for text in texts) and any("\n" in text for text in texts)
    stream = Spelling(tokenizer, SequenceForm(False)).narrowed(
        Characters.of("thecat")
    )  # without a newline nothing can follow a word
    assert walk(stream, "the", random, 2)[0]


# The distribution


def drawn(model: Any, tokenizer: Tokenizer, prefix: str = "", **given: Any) -> list[Sample]:
    characters, ends = given.pop("characters", None), given.pop("ends", True)
    pieces = generate(
        model, tokenizer, prefix, SamplingSettings(**given), form=SequenceForm(ends), characters=characters
    )
    return [piece.sample for piece in pieces if piece.done]


def letters(**p: float) -> tuple[Tokenizer, Table]:
    """A char model that draws letters and bytes ("é": its first byte) with fixed probabilities, the end with the rest;
    after the first byte of é, ê and è the second is that of each with a third."""
    tokenizer = Tokenizer(vocabulary_proto(["a", "b"], word=False), "char")
    table = np.zeros((tokenizer.size, tokenizer.size))
    for name, probability in p.items():
        token = FIRST_BYTE + name.encode()[0] if tokenizer.id_of(name) is None else tokenizer.id_of(name)
        table[:, token] = probability
    table[:, END] = 1 - sum(p.values())
    table[FIRST_BYTE + 0xC3] = 0
    table[FIRST_BYTE + 0xC3, [FIRST_BYTE + char.encode()[1] for char in "éêè"]] = 1 / 3
    return tokenizer, Table(table)


def test_what_is_left_shares_the_probability_of_what_is_not() -> None:
    """Of a, b, é, ê, è and the end (0.4, 0.1, 3 × 0.1, 0.2) the characters a and é are left: two of the three that
    begin like é go, and their share of its second byte."""
    tokenizer, model = letters(a=0.4, b=0.1, é=0.3)
    samples = drawn(model, tokenizer, count=3000, max_tokens=3, characters=Characters.of("aé"), seed=4)
    assert {char for sample in samples for char in sample.text} == {"a", "é"}
    total = 0.4 + 0.3 + 0.2
    expected = {"": 0.2 / total, "a": 0.4 * 0.2 / total**2, "é": 0.3 * 0.2 / total**2, "aa": 0.4**2 * 0.2 / total**3}
    bits = {sample.text: sample.sampling_bits for sample in samples if sample.stop == "end"}
    assert {text: 2.0 ** -bits[text] for text in expected} == pytest.approx(expected, rel=1e-5)
    assert {s.text: 2.0**-s.bits for s in samples if s.stop == "end"}["é"] == pytest.approx(0.3 / 3 * 0.2, rel=1e-5)
    counts = Counter(sample.text for sample in samples if sample.stop == "end")
    assert counts["a"] / 3000 == pytest.approx(expected["a"], abs=0.02)


@pytest.mark.parametrize("any_text", [False, True])
@pytest.mark.parametrize("given", [{}, {"top_p": 0.8}, {"top_k": 2}, {"min_p": 0.3}, {"temperature": 0.6}], ids=str)
@pytest.mark.parametrize("unit", UNITS)
def test_all_samples_together_have_probability_one(unit: Unit, given: dict[str, Any], any_text: bool) -> None:
    """Distinct samples of few tokens: what was never drawn is improbable."""
    for seed in range(3):
        tokenizer, model = random_table(unit, 2 * seed + 1)
        model.p += 1e-9 * Spelling(tokenizer).anything
        characters = Characters.of("a the\u00e9\t" + ("\udcff" if unit == "byte" else ""))
        settings: dict[str, Any] = {"count": 1500, "max_tokens": 3, "any_text": any_text, "seed": seed, **given}
        samples = drawn(model, tokenizer, characters=characters, **settings)
        apart = {(s.bits, s.text, s.stop): 2.0**-s.sampling_bits for s in samples}
        assert 0.97 < sum(apart.values()) < 1 + 1e-6
        if not any_text:
            assert all(holds(characters, s.text) for s in samples if s.stop == "end")


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.floats(0, 1), min_size=6, max_size=6).filter(lambda row: sum(row) > 0.01),
    st.sets(st.integers(0, 5), min_size=1),
    st.integers(1, 6),
    st.floats(0.05, 1),
)
def test_one_choice_is_kept_or_dropped_as_a_token_of_its_whole_probability(
    row: list[float], together: set[int], k: int, p: float
) -> None:
    tokens, probabilities = np.array(sorted(together)), np.array([row]) / sum(row)
    rest = np.setdiff1d(np.arange(6), tokens)
    merged = np.concatenate([probabilities[:, rest], probabilities[:, tokens].sum(axis=1, keepdims=True)], axis=1)
    for truncate in (partial(top_k, k=min(k, len(rest) + 1)), partial(top_p, p=p)):
        found, expected = as_one_choice(probabilities, tokens, truncate), truncate(merged)
        assert found.sum() == pytest.approx(1)
        if len(set(np.round(merged[0], 9))) == len(merged[0]):  # of equal ones either may be kept
            assert found[0, tokens].sum() == pytest.approx(expected[0, -1])
            assert found[0, rest] == pytest.approx(expected[0, :-1])


WORDS = [" the", " cat", " dog", " ", "\n"]


def words(spelled: float) -> tuple[Tokenizer, Weighted]:
    """A word model that begins a word in bytes with about this probability, else one that it knows, or ends."""
    tokenizer = Tokenizer(vocabulary_proto(WORDS, word=True), "word")
    model = Weighted(tokenizer)
    p = np.full(tokenizer.size, 1e-12)
    for text, share in {" the": 0.5, " cat": 0.2, " dog": 0.1}.items():
        p[tokenizer.id_of(text)] = share
    p[FIRST_BYTE + np.frombuffer(b" xyz", np.uint8)] = np.array([0.7, 0.1, 0.1, 0.1]) * spelled
    p[END] = 0.2
    p[[START, 0]] = 0
    model.logs = np.log(np.maximum(p / p.sum(), 1e-300)).astype(np.float32)
    return tokenizer, model


def share_of_unknown(samples: list[Sample]) -> float:
    found = [word for sample in samples for word in sample.text.split()]
    return sum(" " + word not in WORDS for word in found) / len(found)


@pytest.mark.parametrize("given", [{"top_p": 0.9}, {"top_k": 3}, {"min_p": 0.05}, {"temperature": 0.7}], ids=str)
def test_where_the_probable_gains_words_are_known_ones(given: dict[str, Any]) -> None:
    tokenizer, model = words(0.3)
    seen = Characters.of("the cat dog xyz")
    assert share_of_unknown(drawn(model, tokenizer, count=400, characters=seen)) > 0.1
    assert share_of_unknown(drawn(model, tokenizer, count=400, characters=seen, **given)) == 0
    assert share_of_unknown(drawn(model, tokenizer, count=400, characters=seen, any_text=True, **given)) > 0


def test_any_text_truncates_with_an_unknown_word_as_one_choice() -> None:
    """The bytes of unknown words are together more probable than " cat", and each of them less."""
    tokenizer, model = words(0.3)
    given: dict[str, Any] = {"count": 100, "max_tokens": 8, "any_text": True}
    text = " ".join(s.text for s in drawn(model, tokenizer, top_k=2, **given))
    assert "the" in text and "x" in text and "cat" not in text
    text = " ".join(s.text for s in drawn(model, tokenizer, top_k=1, **given))
    assert set(text.split()) == {"the"}


@pytest.mark.parametrize(("prefix", "expected"), [("the c", {"at"}), ("the d", {"og"}), ("the xy", {""}), ("q", {""})])
def test_a_word_that_a_prefix_begins_is_finished_as_a_known_one_if_it_can_be(prefix: str, expected: set[str]) -> None:
    tokenizer, model = words(0.3)
    samples = drawn(model, tokenizer, prefix, count=300, top_p=0.99, characters=Characters.of("the cat dog xyz"))
    firsts = {sample.text.split(" ")[0] for sample in samples}
    assert expected <= firsts
    if expected != {""}:
        assert firsts == expected
    else:  # a word that is not known may go on, but the next ones are known
        assert all(" " + word in WORDS for sample in samples for word in sample.text.split(" ")[1:])


# Prefixes, searches and scores


@pytest.mark.parametrize("unit", UNITS)
def test_a_prefix_of_other_characters_is_continued_with_those_of_the_text(unit: Unit) -> None:
    tokenizer = tokenizer_for(unit)
    model, characters = Weighted(tokenizer), Characters.of("the cat\n")
    for prefix in ["", "日本", "tü", "the 🙂", "zzz ", "é"]:
        samples = drawn(model, tokenizer, prefix, count=40, max_tokens=30, characters=characters)
        assert all(holds(characters, sample.text) for sample in samples)
        assert any(sample.text for sample in samples)
        found = beam(model, tokenizer, prefix, 5, SamplingSettings(max_tokens=6), characters=characters)
        assert found and all(holds(characters, sample.text) for sample in found)


def test_a_byte_prefix_may_end_inside_a_character_of_the_text() -> None:
    tokenizer, characters = tokenizer_for("byte"), Characters.of("é日a")
    model = Weighted(tokenizer, end=0.01)
    texts = [
        (p + s.text).encode("utf-8", "surrogateescape").decode()
        for p in ["a\udce6", "\udce6\udc97", "é"]
        for s in drawn(model, tokenizer, p, count=30, max_chars=12, characters=characters)
        if s.stop == "end"
    ]
    assert texts and all(holds(characters, text) for text in texts)
    samples = drawn(model, tokenizer, "\udcff\udcf0", count=30, max_tokens=9, characters=characters)  # none begins so
    assert all(holds(characters, s.text) for s in samples if s.stop == "end")


@pytest.mark.parametrize("unit", ["char", "word", "byte"])
@pytest.mark.parametrize("seed", range(3))
def test_searches_find_the_best_of_what_is_left(unit: Unit, seed: int) -> None:
    tokenizer, model = random_table(unit, seed)
    characters = Characters.of("a the\u00e9\t")
    for prefix in PREFIXES[unit][:2]:
        narrow = SearchSettings(effort=400, count=30)
        wide = narrow.model_copy(update={"any_text": True})
        every, left = (
            [row.text for row in TopSearch(model, tokenizer, prefix, settings, characters=characters) if row.proved]
            for settings in (wide, narrow)
        )
        expected = [text for text in every if holds(characters, text[len(prefix) :])]
        assert left[: len(expected)] == expected and 0 < len(expected) < len(every)


@pytest.mark.parametrize("unit", UNITS)
def test_completions_share_the_probability_of_what_is_not_left(unit: Unit) -> None:
    tokenizer, model = random_table(unit, 1)
    model.p += 1e-9 * Spelling(tokenizer).anything  # there is always something that may come
    characters = Characters.of("a the\u00e9\t")
    narrow, wide = Completer(model, tokenizer, characters=characters), Completer(model, tokenizer)
    for prefix in PREFIXES[unit][:2]:
        found = narrow.complete(prefix, CompletionSettings(k=500, effort=100))
        assert found.best and all(holds(characters, one.text) for one in found.best)
        assert sum(one.probability for one in found.best) + found.missing == pytest.approx(1)
        opened = narrow.complete(prefix, CompletionSettings(effort=100, any_text=True))
        assert opened == wide.complete(prefix, CompletionSettings(effort=100))
        every = CompletionSettings(k=tokenizer.size)
        assert sum(one.probability for one in narrow.next_tokens(prefix, every).best) == pytest.approx(1, abs=2e-3)


# Trained models

RARE = "anna boil cat\ndog eat far\n" * 40 + "ẞ\U0001f600 once\n" + "good hill\n" * 20


@pytest.mark.parametrize("unit", UNITS)
def test_a_trained_model_writes_what_its_text_holds_the_rare_included(
    unit: Unit, train_little: Callable[..., Path]
) -> None:
    model = seqmodel.load(train_little(RARE, unit=unit, steps=20, **({"ngram": "off"} if unit == "word" else {})))
    seen = set(RARE) - {"\n"}
    assert model.characters is not None and len(model.characters) >= len(seen) - 2  # those held out, perhaps
    written = {char for sample in model.generate(count=400, max_chars=40, seed=1) for char in sample.text}
    assert written <= seen
    assert "ẞ" in model.characters
    if unit in ("char", "byte"):
        assert model.tokenizer.id_of("ẞ") is None, "it is spelled in bytes"
        completions = model.complete("", 400, effort=400)
        assert any("ẞ" in one.text and one.probability > 0 for one in completions)
    wild = {char for sample in model.generate(count=400, max_chars=40, seed=1, any_text=True) for char in sample.text}
    assert wild - seen


def test_scores_are_open(little_model: Any) -> None:
    before = little_model.score(["cat ⊕", "日本"])
    little_model.generate("日本", count=2)
    assert [row.bits for row in little_model.score(["cat ⊕", "日本"])] == [row.bits for row in before]
    assert all(np.isfinite(row.bits) for row in before)


def test_mixed_models_write_the_characters_of_all(train_little: Callable[..., Path], tmp_path: Path) -> None:
    base = train_little()
    bundle = read_bundle(base)
    models = []
    for name, text in {"one": "abc", "two": "xyz ", "old": None}.items():
        own = Characters.of(text) if text is not None else None
        write_bundle(tmp_path / name, bundle.__class__(**{**bundle.__dict__, "characters": own}))
        models.append(seqmodel.load(tmp_path / name))
    for chosen, allowed in ((models[:2], "abcxyz "), (models[1:], None)):
        mixed = mix(chosen)
        assert isinstance(mixed, MixedModel)
        text = "".join(sample.text for sample in mixed.generate(count=60, max_chars=30, seed=1))
        known = "".join(piece.decode() for piece in bundle.tokenizer.piece_bytes[FIRST_PIECE:])
        assert set(text) <= set(allowed or known + "xyz ")


def test_what_training_began_from_counts_as_its_text(train_little: Callable[..., Path]) -> None:
    base = train_little("anna Ω cat\n" * 60)
    model = seqmodel.load(train_little("cat dog\n" * 60, init=str(base)))
    assert model.characters is not None
    assert all(char in model.characters for char in "anna Ω cat dog")
