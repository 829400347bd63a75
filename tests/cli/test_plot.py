"""`seqmodel plot`: a curve on standard output or a figure in a file, and one line where neither can be."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.command import environment, run, run_here, told
from tests.reports.logs import EVALUATED, falling, planned, step, write_log


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return write_log(tmp_path / "run.jsonl", [*falling(), EVALUATED])


def test_the_log_of_a_run_gives_a_curve_in_plain_characters_off_a_terminal(train_little: Callable[..., Path]) -> None:
    result = run("plot", train_little().with_suffix(".jsonl"), env=environment(PYTHONIOENCODING="ascii"))
    assert (result.code, result.err) == (0, "")
    assert result.out.isascii() and b"\x1b" not in result.out
    assert "bits per char" in result.text and "seconds" in result.text
    for word in ("model", "held-out", "train", "unigram", "counts", "recurrence", "together"):
        assert word in result.text, word


def test_runs_of_different_units_share_an_axis(train_little: Callable[..., Path], tmp_path: Path) -> None:
    logs = [tmp_path / "char.jsonl", tmp_path / "word.jsonl"]
    for log, unit in zip(logs, ("char", "word"), strict=True):
        model = train_little() if unit == "char" else train_little(unit=unit, steps=20, width=16)
        log.write_bytes(model.with_suffix(".jsonl").read_bytes())
    text = run_here("plot", *logs, "--over", "tokens").text
    assert "training tokens" in text and "char   A held-out" in text and "word   B held-out" in text


def test_a_figure_is_written_and_its_name_told(log: Path, tmp_path: Path) -> None:
    result = run_here("plot", log, "-o", tmp_path / "x.svg")
    assert (result.code, result.err, result.lines) == (0, "", [str(tmp_path / "x.svg")])
    assert (tmp_path / "x.svg").read_text(encoding="utf-8").startswith("<?xml")
    told(run_here("plot", log, "-o", tmp_path / "x.svg"), 2, "x.svg exists", "--force")
    assert run_here("plot", log, "-o", tmp_path / "x.svg", "--force").code == 0


def test_what_cannot_be_drawn_is_told_in_one_line(log: Path, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.jsonl"
    damaged.write_bytes(log.read_bytes().replace(b'"Validated"', b'"Val\x00dated', 1))
    closed = write_log(tmp_path / "closed.jsonl", [planned("token", 5.0), step(1, 1.0, 2.0)])
    told(run_here("plot"), 2, "seqmodel plot LOG")
    told(run_here("plot", log, "--over", "epochs"), 2, "--over")
    told(run_here("plot", log, "-o", tmp_path / "x.pdf"), 2, ".svg or .png")
    told(run_here("plot", log, closed), 2, "closed vocabulary")
    told(run_here("plot", tmp_path / "none.jsonl"), 3, "none.jsonl", "no such file")
    told(run_here("plot", damaged), 3, "damaged.jsonl:4", ".jsonl log")
    told(run_here("plot", tmp_path), 3, "Is a directory")
    told(run_here("plot", log, "-o", tmp_path / "nowhere" / "x.svg"), 2, "is not a folder")
    assert {path.name for path in tmp_path.iterdir()} == {"run.jsonl", "damaged.jsonl", "closed.jsonl"}


def test_a_name_with_markup_or_control_characters_is_only_a_name(log: Path, tmp_path: Path) -> None:
    strange = tmp_path / "[red]x\x1b[31m\n[b].jsonl"
    strange.write_bytes(log.read_bytes())
    result = run_here("plot", strange)
    assert result.code == 0 and b"\x1b" not in result.out
    assert "[red]x?[31m?[b]" in result.text
