"""Lines in parts are the lines, and have their tokens."""

from __future__ import annotations

import tempfile
from functools import partial
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from seqmodel.choices import TextErrors, Unit
from seqmodel.errors import DataError, ResourceError
from seqmodel.settings import CorpusSettings, TokenizerSettings
from seqmodel.text import line_blocks
from seqmodel.text import long_lines as parts
from seqmodel.text.corpus import END_MARK, Line, read_lines
from seqmodel.text.inputs import Shard
from seqmodel.text.long_lines import Cuts, word_count
from seqmodel.text.sources import Source
from seqmodel.tokens import tokenizer as tokenizers
from seqmodel.tokens.fitting import fit
from seqmodel.tokens.tokenizer import Tokenizer
from tests.cli.command import FULL

UNITS: list[tuple[Unit, bool]] = [
    ("char", False), ("word", False), ("subword", False), ("byte", False), ("char", True), ("word", True)
]  # fmt: skip
TEXT = "ab ba\tabab b a\n\nba  ab\u3000\u00e9\n \tb\n" * 30
texts = st.text(st.sampled_from("ab  \t\n\r\u00e9\u3000\U0001f600\u2581"), max_size=40)


@pytest.fixture(autouse=True)
def _small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "PART", 4)
    monkeypatch.setattr(tokenizers, "PART", 4)
    monkeypatch.setattr(line_blocks, "READ_SIZE", 3)


@pytest.fixture(scope="module", params=UNITS, ids=str)
def tokenizer(request: pytest.FixtureRequest) -> Tokenizer:
    unit, closed = request.param
    return fit([TEXT], TokenizerSettings(unit=unit, closed=closed))


def lines_of(path: Path, cuts: Cuts | None, part: tuple[int, int] | None = None) -> list[Line]:
    batches = read_lines(Source("corpus.txt", path), CorpusSettings(), part=part, cuts=cuts)
    return [line for batch in batches for line in batch]


def whole(lines: list[Line]) -> list[tuple[int, str, bool]]:
    """Lines of parts: their numbers, texts, and whether they are terminated."""
    out, text = [], ""
    for line in lines:
        assert line.text or not line.open
        text += line.text
        if not line.open:
            out.append((line.number, text, line.terminated))
            text = ""
    assert not text
    return out


@pytest.mark.parametrize("cuts", ["blanks", "characters"])
def test_parts_of_lines_are_the_lines(cuts: Cuts, tmp_path: Path) -> None:
    path = tmp_path / "corpus.txt"

    @given(texts, st.integers(1, 4))
    @settings(max_examples=60, deadline=None)
    @example("a" * 40, 3)
    @example("a b" * 9 + "\r\n" + "b " * 9, 2)
    def check(text: str, shares: int) -> None:
        path.write_bytes(text.encode())
        expected = [(line.number, line.text, line.terminated) for line in lines_of(path, None)]
        assert whole(lines_of(path, cuts)) == expected
        size = path.stat().st_size
        shards = [lines_of(path, cuts, Shard(number, shares).bounds(size)) for number in range(1, shares + 1)]
        assert [line for shard in shards for line in whole(shard)] == expected

    check()


@pytest.mark.parametrize(("errors", "any_bytes"), [("strict", True), ("replace", False)])
def test_any_bytes_are_cut_between_characters(errors: TextErrors, any_bytes: bool, tmp_path: Path) -> None:
    path = tmp_path / "corpus.txt"

    @given(st.lists(st.sampled_from(b"\x80\x9f\xc3\xe2\xf0a\n"), max_size=30).map(bytes))
    @settings(max_examples=150, deadline=None)
    @example(b"\x80" * 20)
    def check(data: bytes) -> None:
        path.write_bytes(data)
        read = partial(read_lines, Source("corpus.txt", path), CorpusSettings(errors=errors), any_bytes)
        expected = [(line.number, line.text, line.terminated) for batch in read() for line in batch]
        assert whole([line for batch in read(cuts="characters") for line in batch]) == expected

    check()


def test_parts_have_the_tokens_of_the_whole(tokenizer: Tokenizer, tmp_path: Path) -> None:
    path = tmp_path / "corpus.txt"

    @given(st.lists(texts, max_size=4).map(END_MARK.join))
    @settings(max_examples=60, deadline=None)
    @example("ab   \tba  ")
    @example(f"abab{END_MARK} b")
    def check(text: str) -> None:
        found = [token for ids in tokenizer.encode_parts(text) for token in ids.tolist()]
        assert found == tokenizer.encode(text).tolist()
        path.write_bytes(text.replace(END_MARK, "\n").encode())
        ids: list[int] = []
        spans: list[list[int]] = []
        chars, ends = 0, [0]
        for line in lines_of(path, tokenizer.cuts):
            inside = chars > 0
            own = tokenizer.encode(line.text, inside)
            ids += own.tolist()
            spans += (tokenizer.spans(own, inside) + chars).tolist() if not tokenizer.closed else []
            chars = chars + len(line.text) if line.open else 0
            ends += [] if line.open else [len(ids)]
        lines = [tokenizer.encode(line.text) for line in lines_of(path, None)]
        assert [ids[begin:end] for begin, end in pairwise(ends)] == [line.tolist() for line in lines]
        assert tokenizer.closed or spans == [span for line in lines for span in tokenizer.spans(line).tolist()]

    check()


@given(texts)
def test_words_are_counted_as_they_are_split(text: str) -> None:
    assert word_count(text) == len(text.split())


@pytest.mark.parametrize("cuts", [None, "blanks", "characters"])
@pytest.mark.parametrize("end", ["", "\n", "\nb"])
def test_a_line_is_refused_by_its_whole_length(cuts: Cuts | None, end: str, tmp_path: Path) -> None:
    path = tmp_path / "corpus.txt"
    for size in range(1, 24):
        path.write_text("a\n" + ("a b " * 6)[:size] + end)
        batches = read_lines(Source("corpus.txt", path), CorpusSettings(max_line=12), cuts=cuts)
        if size <= 12:
            assert sum(len(line.text) for batch in batches for line in batch) == 1 + size + end.count("b")
        else:
            with pytest.raises(DataError, match=r"corpus.txt, line 2: longer than 12 bytes"):
                list(batches)


def test_a_line_without_space_for_it_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "corpus.txt"
    path.write_text("a b " * 9)
    monkeypatch.setattr(tempfile, "TemporaryFile", lambda **how: FULL.open("r+b", **how))
    with pytest.raises(ResourceError, match="temporary file"):
        lines_of(path, "blanks")
