"""`seqmodel top`: the most probable sequences as rows, each as soon as its place is known."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

import seqmodel
from tests.cli.command import Result, command, environment, run, run_here, told

COLUMNS = ["rank", "bits", "probability", "cumulative", "proved", "text"]


def top(path: Path, *arguments: str) -> Result:
    result = run_here("top", "-m", path, *arguments)
    assert result.code == 0, result.err
    return result


def test_rows_are_those_of_score_in_falling_order(train_little: Callable[..., Path]) -> None:
    result = top(train_little(), "-n", "25")
    rows = result.rows
    assert [list(row) for row in rows] == [COLUMNS] * 25
    assert [row["rank"] for row in rows] == [str(rank) for rank in range(1, 26)]
    assert {row["proved"] for row in rows} == {"1"}
    bits = [float(row["bits"]) for row in rows]
    assert bits == sorted(bits)
    lines = "".join(row["text"] + "\n" for row in rows).encode()
    scored = run_here("score", "-m", train_little(), stdin=lines).rows
    assert bits == pytest.approx([float(row["bits"]) for row in scored], abs=2e-3)
    assert "sequences: 25, together 0." in result.err and result.err.endswith("order proved\n")
    assert float(rows[-1]["cumulative"]) == pytest.approx(sum(2**-one for one in bits), abs=1e-3)


def test_all_formats_hold_the_same(train_little: Callable[..., Path]) -> None:
    tsv = top(train_little(), "-q")
    assert tsv.err == "" and len(tsv.rows) == 10
    as_csv = list(csv.DictReader(io.StringIO(top(train_little(), "--format", "csv").text)))
    as_json = [json.loads(line) for line in top(train_little(), "--format", "jsonl").lines]
    assert as_csv == tsv.rows
    assert [list(row) for row in as_json] == [COLUMNS] * 10
    assert [row["text"] for row in as_json] == [row["text"] for row in tsv.rows]
    assert all(row["probability"] == pytest.approx(2 ** -row["bits"], rel=1e-3) for row in as_json)
    assert top(train_little(), "--no-header").lines == tsv.lines[1:]


def test_small_probabilities_keep_their_digits_in_json(train_little: Callable[..., Path]) -> None:
    lines = top(train_little(), "-n", "1000", "--format", "jsonl").lines
    last = json.loads(lines[-1])
    assert last["bits"] > 10
    assert last["probability"] == pytest.approx(2 ** -last["bits"], rel=1e-5)


def test_a_bound_on_bits_ends_the_list(train_little: Callable[..., Path]) -> None:
    many = top(train_little(), "-n", "60").rows
    bound = float(many[20]["bits"]) + 1e-4
    few = top(train_little(), "-n", "60", "--max-bits", str(bound))
    assert few.rows == [row for row in many if float(row["bits"]) <= bound]
    assert few.err.endswith("order proved, and there are no others\n")


def test_a_prefix_stands_before_every_text(train_little: Callable[..., Path]) -> None:
    rows = top(train_little(), "-p", "ca", "-n", "5").rows
    assert len(rows) == 5 and all(row["text"].startswith("ca") for row in rows)
    every = [row["text"] for row in top(train_little(), "-n", "200").rows if row["text"].startswith("ca")]
    assert [row["text"] for row in rows] == every[:5]


def test_a_limit_on_the_work_is_told(train_little: Callable[..., Path]) -> None:
    spent = top(train_little(), "-n", "500", "--effort", "300")
    proved = [row["proved"] for row in spent.rows]
    assert "0" in proved and "1" in proved and proved == sorted(proved, reverse=True)
    assert f"beginnings extended: 300; order proved for {proved.count('1')} of them" in spent.err
    assert "--effort" in spent.err
    full = top(train_little(), "-n", "100", "--frontier", "20")
    true = top(train_little(), "-n", "100").rows
    proved = [row["proved"] for row in full.rows]
    assert "0" in proved and "1" in proved and "--frontier" in full.err
    assert [row["text"] for row in full.rows][: proved.count("1")] == [row["text"] for row in true][: proved.count("1")]


def test_what_cannot_be_searched_is_refused(train_little: Callable[..., Path]) -> None:
    told(run_here("top", "-m", train_little(steps=5, width=16, sequence="stream")), 2, "stream", "no end")
    told(run_here("top", "-m", train_little(unit="word"), "-p", "cat "), 2, "ends with a blank")
    told(run_here("top", "-m", train_little(), "-p", "a\nb"), 2, "newline")
    for option in ("--count", "--effort", "--frontier", "--memory"):
        told(run_here("top", "-m", train_little(), option, "0"), 2, option)
    told(
        run_here("top", "-m", train_little(), "--max-bits", "inf"), 2, "--max-bits takes a number of 0 or more, not inf"
    )


def test_any_prefix_is_continued(train_little: Callable[..., Path]) -> None:
    for unit in ("char", "word", "subword", "byte"):
        model = seqmodel.load(train_little(unit=unit))
        for prefix in ("Καλη", "日本", "🐟", "▁", "a\x00b", "cat\t", "x" * 600):
            lines = top(train_little(unit=unit), f"--prefix={prefix}", "-n", "2", "--format", "jsonl").lines
            texts = [json.loads(line)["text"] for line in lines]
            assert len(texts) == 2 and all(text.startswith(prefix) for text in texts)
            assert all(score.bits > 0 for score in model.score(texts))


def test_a_reader_that_leaves_ends_it_and_a_full_disk_is_told(train_little: Callable[..., Path]) -> None:
    arguments = command("top", "-m", train_little(), "-n", "100000")
    process = subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment())
    assert process.stdout is not None
    assert process.stdout.readline().startswith(b"rank\t")
    assert process.stdout.readline().startswith(b"1\t")
    process.stdout.close()
    assert process.wait(60) == 141
    assert process.stderr is not None
    assert process.stderr.read() == b""
    process.stderr.close()
    if os.path.exists("/dev/full"):
        with open("/dev/full", "wb") as full:
            done = subprocess.run(
                command("top", "-m", train_little()),
                stdout=full,
                stderr=subprocess.PIPE,
                env=environment(),
                check=False,
            )
        assert done.returncode == 5 and b"no space" in done.stderr


def test_it_works_as_a_process_of_its_own(train_little: Callable[..., Path]) -> None:
    result = run("top", "-m", train_little(), "-n", "3")
    assert result.code == 0 and len(result.rows) == 3
    assert result.out == top(train_little(), "-n", "3").out
