"""A long line is read, scored and tokenised in parts: with the same result, and in the memory of a part."""

from __future__ import annotations

import re
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from seqmodel.text import line_blocks
from seqmodel.text import long_lines as parts
from seqmodel.tokens import tokenizer as tokenizers
from tests.cli.command import Result, run_here
from tests.conftest import little_text

FRACTION = re.compile(r"-?\d+\.\d+(?:e[-+]\d+)?")
KINDS: list[dict[str, Any]] = [
    {},
    {"unit": "byte", "sequence": "stream"},
    {"unit": "word", "closed_vocab": True},
    {"unit": "word", "sequence": "paragraph"},
    {"unit": "subword", "sequence": "document"},
]
LINES = "cat dog\neat \u00e9\U0001f600 hill  into\tjamgoodfar \u3000 boil\r\n\nkite long" + "x" * 30 + " \n\nfar"
WAYS = [
    *([f"--by={level}"] for level in ("line", "token", "word", "document", "corpus")),
    ["--no-text", "--no-eos", "--format=jsonl"],
    ["--by=token", "--context=none", "--format=csv"],
    ["--by=token", "--no-text", "--context=before.txt"],
    ["--format=kenlm"],
    ["--percentile", "--worst"],
    ["--shard=2/3", "--context=none"],
]


def in_parts(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    for module, name in ((parts, "PART"), (tokenizers, "PART"), (line_blocks, "READ_SIZE")):
        monkeypatch.setattr(module, name, size)


def little(train_little: Callable[..., Path], settings: dict[str, Any]) -> Path:
    return train_little(steps=3, width=8, layers=1, **settings)


def without_fractions(result: Result) -> tuple[str, list[float]]:
    """What a command wrote, and the decimal fractions that stood in it: a product of another shape rounds otherwise."""
    shown = result.text + result.err
    return FRACTION.sub("x", shown), [float(number) for number in FRACTION.findall(shown)]


@pytest.mark.parametrize("settings", KINDS, ids=lambda settings: " ".join(map(str, settings.values())))
def test_parts_give_the_rows_of_the_whole(
    settings: dict[str, Any], train_little: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("lines.txt").write_bytes(LINES.encode())
    Path("before.txt").write_text("cat dog")
    model = little(train_little, settings)
    commands = [("tokenize",), ("tokenize", "--ids"), *(("score", *way) for way in WAYS)]
    whole = [run_here(*command, "lines.txt", "lines.txt", "-m", model) for command in commands]
    assert [result.code for result in whole].count(0) > 10
    in_parts(monkeypatch, 5)
    for command, expected in zip(commands, whole, strict=True):
        found = run_here(*command, "lines.txt", "lines.txt", "-m", model)
        (shown, numbers), (wanted, near) = without_fractions(found), without_fractions(expected)
        assert (found.code, shown) == (expected.code, wanted), command
        assert numbers == pytest.approx(near, rel=1e-4, abs=1e-4), command


def peak(*arguments: str | Path) -> tuple[Result, float]:
    tracemalloc.start()
    try:
        return run_here(*arguments), tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("command", "settings"),
    [
        (("score", "--by=corpus"), {}),
        (("score", "--no-text"), {"sequence": "stream"}),
        (("score", "--by=token", "-q"), {}),
        (("tokenize",), {}),
    ],
    ids=["score --by corpus", "score --no-text", "score --by token", "tokenize"],
)
def test_memory_does_not_grow_with_a_line(
    command: tuple[str, ...],
    settings: dict[str, Any],
    train_little: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    in_parts(monkeypatch, 1 << 10)
    model = little(train_little, {"ngram": "off", "ngram_embeddings": False, **settings})
    sizes = []
    for copies in (1, 1, 15):  # the first one imports
        path = tmp_path / f"{copies}.txt"
        path.write_text(little_text(100).replace("\n", " ") * copies)
        result, most = peak(*command, path, "-m", model)
        assert result.code == 0
        sizes.append(most)
    assert sizes[2] < 1.1 * sizes[1], sizes


@pytest.mark.parametrize("unit", ["char", "word"])
def test_a_store_of_a_long_line_is_made_in_a_few_times_its_memory(
    unit: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_parts(monkeypatch, 1 << 13)
    sizes = []
    for copies in (1, 40, 120):
        path = tmp_path / f"{copies}.txt"
        path.write_text(little_text(500).replace("\n", " ") * copies)
        result, most = peak("tokenize", path, "-o", tmp_path / "out.tokens", "--force", "--unit", unit)
        assert result.code == 0
        sizes.append((path.stat().st_size, most))
    (_, _), (size, most), (larger, more) = sizes
    assert more - most < 8 * (larger - size)
