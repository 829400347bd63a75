"""`seqmodel score --percentile --worst`: what else is told of a line, and what is said where it cannot be told."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import seqmodel
from seqmodel.model.bundle import read_bundle, write_bundle
from tests.cli.command import run_here, told
from tests.conftest import little_text

ODD = ("--percentile", "--worst")
COLUMNS = ["percentile", "worst_start", "worst_end", "worst_bits"]
DATA = "cat dog\n\nanna boil the xqzzvw kite\nZürich ✓\ncat\n".encode()


@pytest.fixture(scope="module")
def held_out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("held-out") / "valid.txt"


@pytest.fixture(scope="module")
def model(held_out: Path, train_little: Callable[..., Path]) -> Path:
    return train_little(little_text(3000), write_valid=str(held_out), steps=40, width=16)


def rows_of(model: Path, data: bytes, *options: str | Path) -> list[dict[str, Any]]:
    result = run_here("score", "-q", "-m", model, "--format", "jsonl", *options, stdin=data)
    assert (result.code, result.err) == (0, "")
    return [json.loads(line) for line in result.lines]


def test_the_columns_come_before_the_text_and_leave_the_others_alone(model: Path) -> None:
    plain, odd = rows_of(model, DATA), rows_of(model, DATA, *ODD)
    assert list(odd[0]) == [*list(plain[0])[:-1], *COLUMNS, "text"]
    assert [{name: value for name, value in row.items() if name not in COLUMNS} for row in odd] == plain
    assert list(rows_of(model, DATA, "--percentile", "--no-text")[0])[-2:] == ["bits_per_char", "percentile"]
    assert list(rows_of(model, DATA, "--worst", "--base", "e")[0])[-4:] == [*COLUMNS[1:3], "worst_nats", "text"]
    assert list(rows_of(model, DATA, "--by", "token")[0])[-1] == "oov"


def test_cells_agree_in_all_formats_and_are_empty_for_an_empty_line(model: Path) -> None:
    as_json = rows_of(model, DATA, *ODD)
    as_tsv = run_here("score", "-m", model, *ODD, stdin=DATA).rows
    as_csv = list(csv.DictReader(io.StringIO(run_here("score", "-m", model, *ODD, "--format", "csv", stdin=DATA).text)))
    for name in COLUMNS:
        assert [row[name] for row in as_csv] == [row[name] for row in as_tsv]
        shown = [math.nan if row[name] == "" else float(row[name]) for row in as_tsv]
        told = [math.nan if row[name] is None else row[name] for row in as_json]
        assert shown == pytest.approx(told, abs=1e-3, nan_ok=True)
        assert [math.isnan(value) for value in shown] == [False, True, False, False, False]
    assert all(len(row["percentile"].split(".")[1]) == 1 for row in as_tsv if row["percentile"])


def test_held_out_lines_themselves_are_spread_evenly(model: Path, held_out: Path) -> None:
    """Some of them more than the quantiles kept can tell apart; their weights were fitted on the other half."""
    ranks = np.array([row["percentile"] for row in rows_of(model, b"", "--percentile", held_out)])
    assert len(ranks) == len(held_out.read_text().splitlines()) > 100
    assert abs(ranks.mean() - 50) < 3
    assert [(ranks <= edge).mean() for edge in (10, 30, 50, 70, 90)] == pytest.approx(
        [0.1, 0.3, 0.5, 0.7, 0.9], abs=0.05
    )


def test_a_line_unlike_the_text_ranks_highest(model: Path) -> None:
    likely, odd = rows_of(model, b"cat dog\nqxz kkk\n", "--percentile")
    assert likely["percentile"] < 95 < odd["percentile"] == 100


def test_the_worst_span_is_a_run_of_tokens_and_holds_the_unseen_word(model: Path) -> None:
    tokens = rows_of(model, DATA, "--by", "token")
    for row in rows_of(model, DATA, "--worst"):
        own = [token for token in tokens if token["line"] == row["line"]]
        runs = [own[a:b] for b in range(1, len(own) + 1) for a in range(b)]
        start, end, bits = (row[name] for name in COLUMNS[1:])
        sums = [
            sum(token["surprisal_bits"] for token in run)
            for run in runs
            if (run[0]["char_start"], run[-1]["char_end"]) == (start, end)
        ]
        assert not row["text"] or any(bits == pytest.approx(one, abs=1e-4) for one in sums)
    third = rows_of(model, DATA, "--worst")[2]
    assert "xqzzvw" in third["text"][third["worst_start"] : third["worst_end"]]


def test_rows_of_tables_have_them_too(model: Path) -> None:
    table = b"id,text\n7,cat dog\n8,\n"
    result = run_here(
        *("score", "-m", model, *ODD, "--input", "csv", "--column", "text", "--column-prefix", "lm_"), stdin=table
    )
    header, first, second = csv.reader(io.StringIO(result.text))
    assert header == [
        "id",
        "text",
        "lm_bits",
        "lm_tokens",
        "lm_chars",
        "lm_bits_per_char",
        *("lm_" + n for n in COLUMNS),
    ]
    alone = run_here("score", "-m", model, *ODD, stdin=b"cat dog\n").rows[0]
    assert first[-4:] == [alone[name] for name in COLUMNS]
    assert second[-5:] == [""] * 5


def test_in_a_closed_vocabulary_rank_and_length_are_counted_in_tokens(train_little: Callable[..., Path]) -> None:
    model = train_little(little_text(3000), unit="word", closed_vocab=True, steps=20, width=16)
    likely, blank, odd = rows_of(model, b"cat dog\n  \ndog qqq qqq qqq\n", *ODD)
    assert likely["percentile"] < odd["percentile"] == 100
    assert blank["percentile"] is None
    assert odd["worst_end"] == 7  # the unknown words after it surprise less: a second one follows a first
    lines = seqmodel.load(model).held_out_lines
    assert [one.upto for one in lines.bins] == sorted({one.upto for one in lines.bins}) and lines.bins[-1].upto == 6


def test_a_model_that_cannot_tell_says_so(model: Path, train_little: Callable[..., Path], tmp_path: Path) -> None:
    few = train_little()
    told(run_here("score", "-m", few, "--percentile", stdin=DATA), 4, "too few held-out lines", "--valid")
    assert run_here("score", "-m", few, "--worst", stdin=DATA).code == 0
    bundle = read_bundle(model)
    assert bundle.header.held_out is not None
    older = replace(
        bundle,
        header=bundle.header.model_copy(update={"held_out": bundle.header.held_out.model_copy(update={"lines": None})}),
    )
    write_bundle(tmp_path / "older.seqmodel", older)
    told(run_here("score", "-m", tmp_path / "older.seqmodel", "--percentile", stdin=DATA), 4, "Train it again")
    assert rows_of(tmp_path / "older.seqmodel", DATA, "--worst") == rows_of(model, DATA, "--worst")
    write_bundle(
        tmp_path / "none.seqmodel", replace(bundle, header=bundle.header.model_copy(update={"held_out": None}))
    )
    told(run_here("score", "-m", tmp_path / "none.seqmodel", "--percentile", stdin=DATA), 4, "too few held-out lines")
    result = run_here("score", "-m", tmp_path / "none.seqmodel", "--worst", stdin=DATA)
    told(result, 4, "no held-out figures")
    assert not result.out


@pytest.mark.parametrize(
    "options", [("--by", "word"), ("--by", "corpus"), ("--format", "kenlm"), ("--format", "lmzoo"), ("--no-eos",)]
)
def test_what_they_do_not_go_with_is_refused(options: tuple[str, ...], model: Path) -> None:
    told(run_here("score", "-m", model, "--percentile", *options, stdin=DATA), 2, "percentile")


def test_from_python(model: Path) -> None:
    loaded = seqmodel.load(model)
    for row, score in zip(rows_of(model, DATA, *ODD), loaded.score(DATA.decode().split("\n")[:-1]), strict=True):
        span, rank = loaded.worst_span(score), loaded.percentile(score)
        if span is None:
            assert math.isnan(rank) and row["worst_start"] is row["percentile"] is None
        else:
            assert (span.start, span.end, rank) == (row["worst_start"], row["worst_end"], row["percentile"])
            assert span.bits == pytest.approx(row["worst_bits"], abs=1e-3)


@pytest.mark.parametrize("sequence", ["line", "stream"])
def test_white_space_at_its_end_makes_a_line_of_words_no_odder(
    sequence: str, train_little: Callable[..., Path]
) -> None:
    """On the command line, in a filter and in Python; its bits are those of the line as it stands."""
    path = train_little(little_text(2000), unit="word", sequence=sequence, steps=60, width=16)
    lines = [b"cat dog eat", b"anna boil the kite", b"far good"]
    ended = [line + end for line, end in zip(lines, (b" ", b"\t ", b"\xc2\xa0"), strict=True)]
    alone = ("--context", "none", "--percentile")
    plain = rows_of(path, b"\n".join(lines), *alone)
    rows = rows_of(path, b"\n".join(ended), *alone)
    assert all(row["bits"] > other["bits"] + 1 for row, other in zip(rows, plain, strict=True))
    percentiles = [row["percentile"] for row in plain]
    assert [row["percentile"] for row in rows] == pytest.approx(percentiles, abs=0.11)
    assert min(percentiles) < 95
    model = seqmodel.load(path)
    scores = model.score([line.decode() for line in ended])
    assert [model.percentile(score) for score in scores] == pytest.approx(percentiles, abs=0.11)
    kept = run_here(
        *("filter", "-m", path, "--context", "none", "--percentiles", f"..{min(percentiles) + 0.2:.1f}"),
        stdin=b"\n".join(ended),
    )
    assert kept.out.rstrip(b"\n") == ended[percentiles.index(min(percentiles))]
