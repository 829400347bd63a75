"""What is promised of learning a vocabulary: which entries it holds, and that every corpus has one."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

import pytest
import sentencepiece
from hypothesis import example, given, settings
from hypothesis import strategies as st

from seqmodel.choices import SubwordMethod, Unit
from seqmodel.errors import DataError, SeqmodelError, UsageError
from seqmodel.settings import MAX_VOCABULARY, TokenizerSettings
from seqmodel.text.corpus import END_MARK
from seqmodel.tokens.fitting import fit, vocabulary_proto
from seqmodel.tokens.tokenizer import FIRST_BYTE, FIRST_PIECE, Tokenizer

PROSE = "the cat sat on the mat and the dog sat on the log by the old tree\n" * 20 + "a café in 東京 was open\n"
UNITS: tuple[tuple[Unit, SubwordMethod], ...] = (
    ("char", "unigram"),
    ("word", "unigram"),
    ("subword", "unigram"),
    ("subword", "bpe"),
    ("byte", "unigram"),
)
LEARNED = UNITS[:4]
SUBWORDS: tuple[SubwordMethod, ...] = ("unigram", "bpe")

ODD = [
    *("\u2581", "\u2585", "\x00", "\r", "\t", "\n", " ", "  ", "\x85", "\xa0", "\u200b", "\ufeff", "\uffff", "\u0301"),
    *("<unk>", "<s>", "</s>", "<0x41>", " <unk>", "<pad>", "a", "b", "ab", "é", "東", "😀", "a" * 40),
]
corpora = st.lists(
    st.sampled_from(ODD) | st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=3),
    min_size=1,
    max_size=20,
).map("".join)


def learn(*sequences: str, **options: Any) -> Tokenizer:
    return fit([sequence + END_MARK for sequence in sequences], TokenizerSettings.model_validate(options))


def entries(tokenizer: Tokenizer) -> list[str]:
    return [piece.decode() for piece in tokenizer.piece_bytes[FIRST_PIECE:]]


def lossless(tokenizer: Tokenizer, text: str) -> bool:
    return tokenizer.decode(tokenizer.encode(text)) == text


# Char and word vocabularies


def test_entries_come_most_frequent_first_then_in_code_point_order() -> None:
    assert entries(learn("bbb aacc", "cb")) == ["b", "c", "a", " "]
    assert entries(learn("b a b", "c\ta", unit="word")) == [" b", "\t", " a", " c", "a"]


def test_a_char_that_occurs_once_is_left_out_while_such_chars_are_rare() -> None:
    common = "ab" * 500
    assert entries(learn(common + "xyzw")) == ["a", "b"]  # 4 of 1004: under 0.5 %
    assert entries(learn(common + "uvwxyz")) == ["a", "b", *"uvwxyz"]  # 6 of 1006: over
    assert entries(learn(common + "xx")) == ["a", "b", "x"]


def test_a_word_that_occurs_once_is_left_out_while_such_words_are_rare() -> None:
    common = "a b " * 20
    assert entries(learn(common + "once", unit="word")) == [" a", " b"]
    many = " ".join(f"w{number}" for number in range(30))
    assert len(entries(learn(common + many, unit="word"))) == 32


def test_a_given_size_or_a_closed_vocabulary_keeps_what_occurs_once() -> None:
    common = "ab" * 500
    assert entries(learn(common + "x", vocabulary_size=FIRST_PIECE + 3)) == ["a", "b", "x"]
    assert entries(learn(common + "x", closed=True)) == ["a", "b", "x"]


@settings(max_examples=100, deadline=None)
@given(corpora)
def test_a_char_vocabulary_holds_the_chars_that_occur(text: str) -> None:
    counts = Counter(text)
    for never in ("\u2581", "\u2585", "\x00"):
        counts.pop(never, None)
    kept = set(entries(learn(text)))
    once = sum(1 for n in counts.values() if n == 1)
    assert kept == {char for char, n in counts.items() if n > 1 or once >= 0.005 * counts.total()}


@settings(max_examples=100, deadline=None)
@given(st.lists(st.sampled_from(["a", "b", "cd", " ", "\t", "\n", "\n\n"]), min_size=1, max_size=30).map("".join))
def test_a_word_vocabulary_holds_words_with_the_blank_before_them(text: str) -> None:
    spelled = "\n".join(" " + line if re.match(r"[ab-d ]", line) else line for line in text.split("\n"))
    counts = Counter(re.findall(r" ?\S+|\s", spelled))
    once = sum(1 for n in counts.values() if n == 1)
    kept = {entry for entry, n in counts.items() if n > 1 or once >= 0.2 * counts.total()}
    assert set(entries(learn(text, unit="word"))) == kept


@settings(max_examples=100, deadline=None)
@given(st.lists(st.sampled_from(["a", "b", "cd", " ", "\t", "\n", "\n\n"]), min_size=1, max_size=30).map("".join))
def test_a_closed_word_vocabulary_holds_words_and_the_newline(text: str) -> None:
    expected = {" " + word for word in text.split()} | ({"\n"} if "\n" in text else set())
    if expected:
        assert set(entries(learn(text, unit="word", closed=True))) == expected
    else:
        with pytest.raises(DataError):
            learn(text, unit="word", closed=True)


def test_what_ids_are_called_is_never_an_entry() -> None:
    names = ["<unk>", "<s>", "</s>", "<0x41>", "<0xFF>"]
    for unit, method in UNITS:
        tokenizer = learn(*[" ".join(names)] * 50, unit=unit, subword=method)
        shown = [tokenizer.piece(token) for token in range(tokenizer.size)]
        assert len(set(shown)) == len(shown), (unit, method)
        assert lossless(tokenizer, "".join(names)) and lossless(tokenizer, " ".join(names))


def test_the_byte_unit_needs_no_text() -> None:
    assert fit([], TokenizerSettings(unit="byte")).size == FIRST_PIECE


def test_words_longer_than_sentencepiece_takes_are_spelled_otherwise() -> None:
    blob = "QUJD" * 5000
    for unit, method in UNITS:
        text = f"the cat {blob} {blob} the cat"
        tokenizer = learn(text, text, unit=unit, subword=method)
        assert lossless(tokenizer, text), (unit, method)


# Vocabulary sizes


@pytest.mark.parametrize(("unit", "method"), LEARNED)
@pytest.mark.parametrize("size", [1, 2, 3, 100, FIRST_PIECE - 1, FIRST_PIECE, 100_000, MAX_VOCABULARY])
def test_a_size_that_does_not_fit_is_a_usage_error_that_names_one_that_does(
    unit: Unit, method: SubwordMethod, size: int
) -> None:
    with pytest.raises(UsageError, match=f"--vocab-size {size}") as caught:
        learn(PROSE, unit=unit, subword=method, vocabulary_size=size)
    found = re.fullmatch(r"Give (more than )?(\d+)( or more| or less)?\.", caught.value.hint)
    assert found, caught.value.hint
    working = int(found[2]) + bool(found[1])
    assert learn(PROSE, unit=unit, subword=method, vocabulary_size=working).size == working


@pytest.mark.parametrize("method", SUBWORDS)
@pytest.mark.parametrize("text", ["a", "<0x41>" * 4, "aaaa aaaa", "\u200bx<y"])
def test_the_size_that_is_named_works_for_tiny_corpora_too(method: SubwordMethod, text: str) -> None:
    for size in (100, 5000):
        with pytest.raises(UsageError) as caught:
            learn(text, unit="subword", subword=method, vocabulary_size=size)
        found = re.fullmatch(r"Give (more than )?(\d+)( or more| or less)?\.", caught.value.hint)
        assert found, caught.value.hint
        working = int(found[2]) + bool(found[1])
        assert learn(text, unit="subword", subword=method, vocabulary_size=working).size == working


@pytest.mark.parametrize(("unit", "method"), LEARNED)
@pytest.mark.parametrize("size", [MAX_VOCABULARY + 1, 1 << 31, 1 << 70])
def test_a_size_beyond_all_vocabularies_is_refused(unit: Unit, method: SubwordMethod, size: int) -> None:
    with pytest.raises((UsageError, ValueError)) as caught:
        learn(PROSE, unit=unit, subword=method, vocabulary_size=size)
    assert "cannot parse" not in str(caught.value)  # SentencePiece's own words


@pytest.mark.parametrize(("unit", "method"), LEARNED)
def test_a_size_that_fits_is_the_size(unit: Unit, method: SubwordMethod) -> None:
    most = learn(PROSE, unit=unit, subword=method).size
    for size in (most, most - 2):
        assert learn(PROSE, unit=unit, subword=method, vocabulary_size=size).size == size


def test_a_size_keeps_the_most_frequent() -> None:
    assert entries(learn("cccc bbb aa d", vocabulary_size=FIRST_PIECE + 2)) == ["c", " "]


def test_the_size_that_fits_leaves_out_what_is_never_an_entry() -> None:
    with pytest.raises(UsageError) as caught:
        learn("aab\u2581\u2585\x00", vocabulary_size=1000)
    assert caught.value.hint == f"Give {FIRST_PIECE + 2} or less."


# Subwords


@pytest.mark.parametrize("method", SUBWORDS)
def test_subwords_spell_text_in_fewer_tokens_than_chars(method: SubwordMethod) -> None:
    syllables = ["kan", "to", "sere", "mi", "lupo", "dra", "vel"]
    lines = [f"{a}{b}{c} {c}{a} {b}" for a in syllables for b in syllables for c in syllables]
    tokenizer = learn(*lines, unit="subword", subword=method)
    assert sum(len(tokenizer.encode(line)) for line in lines) < sum(map(len, lines)) / 2
    assert all(lossless(tokenizer, line) for line in lines)
    assert FIRST_PIECE < tokenizer.size <= 512


@pytest.mark.parametrize("method", SUBWORDS)
def test_subwords_can_be_learned_from_text_without_blanks(method: SubwordMethod) -> None:
    text = "\tred\tgreen\n\tgreen\n" * 30
    tokenizer = learn(text, unit="subword", subword=method)
    assert lossless(tokenizer, text)
    assert lossless(tokenizer, "red green\n\t blue")


@pytest.mark.parametrize("method", SUBWORDS)
def test_subwords_can_be_learned_where_blanks_are_rarer_than_one_in_ten_thousand(method: SubwordMethod) -> None:
    text = "ab\tba\t" * 6000
    tokenizer = learn(text, unit="subword", subword=method)
    assert lossless(tokenizer, text) and lossless(tokenizer, "ab ba")


@pytest.mark.parametrize("method", SUBWORDS)
def test_long_lines_without_white_space_teach_subwords_too(method: SubwordMethod) -> None:
    line = "東京は日本の首都である。" * 120
    assert len(line) > 1000
    tokenizer = learn(line, line, unit="subword", subword=method)
    assert len(tokenizer.encode(line)) <= len(line)


@pytest.mark.parametrize("method", SUBWORDS)
@pytest.mark.parametrize(
    "text", ["a", "ab", "a" * 300, "a" * 999, "😀", "<unk>", "\u2585 a", "\u2581a b", "e\u0301", "\x01"]
)
def test_subwords_can_be_learned_from_next_to_nothing(method: SubwordMethod, text: str) -> None:
    assert lossless(learn(text, unit="subword", subword=method), text)


@pytest.mark.parametrize("method", SUBWORDS)
def test_more_kinds_of_chars_than_the_usual_size_make_the_vocabulary_larger(method: SubwordMethod) -> None:
    text = "".join(map(chr, range(0x4E00, 0x4E00 + 1500)))
    tokenizer = learn(*(text[at : at + 30] for at in range(0, len(text), 30)), unit="subword", subword=method)
    assert tokenizer.size > FIRST_PIECE + 1400
    assert lossless(tokenizer, text)


@pytest.mark.parametrize("method", SUBWORDS)
@pytest.mark.parametrize("text", ["\n", " ", " \t\n  \n", "\x85\u2028"])
def test_a_corpus_of_white_space_has_no_subwords(method: SubwordMethod, text: str) -> None:
    with pytest.raises(DataError):
        learn(text, unit="subword", subword=method)


# Every corpus


@pytest.mark.parametrize(("unit", "method"), LEARNED)
@pytest.mark.parametrize("blocks", [[], [""], [END_MARK], [END_MARK, END_MARK + END_MARK]])
def test_no_text_is_a_data_error(unit: Unit, method: SubwordMethod, blocks: list[str]) -> None:
    with pytest.raises(DataError, match="the corpus holds no text"):
        fit(blocks, TokenizerSettings(unit=unit, subword=method))


@pytest.mark.parametrize(("unit", "method"), UNITS)
@settings(max_examples=60, deadline=None)
@given(text=corpora)
@example(text="\u2581")
@example(text=" ")
@example(text="\tx")
@example(text="\x00")
@example(text="</s>")
@example(text="a\t" * 10001)
def test_every_corpus_can_be_learned_from_and_spelled_or_is_refused(
    unit: Unit, method: SubwordMethod, text: str
) -> None:
    try:
        tokenizer = learn(text, unit=unit, subword=method)
    except SeqmodelError:
        assert unit == "subword"
        return
    assert lossless(tokenizer, text)
    shown = [tokenizer.piece(token) for token in range(tokenizer.size)]
    assert len(set(shown)) == len(shown)


@pytest.mark.parametrize("unit", ["char", "word"])
@pytest.mark.parametrize("text", [" ", "\n\n", "\t \t", "\x85", "\u2028 "])
def test_white_space_alone_is_a_corpus_of_chars_and_of_words(unit: Unit, text: str) -> None:
    tokenizer = learn(text, unit=unit)
    assert lossless(tokenizer, text) and tokenizer.size > FIRST_PIECE


@pytest.mark.parametrize(("unit", "method"), UNITS)
def test_equal_corpora_give_equal_bytes_however_they_are_cut(unit: Unit, method: SubwordMethod) -> None:
    lines = PROSE.splitlines(keepends=True)
    chosen = TokenizerSettings(unit=unit, subword=method)
    whole = fit([PROSE + END_MARK], chosen).proto
    assert fit([PROSE + END_MARK], chosen).proto == whole
    assert fit([*lines, END_MARK], chosen).proto == whole


def test_the_text_is_left_as_it_was_counted_once_per_block() -> None:
    blocks = iter([f"ab{END_MARK}", f"b{END_MARK}"])
    assert entries(fit(blocks, TokenizerSettings())) == ["b", "a"]
    assert next(blocks, None) is None


# The proto that is written by hand


def test_a_vocabulary_proto_is_what_sentencepiece_reads() -> None:
    for word in (False, True):
        processor = sentencepiece.SentencePieceProcessor(model_proto=vocabulary_proto([" the", "a", "é"], word=word))
        assert processor.get_piece_size() == FIRST_PIECE + 3
        assert (processor.unk_id(), processor.bos_id(), processor.eos_id(), processor.pad_id()) == (0, 1, 2, -1)
        assert processor.is_unknown(0) and processor.is_control(1) and processor.is_control(2)
        assert all(processor.is_byte(token) for token in range(FIRST_BYTE, FIRST_PIECE))
        assert [processor.id_to_piece(FIRST_PIECE + i) for i in range(3)] == ["\u2581the", "a", "é"]
        scores = [processor.get_score(token) for token in range(FIRST_PIECE + 3)]
        assert scores == sorted(scores, reverse=True) and len(set(scores)) == len(scores)


def test_a_vocabulary_proto_is_these_bytes() -> None:
    proto = vocabulary_proto(["a"], word=False)
    assert proto.startswith(b"\x0a\x0e\x0a\x05<unk>\x15\x00\x00\x00")
    assert b"\x18\x02\x0a\x0c\x0a\x03<s>\x15\x00\x00\x80\xbf\x18\x03" in proto  # unknown; score -1, control
    assert b"\x0a\x0a\x0a\x01a\x15\x00\x80\x81\xc3\x18\x01" in proto  # score -259, normal
    trainer = b"\x18\x04\x20\x84\x02\x98\x02\x01\xc0\x02\x00\xc8\x02\x01\xd0\x02\x02\xd8\x02" + b"\xff" * 9 + b"\x01"
    normalizer = b"\x0a\x08identity\x18\x00\x20\x00\x28\x01"
    assert proto.endswith(b"\x12%c%b\x1a%c%b" % (len(trainer), trainer, len(normalizer), normalizer))
