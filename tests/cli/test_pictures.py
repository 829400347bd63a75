"""`seqmodel score` as a page, coloured text or a chain of factors."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from seqmodel.api.model import Model
from tests.cli.command import environment, run, run_here, told

PAGE_START = b"<!DOCTYPE html>\n"


# A page


def test_the_page_is_written_and_its_name_told(train_little: Callable[..., Path], tmp_path: Path) -> None:
    page = tmp_path / "out.html"
    result = run_here("score", "-m", train_little(), "--html", page, stdin=b"cat dog\nanna\n")
    assert (result.code, result.lines) == (0, [str(page)])
    assert result.err.startswith("2 lines, 13 tokens")
    text = page.read_text(encoding="utf-8")
    assert page.read_bytes().startswith(PAGE_START) and text.count("<li id=") == 2
    assert "model.seqmodel: char tokens, line sequences; 2 × 24 mingru, mixed with Kneser–Ney counts" in text
    rows = run_here("score", "-m", train_little(), "--by", "corpus", stdin=b"cat dog\nanna\n").rows
    assert f"<dt>bits per char</dt><dd>{float(rows[0]['bits_per_char']):.3f}</dd>" in text
    assert f"<dt>perplexity per token</dt><dd>{float(rows[0]['perplexity']):,.3f}</dd>" in text
    assert [path.name for path in tmp_path.iterdir()] == ["out.html"]


def test_a_page_that_exists_is_overwritten_by_force_alone(train_little: Callable[..., Path], tmp_path: Path) -> None:
    page = tmp_path / "out.html"
    page.write_text("mine")
    arguments = ("score", "-m", train_little(), "--html", page)
    told(run_here(*arguments, stdin=b"cat\n"), 2, "out.html exists", "--force")
    assert page.read_text() == "mine"
    assert run_here(*arguments, "--force", stdin=b"cat\n").code == 0
    assert page.read_bytes().startswith(PAGE_START)


def test_a_page_goes_to_standard_output_too(train_little: Callable[..., Path]) -> None:
    result = run_here("score", "-m", train_little(), "--html", "-", stdin=b"cat\n")
    assert result.out.startswith(PAGE_START) and result.out.endswith(b"</html>\n")


def test_a_page_that_cannot_be_is_refused_before_anything_is_read(
    train_little: Callable[..., Path], tmp_path: Path
) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    for name, part in (
        (tmp_path / "no" / "x.html", "not a folder"),
        (tmp_path, "no regular file"),
        (fifo, "no regular file"),
    ):
        told(run_here("score", "-m", train_little(), "--html", name, "--force", stdin=b"\xff"), 2, part)


def test_bad_input_leaves_no_page(train_little: Callable[..., Path], tmp_path: Path) -> None:
    told(run_here("score", "-m", train_little(), "--html", tmp_path / "x.html", stdin=b"cat\n\xff\n"), 3, "line 2")
    assert list(tmp_path.iterdir()) == []


def test_no_lines_are_a_page_too(train_little: Callable[..., Path]) -> None:
    page = run_here("score", "-m", train_little(), "--html", "-").text
    assert "<dt>lines</dt><dd>0</dd>" in page and "nan" not in page


def test_the_column_of_a_table_is_shown(train_little: Callable[..., Path]) -> None:
    table = b"id\ttext\n1\tcat\n2\tdog\n"
    page = run_here("score", "-m", train_little(), "--html", "-", "--column", "text", "--by", "word", stdin=table).text
    assert re.findall(r"title=[^>]*>(\w+)</span>", page) == ["cat", "dog"]


def test_equal_inputs_give_equal_pages(train_little: Callable[..., Path]) -> None:
    arguments = ("score", "-m", train_little(), "--html", "-", "--worst-first")
    one, other = (run_here(*arguments, stdin=b"cat\nqq\ncat\n").out for _ in range(2))
    assert one == other
    assert re.findall(rb'aria-label="line (\d)"', one) == [b"2", b"1", b"3"]


@pytest.mark.parametrize(
    ("kind", "arguments", "note"),
    [
        ("line", [], "The end symbol counts to the line, as ∎."),
        ("line", ["--no-eos"], "End symbols are left out."),
        ("line", ["--by", "word"], "The end symbol counts to the last word."),
        ("stream", [], "The model has no end symbol; the newline after a line counts to it, as ⏎."),
    ],
)
def test_the_page_says_how_ends_are_treated(
    train_little: Callable[..., Path], kind: str, arguments: list[str], note: str
) -> None:
    model = train_little() if kind == "line" else train_little(sequence="stream", steps=20, width=16)
    page = run_here("score", "-m", model, "--html", "-", *arguments, stdin=b"cat\n").text
    assert f'<p class="note">{note}</p>' in page
    assert (">∎<" in page) == (kind == "line" and not arguments)


def test_a_word_model_by_word_is_corrected_as_its_rows_are(train_little: Callable[..., Path]) -> None:
    model = train_little(unit="word", steps=20, width=16)
    arguments = ("score", "-m", model, "--by", "word")
    rows = run_here(*arguments, stdin=b"cat dog eat\n").rows
    page = run_here(*arguments, "--html", "-", stdin=b"cat dog eat\n").text
    assert re.findall(r'title="(\w+: [\d.]+) bits', page) == [
        f"{row['text']}: {float(row['surprisal_bits']):.2f}" for row in rows
    ]


# Colours and factors


def test_colours_are_refused_off_a_terminal_and_forced_into_a_pipe(train_little: Callable[..., Path]) -> None:
    arguments = ("score", "-q", "-m", train_little(), "--heatmap")
    told(run_here(*arguments, stdin=b"cat\n"), 2, "needs a terminal", "--html")
    forced = environment(FORCE_COLOR="1", COLORTERM="truecolor", TERM="xterm-256color")
    result = run(*arguments, stdin=b"cat\n", env=forced)
    assert result.code == 0 and b"\x1b[38;2;" in result.out and result.err == ""


def test_the_chain_of_factors_ends_in_the_lines_probability(
    train_little: Callable[..., Path], little_model: Model
) -> None:
    result = run_here("score", "-q", "-m", train_little(), "--explain", "-t", "cat", "-t", "☃")
    assert result.code == 0 and "\x1b" not in result.text
    assert not [line for line in result.lines if line != line.rstrip()]
    for text, part in zip(["cat", "☃"], re.split(r"(?m)^x = ", result.text)[1:], strict=True):
        (score,) = little_model.score([text])
        assert part.startswith(text + "\n")
        assert f"log₂ p(x) = −{score.bits:.3f}, so p(x) = 2^−{score.bits:.3f} = {2**-score.bits:.3g}" in part
        assert f"bits per char: {score.bits:.3f} / {len(text)} = {score.bits / len(text):.3f}" in part
        assert f"2^({score.bits:.3f} / {len(score.ids)}) = {2 ** (score.bits / len(score.ids)):,.3f}" in part
        steps = [line.split() for line in part.splitlines() if re.match(r" *\d+ ", line)]
        assert [float(cells[4]) for cells in steps] == pytest.approx(score.scores.bits.tolist(), abs=6e-4)
        assert float(steps[-1][5]) == pytest.approx(score.bits, abs=6e-4)


def test_each_explained_line_stands_alone(train_little: Callable[..., Path]) -> None:
    model = train_little(sequence="stream", steps=20, width=16)
    result = run_here("score", "-q", "-m", model, "--explain", stdin=b"cat dog\ncat dog\n")
    first, second = re.split(r"(?m)^x = ", result.text)[1:]
    assert first.strip() == second.strip()


def test_a_long_text_is_not_explained(train_little: Callable[..., Path]) -> None:
    result = run_here("score", "-m", train_little(), "--explain", stdin=b"cat\n" + b"x" * 200 + b"\n")
    told(result, 2, "line 2 has 201 tokens", "--by token")


# Together


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["--html", "x.html", "--heatmap"], "exclude each other"),
        (["--heatmap", "--explain"], "exclude each other"),
        (["--worst-first"], "--worst-first sorts the lines of a page"),
        (["--explain", "--worst-first"], "--worst-first sorts the lines of a page"),
        (["--explain", "--format", "jsonl"], "--format"),
        (["--html", "x.html", "--base", "e"], "--base"),
        (["--html", "x.html", "--no-text"], "--no-text"),
        (["--explain", "--no-header"], "--no-header"),
        (["--html", "x.html", "--by", "corpus"], "by corpus"),
        (["--heatmap", "--by", "document"], "by document"),
        (["--explain", "--by", "word"], "by word"),
    ],
)
def test_options_that_contradict_each_other_are_refused(
    train_little: Callable[..., Path], arguments: list[str], part: str
) -> None:
    told(run_here("score", "-m", train_little(), *arguments, stdin=b"\xff"), 2, part)
    assert not Path("x.html").exists()
