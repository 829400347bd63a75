"""Samples come from the model's distribution, spelled as the tokenizer would spell them, whatever runs beside them."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from itertools import pairwise, product
from typing import Any

import numpy as np
import pytest

from seqmodel.api.model import Model
from seqmodel.arrays import Floats, Ids
from seqmodel.choices import Unit
from seqmodel.command_settings import SamplingSettings
from seqmodel.decoding.generation import Sample, generate
from seqmodel.decoding.sampling import draw
from seqmodel.decoding.token_healing import PrefixReader
from seqmodel.decoding.token_masks import SequenceForm, Speller, Spelling
from seqmodel.errors import UsageError
from seqmodel.inference.sequence_model import SequenceModel
from seqmodel.scoring.tokens import LN2, score_sequences
from seqmodel.settings import TokenizerSettings
from seqmodel.tokens.fitting import fit, vocabulary_proto
from seqmodel.tokens.tokenizer import END, FIRST_BYTE, FIRST_PIECE, START, UNKNOWN, Tokenizer
from tests.scoring.test_tokens import Remembering, Table

UNITS: tuple[Unit, ...] = ("char", "word", "subword", "byte")
CORPUS = "the cat sat on the mat\n\tthe  dog é日 ate\u00a0it\u2028too\nab ba abab the\n" * 20
PREFIXES = ["", "the", "the cat ", "x🙂", "日本", "a ", " ", "zzz"]


def tokenizer_for(unit: Unit, closed: bool = False) -> Tokenizer:
    return fit([CORPUS], TokenizerSettings(unit=unit, closed=closed))


class Weighted:
    """Draws each id with fixed weights, whatever came before; by default all that can come are alike."""

    def __init__(self, tokenizer: Tokenizer, ends: bool = True, **weights: Any) -> None:
        p = np.ones(tokenizer.size)
        never = [START, *range(FIRST_BYTE, FIRST_PIECE)] if tokenizer.closed else [START, UNKNOWN]
        p[FIRST_BYTE:FIRST_PIECE] *= weights.get("bytes", 1)
        p[FIRST_PIECE:] *= weights.get("pieces", 1)
        p[END] = weights.get("end", 20) if ends else 0
        p[never] = 0
        with np.errstate(divide="ignore"):
            self.logs = np.log(p / p.sum()).astype(np.float32)
        self.vocabulary = tokenizer.size

    def start(self, lanes: int) -> int:
        return lanes

    def select(self, state: int, lanes: Ids) -> int:
        return len(lanes)

    def join(self, states: Sequence[int]) -> int:
        return sum(states)

    def step(self, ids: Ids, state: int) -> tuple[Floats, int]:
        return np.broadcast_to(self.logs, (*ids.shape, self.vocabulary)), state


def samples(model: SequenceModel, tokenizer: Tokenizer, prefix: str = "", **settings: Any) -> list[Sample]:
    ends = settings.pop("ends", True)
    index = settings.pop("prefix_index", 0)
    pieces = generate(
        model, tokenizer, prefix, SamplingSettings(**settings), form=SequenceForm(ends), prefix_index=index
    )
    return sorted((piece.sample for piece in pieces if piece.done), key=lambda sample: sample.index)


def walks(tokenizer: Tokenizer, prefix: str, number: int, ends: bool = True) -> Iterator[tuple[list[int], str]]:
    """Ids and text of random walks over what is allowed, each at a place where it may end.

    Kinds of ids are equally likely, so that bytes, words and white space meet in all ways.
    """
    random = np.random.default_rng(9)
    spelling = Spelling(tokenizer, SequenceForm(ends))
    kinds = np.zeros(tokenizer.size, np.int64)
    for token in range(FIRST_BYTE, tokenizer.size):
        data = tokenizer.piece_bytes[token]
        blank = data.decode("utf-8", "replace").isspace()
        kinds[token] = (1 if data[0] < 0x80 else 2) + (3 if token >= FIRST_PIECE else 0) + (6 if blank else 0)
    kinds[END] = 20
    for _ in range(number):
        speller = Speller(spelling)
        speller.follow(tokenizer.encode(prefix).tolist())
        ids: list[int] = []
        text = ""
        while len(ids) < 60:
            allowed = np.flatnonzero(speller.mask)
            assert len(allowed), "there is always something that may come"
            kind = random.choice(np.unique(kinds[allowed]))
            token = int(random.choice(allowed[kinds[allowed] == kind]))
            if token == END:
                break
            ids.append(token)
            text += speller.push(token)
        else:
            if ends:
                continue
        yield ids, text + speller.finish()


# Spelling


@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize("unit", ["char", "word", "byte"])
def test_whatever_is_sampled_is_spelled_as_encode_would(unit: Unit, prefix: str) -> None:
    tokenizer = tokenizer_for(unit)
    before = tokenizer.encode(prefix).tolist()
    number = 0
    for ids, text in walks(tokenizer, prefix, 400):
        number += 1
        assert tokenizer.encode(prefix + text).tolist() == before + ids
        if unit != "byte":  # bytes that are no UTF-8 are written as they are
            text.encode()
            assert tokenizer.decode(before + ids) == prefix + text
    assert number > 100


def test_white_space_of_several_bytes_is_spelled_in_bytes_only_where_encode_would() -> None:
    tokenizer = tokenizer_for("word")
    assert tokenizer.id_of("\u00a0") is not None and tokenizer.id_of(" the") is not None
    for word, space in {" thx": "\u00a0", " the": "\u2003"}.items():  # space with a piece; word with a piece
        speller = Speller(Spelling(tokenizer))
        for byte in word.encode() + space.encode()[:-1]:
            if not speller.mask[FIRST_BYTE + byte]:
                break
            speller.push(FIRST_BYTE + byte)
        else:
            assert not speller.mask[FIRST_BYTE + space.encode()[-1]]


@pytest.mark.parametrize("first", [" ", FIRST_BYTE + ord(" ")])
@pytest.mark.parametrize("prefix", ["", "the\n"])
def test_a_blank_at_a_line_start_is_virtual_and_something_must_follow_it(prefix: str, first: str | int) -> None:
    """The ids " " and the end spell the same text as the end alone; so does " " before a tab."""
    tokenizer = tokenizer_for("word")
    token = tokenizer.id_of(first) if isinstance(first, str) else first
    newline, tab = tokenizer.id_of("\n"), tokenizer.id_of("\t")
    assert token is not None and newline is not None and tab is not None
    speller = Speller(Spelling(tokenizer))
    speller.follow(tokenizer.encode(prefix).tolist())
    if speller.mask[token]:
        speller.push(token)
        assert not speller.mask[[END, newline, tab]].any()


@pytest.mark.parametrize("prefix", PREFIXES)
def test_subwords_are_valid_text_whose_bytes_spell_what_has_no_piece(prefix: str) -> None:
    tokenizer = tokenizer_for("subword")
    before = tokenizer.encode(prefix).tolist()
    for ids, text in walks(tokenizer, prefix, 300):
        text.encode()
        assert tokenizer.decode(before + ids) == prefix + text
        run = b""
        for token in [*ids, END]:
            if FIRST_BYTE <= token < FIRST_PIECE:
                run += tokenizer.piece_bytes[token]
                continue
            assert all(tokenizer.id_of(char) is None for char in run.decode())
            run = b""


@pytest.mark.parametrize("unit", ["char", "word"])
def test_a_closed_vocabulary_gives_neither_bytes_nor_the_unknown(unit: Unit) -> None:
    tokenizer = tokenizer_for(unit, closed=True)
    for prefix in PREFIXES:
        speller = Speller(Spelling(tokenizer))
        speller.follow(tokenizer.encode(prefix).tolist())
        assert not speller.mask[[UNKNOWN, START, *range(FIRST_BYTE, FIRST_PIECE)]].any()
        assert speller.mask[FIRST_PIECE:].any()
        for ids, _ in walks(tokenizer, prefix, 20):
            assert all(token >= FIRST_PIECE for token in ids)


@pytest.mark.parametrize("unit", UNITS)
def test_a_speller_allows_every_canonical_spelling(unit: Unit) -> None:
    """What is masked is noncanonical: no text is out of reach of sampling."""
    tokenizer = tokenizer_for(unit)
    texts = [
        "the cat",
        " the",
        "  the",
        "\tthe",
        "x",
        "日本 é🙂",
        "a\tb",
        "the\n cat",
        "\n",
        " \n",
        "thex",
        "▁a ▁",
        "a  ",
    ]
    for text in [*texts, CORPUS[:200]]:
        speller = Speller(Spelling(tokenizer))
        shown = ""
        for token in tokenizer.encode(text).tolist():
            assert speller.mask[token], (text, shown)
            shown += speller.push(token)
        assert shown == text
        assert speller.mask[END]


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("ends", [True, False])
def test_no_symbol_is_sampled_but_the_end_of_what_has_one(unit: Unit, ends: bool) -> None:
    tokenizer = tokenizer_for(unit)
    speller = Speller(Spelling(tokenizer, SequenceForm(ends)))
    assert not speller.mask[[START, UNKNOWN]].any()
    assert speller.mask[END] == ends


@pytest.mark.parametrize("weights", [{}, {"bytes": 30}, {"pieces": 30}], ids=["even", "bytes", "pieces"])
@pytest.mark.parametrize("unit", ["char", "word", "subword"])
def test_a_model_that_knows_nothing_still_gives_valid_utf8(unit: Unit, weights: dict[str, Any]) -> None:
    tokenizer = tokenizer_for(unit)
    for settings in ({}, {"temperature": 3.0}, {"top_k": 40}, {"top_p": 0.5}, {"max_chars": 7}, {"temperature": 0.0}):
        model = Weighted(tokenizer, **weights)
        for prefix in ("", "é the "):
            for sample in samples(model, tokenizer, prefix, count=40, max_tokens=25, **settings):
                sample.text.encode()
                assert "\ufffd" not in sample.text


def test_bytes_come_back_as_they_were_drawn() -> None:
    tokenizer = tokenizer_for("byte")
    for sample in samples(Weighted(tokenizer, end=3), tokenizer, count=60, max_tokens=40):
        data = sample.text.encode("utf-8", "surrogateescape")
        assert len(data) == sample.tokens - (sample.stop == "end")


# The distribution


def letters() -> tuple[Tokenizer, Table]:
    tokenizer = Tokenizer(vocabulary_proto(["a", "b"], word=False), "char")
    a, b = FIRST_PIECE, FIRST_PIECE + 1
    p = np.zeros((tokenizer.size, tokenizer.size))
    p[START, [a, b, END]] = [0.6, 0.3, 0.1]
    p[a, [a, b, END]] = [0.2, 0.3, 0.5]
    p[b, [a, b, END]] = [0.5, 0.1, 0.4]
    return tokenizer, Table(p)


def enumerated(tokenizer: Tokenizer, model: Table, length: int) -> dict[str, float]:
    out = {}
    for n in range(length + 1):
        for text in map("".join, product("ab", repeat=n)):
            path = [START, *tokenizer.encode(text).tolist(), END]
            out[text] = float(np.prod([model.p[x, y] for x, y in pairwise(path)]))
    return out


def chi_square(found: Counter[str], expected: dict[str, float], number: int) -> float:
    """Over the texts named and all others together."""
    rest = 1 - sum(expected.values())
    total = sum((found[text] - number * p) ** 2 / (number * p) for text, p in expected.items())
    others = number - sum(found[text] for text in expected)
    return float(total + (others - number * rest) ** 2 / (number * rest))


def test_texts_come_as_often_as_the_model_says() -> None:
    tokenizer, model = letters()
    number = 3000
    found = Counter(sample.text for sample in samples(model, tokenizer, count=number, seed=3))
    expected = enumerated(tokenizer, model, 3)
    assert len(expected) == 15
    assert chi_square(found, expected, number) < 37.70  # 15 degrees of freedom, one in a thousand


def test_a_prefix_conditions_and_a_temperature_sharpens() -> None:
    tokenizer, model = letters()
    number = 2000
    p = np.array([0.5, 0.1, 0.4]) ** 2
    p /= p.sum()
    found = Counter(
        sample.text for sample in samples(model, tokenizer, "ab", count=number, temperature=0.5, max_tokens=1, seed=5)
    )
    assert chi_square(found, {"a": float(p[0]), "b": float(p[1])}, number) < 13.82
    greedy = samples(model, tokenizer, "b", count=3, temperature=0, max_tokens=2)
    assert [(sample.text, sample.stop) for sample in greedy] == [("a", "end")] * 3


def test_top_k_and_top_p_leave_out_the_less_probable() -> None:
    tokenizer, model = letters()
    for settings in ({"top_k": 2}, {"top_p": 0.85}, {"top_k": 3, "top_p": 0.85}):
        first = Counter(sample.text for sample in samples(model, tokenizer, count=600, max_tokens=1, **settings))
        assert set(first) == {"a", "b"}
        assert chi_square(first, {"a": 2 / 3 - 1e-9}, 600) < 10.83


def test_a_trained_model_samples_what_it_scores(little_model: Model) -> None:
    """The first characters of its lines come as often as their probabilities say."""
    tokenizer = little_model.tokenizer
    logs, _ = little_model.runtime.step(np.array([[START]]), little_model.runtime.start(1))
    p = np.exp(logs[0, 0].astype(np.float64))
    number = 2000
    found = Counter(sample.text for sample in little_model.generate(count=number, max_tokens=1, seed=1, any_text=True))
    expected = {tokenizer.decode([i]): float(p[i]) for i in range(FIRST_PIECE, len(p)) if p[i] * number > 8}
    assert len(expected) > 5
    assert chi_square(found, expected, number) < 2.5 * len(expected) + 15


# Each sample by itself


@pytest.mark.parametrize("count", [1, 2, 31, 32, 33, 70])
def test_a_sample_is_the_same_however_many_there_are(count: int) -> None:
    tokenizer = tokenizer_for("char")
    model = Remembering(tokenizer.size, (START, UNKNOWN))
    settings: dict[str, Any] = {"seed": 11, "max_tokens": 30, "temperature": 0.3}
    all_of_them = samples(model, tokenizer, "the", count=75, **settings)
    assert samples(model, tokenizer, "the", count=count, **settings) == all_of_them[:count]
    assert [sample.index for sample in all_of_them] == list(range(75))
    assert len({sample.text for sample in all_of_them}) > 60


def test_seeds_and_prefixes_have_random_numbers_of_their_own() -> None:
    tokenizer = tokenizer_for("char")
    model = Remembering(tokenizer.size, (START, UNKNOWN))
    one = samples(model, tokenizer, "the", seed=1, count=5)
    assert samples(model, tokenizer, "the", seed=1, count=5) == one
    assert samples(model, tokenizer, "the", seed=2, count=5) != one
    assert samples(model, tokenizer, "the", seed=1, count=5, prefix_index=1) != one
    assert samples(model, tokenizer, "the", seed=(1 << 63) - 1, prefix_index=(1 << 31) - 1)


@pytest.mark.parametrize("unit", ["char", "word", "byte"])
@pytest.mark.parametrize("prefix", ["", "the", "unseen 日本🙂 ", "a\n", "the cat\n\tdog"])
def test_bits_are_those_of_the_scorer(unit: Unit, prefix: str) -> None:
    tokenizer = tokenizer_for(unit)
    model = Remembering(tokenizer.size, (START, UNKNOWN))
    reader = PrefixReader(model, Spelling(tokenizer))
    opening, sure = reader.open(prefix), len(reader.trail.ids)  # the rest of the prefix may be spelled in several ways
    given = opening.log_p / -LN2 if len(opening.nodes) > 1 or opening.nodes[0].remaining else 0.0
    checked = 0
    for sample in samples(model, tokenizer, prefix, count=80, max_tokens=30, temperature=0.7, seed=2):
        if sample.stop != "end":
            continue
        ids = np.append(tokenizer.encode(prefix + sample.text), END)
        (scores,) = score_sequences(model, [ids])
        assert len(ids) - len(tokenizer.encode(prefix)) <= sample.tokens <= len(ids) - sure
        assert sample.bits == pytest.approx(scores.bits[sure:].sum() - given, abs=1e-4)
        checked += 1
    assert checked > 3


def test_bits_of_a_trained_model_are_at_temperature_one(little_model: Model) -> None:
    for sample in little_model.generate("anna ", count=10, temperature=0.5, top_k=5, seed=4):
        ids = np.append(little_model.tokenizer.encode("anna " + sample.text), END)
        (scores,) = score_sequences(little_model.runtime, [ids])
        assert sample.stop == "end"
        assert sample.bits == pytest.approx(scores.bits[5:].sum(), abs=1e-3)


# Where samples stop


def test_each_reason_to_stop() -> None:
    tokenizer, model = letters()
    for sample in samples(model, tokenizer, count=200, max_tokens=3, seed=8):
        if sample.stop == "end":
            assert sample.tokens == len(sample.text) + 1 <= 3
        else:
            assert (sample.stop, sample.tokens, len(sample.text)) == ("max_tokens", 3, 3)
    stops = Counter(sample.stop for sample in samples(model, tokenizer, count=200, max_chars=2, seed=8))
    assert set(stops) == {"end", "max_chars"}
    for sample in samples(model, tokenizer, count=200, max_chars=2, seed=8):
        assert len(sample.text) == 2 if sample.stop == "max_chars" else len(sample.text) < 2


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("most", [1, 2, 5])
def test_no_sample_exceeds_its_limits(unit: Unit, most: int) -> None:
    tokenizer = tokenizer_for(unit)
    for ends in (True, False):
        model = Weighted(tokenizer, ends)
        for sample in samples(model, tokenizer, "the ", count=50, max_chars=most, ends=ends):
            assert len(sample.text) <= most
            assert sample.stop == "end" or (sample.stop, len(sample.text)) == ("max_chars", most)
        for sample in samples(model, tokenizer, "the ", count=50, max_tokens=most, ends=ends):
            assert 1 <= sample.tokens <= most and sample.stop in ("end", "max_tokens")


def test_the_bytes_of_an_unfinished_character_do_not_exceed_the_limit() -> None:
    tokenizer = tokenizer_for("byte")
    unfinished = [byte + FIRST_BYTE for byte in "🙂".encode()[:3]]
    p = np.zeros((tokenizer.size, tokenizer.size))
    for before, after in zip([START, *unfinished], [*unfinished, END], strict=True):
        p[before, after] = 1
    (sample,) = samples(Table(p), tokenizer, max_chars=10)
    assert (len(sample.text), sample.stop) == (3, "end")
    (sample,) = samples(Table(p), tokenizer, max_chars=2)
    assert len(sample.text) == 2


def test_pieces_join_to_the_sample_and_the_last_one_is_done() -> None:
    tokenizer = tokenizer_for("word")
    texts: dict[int, str] = {}
    ended: set[int] = set()
    settings = SamplingSettings(count=40, max_tokens=20)
    for piece in generate(Weighted(tokenizer), tokenizer, "the", settings):
        assert piece.sample.index not in ended
        texts[piece.sample.index] = texts.get(piece.sample.index, "") + piece.text
        if piece.done:
            ended.add(piece.sample.index)
            assert texts[piece.sample.index] == piece.sample.text
    assert ended == set(range(40))


def test_a_stream_goes_on_after_a_newline(train_little: Any) -> None:
    import seqmodel

    model = seqmodel.load(train_little(steps=5, width=16, sequence="stream"))
    for prefix in ("", "\n", "anna boil\n", "ελληνικά\n", "\n\n"):
        for sample in model.generate(prefix, count=3, max_chars=40):
            assert sample.stop == "max_chars" and len(sample.text) == 40
    (sample,) = model.generate("anna")
    assert (sample.stop, len(sample.text)) == ("max_chars", 500)
    assert any("\n" in sample.text for sample in model.generate(count=5, max_chars=400))


def test_a_line_model_refuses_a_prefix_of_two_lines(little_model: Model) -> None:
    with pytest.raises(UsageError):
        little_model.generate("anna\nboil")


def test_a_prefix_of_an_unseen_script_is_continued(little_model: Model) -> None:
    for prefix in ("日本語", "🙂", "\x00", "▁", "x" * 1500):
        (sample,) = little_model.generate(prefix, max_chars=20)
        assert sample.text == sample.text.encode().decode() and sample.tokens > 0
        assert sample.stop == "end" or len(sample.text) == 20


def test_the_newline_of_a_word_models_prefix_has_its_virtual_blank(tmp_path: Any) -> None:
    """The text of a line's first word is shown without the blank that stands before it in the ids."""
    tokenizer = tokenizer_for("word")
    the = tokenizer.id_of(" the")
    assert the is not None
    p = np.zeros((tokenizer.size, tokenizer.size))
    p[:, the] = 1
    for prefix, text in {"": "the the", "the\n": "the the", "the": " the the"}.items():
        (sample,) = samples(Table(p), tokenizer, prefix, max_tokens=2, ends=False)
        assert sample.text == text


def test_uniform_numbers_are_those_of_the_key() -> None:
    """The random stream is documented: Philox keyed by seed, prefix and sample."""
    tokenizer, model = letters()
    (sample,) = samples(model, tokenizer, seed=9, prefix_index=2, max_tokens=1)
    uniform = np.random.Generator(np.random.Philox(key=[9, 2 << 32])).random()
    token = int(draw(model.p[START][None], np.array([uniform]))[0])
    assert sample.text == ("" if token == END else tokenizer.decode([token]))


# Prefixes that end inside a token


@pytest.mark.parametrize("unit", ["word", "subword"])
@pytest.mark.parametrize("prefix", ["the c", "th", "the ", "the\nab", "the ca"])
def test_a_prefix_inside_a_token_is_continued_by_all_that_begin_with_it(unit: Unit, prefix: str) -> None:
    """Frequencies of the next characters against sums over all token sequences of a table's model."""
    tokenizer = tokenizer_for(unit)
    random = np.random.default_rng(3)
    p = random.random((tokenizer.size, tokenizer.size)) ** 4
    p[:, [START, UNKNOWN]] = 0
    p[:, FIRST_BYTE:FIRST_PIECE] *= 0.01
    p /= p.sum(axis=1, keepdims=True)
    model = Table(p)
    opening = PrefixReader(model, Spelling(tokenizer)).open(prefix)
    expected: dict[str, float] = defaultdict(float)
    for node, row in zip(opening.nodes, opening.probabilities(), strict=True):
        for token in np.flatnonzero(row):
            expected[node.take(int(token))[1] if token != END else "END"] += float(row[token])
    number = 3000
    found = Counter(
        sample.text if sample.stop != "end" else sample.text or "END"
        for sample in samples(model, tokenizer, prefix, count=number, max_tokens=1, seed=5)
        if sample.tokens == 1
    )
    assert len(opening.nodes) >= 1 and sum(expected.values()) > 0.99
    for text, share in expected.items():
        if text and share > 0.02:  # what adds nothing is followed by another token
            assert found[text] / number >= share - 5 * (share / number) ** 0.5


def test_a_word_is_finished_as_often_as_its_probability_says() -> None:
    tokenizer = tokenizer_for("word")
    cat, the = tokenizer.id_of(" cat"), tokenizer.id_of(" the")
    assert cat is not None and the is not None
    p = np.zeros((tokenizer.size, tokenizer.size))
    p[:, the], p[:, cat], p[:, END] = 0.25, 0.5, 0.25
    drawn = samples(Table(p), tokenizer, "the c", count=50, max_tokens=1, seed=1)
    assert {sample.text for sample in drawn} == {"at"}
    assert all(sample.bits == pytest.approx(0, abs=1e-6) for sample in drawn)  # nothing else begins so
    blank = Counter(sample.text for sample in samples(Table(p), tokenizer, "the ", count=300, max_tokens=1, seed=1))
    assert set(blank) == {"the", "cat"} and 0.58 < blank["cat"] / 300 < 0.75


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize(("prefix", "ban"), [("th", "the"), ("the c", "e ca"), ("the ", " cat"), ("ab", "abab")])
def test_a_ban_holds_across_the_end_of_a_prefix(unit: Unit, prefix: str, ban: str) -> None:
    tokenizer = tokenizer_for(unit)
    model = Weighted(tokenizer, bytes=0.01, pieces=5)
    free = samples(model, tokenizer, prefix, count=300, max_tokens=6, seed=1)
    assert unit in ("char", "byte") or any(ban in prefix + sample.text for sample in free)
    banned = samples(model, tokenizer, prefix, count=300, max_tokens=6, seed=1, ban=(ban,))
    assert not any(ban in prefix + sample.text for sample in banned)


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("prefix", ["", "the\n", "a\nth", "th"])
def test_a_ban_is_of_the_text_whether_or_not_a_virtual_blank_begins_its_lines(unit: Unit, prefix: str) -> None:
    tokenizer = tokenizer_for(unit)
    model = Weighted(tokenizer, bytes=0.01, pieces=5, end=0.1)

    def texts(*ban: str) -> list[str]:
        return [prefix + sample.text for sample in samples(model, tokenizer, prefix, count=300, max_tokens=8, ban=ban)]

    strings = ("\nt", "\n t") if prefix != "a\nth" else ("\nthe", "\n t")
    for string in strings:
        assert not any(string in text[len(prefix) - len(string) + 1 :] for text in texts(string))
    assert not any(" " in text for text in texts(" "))
    blankless = texts(" t")
    assert not any(" t" in text for text in blankless)
    assert any(text[at : at + 1] == "t" for text in blankless for at in [text.find("\n") + 1])


def test_a_penalty_is_of_what_comes_and_not_of_how_the_prefix_is_spelled() -> None:
    tokenizer = tokenizer_for("word")
    cat = tokenizer.id_of(" cat")
    assert cat is not None
    blank, c = FIRST_BYTE + ord(" "), FIRST_BYTE + ord("c")
    p = np.zeros((tokenizer.size, tokenizer.size))
    p[:, cat], p[:, blank], p[:, END] = 0.01, 0.01, 0.98
    p[blank], p[c] = np.eye(tokenizer.size)[c], p[cat]
    # The word, new, and the bytes, seen before, are alike: the byte after the blank is certain, and stays so.
    drawn = samples(Table(p), tokenizer, "xc c", count=400, max_tokens=1, seed=3, repetition_penalty=3)
    assert 0.4 < Counter(sample.text for sample in drawn)["at"] / 400 < 0.6
