"""What is promised of reading: every byte of a corpus accounted for, however its bytes arrive."""

from __future__ import annotations

import bz2
import errno
import gzip
import hashlib
import io
import lzma
import os
import sys
import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice, pairwise
from pathlib import Path

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from seqmodel.choices import SequenceKind
from seqmodel.errors import DataError, UsageError
from seqmodel.settings import CorpusSettings
from seqmodel.text import corpus, line_blocks
from seqmodel.text.corpus import END_MARK, CorpusSummary, Line, read_blocks, read_lines
from seqmodel.text.line_blocks import spooled
from seqmodel.text.sources import Source, find_sources

E = END_MARK
LONG = CorpusSettings().max_line
KINDS: tuple[SequenceKind, ...] = ("line", "paragraph", "document", "stream")

# Line ends, blanks of several kinds and letters of one to four bytes, in texts short enough to shrink well.
texts = st.lists(
    st.sampled_from(
        ["\n", "\n\n", "\r\n", "\r", " ", "\t", "\x0b", "\x85", "\u2028", "\x00", "a", "b c", "é", "日", "😀"]
    )
    | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\ufeff"), max_size=3),
    max_size=24,
).map("".join)


def given_bytes(data: bytes) -> Source:
    return Source("memory", file=io.BytesIO(data))


def is_of_an_old_mac(text: str) -> bool:
    return "\n" not in text and text.count("\r") > 3


@contextmanager
def reading(size: int) -> Iterator[None]:
    """Make every read of a file give at most `size` bytes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(line_blocks, "READ_SIZE", size)
        yield


def blocks_of(data: bytes, any_bytes: bool = False, **options: object) -> str:
    return "".join(read_blocks([given_bytes(data)], CorpusSettings.model_validate(options), CorpusSummary(), any_bytes))


def lines_of(data: bytes, **options: object) -> list[Line]:
    batches = read_lines(given_bytes(data), CorpusSettings.model_validate(options))
    return [line for batch in batches for line in batch]


def marked(text: str, kind: SequenceKind, keep_blank: bool) -> str:
    """The reference: the whole text of one file, sequence by sequence."""
    if not text:
        return ""
    *lines, unterminated = text.split("\n")
    lines = [line.removesuffix("\r") for line in lines]
    if kind == "stream":
        return "\n".join([*lines, unterminated]) + E
    if unterminated:
        lines.append(unterminated)
    if kind == "document":
        return "\n".join(lines) + E
    if kind == "line":
        return "".join(line + E for line in lines if keep_blank or line.strip())
    paragraphs: list[list[str]] = [[]]
    for line in lines:
        if line.strip():
            paragraphs[-1].append(line)
        else:
            paragraphs.append([])
    return "".join("\n".join(paragraph) + E for paragraph in paragraphs if paragraph)


# Sequences


@settings(max_examples=300, deadline=None)
@given(texts, st.sampled_from(KINDS), st.booleans(), st.integers(1, 12))
@example("a\r", "line", False, 100)
@example("a\n\n\nb", "paragraph", False, 1)
@example("\n", "document", False, 1)
def test_sequences_are_those_of_the_whole_text_however_it_is_read(
    text: str, kind: SequenceKind, keep_blank: bool, size: int
) -> None:
    assume(not is_of_an_old_mac(text))
    with reading(size):
        assert blocks_of(text.encode(), sequence=kind, keep_blank=keep_blank) == marked(text, kind, keep_blank)


@pytest.mark.parametrize(
    ("kind", "keep_blank", "expected"),
    [
        ("line", False, f"one{E} two\r{E}three{E}"),
        ("line", True, f"one{E}{E} \t{E} two\r{E}{E}three{E}"),
        ("paragraph", False, f"one{E} two\r{E}three{E}"),
        ("document", False, f"one\n\n \t\n two\r\n\nthree{E}"),
        ("stream", False, f"one\n\n \t\n two\r\n\nthree\n{E}"),
    ],
)
def test_one_text_cut_in_every_way(kind: SequenceKind, keep_blank: bool, expected: str) -> None:
    data = b"one\r\n\r\n \t\n two\r\r\n\nthree\n"
    assert blocks_of(data, sequence=kind, keep_blank=keep_blank) == expected


def test_a_carriage_return_that_ends_no_line_is_kept() -> None:
    assert blocks_of(b"a\r\nb\rc\nd\r") == f"a{E}b\rc{E}d\r{E}"
    assert blocks_of(b"a\r\nb\rc\nd\r", sequence="stream") == f"a\nb\rc\nd\r{E}"


def test_the_characters_of_a_corpus_are_those_of_its_lines_whatever_ends_them() -> None:
    for data in (b"one\r\n\r\ntwo\r", b"one\n\ntwo\r"):
        summary = CorpusSummary()
        list(read_blocks([given_bytes(data)], CorpusSettings(), summary))
        assert (summary.chars, summary.lines, summary.bytes) == (9, 3, len(data))


@pytest.mark.parametrize("kind", KINDS)
def test_a_missing_final_newline_matters_to_streams_alone(kind: SequenceKind) -> None:
    same = blocks_of(b"a\nb", sequence=kind) == blocks_of(b"a\nb\n", sequence=kind)
    assert same is (kind != "stream")


@pytest.mark.parametrize("kind", KINDS)
def test_no_bytes_are_no_sequence(kind: SequenceKind) -> None:
    assert blocks_of(b"", sequence=kind) == ""


@pytest.mark.parametrize("kind", KINDS)
def test_a_sequence_never_reaches_over_files(kind: SequenceKind) -> None:
    together = "".join(read_blocks([given_bytes(b"a\nb"), given_bytes(b"c\n")], CorpusSettings(sequence=kind)))
    assert together == blocks_of(b"a\nb", sequence=kind) + blocks_of(b"c\n", sequence=kind)
    assert together.endswith(E) and together.count(E) == {"line": 3}.get(kind, 2)


@settings(max_examples=100, deadline=None)
@given(texts, st.sampled_from(KINDS), st.integers(1, 12))
def test_blocks_are_cut_at_line_starts(text: str, kind: SequenceKind, size: int) -> None:
    assume(not is_of_an_old_mac(text))
    with reading(size):
        blocks = list(read_blocks([given_bytes(text.encode())], CorpusSettings(sequence=kind)))
    assert all(blocks)
    for before, after in pairwise(blocks):
        assert before[-1] in ("\n", E) or after[0] in ("\n", E), (before, after)


# Lines


@settings(max_examples=200, deadline=None)
@given(texts, st.integers(1, 12))
def test_lines_end_at_newlines_only_and_are_numbered_from_one(text: str, size: int) -> None:
    *whole, rest = text.split("\n")
    expected = [Line(number, line, True) for number, line in enumerate(whole, 1)]
    if rest:
        expected.append(Line(len(whole) + 1, rest, False))
    with reading(size):
        assert lines_of(text.encode()) == expected


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(0, 12), max_size=8), st.booleans(), st.integers(1, 10), st.integers(1, 40))
@example([11, 1], True, 10, 1000)
@example([10, 1], True, 10, 1000)
@example([12], False, 10, 5)
def test_a_line_over_the_limit_is_refused_by_number(lengths: list[int], ended: bool, limit: int, size: int) -> None:
    data = b"\n".join(b"x" * length for length in lengths) + b"\n" * ended
    over = [number for number, length in enumerate(lengths, 1) if length > limit]
    with reading(size):
        if not over:
            lines_of(data, max_line=limit)
            return
        with pytest.raises(DataError, match=f"memory, line {over[0]}: longer than {limit} bytes"):
            lines_of(data, max_line=limit)


def test_the_limit_counts_bytes_and_holds_for_training_too() -> None:
    assert blocks_of("éé\n".encode() * 3, max_line=4) == f"éé{E}" * 3
    with pytest.raises(DataError, match="line 2: longer than 4 bytes"):
        blocks_of("éé\nééé\n".encode(), max_line=4)


# Encodings


@settings(max_examples=200, deadline=None)
@given(texts, st.sampled_from([b"\xff", b"\x80", b"\xc3", b"\xed\xa0\x80", b"\xf5", b"\xc0\xaf"]), texts)
def test_invalid_utf8_is_located_to_the_byte(before: str, bad: bytes, after: str) -> None:
    data = before.encode() + bad + b"\n" + after.encode()
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return
    number, at = before.count("\n") + 1, len(before.encode())
    for size in (3, 1 << 20):
        with reading(size), pytest.raises(DataError, match=f"^memory, line {number}, byte {at}: invalid UTF-8"):
            blocks_of(data)


def test_invalid_utf8_is_located_in_a_later_block() -> None:
    good = ("é" * 49 + "x\n").encode() * 12_000
    assert len(good) > line_blocks.READ_SIZE
    with pytest.raises(DataError, match=f"line 12001, byte {len(good) + 1}: invalid UTF-8"):
        lines_of(good + b"y\xffz\nmore\n")


def test_a_character_cut_off_at_the_end_of_the_file_is_invalid() -> None:
    with pytest.raises(DataError, match="line 2, byte 3: invalid UTF-8"):
        lines_of(b"ab\n" + "日".encode()[:2])


def test_the_place_of_invalid_utf8_counts_the_byte_order_mark() -> None:
    with pytest.raises(DataError, match="line 2, byte 6: invalid UTF-8"):
        lines_of(b"\xef\xbb\xbfab\n\xff\n")


def test_messages_never_quote_the_text() -> None:
    with pytest.raises(DataError) as caught:
        lines_of(b"secret \xff\n")
    assert "secret" not in caught.value.message + caught.value.hint


def test_replacing_errors_keeps_the_rest() -> None:
    assert blocks_of(b"a\xffb\nc\n", errors="replace") == f"a\ufffdb{E}c{E}"


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=40), st.integers(1, 12))
@example(b"\xff\xfea\x00\n\x00", 100)
@example(b"\xef\xbb\xbfa\n", 100)
def test_any_bytes_travel_whole_where_any_are_allowed(data: bytes, size: int) -> None:
    with reading(size):
        text = blocks_of(data, any_bytes=True, sequence="stream")
    assert text.removesuffix(E).encode("utf-8", "surrogateescape") == data


@pytest.mark.parametrize("size", [1, 2, 3, 4, 1 << 20])
def test_a_byte_order_mark_at_the_start_is_no_text_however_it_is_read(size: int) -> None:
    data = "\ufeffa\ufeff\nb\n".encode()
    with reading(size):
        assert blocks_of(data) == f"a\ufeff{E}b{E}"
        assert [line.text for line in lines_of(data)] == ["a\ufeff", "b"]


@pytest.mark.parametrize("size", [1, 3, 1 << 20])
def test_only_one_byte_order_mark_is_taken_off(size: int) -> None:
    with reading(size):
        assert blocks_of("\ufeff\ufeffa\n".encode()) == f"\ufeffa{E}"


@pytest.mark.parametrize("data", [b"\xef\xbb\xbf", b"\xef\xbb\xbf\n"])
def test_a_byte_order_mark_alone_is_no_sequence(data: bytes) -> None:
    assert blocks_of(data) == ""


@pytest.mark.parametrize("order", ["utf-16", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("size", [1, 1 << 20])
def test_utf16_is_named_as_such(order: str, size: int) -> None:
    mark = "" if order == "utf-16" else "\ufeff"
    with reading(size), pytest.raises(DataError, match="the text is UTF-16") as caught:
        lines_of((mark + "some text\nand more\n").encode(order))
    assert "iconv" in caught.value.hint


# Totals


@settings(max_examples=100, deadline=None)
@given(texts, texts, st.integers(1, 12), st.sampled_from(KINDS))
def test_totals_are_those_of_wc(first: str, second: str, size: int, kind: SequenceKind) -> None:
    summary = CorpusSummary()
    with reading(size):
        assume(not (is_of_an_old_mac(first) or is_of_an_old_mac(second)))
        sources = [given_bytes(first.encode()), given_bytes(second.encode())]
        for _ in read_blocks(sources, CorpusSettings(sequence=kind), summary):
            pass
    data = (first + second).encode()
    chars = sum(len(text.replace("\r\n", "\n")) for text in (first, second))
    assert (summary.files, summary.bytes, summary.chars) == (2, len(data), chars)
    assert summary.words == len(first.split()) + len(second.split())
    assert summary.lines == sum(len(text.split("\n")) - (not text or text.endswith("\n")) for text in (first, second))
    assert summary.digest == hashlib.sha256(data).hexdigest()


def test_the_digest_is_over_all_bytes_a_byte_order_mark_too() -> None:
    data = b"\xef\xbb\xbfone\ntwo\n"
    summary = CorpusSummary()
    assert "".join(read_blocks([given_bytes(data)], CorpusSettings(), summary)) == f"one{E}two{E}"
    assert (summary.bytes, summary.digest) == (len(data), hashlib.sha256(data).hexdigest())


# Files and folders


def test_folders_are_searched_for_text_in_sorted_order(tmp_path: Path) -> None:
    for name in ("b.txt", "a/z.TXT", "a/deep/er/y.md", "a/x.txt.gz", "c.text.xz", "d.jsonl", "e", ".hidden.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        pack = COMPRESSIONS.get(Path(name).suffix, bytes)
        (tmp_path / name).write_bytes(pack(b"text\n"))
    (tmp_path / "folder.txt").mkdir()
    found = [Path(source.name).relative_to(tmp_path).as_posix() for source in find_sources([str(tmp_path)])]
    assert found == ["a/deep/er/y.md", "a/x.txt.gz", "a/z.TXT", "b.txt", "c.text.xz", "d.jsonl", "e"]


def test_files_are_taken_by_any_name_and_in_the_order_given(tmp_path: Path) -> None:
    names = [tmp_path / "b.jsonl", tmp_path / "a"]
    for path in names:
        path.write_bytes(path.name.encode())
    sources = find_sources([str(path) for path in names])
    assert "".join(read_blocks(sources, CorpusSettings())) == f"b.jsonl{E}a{E}"


def test_a_folder_without_text_says_so(tmp_path: Path) -> None:
    (tmp_path / "picture.png").write_bytes(b"")
    with pytest.raises(DataError, match="the folder holds no text"):
        find_sources([str(tmp_path)])


def test_a_folder_that_may_not_be_looked_into_is_told_and_not_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.txt").write_bytes(b"one\n")
    (tmp_path / "locked").mkdir()
    (tmp_path / ".hidden").mkdir()
    look = os.scandir

    def scandir(path: str) -> Iterator[os.DirEntry[str]]:
        if Path(path).name in ("locked", ".hidden"):
            raise PermissionError(errno.EACCES, "no", str(path))
        return look(path)

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(DataError, match="locked: cannot be read: Permission denied"):
        find_sources([str(tmp_path)])
    (tmp_path / "locked").rmdir()
    assert [source.path for source in find_sources([str(tmp_path)])] == [tmp_path / "a.txt"]


def test_a_name_that_is_no_utf8_is_escaped_for_people_alone(tmp_path: Path) -> None:
    path = os.fsdecode(os.fsencode(tmp_path) + b"/\xff.txt")
    Path(path).write_bytes(b"one\n")
    for name in (path, str(tmp_path)):
        (source,) = find_sources([name])
        assert (source.name, source.path) == (f"{tmp_path}/\\xff.txt", Path(path))
    with pytest.raises(DataError, match=r"\\xfe: no such file"):
        find_sources(["\udcfe"])


@pytest.mark.parametrize("name", ["nothing.txt", "no/such/folder/a.txt", "a\0b", "x" * 5000])
def test_a_name_that_cannot_be_is_a_data_error(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError):
        find_sources([name])


def test_a_file_below_a_file_is_a_data_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    with pytest.raises(DataError, match="no such file"):
        find_sources([str(tmp_path / "file" / "inside.txt")])


def test_a_file_that_vanished_is_a_data_error(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"x")
    sources = find_sources([str(tmp_path / "a.txt")])
    (tmp_path / "a.txt").unlink()
    with pytest.raises(DataError, match=r"a\.txt: cannot be read: No such file"):
        list(read_blocks(sources, CorpusSettings()))


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read every file")
def test_a_file_without_permission_is_a_data_error(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"x")
    (tmp_path / "a.txt").chmod(0)
    with pytest.raises(DataError, match="cannot be read: Permission denied"):
        list(read_blocks(find_sources([str(tmp_path / "a.txt")]), CorpusSettings()))


# Compressed files


def zstd_compress(data: bytes) -> bytes:
    zstd = pytest.importorskip("backports.zstd")
    packed = zstd.compress(data)
    assert isinstance(packed, bytes)
    return packed


COMPRESSIONS: dict[str, Callable[[bytes], bytes]] = {
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".zst": zstd_compress,
}
compressed = pytest.mark.parametrize("suffix", list(COMPRESSIONS))


def incompressible_lines() -> bytes:
    digests = (hashlib.sha256(str(i).encode()).hexdigest() for i in range(400))
    return "".join(f"{digest} é\n" for digest in digests).encode()


@compressed
def test_compressed_text_reads_as_the_text(suffix: str, tmp_path: Path) -> None:
    data = incompressible_lines()
    path = tmp_path / f"c.txt{suffix}"
    path.write_bytes(COMPRESSIONS[suffix](data[:1000]) + COMPRESSIONS[suffix](data[1000:]))
    summary = CorpusSummary()
    text = "".join(read_blocks(find_sources([str(tmp_path)]), CorpusSettings(sequence="stream"), summary))
    assert text == data.decode() + E
    assert (summary.bytes, summary.digest) == (len(data), hashlib.sha256(data).hexdigest())


@compressed
@pytest.mark.parametrize("kept", ["half", "all but one byte", "five bytes"])
def test_truncated_compressed_text_is_an_error_and_no_shorter_text(suffix: str, kept: str, tmp_path: Path) -> None:
    whole = COMPRESSIONS[suffix](incompressible_lines())
    path = tmp_path / f"c.txt{suffix}"
    path.write_bytes(whole[: {"half": len(whole) // 2, "all but one byte": -1, "five bytes": 5}[kept]])
    with pytest.raises(DataError, match="the compressed file is truncated or damaged") as caught:
        list(read_blocks(find_sources([str(path)]), CorpusSettings()))
    assert "-t" in caught.value.hint


@compressed
def test_archives_one_after_another_are_read_to_the_end_of_the_file(suffix: str, tmp_path: Path) -> None:
    data, path = incompressible_lines(), tmp_path / f"c.txt{suffix}"
    path.write_bytes(COMPRESSIONS[suffix](data) + bytes(8) * (suffix == ".xz") + COMPRESSIONS[suffix](data))
    assert "".join(read_blocks(find_sources([str(path)]), CorpusSettings(sequence="stream"))) == data.decode() * 2 + E


@compressed
def test_damage_after_an_archives_first_part_is_an_error_and_no_end(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"c.txt{suffix}"
    part = COMPRESSIONS[suffix](incompressible_lines())
    for rest in (b"noise", b"?" + part[1:], part[:9]):
        path.write_bytes(part + rest)
        with pytest.raises(DataError, match="the compressed file is truncated or damaged"):
            list(read_blocks(find_sources([str(path)]), CorpusSettings()))


@compressed
def test_what_is_not_compressed_in_spite_of_its_name_is_an_error(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"c.txt{suffix}"
    path.write_bytes(b"plain text\n" * 20)
    with pytest.raises(DataError, match="the compressed file is truncated or damaged"):
        list(read_blocks(find_sources([str(path)]), CorpusSettings()))


def zstd_of_window(log: int) -> bytes:
    """A frame that asks for a window of 2^log bytes and holds one short line."""
    data = b"ab\n"
    return b"\x28\xb5\x2f\xfd\0" + bytes([(log - 10) << 3]) + (len(data) << 3 | 1).to_bytes(3, "little") + data


def xz_of_dictionary(log: int) -> bytes:
    """A stream that asks for a dictionary of 2^log bytes and holds one short line."""
    packed = bytearray(lzma.compress(b"ab\n"))
    header = slice(12, 12 + 4 * packed[12])  # of the block; a checksum after it
    packed[16] = 2 * (log - 12)
    packed[header.stop : header.stop + 4] = zlib.crc32(packed[header]).to_bytes(4, "little")
    return bytes(packed)


@pytest.mark.parametrize(
    ("suffix", "packed", "most"), [(".zst", zstd_of_window, 27), (".xz", xz_of_dictionary, 26)], ids=["zst", "xz"]
)
def test_an_archive_that_asks_for_much_memory_is_refused(
    suffix: str, packed: Callable[[int], bytes], most: int, tmp_path: Path
) -> None:
    path = tmp_path / f"c.txt{suffix}"
    path.write_bytes(packed(most))
    assert "".join(read_blocks(find_sources([str(path)]), CorpusSettings())) == f"ab{E}"
    for log in (28, 31):
        path.write_bytes(packed(most) + packed(log))
        with pytest.raises(DataError, match="needs more than 128 MiB of memory"):
            list(read_blocks(find_sources([str(path)]), CorpusSettings()))


@compressed
def test_a_compressed_file_is_known_by_its_suffix_in_capitals_too(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"C.TXT{suffix.upper()}"
    path.write_bytes(COMPRESSIONS[suffix](b"one\ntwo\n"))
    assert "".join(read_blocks(find_sources([str(tmp_path)]), CorpusSettings())) == f"one{E}two{E}"


def test_invalid_utf8_is_located_in_the_decompressed_text(tmp_path: Path) -> None:
    (tmp_path / "c.txt.gz").write_bytes(gzip.compress(b"ab\ncd\xff\n"))
    with pytest.raises(DataError, match="line 2, byte 5: invalid UTF-8"):
        list(read_blocks(find_sources([str(tmp_path)]), CorpusSettings()))


# Standard input and pipes


@contextmanager
def piped_stdin() -> Iterator[Callable[[bytes], None]]:
    """Make standard input a pipe; gives a function that writes to it (of b"": closes it)."""
    reader, writer = os.pipe()
    is_open = [True]

    def write(data: bytes) -> None:
        if data:
            os.write(writer, data)
        elif is_open:
            is_open.clear()
            os.close(writer)

    with pytest.MonkeyPatch.context() as patch, open(reader, "rb") as raw, io.TextIOWrapper(raw) as stdin:
        patch.setattr(sys, "stdin", stdin)
        yield write
        write(b"")


def test_lines_from_a_pipe_come_as_soon_as_they_are_complete() -> None:
    with piped_stdin() as write:
        (source,) = find_sources(["-"])
        batches = read_lines(source, CorpusSettings())
        write(b"one\ntw")
        assert next(batches) == [Line(1, "one", True)]
        write("o é\nthree\nfo".encode())
        assert next(batches) == [Line(2, "two é", True), Line(3, "three", True)]
        write(b"ur")
        write(b"")
        assert list(batches) == [[Line(4, "four", False)]]


def test_a_pipe_that_never_waits_is_waited_for() -> None:
    with piped_stdin() as write:
        os.set_blocking(sys.stdin.fileno(), False)
        writing = threading.Timer(0.2, write, [b"one\n"])
        writing.start()
        assert next(read_lines(find_sources(["-"])[0], CorpusSettings())) == [Line(1, "one", True)]
        writing.join()


def test_a_byte_order_mark_that_comes_in_parts_through_a_pipe_is_no_text() -> None:
    with piped_stdin() as write:
        batches = read_lines(find_sources(["-"])[0], CorpusSettings())
        writing = threading.Timer(0.2, write, [b"\xbb\xbfone\n"])
        write(b"\xef")
        writing.start()
        assert next(batches) == [Line(1, "one", True)]
        writing.join()


def test_standard_input_is_named_in_messages() -> None:
    with piped_stdin() as write:
        write(b"good\n\xff\n")
        write(b"")
        with pytest.raises(DataError, match=r"^<stdin>, line 2, byte 5: invalid UTF-8"):
            list(read_lines(find_sources(["-"])[0], CorpusSettings()))


def test_standard_input_can_be_named_once_only() -> None:
    with piped_stdin(), pytest.raises(UsageError, match="standard input is named twice"):
        find_sources(["-", "-"])


def test_standard_input_that_is_a_file_is_read_from_where_it_stands(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"one\ntwo\n")
    with pytest.MonkeyPatch.context() as patch, (tmp_path / "a").open() as stdin:
        stdin.buffer.read(4)
        patch.setattr(sys, "stdin", stdin)
        assert [line.text for batch in read_lines(find_sources(["-"])[0], CorpusSettings()) for line in batch] == [
            "two"
        ]


def test_a_line_over_the_limit_ends_what_is_spooled() -> None:
    with piped_stdin() as write:
        write(b"one\ntwo two\n")
        write(b"")
        with pytest.raises(DataError, match="<stdin>, line 2: longer than 5 bytes"):
            spooled(find_sources(["-"])[0], 5)


def test_spooled_standard_input_can_be_read_again() -> None:
    with piped_stdin() as write:
        write(b"one\ntwo\n")
        write(b"")
        source = spooled(find_sources(["-"])[0], LONG)
        for _ in range(3):
            assert "".join(read_blocks([source], CorpusSettings())) == f"one{E}two{E}"
        assert source.name == "<stdin>"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_named_pipe_is_spooled_and_a_file_is_not(tmp_path: Path) -> None:
    pipe, file = tmp_path / "pipe", tmp_path / "file"
    os.mkfifo(pipe)
    file.write_bytes(b"x")
    writing = threading.Thread(target=pipe.write_bytes, args=(b"one\n" * 50_000,))
    writing.start()
    source = spooled(find_sources([str(pipe)])[0], LONG)
    writing.join()
    for _ in range(2):
        assert "".join(read_blocks([source], CorpusSettings())) == f"one{E}" * 50_000
    (plain,) = find_sources([str(file)])
    assert spooled(plain, LONG) is plain


def test_a_batch_has_few_lines_however_short_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(corpus, "LINES_AT_ONCE", 7)
    data = "a\n\n\ufffd\n".encode() * 20 + b"\xff\nlast"
    batches = list(read_lines(given_bytes(data), CorpusSettings(errors="replace")))
    assert [len(batch) for batch in batches] == [7] * 8 + [5, 1]
    lines = [line for batch in batches for line in batch]
    assert [line.number for line in lines] == list(range(1, 63))
    assert b"".join(line.as_read for line in lines) == data


def test_memory_is_bounded_by_blocks_not_by_the_corpus(tmp_path: Path) -> None:
    path = tmp_path / "big.txt"
    path.write_bytes(b"0123456789" * 9 + b"\n")
    with path.open("ab") as file:
        file.truncate(3 * line_blocks.READ_SIZE)  # zeros, without a newline: one long line
    blocks = list(islice(read_blocks(find_sources([str(path)]), CorpusSettings()), 1))
    assert blocks == ["0123456789" * 9 + E]
    path.write_bytes(b"0123456789\n" * (3 * line_blocks.READ_SIZE // 11))
    sizes = [len(block) for block in read_blocks(find_sources([str(path)]), CorpusSettings())]
    assert sum(sizes) == path.stat().st_size and max(sizes) <= line_blocks.READ_SIZE


# Archives that no name tells of, and line ends of old Macs


@compressed
def test_an_archive_that_comes_through_a_pipe_is_unpacked(suffix: str) -> None:
    data = incompressible_lines()
    packed = COMPRESSIONS[suffix](data[:9000]) + COMPRESSIONS[suffix](data[9000:])
    with piped_stdin() as write:
        (source,) = find_sources(["-"])

        def send() -> None:
            for part in (packed[:1], packed[1:7], packed[7:5000], packed[5000:], b""):
                write(part)

        writing = threading.Thread(target=send)
        writing.start()
        assert "".join(read_blocks([source], CorpusSettings(sequence="stream"))) == data.decode() + E
        writing.join()


@compressed
def test_an_archive_whose_name_says_nothing_is_unpacked_and_damage_is_told(suffix: str, tmp_path: Path) -> None:
    path, packed = tmp_path / "corpus", COMPRESSIONS[suffix](incompressible_lines())
    path.write_bytes(packed)
    assert "".join(read_blocks(find_sources([str(path)]), CorpusSettings(sequence="stream"))).endswith(f" é\n{E}")
    for damaged in (packed[:-9], packed + b"noise"):
        path.write_bytes(damaged)
        with pytest.raises(DataError, match=r"corpus: the compressed file is truncated or damaged"):
            list(read_blocks(find_sources([str(path)]), CorpusSettings()))


def test_text_that_begins_almost_as_an_archive_does_is_text() -> None:
    for text in ("B", "BZh9 is a name\n", "BZh91AY&S\n", "\x1f\n", "(\n", ""):
        with piped_stdin() as write:
            write(text.encode())
            write(b"")
            batches = read_lines(find_sources(["-"])[0], CorpusSettings())
            assert [line.text for batch in batches for line in batch] == text.splitlines()


def test_line_ends_of_old_macs_are_told_and_others_are_not() -> None:
    for kind in ("line", "paragraph"):
        with pytest.raises(DataError, match="memory: the lines end in CR alone") as caught:
            blocks_of(b"1\r2\rone\rtwo\rthree\rfour\rfive\r", sequence=kind)
        assert "tr '\\r' '\\n'" in caught.value.hint
        assert blocks_of(b"1\r2\rone\rtwo\rthree\n", sequence=kind) == f"1\r2\rone\rtwo\rthree{E}"
    assert blocks_of(b"1\r2\rone\rtwo\rthree", sequence="stream") == f"1\r2\rone\rtwo\rthree{E}"
    assert blocks_of(b"1\r2\rone\rtwo\rthree", any_bytes=True) == f"1\r2\rone\rtwo\rthree{E}"
    assert blocks_of(b"one\r\r\r\r\r") == f"one\r\r\r\r\r{E}"
