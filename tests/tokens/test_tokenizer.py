"""What is promised of every tokenizer: no text is lost, every string has one spelling, every token a place."""

from __future__ import annotations

import re
from functools import cache

import numpy as np
import pytest
import sentencepiece
from hypothesis import example, given, settings
from hypothesis import strategies as st

from seqmodel.arrays import EncodedIds
from seqmodel.choices import SubwordMethod, Unit
from seqmodel.errors import DataError, ModelError
from seqmodel.settings import TokenizerSettings
from seqmodel.text.corpus import END_MARK
from seqmodel.tokens.fitting import fit, vocabulary_proto
from seqmodel.tokens.sentencepiece_proto import IDENTITY, field
from seqmodel.tokens.tokenizer import END, FIRST_BYTE, FIRST_PIECE, START, UNKNOWN, Tokenizer, never_predicted

PROSE = """the cat sat on the mat, and the dog sat on the log
\tan indented line;  two blanks, a tab\there, and no more
the naïve café in 東京 was 42 % full, and the cat was there
The dog! "the cat", the log: the mat (the café) – the end
"""
TABBED = "\tred\tgreen\tblue\n\tgreen\tred\n\tblue\tblue\tred\n"  # no blank anywhere

NAMES = ("char", "word", "unigram", "bpe", "byte")
OPEN = (*NAMES, "unigram without blanks", "bpe without blanks", "word without blanks")
VIRTUAL = tuple(name for name in OPEN if name not in ("char", "byte"))
CLOSED = ("closed char", "closed word")


@cache
def tokenizer(name: str) -> Tokenizer:
    """One tokenizer of each kind, learned from a few lines."""
    closed, blanks = name.startswith("closed "), not name.endswith(" without blanks")
    kind = name.removeprefix("closed ").removesuffix(" without blanks")
    unit: Unit = "subword" if kind in ("unigram", "bpe") else kind  # type: ignore[assignment]
    method: SubwordMethod = "bpe" if kind == "bpe" else "unigram"
    text = PROSE * 30 if blanks else TABBED * 30
    blocks = [line + END_MARK for line in text.split("\n") if line] + [text + END_MARK]
    return fit(blocks, TokenizerSettings(unit=unit, subword=method, closed=closed))


every_open = pytest.mark.parametrize("name", OPEN)
every_virtual = pytest.mark.parametrize("name", VIRTUAL)

ODD = [
    *(
        "\u2581",
        "\u2585",
        " \u2581",
        "\u2581 ",
        "\x00",
        "\r",
        "\r\n",
        "\t",
        "\n",
        "\n\n",
        " ",
        "  ",
        "\n ",
        "\x0b",
        "\x85",
    ),
    *("\xa0", "\u2028", "\u3000", "\u200b", "\ufeff", "\ufffd", "\uffff", "\u0301", "é", "東京", "😀", "\U0010ffff"),
    *("<unk>", " <unk>", "<s>", "</s>", "<0x41>", "<0xE2>", "<pad>", "the", " the", "cat", " café", "red", "x"),
]
characters = st.characters(exclude_categories=["Cs"])
texts = st.lists(st.sampled_from(ODD) | st.text(characters, max_size=4), max_size=14).map("".join)
tame = st.lists(
    st.sampled_from(["the", "cat", "dog", "zebra", "é", "é\u2581", ",", "東", "😀"]), min_size=1, max_size=3
)
words = tame.map("".join)


def bytes_of(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def with_virtual_blanks(text: str) -> tuple[str, list[int]]:
    """The text that is spelled, and where the virtual blanks stand in it: the reference for words and subwords."""
    out, places = "", []
    for number, line in enumerate(text.split("\n")):
        out += "\n" * (number > 0)
        if line and (line[0] == " " or not line[0].isspace()):
            places.append(len(out))
            out += " "
        out += line
    return out, places


def expected_spans(chosen: Tokenizer, ids: EncodedIds, text: str) -> list[list[int]]:
    """Which characters each token's bytes belong to, byte by byte: the reference."""
    virtual, places = with_virtual_blanks(text) if chosen.has_virtual_blanks else (text, [])
    owners: list[tuple[int, int]] = []  # of each byte of the spelled text: the span of its character
    at = 0
    for place, char in enumerate(virtual):
        width = int(place not in places)
        owners += [(at, at + width)] * len(bytes_of(char))
        at += width
    spans, begin = [], 0
    for token in ids.tolist():
        size = len(chosen.piece_bytes[token])
        own = owners[begin : begin + size]
        spans.append([own[0][0], own[-1][1]] if own else [at, at])
        begin += size
    assert begin == len(owners)
    return spans


# Lossless


@every_open
@settings(max_examples=150, deadline=None)
@given(text=texts)
@example(text="")
@example(text=" ")
@example(text="a b\n c\n\n  d\t e \n")
@example(text="\u2581a \u2581 \u2581\n\u2581")
def test_decoding_gives_back_every_text(name: str, text: str) -> None:
    chosen = tokenizer(name)
    ids = chosen.encode(text)
    assert ids.dtype == np.int32 and ids.ndim == 1
    assert chosen.decode(ids) == text
    assert UNKNOWN not in ids and START not in ids and END not in ids


@every_open
def test_decoding_gives_back_code_points_of_every_plane(name: str) -> None:
    chosen = tokenizer(name)
    codes = [*range(0x4000), *range(0x4000, 0xD800, 37), *range(0xE000, 0x110000, 37), 0xFFFE, 0xFFFF, 0x10FFFF]
    for at in range(0, len(codes), 1000):
        text = " ".join(map(chr, codes[at : at + 1000]))
        assert chosen.decode(chosen.encode(text)) == text, hex(codes[at])


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=40))
def test_the_byte_unit_gives_back_any_bytes(data: bytes) -> None:
    text = data.decode("utf-8", "surrogateescape")
    ids = tokenizer("byte").encode(text)
    assert (ids - FIRST_BYTE).tolist() == list(data)
    assert tokenizer("byte").decode(ids) == text


@every_open
@settings(max_examples=40, deadline=None)
@given(before=texts, surrogate=st.integers(0xD801, 0xDFFF).map(chr), after=texts)
def test_a_lone_surrogate_is_a_data_error(name: str, before: str, surrogate: str, after: str) -> None:
    if name == "byte" and "\udc80" <= surrogate <= "\udcff":
        return
    with pytest.raises(DataError, match="lone surrogate"):
        tokenizer(name).encode(before + surrogate + after)


@pytest.mark.parametrize("name", CLOSED)
@pytest.mark.parametrize("text", ["\ud801", "the \udfff", "\tx\ud8ff", "the\udc80 cat"])
def test_a_lone_surrogate_is_a_data_error_in_a_closed_vocabulary_too(name: str, text: str) -> None:
    with pytest.raises(DataError, match="lone surrogate"):
        tokenizer(name).encode(text)


@pytest.mark.parametrize("name", ["char", "word", "unigram", "bpe"])
def test_ids_that_spell_invalid_utf8_are_a_data_error(name: str) -> None:
    for spelled in ([0xFF], [0xC3], [0xC3, 0x41], [0xED, 0xA0, 0x80]):
        with pytest.raises(DataError, match="invalid UTF-8"):
            tokenizer(name).decode([FIRST_BYTE + byte for byte in spelled])


# Parts and wholes


@pytest.mark.parametrize("name", (*OPEN, *CLOSED))
@settings(max_examples=60, deadline=None)
@given(parts=st.lists(texts, max_size=4))
def test_sequences_in_one_block_are_spelled_as_each_alone(name: str, parts: list[str]) -> None:
    chosen = tokenizer(name)
    block = "".join(part + END_MARK for part in parts)
    alone = [token for part in parts for token in [*chosen.encode(part).tolist(), END]]
    assert chosen.encode(block).tolist() == alone


@pytest.mark.parametrize("name", (*OPEN, *CLOSED))
@settings(max_examples=60, deadline=None)
@given(first=texts, second=texts)
def test_blocks_cut_at_a_line_start_are_spelled_as_one(name: str, first: str, second: str) -> None:
    chosen = tokenizer(name)
    parts = [*chosen.encode(first + "\n").tolist(), *chosen.encode(second).tolist()]
    assert chosen.encode(first + "\n" + second).tolist() == parts


@pytest.mark.parametrize("name", [*OPEN, *CLOSED])
@given(text=texts, more=texts)
@example(text="the ", more="\n")
@example(text="a\n", more=" b")
@settings(max_examples=60, deadline=None)
def test_what_an_open_text_surely_begins_with_stands_whatever_follows(name: str, text: str, more: str) -> None:
    one = tokenizer(name)
    sure, rest = one.encode_open(text)
    assert one.encode(text + more)[: len(sure)].tolist() == sure.tolist()
    if name not in CLOSED:
        assert one.decode([*sure.tolist(), *(FIRST_BYTE + byte for byte in rest)]) == text
        ends_in_word = text[-1:] == " " or text[-1:].strip() != ""
        assert bool(rest) == (name in VIRTUAL and ends_in_word)


def test_the_open_end_of_a_text_is_its_last_word_with_its_blank() -> None:
    one = tokenizer("word")
    for text, sure, rest in [
        ("the ca", ["▁the"], " ca"),
        ("the", [], " the"),
        ("the ", ["▁the"], " "),
        ("the\n", ["▁the", "\n"], ""),
        ("the\nca", ["▁the", "\n"], " ca"),
        ("", [], ""),
    ]:
        ids, left = one.encode_open(text)
        assert ([one.piece(token) for token in ids.tolist()], left.decode()) == (sure, rest)
    with pytest.raises(DataError):
        one.encode_open("a\ud800")
    with pytest.raises(DataError):
        one.encode_open("a \udfff")


@every_virtual
@settings(max_examples=80, deadline=None)
@given(before=texts, word=words)
def test_a_word_has_one_spelling_wherever_it_stands(name: str, before: str, word: str) -> None:
    chosen = tokenizer(name)
    ids = chosen.encode(word).tolist()
    assert chosen.encode(f"{word} {word}\n{word}").tolist() == [*ids, *ids, *chosen.encode("\n").tolist(), *ids]
    assert chosen.encode(before + "\n" + word).tolist()[-len(ids) :] == ids
    if before.strip() and not before[-1].isspace():
        assert chosen.encode(f"{before} {word}").tolist() == [*chosen.encode(before).tolist(), *ids]


@pytest.mark.parametrize("name", ["word", "unigram", "bpe"])
def test_vocabulary_entries_are_words_or_single_white_space(name: str) -> None:
    chosen = tokenizer(name)
    for token in range(FIRST_PIECE, chosen.size):
        text = chosen.piece_bytes[token].decode()
        assert re.fullmatch(r"\s| ?\S+", text), text


@every_virtual
@settings(max_examples=60, deadline=None)
@given(text=texts)
def test_no_token_reaches_over_white_space(name: str, text: str) -> None:
    chosen = tokenizer(name)
    spelled, _ = with_virtual_blanks(text)
    pieces = [chosen.piece_bytes[token] for token in chosen.encode(text)]
    assert b"".join(pieces) == spelled.encode()
    bounds = {0, *np.cumsum([len(piece) for piece in pieces]).tolist()}
    for match in re.finditer(r"\s", spelled):
        begin, end = len(spelled[: match.start()].encode()), len(spelled[: match.end()].encode())
        assert begin in bounds
        blank_before_a_word = match.group() == " " and re.match(r"\S", spelled[match.end() :])
        assert end in bounds or blank_before_a_word


@pytest.mark.parametrize("name", (*OPEN, *CLOSED))
def test_spelling_does_not_depend_on_what_was_spelled_before(name: str) -> None:
    warm, cold = tokenizer(name), Tokenizer(tokenizer(name).proto, tokenizer(name).unit, tokenizer(name).closed)
    for text in ("the cat", "x\u2581 y", "", "\t<s> the", "zebra zebra", "é é"):
        warm.encode(text)
        assert warm.encode(text).tolist() == cold.encode(text).tolist()


# Spans


@every_open
@settings(max_examples=150, deadline=None)
@given(text=texts, ended=st.booleans())
@example(text="é\n é 😀x", ended=True)
@example(text="the cat\n the zebra\n", ended=True)
def test_spans_name_the_characters_of_each_token(name: str, text: str, ended: bool) -> None:
    chosen = tokenizer(name)
    ids = chosen.encode(text)
    if ended:
        ids = np.append(ids, np.int32(END))
    spans = chosen.spans(ids)
    assert spans.shape == (len(ids), 2)
    assert spans.tolist() == expected_spans(chosen, ids, text)
    assert chosen.spans(ids.tolist()).tolist() == spans.tolist()


@every_open
@settings(max_examples=100, deadline=None)
@given(text=texts)
def test_spans_follow_each_other_and_cover_the_text(name: str, text: str) -> None:
    chosen = tokenizer(name)
    at, last = 0, (0, 0)
    for begin, end in chosen.spans(chosen.encode(text)).tolist():
        assert begin == at or (begin, end) == last
        at, last = end, (begin, end)
    assert at == len(text)


def test_the_bytes_of_one_character_share_its_span() -> None:
    for name in ("char", "byte"):
        chosen = tokenizer(name)
        spans = chosen.spans(chosen.encode("a😀")).tolist()
        assert spans == [[0, 1], [1, 2], [1, 2], [1, 2], [1, 2]], name


def test_spans_of_words_begin_with_their_blank_where_it_is_real() -> None:
    chosen = tokenizer("word")
    assert chosen.spans(chosen.encode("the cat\nthe dog")).tolist() == [[0, 3], [3, 7], [7, 8], [8, 11], [11, 15]]


# The char unit


@settings(max_examples=150, deadline=None)
@given(texts)
def test_the_char_unit_spells_what_the_piece_table_says(text: str) -> None:
    for name in ("char", "closed char"):
        chosen = tokenizer(name)
        expected: list[int] = []
        for char in text:
            own = chosen.id_of(char)
            if own is not None:
                expected.append(own)
            elif chosen.closed:
                expected.append(UNKNOWN)
            else:
                expected += [FIRST_BYTE + byte for byte in char.encode()]
        assert chosen.encode(text).tolist() == expected


@settings(max_examples=60, deadline=None)
@given(st.text(st.sampled_from("the cat,é東 京zß😀"), max_size=30))
def test_the_char_unit_spells_as_sentencepiece_would(text: str) -> None:
    chosen = tokenizer("char")
    processor = sentencepiece.SentencePieceProcessor(model_proto=chosen.proto)
    assert chosen.encode(text).tolist() == processor.encode(text)


def test_a_char_vocabulary_without_entries_spells_bytes() -> None:
    empty = Tokenizer(vocabulary_proto([], word=False), "char")
    assert empty.size == FIRST_PIECE
    assert (empty.encode("aé\U0010ffff") - FIRST_BYTE).tolist() == list("aé\U0010ffff".encode())


# Closed vocabularies


def test_a_closed_word_vocabulary_maps_what_is_unknown_to_one_symbol() -> None:
    chosen = tokenizer("closed word")
    the, cat = chosen.encode("the cat").tolist()
    assert chosen.encode("the zebra cat \u2581\n<unk>").tolist() == [
        *(the, UNKNOWN, cat, UNKNOWN, *chosen.encode("\n").tolist(), UNKNOWN)
    ]
    assert chosen.decode([the, UNKNOWN, cat]) == "the <unk> cat"


def test_a_closed_char_vocabulary_maps_what_is_unknown_to_one_symbol() -> None:
    chosen = tokenizer("closed char")
    t, h = chosen.encode("th").tolist()
    assert chosen.encode("tзh\u2581😀").tolist() == [t, UNKNOWN, h, UNKNOWN, UNKNOWN]
    assert chosen.decode([t, UNKNOWN, h]) == "t<unk>h"


@pytest.mark.parametrize("name", CLOSED)
@settings(max_examples=100, deadline=None)
@given(text=texts)
def test_a_closed_vocabulary_spells_nothing_in_bytes(name: str, text: str) -> None:
    ids = tokenizer(name).encode(text)
    assert not ((ids >= FIRST_BYTE) & (ids < FIRST_PIECE)).any()


@pytest.mark.parametrize(
    ("ends", "closed", "unused"),
    [
        (True, False, {UNKNOWN, START}),
        (False, False, {UNKNOWN, START, END}),
        (True, True, {START, *range(FIRST_BYTE, FIRST_PIECE)}),
        (False, True, {START, END, *range(FIRST_BYTE, FIRST_PIECE)}),
    ],
)
def test_what_is_never_predicted_is_what_never_occurs(ends: bool, closed: bool, unused: set[int]) -> None:
    assert set(never_predicted(ends, closed)) == unused


# Pieces and ids


@pytest.mark.parametrize("name", (*OPEN, *CLOSED))
def test_pieces_and_ids_name_each_other(name: str) -> None:
    chosen = tokenizer(name)
    pieces = [chosen.piece(token) for token in range(chosen.size)]
    assert [chosen.id_of_piece(piece) for piece in pieces] == list(range(chosen.size))
    assert not any(piece == "" or " " in piece for piece in pieces)
    assert pieces[:4] == ["<unk>", "<s>", "</s>", "<0x00>"] and pieces[FIRST_PIECE - 1] == "<0xFF>"
    for token in range(FIRST_PIECE, chosen.size):
        text = pieces[token].replace("\u2581", " ")
        assert chosen.piece_bytes[token] == text.encode() and chosen.id_of(text) == token


def test_the_layout_of_ids_is_fixed() -> None:
    for name in (*OPEN, *CLOSED):
        table = tokenizer(name).piece_bytes
        assert table[START] == table[END] == b""
        assert table[FIRST_BYTE:FIRST_PIECE] == [bytes([byte]) for byte in range(256)]
        assert len(table) == tokenizer(name).size


def test_a_piece_that_is_none_is_a_data_error() -> None:
    with pytest.raises(DataError, match="not in the vocabulary"):
        tokenizer("char").id_of_piece("no such piece")


@pytest.mark.parametrize("name", OPEN)
def test_newline_ids_are_what_a_newline_is_spelled_with(name: str) -> None:
    chosen = tokenizer(name)
    (spelled,) = chosen.encode("\n").tolist()
    assert spelled in chosen.newline_ids
    assert all(chosen.decode([token]) == "\n" for token in chosen.newline_ids)


# The file


@pytest.mark.parametrize("name", NAMES)
def test_a_tokenizer_is_its_proto(name: str) -> None:
    chosen = tokenizer(name)
    again = Tokenizer(chosen.proto, chosen.unit)
    assert (again.size, again.piece_bytes) == (chosen.size, chosen.piece_bytes)
    assert again.encode(PROSE).tolist() == chosen.encode(PROSE).tolist()


@pytest.mark.parametrize("data", [b"", b"x", b"\x00" * 100, b"\x0a\xff\xff\xff\xff\x0f", b"SEQM" * 40])
def test_what_is_no_proto_is_a_model_error(data: bytes) -> None:
    with pytest.raises(ModelError):
        Tokenizer(data, "char")


def test_a_proto_of_another_layout_is_a_model_error() -> None:
    whole = vocabulary_proto(["a", "b"], word=False)
    one_piece = whole.index(b"<0x07>") - 4
    with pytest.raises(ModelError):
        Tokenizer(whole[:one_piece], "char")


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=150, deadline=None)
@given(place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7), cut=st.booleans())
def test_a_damaged_proto_is_a_model_error_or_still_a_tokenizer(name: str, place: float, bit: int, cut: bool) -> None:
    proto = tokenizer(name).proto
    at = int(place * len(proto))
    damaged = proto[:at] if cut else proto[:at] + bytes([proto[at] ^ 1 << bit]) + proto[at + 1 :]
    try:
        chosen = Tokenizer(damaged, tokenizer(name).unit)
    except ModelError:
        return
    assert len(chosen.piece_bytes) == chosen.size
    assert len(chosen.piece(chosen.size - 1)) > 0


@pytest.mark.parametrize("unit", ["char", "word"])
def test_a_piece_that_is_no_utf8_is_a_model_error(unit: Unit) -> None:
    proto = vocabulary_proto([" xyé"], word=unit == "word")
    damaged = proto.replace("é".encode(), b"\xc3\x29")
    assert damaged != proto
    with pytest.raises(ModelError):
        Tokenizer(damaged, unit)


def test_in_a_closed_word_vocabulary_white_space_only_stands_between_words() -> None:
    chosen = fit(["the cat sat\n the\tcat \n\n"], TokenizerSettings(unit="word", closed=True))
    the, cat, sat, newline = (chosen.id_of(word) for word in (" the", " cat", " sat", "\n"))
    assert chosen.size == FIRST_PIECE + 4
    text = " the  cat \n\n\tsat\u2003the\ndog \n"
    assert chosen.encode(text).tolist() == [the, cat, newline, newline, sat, the, newline, UNKNOWN, newline]
    assert len(chosen.encode(text)) == len(text.split()) + text.count("\n")


@pytest.mark.parametrize("part", [3, 5])  # the normalizer, and what a decoded text goes through
def test_no_rule_of_a_file_changes_a_text(part: int) -> None:
    """Such a rule may make a letter thousands of them."""
    proto = fit([PROSE * 9], TokenizerSettings(unit="subword")).proto
    folding = sentencepiece.SentencePieceNormalizer(rule_name="nmt_nfkc_cf").serialized_normalizer_spec()
    hostile = proto + field(part, folding + IDENTITY)
    unguarded = sentencepiece.SentencePieceProcessor(model_proto=hostile)
    assert unguarded.decode(unguarded.encode("AB")) == "ab"
    tokenizer = Tokenizer(hostile, "subword")
    assert tokenizer.encode("AB ab").tolist() == Tokenizer(proto, "subword").encode("AB ab").tolist()
    assert tokenizer.decode(tokenizer.encode("AB ab").tolist()) == "AB ab"
