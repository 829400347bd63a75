"""`seqmodel score` with several models: mixtures of tokens or of lines, with weights given or fitted."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.cli.command import Result, run, run_here, told
from tests.conftest import WORDS, little_text

DATA = "cat dog\n\nZürich\nanna boil\n".encode()


@pytest.fixture(scope="module")
def alike(train_little: Callable[..., Path]) -> list[Path]:
    """Two models of one vocabulary."""
    return [train_little(), train_little(steps=20, width=16)]


@pytest.fixture(scope="module")
def unlike(train_little: Callable[..., Path]) -> list[Path]:
    """One of characters, one of words."""
    return [train_little(), train_little(unit="word", steps=20, width=16)]


def arguments(models: list[Path], *more: str | Path) -> list[str | Path]:
    return ["score", *(part for model in models for part in ("-m", model)), *more]


def rows(result: Result) -> list[dict[str, Any]]:
    assert result.code == 0, result.err
    return [json.loads(line) for line in result.lines]


def scored(models: list[Path], *more: str | Path, stdin: bytes = DATA) -> list[dict[str, Any]]:
    return rows(run_here(*arguments(models, "--format", "jsonl", *more), stdin=stdin))


def mixed(bits: Any, other: Any, share: float) -> Any:
    """−log2 (share p + (1 − share) q)."""
    return -np.log2(share * np.exp2(-np.array(bits)) + (1 - share) * np.exp2(-np.array(other)))


def column(found: list[dict[str, Any]], name: str) -> list[float]:
    return [row[name] for row in found]


def test_tokens_are_mixed_where_vocabularies_are_the_same(alike: list[Path]) -> None:
    one, other = (column(scored([model], "--by", "token"), "surprisal_bits") for model in alike)
    found = scored(alike, "--by", "token", "--mix", "0.3,0.7")
    assert column(found, "surprisal_bits") == pytest.approx(mixed(one, other, 0.3).tolist(), abs=1e-4)
    lines = scored(alike, "--mix", "3,7")
    for line in lines:
        own = [row["surprisal_bits"] for row in found if row["line"] == line["line"]]
        assert line["bits"] == pytest.approx(sum(own), abs=1e-4) and line["tokens"] == len(own)
    words = scored(alike, "--mix", "3,7", "--by", "word")
    assert sum(column(words, "surprisal_bits")) == pytest.approx(sum(column(lines, "bits")), abs=1e-3)
    equal = scored(alike, "--mix", "1,1", "--by", "corpus")
    assert equal == scored(alike, "--by", "corpus")
    kenlm = run_here(*arguments(alike, "--format", "kenlm"), stdin=DATA)
    assert kenlm.code == 0 and kenlm.text.count("Total:") == 4


def test_lines_are_mixed_where_they_are_not(unlike: list[Path]) -> None:
    for end in ("--eos", "--no-eos"):
        one, other = (column(scored([model], end), "bits") for model in unlike)
        found = scored(unlike, end, "--mix", "0.25,0.75")
        assert column(found, "bits") == pytest.approx(mixed(one, other, 0.25).tolist(), abs=1e-4)
        assert column(found, "tokens") == column(scored(unlike[:1], end), "tokens")
        (corpus,) = scored(unlike, end, "--mix", "0.25,0.75", "--by", "corpus")
        assert corpus["bits"] == pytest.approx(sum(column(found, "bits")), abs=1e-4)
    assert corpus["sequences"] == 4
    texts = scored(unlike, "-t", "cat dog", "-t", "anna boil", "--base", "e")
    assert [row["nats"] for row in texts] == pytest.approx(
        [row["bits"] * np.log(2) for row in (scored(unlike)[0], scored(unlike)[3])], abs=1e-5
    )


def test_a_table_takes_the_scores_of_a_mixture(unlike: list[Path]) -> None:
    table = b"id\ttext\n1\tcat dog\n2\tanna\n"
    result = run_here(*arguments(unlike, "--column", "text", "--column-prefix", "mix_"), stdin=table)
    assert [list(row)[:3] for row in result.rows] == [["id", "text", "mix_bits"]] * 2
    assert float(result.rows[0]["mix_bits"]) == pytest.approx(scored(unlike)[0]["bits"], abs=1e-3)


@pytest.mark.parametrize("by_tokens", [True, False])
def test_fitted_weights_are_told_and_used(
    alike: list[Path], unlike: list[Path], by_tokens: bool, tmp_path: Path
) -> None:
    models = alike if by_tokens else unlike
    (tmp_path / "tune.txt").write_text(little_text(50, seed=4) + "".join(word[::-1] + "\n" for word in WORDS))
    result = run_here(*arguments(models, "--mix", "auto", "--tune", tmp_path / "tune.txt"), stdin=DATA)
    weights, compared, summary = result.err.splitlines()
    found = re.fullmatch(r"--mix ([\d.e,-]+), fitted on ([\d,]+) (tokens|lines)", weights)
    assert found is not None and (found[3] == "tokens") == by_tokens
    assert (found[2] == "62") == (not by_tokens)
    given = run_here(*arguments(models, "--mix", found[1]), stdin=DATA)
    assert [float(row["bits"]) for row in result.rows] == pytest.approx(
        [float(row["bits"]) for row in given.rows], abs=0.01
    )
    number = re.compile(r"[\d.,]*\d")
    assert number.sub("#", summary) == number.sub("#", given.err.strip())
    both = ([float(found.replace(",", "")) for found in number.findall(said)] for said in (summary, given.err))
    assert next(both) == pytest.approx(next(both), rel=1e-3)
    figures = [float(part.split()[-1]) for part in compared.split(": ")[1].split(", ")]
    alone = [scored([model], tmp_path / "tune.txt", "--by", "corpus")[0]["bits_per_char"] for model in models]
    assert figures[:2] == pytest.approx(alone, abs=1e-3)
    assert figures[2] <= min(figures[:2]) + 0.01
    quiet = run_here(*arguments(models, "-q", "--mix", "auto", "--tune", tmp_path / "tune.txt"), stdin=DATA)
    assert (quiet.err, quiet.out) == ("", result.out)


def test_weights_are_fitted_on_the_column_that_is_scored(alike: list[Path], unlike: list[Path], tmp_path: Path) -> None:
    lines = little_text(60, seed=5).splitlines()
    (tmp_path / "tune.txt").write_text("".join(line + "\n" for line in lines))
    (tmp_path / "tune.csv").write_text("n,text\n" + "".join(f'{n},"{line}"\n' for n, line in enumerate(lines)))
    for models in (alike, unlike):
        plain = run_here(*arguments(models, "--mix", "auto", "--tune", tmp_path / "tune.txt"), stdin=b"cat\n")
        given = ("--mix", "auto", "--tune", tmp_path / "tune.csv", "--column", "text", "--input", "csv")
        table = run_here(*arguments(models, *given), stdin=b"text\ncat\n")
        assert plain.code == table.code == 0, table.err
        assert table.err.splitlines()[0] == plain.err.splitlines()[0]  # the weights


def test_a_mixture_works_in_a_pipe(unlike: list[Path]) -> None:
    result = run(*arguments(unlike), stdin=DATA)
    assert result.code == 0 and [row["line"] for row in result.rows] == ["1", "2", "3", "4"]
    assert result.err.startswith("4 lines")


def test_what_cannot_be_mixed_is_told(
    alike: list[Path], unlike: list[Path], train_little: Callable[..., Path], tmp_path: Path
) -> None:
    stream = train_little(sequence="stream", steps=20, width=16)
    closed = train_little(unit="word", closed_vocab=True, steps=20, width=16)
    (tmp_path / "empty.txt").touch()
    for models, more, part in (
        (alike[:1], ("--mix", "1"), "--mix needs two models or more"),
        (alike, ("--mix", "1"), "1 weights for 2 models"),
        (alike, ("--mix", "0,1"), "not a number above 0"),
        (alike, ("--mix", "a,b"), "--mix takes weights such as 0.3,0.7, or auto"),
        (alike, ("--mix", "auto"), "--tune"),
        (alike, ("--tune", str(tmp_path / "empty.txt")), "--mix auto"),
        (alike, ("--mix", "auto", "--tune", "-"), "standard input"),
        (unlike, ("--by", "token"), "no tokens in common"),
        (unlike, ("--by", "word"), "no tokens in common"),
        (unlike, ("--format", "kenlm"), "no tokens in common"),
        ([alike[0], stream], (), "differ in kind"),
        ([alike[0], closed], (), "closed vocabulary"),
    ):
        told(run_here(*arguments(models, *more), stdin=DATA), 2, part)
    told(run_here(*arguments(alike, "--mix", "auto", "--tune", tmp_path / "empty.txt"), stdin=DATA), 3, "empty")
    told(run_here(*arguments([alike[0], tmp_path / "none.seqmodel"]), stdin=DATA), 4, "none.seqmodel")


@pytest.mark.parametrize("option", ["--percentile", "--worst"])
def test_a_mixture_has_no_held_out_lines(option: str, alike: list[Path], unlike: list[Path]) -> None:
    for models in (alike, unlike):
        told(run_here(*arguments(models, option), stdin=DATA), 2, "--percentile and --worst need one model")


@pytest.mark.parametrize("option", [["--explain"], ["--html", "-"]])
def test_a_picture_is_of_tokens_in_common(option: list[str], alike: list[Path], unlike: list[Path]) -> None:
    assert "perplexity per token" in run_here(*arguments(alike, *option), stdin=b"cat dog\n").text
    told(run_here(*arguments(unlike, *option), stdin=b"cat dog\n"), 2, "no tokens in common")
