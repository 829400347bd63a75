"""Shares of a file: together they are its lines, each once, with their own numbers."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seqmodel.errors import DataError, UsageError
from seqmodel.settings import CorpusSettings
from seqmodel.text import line_blocks
from seqmodel.text.corpus import Line
from seqmodel.text.inputs import LineInputs, Shard
from seqmodel.text.sources import Source


def lines_of(path: Path, shard: Shard | None) -> list[Line]:
    inputs = LineInputs([Source(path.name, path)], shard=shard)
    return [line for _, batches in inputs.streams() for batch in batches for line in batch]


@settings(deadline=None, max_examples=150)
@given(
    st.lists(st.text(st.sampled_from(["a", "é", "🐟", "\r"]), max_size=9), max_size=12),
    st.booleans(),
    st.integers(1, 7),
    st.sampled_from([1, 3, 1 << 20]),
)
def test_shares_put_together_are_the_file(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str], last: bool, of: int, size: int
) -> None:
    path = tmp_path_factory.mktemp("shares") / "f.txt"
    path.write_bytes(("\n".join(texts) + "\n" * last).encode())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(line_blocks, "READ_SIZE", size)
        whole = lines_of(path, None)
        parts = [line for number in range(1, of + 1) for line in lines_of(path, Shard(number, of))]
    assert parts == whole


def test_a_share_of_a_long_file_is_about_its_share(tmp_path: Path) -> None:
    path = tmp_path / "f.txt"
    path.write_text("".join(f"line {number}\n" for number in range(10_000)))
    sizes = [len(lines_of(path, Shard(number, 4))) for number in (1, 2, 3, 4)]
    assert sum(sizes) == 10_000 and min(sizes) > 2_400


@pytest.mark.parametrize("text", ["", "1", "0/2", "3/2", "1/0", "a/b", "1/2/3", "-1/2", "1/ 2"])
def test_what_names_no_share_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        Shard.parse(text)


def test_only_regular_files_have_shares(tmp_path: Path) -> None:
    packed = tmp_path / "f.txt.gz"
    packed.write_bytes(b"")
    for source in (Source("f.txt.gz", packed), Source("<stdin>", file=sys.stdin.buffer)):
        with pytest.raises(UsageError, match="regular"):
            list(LineInputs([source], shard=Shard(1, 2)).streams())


def test_texts_and_files_are_one_or_the_other(tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        LineInputs.of(["a"], ["b"], CorpusSettings(), False)
    with pytest.raises(DataError):
        LineInputs.of([str(tmp_path / "none")], [], CorpusSettings(), False)
