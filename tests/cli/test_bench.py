"""`seqmodel bench`: a table or JSON lines on standard output, all else on standard error."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, get_args

import pytest

from seqmodel.choices import CellKind, Size
from seqmodel.cli.bench import Cells, Sizes
from seqmodel.reports import speed
from seqmodel.training.planning import SIZES
from tests.cli.command import command, environment, run_here, told


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speed, "SIZES", {"s": (1, 8), "m": (1, 12), "l": (1, 16)})
    monkeypatch.setattr(speed, "CORPUS_CHARS", 20_000)
    monkeypatch.setattr(speed, "CHUNK_SECONDS", 0.0)
    monkeypatch.setattr(speed, "BURST_SECONDS", 0.0)
    monkeypatch.setattr("seqmodel.cli.bench.QUICK_SECONDS", 0.0)


QUICK = ("bench", "--quick", "--threads", "1")


def test_json_lines_come_one_per_figure() -> None:
    result = run_here(*QUICK, "--cell", "gru", "--cell", "rnn", "--size", "s", "--size", "l", "--format", "jsonl")
    assert result.code == 0, result.err
    rows: list[dict[str, Any]] = [json.loads(line) for line in result.lines]
    keys = [(row["what"], row["cell"], row["size"]) for row in rows]
    assert len(set(keys)) == len(keys) == 6 * 4
    assert {key[1:] for key in keys} == {(cell, size) for cell in ("gru", "rnn") for size in ("s", "l")}
    for row in rows:
        assert row["tokens_per_second"] > 0
        assert (row["share"] is None) == (row["peak_gflops"] is None) == (row["what"][:5] not in ("train", "score"))


def test_the_table_has_a_row_per_network_and_the_peaks_and_no_colour(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENBLAS_CORETYPE", "Haswell")
    result = run_here(*QUICK)
    assert result.code == 0, result.err
    for name in ("mingru s 1×8", "mingru m 1×12", "mingru l 1×16"):
        (row,) = [line for line in result.lines if line.startswith(name)]
        assert row.count("%") == 3 and row.endswith(" M")
    assert "torch's fp32 peak" in result.text and "NumPy's fp32 peak" in result.text and "GFLOP/s" in result.text
    assert result.err.count("mingru") == 3 * 6
    assert "OPENBLAS_CORETYPE=Haswell" in result.err
    assert "\x1b" not in result.text + result.err


def test_quiet_says_nothing_on_standard_error(train_little: Callable[..., Path]) -> None:
    result = run_here(*QUICK, "-q", "-m", train_little())
    assert (result.code, result.err) == (0, "")
    assert "mingru 2×24" in result.text and "train" not in result.text and "torch" not in result.text


def test_what_does_not_go_together_is_told(train_little: Callable[..., Path], tmp_path: Path) -> None:
    for options in (["--cell", "lstm"], ["--size", "s"]):
        told(run_here(*QUICK, "-m", train_little(), *options), 2, "-m")
    told(run_here(*QUICK, "-m", tmp_path / "none"), 4, "no such file")
    for options in (["--cell", "elman"], ["--size", "xl"], ["--threads", "0"], ["--format", "csv"]):
        told(run_here(*QUICK, *options), 2, options[0])


def test_the_choices_are_the_cells_and_presets_that_there_are() -> None:
    assert [str(cell) for cell in Cells] == [*get_args(CellKind), "all"]
    assert [str(size) for size in Sizes] == list(SIZES) == list(get_args(Size))


def test_all_cells_can_be_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def speeds(cells: Any, sizes: Any, **settings: Any) -> Iterator[Any]:
        asked.append((cells, sizes, settings))
        return iter(())

    monkeypatch.setattr(speed, "preset_speeds", speeds)
    assert run_here("bench", "--cell", "all", "--format", "jsonl").code == 0
    assert asked == [(["mingru", "lstm", "gru", "rnn"], ["s", "m", "l"], {"seconds": 1.5, "threads": None})]


def test_ctrl_c_ends_without_a_word_and_leaves_no_file(tmp_path: Path) -> None:
    process = subprocess.Popen(
        command(*QUICK, "--format", "jsonl", "-q"),
        env=environment(TMPDIR=str(tmp_path)),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stdout.readline()  # it has trained, and goes on to score
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (130, b"")
    assert not [path for path in tmp_path.iterdir() if not path.name.startswith("torch")]
