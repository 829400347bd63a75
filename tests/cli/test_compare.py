"""`seqmodel compare`: the figures of `score`, side by side, on standard output."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import seqmodel
from seqmodel.errors import UsageError
from tests.cli.command import Result, run, run_here, told
from tests.conftest import little_text

TEXT = little_text(80, seed=9).encode() + b"\nZ\xc3\xbcrich\n \nunfinished"
FIGURES = ("tokens", "words", "chars", "bits", "bits_per_char", "perplexity")


@pytest.fixture(scope="module")
def models(train_little: Callable[..., Path]) -> list[Path]:
    """Of every unit, and of a stream."""
    units = [train_little(unit=unit, steps=20, width=16) for unit in ("word", "subword", "byte")]
    return [train_little(), *units, train_little(sequence="stream", steps=20, width=16)]


def jsonl(result: Result) -> list[dict[str, Any]]:
    assert result.code == 0, result.err
    return [json.loads(line) for line in result.lines]


def test_each_row_holds_the_figures_of_score(models: list[Path], tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(TEXT)
    result = run_here("compare", *models, "-", tmp_path / "a.txt", "--format", "jsonl", stdin=TEXT)
    rows = jsonl(result)
    assert [row["unit"] for row in rows] == ["char", "word", "subword", "byte", "char"]
    assert "line, stream" in result.err
    for row, model in zip(rows, models, strict=True):
        (alone,) = jsonl(
            run_here("score", "-m", model, "-", tmp_path / "a.txt", "--by", "corpus", "--format", "jsonl", stdin=TEXT)
        )
        assert row["model"] == str(model)
        assert [row[name] for name in FIGURES] == pytest.approx([alone[name] for name in FIGURES], rel=1e-5)
        assert 2 ** row["bits_per_word"] == pytest.approx(alone["word_perplexity"], rel=1e-4)
        assert (row["lines"], row["resampled"]) == (168, "blocks")
    assert all(rows[0][name] is None for name in rows[0] if name.startswith("bits_per_char_"))
    for row in rows[1:]:
        for per in ("char", "word"):
            difference = row[f"bits_per_{per}"] - rows[0][f"bits_per_{per}"]
            assert row[f"bits_per_{per}_difference"] == pytest.approx(difference, abs=2e-6)
            assert row[f"bits_per_{per}_low"] <= difference <= row[f"bits_per_{per}_high"]


def test_rows_of_tsv_are_those_of_json(models: list[Path]) -> None:
    arguments = (*map(str, ["compare", *models[:2]]), "--seed", "4", "--resamples", "100", "--format")
    (one, two), rows = run_here(*arguments, "tsv", stdin=TEXT).rows, jsonl(run_here(*arguments, "jsonl", stdin=TEXT))
    assert [list(one), list(two)] == [list(row) for row in rows]
    assert (one["resampled"], one["resampled_number"]) == ("lines", "84")
    assert one["bits_per_char_low"] == ""
    assert float(two["bits_per_char_low"]) == pytest.approx(rows[1]["bits_per_char_low"], abs=1e-4)
    again = run_here(*arguments, "tsv", stdin=TEXT).rows
    assert again == [one, two]
    other = run_here(*arguments, "tsv", "--seed", "5", stdin=TEXT).rows[1]
    assert other["bits_per_char_low"] != two["bits_per_char_low"]


def test_a_model_beside_itself_differs_by_nothing(models: list[Path]) -> None:
    row = jsonl(run_here("compare", models[0], models[0], "--format", "jsonl", stdin=TEXT))[1]
    assert [row[f"bits_per_{per}_{what}"] for per in ("char", "word") for what in ("difference", "low", "high")] == [
        0.0
    ] * 6
    shown = run_here("compare", models[0], models[0], stdin=TEXT)
    assert "lines that cost" not in shown.text and "+0.0000 to +0.0000" in shown.text


def test_tables_tell_people_in_a_pipe_without_colour(models: list[Path]) -> None:
    result = run("compare", *models[:2], "--worst", "2", stdin=TEXT)
    assert (result.code, result.err) == (0, "")
    assert "\x1b" not in result.text
    assert "95 % intervals: 1,000 resamples of 84 lines, seed 0" in result.text
    sections = result.text.split("\n\n")
    assert len(sections) == 4 and all(str(model) in part for model in models[:2] for part in sections)
    assert [len(part.splitlines()) for part in sections] == [4, 4, 4, 4]
    piped = jsonl(run_here("compare", *models[:2], "--format", "jsonl", stdin=TEXT))[1]
    (row,) = [line for line in result.lines if "bits per char" in line and "to" in line.split()]
    assert f"{piped['bits_per_char_difference']:+.4f}" in row and f"{piped['bits_per_char_high']:+.4f}" in row


def test_hostile_text_is_shown_and_not_sent(models: list[Path]) -> None:
    lines = [b"[red]cat[/red]", b"\x1b[31mred\x1b[0m\x00\t", "日本 \u202e🐟".encode(), b"long " * 9000, b"", b"cat"]
    result = run_here("compare", *models[:2], "--worst", "9", stdin=b"\n".join(lines))
    assert result.code == 0, result.err
    assert "[red]cat[/red]" in result.text and "\\x1b[31mred" in result.text and "日本 \\u202e🐟" in result.text
    assert "\x1b" not in result.text and "\u202e" not in result.text and "…" in result.text
    assert sorted(re.findall(r"(?m)^ *(\d+) +[+-]", result.text)) == ["1", "2", "3", "4", "5", "6"]


def test_files_are_named_beside_their_lines(models: list[Path], tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / f"{name}.txt").write_bytes(b"cat dog\n" + name.encode() * 9 + b"\n")
    result = run_here("compare", *models[:2], tmp_path, "--worst", "4")
    assert result.code == 0, result.err
    named = set(re.findall(r"/([ab])\.txt:([12]) ", result.text))
    assert named == {("a", "1"), ("a", "2"), ("b", "1"), ("b", "2")}


def test_closed_vocabularies_are_compared_by_words(train_little: Callable[..., Path], models: list[Path]) -> None:
    closed = train_little(unit="word", closed_vocab=True, steps=20, width=16)
    longer = train_little(unit="word", closed_vocab=True, steps=40, width=16)
    result = run_here("compare", closed, longer, "--format", "jsonl", stdin=TEXT)
    row = jsonl(result)[1]
    assert row["bits_per_char"] is None and row["bits_per_char_difference"] is None
    assert math.isfinite(row["bits_per_word_difference"])
    assert "closed vocabulary" in result.err
    assert "bits per char" not in run_here("compare", closed, longer, stdin=TEXT).text.replace("\n", " ")
    told(run_here("compare", models[1], closed, stdin=TEXT), 2, "closed vocabulary")


def test_any_bytes_are_compared_by_models_of_bytes_alone(models: list[Path]) -> None:
    byte = models[3]
    assert run_here("compare", byte, byte, stdin=b"cat \xff\n\xfe\n").code == 0
    told(run_here("compare", byte, models[0], stdin=b"cat\n\xff\n"), 3, "line 2")
    assert run_here("compare", byte, models[0], "--errors", "replace", stdin=b"cat \xff\n").code == 0


def test_what_cannot_be_compared_is_told(models: list[Path], tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("cat\n")
    told(run_here("compare", models[0]), 2, "MODEL")
    told(run_here("compare", models[0], tmp_path / "text.txt"), 4, "text.txt")
    told(run_here("compare", *models[:2], tmp_path / "none.seqmodel"), 4, "none.seqmodel")
    told(run_here("compare", *models[:2], tmp_path / "none.txt"), 3, "none.txt")
    told(run_here("compare", *models[:2]), 3, "no text")
    told(run_here("compare", *models[:2], "--seed", "-1"), 2)
    with pytest.raises(UsageError):
        seqmodel.compare(models[0], tmp_path / "text.txt")
    with pytest.raises(UsageError):
        seqmodel.compare(models, tmp_path / "text.txt", resamples=0)


def test_python_gives_the_same(models: list[Path], tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_bytes(TEXT)
    found = seqmodel.compare(models[:2], tmp_path / "text.txt", worst=2, seed=3)
    rows = jsonl(run_here("compare", *models[:2], "--seed", "3", "--format", "jsonl", stdin=TEXT))
    for model, row in zip(found.models, rows, strict=True):
        assert (model.name, model.tokens) == (row["model"], row["tokens"])
        assert model.bits == pytest.approx(row["bits"])
    difference = found.models[1].per_char
    assert difference is not None and difference.low == pytest.approx(rows[1]["bits_per_char_low"], abs=1e-6)
    assert len(found.models[1].worse) == len(found.models[1].better) == 2
