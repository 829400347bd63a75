"""What is promised of a token store: it gives back the corpus, and nothing that is not what was written."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seqmodel.choices import SequenceKind, Unit
from seqmodel.errors import DataError, ModelError, SeqmodelError, UsageError
from seqmodel.settings import CorpusSettings, TokenizerSettings
from seqmodel.text.corpus import END_MARK, CorpusSummary, read_blocks
from seqmodel.text.sources import find_sources
from seqmodel.tokens import stored_array
from seqmodel.tokens.batches import LaneBatches, whole_store
from seqmodel.tokens.fitting import vocabulary_proto
from seqmodel.tokens.store import HEADER_SIZE, MAGIC, TokenStore, is_store, make_store, open_store, write_store
from seqmodel.tokens.tokenizer import END, FIRST_BYTE, FIRST_PIECE, START, UNKNOWN, Tokenizer

TEXT = "the cat sat\n\nthe dog sat\n the end\n"
KINDS: tuple[SequenceKind, ...] = ("line", "paragraph", "document", "stream")
HEADER = slice(len(MAGIC), len(MAGIC) + HEADER_SIZE)


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., TokenStore]:
    """Make and open a store of some text."""

    def made(text: str = TEXT, unit: Unit = "char", sequence: SequenceKind = "line", **tokenizer: Any) -> TokenStore:
        corpus = tmp_path / "corpus.txt"
        corpus.write_bytes(text.encode("utf-8", "surrogateescape"))
        path = tmp_path / "made.tokens"
        tokenizer_settings = TokenizerSettings.model_validate({"unit": unit, **tokenizer})
        make_store(path, [str(corpus)], tokenizer_settings, CorpusSettings(sequence=sequence))
        return open_store(path)

    return made


def rewritten(store: TokenStore, body: Callable[[bytearray], None] = lambda body: None, **header: Any) -> Path:
    """A copy with another body or header, and digests that fit."""
    raw = store.path.read_bytes()
    fields = json.loads(raw[HEADER])
    rest = bytearray(raw[HEADER.stop :])
    body(rest)
    fields |= {"digest": ""} | header
    if "digest" not in header:
        own = json.dumps(fields, separators=(",", ":")).encode()
        fields["digest"] = hashlib.sha256(own + hashlib.sha256(rest).digest()).hexdigest()
    path = store.path.with_name("rewritten.tokens")
    path.write_bytes(MAGIC + json.dumps(fields).encode().ljust(HEADER_SIZE) + rest)
    return path


# Round trip


@pytest.mark.parametrize("unit", ["char", "word", "byte"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_store_holds_the_ids_of_the_corpus(
    unit: Unit, kind: SequenceKind, make: Callable[..., TokenStore], tmp_path: Path
) -> None:
    store = make(unit=unit, sequence=kind)
    text = "".join(read_blocks(find_sources([str(tmp_path / "corpus.txt")]), CorpusSettings(sequence=kind)))
    expected = store.tokenizer.encode(text)
    assert store.ids[:].tolist() == expected.tolist()
    assert store.ends[:].tolist() == (np.flatnonzero(expected == END) + 1).tolist()
    begins = [0, *store.ends[:-1].tolist()]
    sequences = [store.tokenizer.decode(store.ids[b:e]) for b, e in zip(begins, store.ends[:], strict=True)]
    assert sequences == text.split(END_MARK)[:-1]


def test_a_store_tells_how_it_was_made(make: Callable[..., TokenStore], tmp_path: Path) -> None:
    store = make(unit="word", sequence="paragraph", vocabulary_size=262)
    assert store.header.tokenizer == TokenizerSettings(unit="word", vocabulary_size=262)
    assert store.header.corpus == CorpusSettings(sequence="paragraph")
    again = tmp_path / "again.tokens"
    corpus = CorpusSettings(keep_blank=True)
    make_store(again, [str(tmp_path / "corpus.txt")], TokenizerSettings(), corpus, store.tokenizer)
    header = open_store(again).header
    assert (header.tokenizer, header.corpus) == (None, corpus)  # the vocabulary was not learned from this text


def test_a_store_from_before_a_field_was_there_is_read(make: Callable[..., TokenStore]) -> None:
    store = make()
    raw = store.path.read_bytes()
    fields = {name: value for name, value in json.loads(raw[HEADER]).items() if name not in ("tokenizer", "corpus")}
    own = json.dumps(fields | {"digest": ""}, separators=(",", ":")).encode()
    fields["digest"] = hashlib.sha256(own + hashlib.sha256(raw[HEADER.stop :]).digest()).hexdigest()
    store.path.write_bytes(MAGIC + json.dumps(fields).encode().ljust(HEADER_SIZE) + raw[HEADER.stop :])
    old = open_store(store.path)
    assert (old.header.tokenizer, old.header.corpus) == (None, None)
    assert old.ids[:].tolist() == store.ids[:].tolist()


def test_the_header_counts_what_is_there(make: Callable[..., TokenStore]) -> None:
    text = "aaa bé\n\naa 日\n"
    header = make(text).header
    data = text.encode()
    assert (header.corpus_bytes, header.corpus_chars, header.corpus_lines, header.corpus_words) == (len(data), 13, 3, 4)
    assert (header.sequences, header.tokens, header.unit, header.closed) == (2, 12, "char", False)
    assert header.corpus_digest == hashlib.sha256(data).hexdigest()
    assert (header.byte_tokens, header.unknown_tokens) == (0, 0)


def test_the_header_counts_bytes_and_unknown_tokens(tmp_path: Path) -> None:
    path = tmp_path / "a.tokens"
    tokenizer = Tokenizer(vocabulary_proto(["a"], word=False), "char")
    write_store(path, ["aéa" + END_MARK, "日" + END_MARK], tokenizer, CorpusSettings(), CorpusSummary())
    assert (open_store(path).header.byte_tokens, open_store(path).header.unknown_tokens) == (5, 0)
    closed = Tokenizer(tokenizer.proto, "char", closed=True)
    write_store(path, ["aéa" + END_MARK, "日" + END_MARK], closed, CorpusSettings(), CorpusSummary())
    assert (open_store(path).header.byte_tokens, open_store(path).header.unknown_tokens) == (0, 2)
    assert UNKNOWN in open_store(path).ids[:] and open_store(path).tokenizer.closed


@settings(max_examples=60, deadline=None)
@given(parts=st.lists(st.lists(st.text(st.sampled_from("ab é\n"), max_size=6), min_size=1, max_size=4), min_size=1))
def test_a_store_does_not_depend_on_how_the_corpus_is_cut_into_blocks(
    parts: list[list[str]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    tokenizer = Tokenizer(vocabulary_proto([" ", "a", "b", "\n"], word=False), "char")
    folder = tmp_path_factory.mktemp("blocks")
    blocks = ["".join(part + END_MARK for part in group) for group in parts]
    if not "".join(part for group in parts for part in group):
        return
    write_store(folder / "whole", ["".join(blocks)], tokenizer, CorpusSettings(), CorpusSummary())
    write_store(folder / "parts", ["", *blocks], tokenizer, CorpusSettings(), CorpusSummary())
    assert (folder / "whole").read_bytes() == (folder / "parts").read_bytes()


@pytest.mark.parametrize(
    ("pieces", "dtype"),
    [((1 << 16) - FIRST_PIECE, "<u2"), ((1 << 16) + 1 - FIRST_PIECE, "<u4")],
)
def test_ids_take_two_bytes_as_long_as_they_fit(pieces: int, dtype: str, tmp_path: Path) -> None:
    codes = [code for code in range(0x100, 0x100 + pieces + 0x1000) if not 0xD800 <= code < 0xE000 and code != 0x2581]
    entries = [chr(code) for code in codes[:pieces]]
    tokenizer = Tokenizer(vocabulary_proto(entries, word=False), "char")
    write_store(tmp_path / "a", [entries[0] + entries[-1] + END_MARK], tokenizer, CorpusSettings(), CorpusSummary())
    store = open_store(tmp_path / "a")
    assert store.ids.dtype == np.dtype(dtype) and store.header.dtype == np.dtype(dtype)
    assert store.ids[:].tolist() == [FIRST_PIECE, FIRST_PIECE + pieces - 1, END]


def test_any_bytes_are_kept_by_the_byte_unit(make: Callable[..., TokenStore]) -> None:
    data = bytes(byte for byte in range(256) if byte != 0x0A) + b"\n\x80\n"
    store = make(data.decode("utf-8", "surrogateescape"), unit="byte", sequence="stream")
    assert bytes(int(token) - FIRST_BYTE for token in store.ids[:-1]) == data


@pytest.mark.parametrize("kind", KINDS)
def test_equal_corpora_give_equal_files(kind: SequenceKind, make: Callable[..., TokenStore]) -> None:
    first = make(sequence=kind).path.read_bytes()
    assert make(sequence=kind).path.read_bytes() == first


@pytest.mark.parametrize("method", ["unigram", "bpe"])
def test_equal_corpora_give_equal_files_with_subwords(method: str, make: Callable[..., TokenStore]) -> None:
    first = make(unit="subword", subword=method).path.read_bytes()
    assert make(unit="subword", subword=method).path.read_bytes() == first


def test_a_tokenizer_that_is_given_is_kept(make: Callable[..., TokenStore], tmp_path: Path) -> None:
    tokenizer = make("abc abc\n").tokenizer
    (tmp_path / "other.txt").write_text("xyz\n")
    path = tmp_path / "other.tokens"
    make_store(path, [str(tmp_path / "other.txt")], TokenizerSettings(), CorpusSettings(), tokenizer)
    store = open_store(path)
    assert store.tokenizer.proto == tokenizer.proto
    assert store.tokenizer.decode(store.ids[:]) == "xyz" and store.header.byte_tokens == 3


def test_a_store_that_is_cut_short_while_it_is_open_is_told(make: Callable[..., TokenStore]) -> None:
    store = make("ab\n" * 20_000)
    batches = LaneBatches(store, whole_store(store), lanes=4, segment=16, seed=1).read()
    next(batches)
    os.truncate(store.path, HEADER.stop + 5_000)
    with pytest.raises(ModelError, match="the token store has been cut short"):
        for _ in zip(range(2000), batches, strict=False):
            pass


numbers = st.lists(st.integers(-50, 49), max_size=12).map(np.array)


@settings(max_examples=200, deadline=None)
@given(st.integers(-50, 49) | st.slices(50).filter(lambda part: part.step in (1, None)) | numbers)
def test_what_is_stored_is_indexed_as_an_array_is(tmp_path_factory: pytest.TempPathFactory, where: Any) -> None:
    array = np.arange(50, dtype="<u2") * 3
    path = tmp_path_factory.getbasetemp() / "array"
    path.write_bytes(b"ab" + array.tobytes())
    if isinstance(where, np.ndarray):
        where = where.astype(np.int64).reshape(-1, 2) if len(where) % 2 == 0 else where
    with pytest.MonkeyPatch.context() as patch, path.open("rb") as file:
        patch.setattr(stored_array, "GAP", 3)
        patch.setattr(stored_array, "PLACES", 2)
        patch.setattr(stored_array, "_MOST", 7)
        stored = stored_array.StoredArray(path, file, "<u2", 2, 50)
        found = stored[where]
    assert found.dtype == array.dtype and found.shape == array[where].shape
    np.testing.assert_array_equal(found, array[where])
    np.testing.assert_array_equal(np.asarray(stored), array)
    for outside in (50, -51, np.array([3, 50])):
        with pytest.raises(IndexError):
            stored[outside]


def test_what_lies_together_is_read_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lanes of segments take a reading each; sparse places in order take few."""
    path = tmp_path / "array"
    path.write_bytes(bytes(1 << 18))
    with path.open("rb") as file:
        stored = stored_array.StoredArray(path, file, "<u2", 0, 1 << 17)
    sizes: list[int] = []
    pread = os.pread

    def counted(descriptor: int, size: int, at: int) -> bytes:
        sizes.append(size)
        return pread(descriptor, size, at)

    monkeypatch.setattr(os, "pread", counted)
    _ = stored[np.arange(64)[:, None] + np.array([90_000, 5_000, 70_000])]
    assert sizes == [128] * 3
    sizes.clear()
    _ = stored[np.arange(0, 1 << 17, 100)]
    assert len(sizes) == 1


def test_the_layout_is_what_the_module_says(make: Callable[..., TokenStore]) -> None:
    store = make()
    raw = store.path.read_bytes()
    header = json.loads(raw[HEADER])
    at = HEADER.stop
    assert raw[:8] == b"SEQMTOK1" and raw[at : at + header["proto_bytes"]] == store.tokenizer.proto
    at += -(-header["proto_bytes"] // 8) * 8
    assert np.frombuffer(raw, "<u2", header["tokens"], at).tolist() == store.ids[:].tolist()
    at += -(-header["tokens"] * 2 // 8) * 8
    assert np.frombuffer(raw, "<i8", header["sequences"], at).tolist() == store.ends[:].tolist()
    assert at + 8 * header["sequences"] == len(raw)


# What is no corpus


@pytest.mark.parametrize("text", ["", "\n\n", "  \n"])
def test_a_corpus_without_text_is_a_data_error_and_leaves_no_file(
    text: str, make: Callable[..., TokenStore], tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=r"corpus\.txt holds no text"):
        make(text)
    assert [path.name for path in tmp_path.iterdir()] == ["corpus.txt"]


def test_blank_lines_alone_are_no_text_even_if_kept(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("\n\n")
    for unit in ("char", "byte"):
        with pytest.raises(DataError, match=r"a\.txt holds no text"):
            make_store(
                tmp_path / "a.tokens",
                [str(tmp_path / "a.txt")],
                TokenizerSettings.model_validate({"unit": unit}),
                CorpusSettings(keep_blank=True),
            )


def test_a_failure_while_reading_leaves_what_was_there(make: Callable[..., TokenStore], tmp_path: Path) -> None:
    store = make()
    before = store.path.read_bytes()

    def blocks() -> Any:
        yield "the" + END_MARK
        raise DataError("broken", "")

    with pytest.raises(DataError, match="broken"):
        write_store(store.path, blocks(), store.tokenizer, CorpusSettings(), CorpusSummary())
    assert store.path.read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["corpus.txt", "made.tokens"]


@pytest.mark.parametrize("unit", ["subword", "byte"])
def test_a_closed_vocabulary_is_for_words_and_chars(unit: Unit, make: Callable[..., TokenStore]) -> None:
    with pytest.raises(UsageError, match="--closed-vocab does not go with"):
        make(unit=unit, closed=True)


# What is no store


def test_a_store_is_known_by_its_first_bytes(make: Callable[..., TokenStore], tmp_path: Path) -> None:
    assert is_store(make().path)
    assert not is_store(tmp_path / "corpus.txt")
    assert not is_store(tmp_path)
    assert not is_store(tmp_path / "missing")


def test_what_is_no_store_is_a_model_error(tmp_path: Path) -> None:
    for data in (b"", b"SEQM", b"plain text\n" * 1000):
        (tmp_path / "a").write_bytes(data)
        with pytest.raises(ModelError, match="not a token store"):
            open_store(tmp_path / "a")


def test_a_store_that_is_missing_or_a_folder_is_an_error_of_ours(tmp_path: Path) -> None:
    for path in (tmp_path / "missing", tmp_path):
        with pytest.raises(SeqmodelError):
            open_store(path)


def test_a_store_cut_short_anywhere_is_a_model_error(make: Callable[..., TokenStore]) -> None:
    path = make().path
    raw = path.read_bytes()
    for size in [*range(8), *range(8, len(raw), 97), *range(len(raw) - 40, len(raw))]:
        path.write_bytes(raw[:size])
        with pytest.raises(ModelError):
            open_store(path)


def test_a_store_with_more_behind_it_is_a_model_error(make: Callable[..., TokenStore]) -> None:
    path = make().path
    raw = path.read_bytes()
    for more in (b"\x00", b"\x00" * 8, raw):
        path.write_bytes(raw + more)
        with pytest.raises(ModelError, match="damaged"):
            open_store(path)


def test_a_flipped_bit_in_the_body_is_a_model_error(make: Callable[..., TokenStore]) -> None:
    path = make().path
    raw = path.read_bytes()
    for at in [*range(HEADER.stop, len(raw), 61), *range(len(raw) - 100, len(raw))]:
        path.write_bytes(raw[:at] + bytes([raw[at] ^ 1 << at % 8]) + raw[at + 1 :])
        with pytest.raises(ModelError, match="damaged"):
            open_store(path)


def test_a_flipped_bit_in_the_header_is_a_model_error_or_changes_nothing(make: Callable[..., TokenStore]) -> None:
    store = make()
    raw = store.path.read_bytes()
    for at in range(HEADER.start, HEADER.start + len(raw[HEADER].rstrip()) + 4):
        for bit in range(8):
            store.path.write_bytes(raw[:at] + bytes([raw[at] ^ 1 << bit]) + raw[at + 1 :])
            try:
                opened = open_store(store.path)
            except ModelError:
                continue
            assert opened.header == store.header, raw[at - 20 : at + 4]


def test_a_rewritten_copy_opens(make: Callable[..., TokenStore]) -> None:
    """What the tests below change is then the one thing that is wrong."""
    store = make()
    assert open_store(rewritten(store)).header == store.header


@pytest.mark.parametrize(
    "header",
    [
        {"tokens": 1 << 62},
        {"tokens": 10**400},
        {"tokens": 0},
        {"tokens": -5},
        {"tokens": 1.5},
        {"tokens": None},
        {"tokens": True},
        {"sequences": 1 << 62},
        {"sequences": 0},
        {"proto_bytes": 1 << 62},
        {"proto_bytes": 1 << 29},
        {"proto_bytes": 0},
        {"vocabulary": 1 << 40},
        {"vocabulary": 300},
        {"vocabulary": 70_000},
        {"corpus_chars": 10**400},
        {"corpus_words": -1},
        {"corpus_digest": "\x1b[31m"},
        {"version": 3},
        {"held_out_ranges": 1},
        {"held_out_ranges": -1},
        {"held_out_ranges": 1 << 60},
        {"version": 0},
        {"unit": "syllable"},
        {"sequence": "page"},
        {"more": 1},
        {"digest": ""},
        {"digest": "0" * 64},
    ],
)
def test_absurd_header_fields_are_model_errors(header: dict[str, Any], make: Callable[..., TokenStore]) -> None:
    with pytest.raises(ModelError, match="damaged"):
        open_store(rewritten(make(), **header))


@pytest.mark.parametrize("by", [1, -1])
@pytest.mark.parametrize("name", ["tokens", "sequences"])
def test_counts_that_are_off_by_one_are_model_errors(name: str, by: int, make: Callable[..., TokenStore]) -> None:
    store = make("abcde\nab\n")
    with pytest.raises(ModelError):
        open_store(rewritten(store, **{name: getattr(store.header, name) + by}))


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"null", b"\xff\xfe", b"{" * 4000, b'{"version": 1}', b"[" * 4096])
def test_a_header_that_is_no_json_object_of_ours_is_a_model_error(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(MAGIC + data.ljust(HEADER_SIZE) + b"\x00" * 64)
    with pytest.raises(ModelError, match="damaged"):
        open_store(path)


def test_a_body_that_is_no_tokenizer_is_a_model_error(make: Callable[..., TokenStore]) -> None:
    def overwrite(body: bytearray) -> None:
        body[:64] = b"\xff" * 64

    with pytest.raises(ModelError):
        open_store(rewritten(make(), overwrite))


def test_ids_beyond_the_vocabulary_are_model_errors(make: Callable[..., TokenStore]) -> None:
    store = make()
    at = -(-store.header.proto_bytes // 8) * 8

    def overwrite(body: bytearray) -> None:
        body[at : at + 2] = store.header.vocabulary.to_bytes(2, "little")

    with pytest.raises(ModelError):
        open_store(rewritten(store, overwrite))


@pytest.mark.parametrize("token", [UNKNOWN, START])
def test_ids_that_no_text_has_are_model_errors(token: int, make: Callable[..., TokenStore]) -> None:
    """No model predicts them: training on them would come to no number."""
    store = make()
    at = -(-store.header.proto_bytes // 8) * 8

    def overwrite(body: bytearray) -> None:
        body[at : at + 2] = token.to_bytes(2, "little")

    with pytest.raises(ModelError):
        open_store(rewritten(store, overwrite))


@pytest.mark.parametrize("value", [0, 5, 1 << 40, (1 << 64) - 1])
def test_sequence_ends_that_are_none_are_model_errors(value: int, make: Callable[..., TokenStore]) -> None:
    def overwrite(body: bytearray) -> None:
        body[-8:] = value.to_bytes(8, "little")

    with pytest.raises(ModelError):
        open_store(rewritten(make(), overwrite))
