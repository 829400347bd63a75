"""What `bench` measures: complete rows, work counted as what was done, and nothing left behind or changed."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch
from threadpoolctl import threadpool_info, threadpool_limits

from seqmodel.arrays import Array
from seqmodel.choices import CellKind, Size
from seqmodel.inference.experts import sequence_model
from seqmodel.model.bundle import read_bundle
from seqmodel.model.language_model import LanguageModel
from seqmodel.reports import speed
from seqmodel.reports.speed import (
    Job,
    Speed,
    best_rates,
    bundle_speeds,
    dense_weights,
    made_up_text,
    preset_speeds,
)
from seqmodel.settings import ModelSettings

JOBS = list(get_args(Job))


def leftovers(folder: Path) -> list[Path]:
    """Torch keeps a folder of its own for compiled code beside ours."""
    return [path for path in folder.iterdir() if not path.name.startswith("torch")]


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of this test's own for temporary files; networks and corpus are tiny."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(speed, "SIZES", {"s": (1, 8), "m": (2, 12)})
    monkeypatch.setattr(speed, "CORPUS_CHARS", 20_000)
    monkeypatch.setattr(speed, "CHUNK_SECONDS", 0.0)
    monkeypatch.setattr(speed, "BURST_SECONDS", 0.0)
    return tmp_path


def test_every_job_of_every_network_has_a_row(temporary: Path) -> None:
    cells: list[CellKind] = ["mingru", "lstm"]
    sizes: list[Size] = ["s", "m"]
    shapes = dict(zip(sizes, [(1, 8), (2, 12)], strict=True))
    rows = list(preset_speeds(cells, sizes, seconds=0, threads=1))
    assert [(row.cell, row.size, row.what) for row in rows] == [
        (cell, size, job) for cell in cells for size in sizes for job in JOBS
    ]
    for row in rows:
        assert row.size is not None and (row.layers, row.width) == shapes[row.size]
        assert row.threads == 1 and row.tokens_per_second > 0
        if row.what.startswith(("train", "score")):
            assert row.peak_gflops is not None and row.peak_gflops > 0
            assert row.share is not None and 0 < row.share < 1
        else:
            assert row.peak_gflops is None and row.share is None
    assert leftovers(temporary) == []


def test_a_share_is_the_dense_arithmetic_done_in_a_second_over_the_peak(temporary: Path) -> None:
    (train, lines, *_) = preset_speeds(["rnn"], ["m"], seconds=0, threads=1)
    # 2 blocks of W, U and the projection, 12 × 12 each, and a head for the symbols, the 256 bytes and 64 characters.
    dense = 2 * 3 * 12 * 12 + 12 * 323
    for row, operations in ((train, 6), (lines, 2)):
        assert row.share is not None and row.peak_gflops is not None
        assert row.share * row.peak_gflops * 1e9 == pytest.approx(operations * dense * row.tokens_per_second)


@pytest.mark.parametrize("cell", get_args(CellKind))
@pytest.mark.parametrize("tied", [False, True])
def test_dense_weights_are_the_matrices_that_are_multiplied_with(cell: CellKind, tied: bool) -> None:
    settings = ModelSettings(
        cell=cell, width=6, layers=2, feed_forward=9, vocabulary=300, tied=tied, ngram_rows=((2, 50),), networks=2
    )
    network = LanguageModel(settings)
    looked_up = {id(each.table.weight) for each in network.networks if each.table is not None}
    if not tied:
        looked_up |= {id(each.token.weight) for each in network.networks}
    matrices = [p for p in network.parameters() if p.ndim == 2 and id(p) not in looked_up]
    assert dense_weights(settings) == sum(p.numel() for p in matrices)


def test_a_bundle_has_a_row_for_all_but_training(temporary: Path, train_little: Callable[..., Path]) -> None:
    for sequence in ("line", "stream"):
        bundle = read_bundle(train_little(sequence=sequence, steps=20, width=16))
        rows = list(bundle_speeds(bundle, seconds=0))
        assert [row.what for row in rows] == JOBS[1:]
        assert {(row.cell, row.size, row.width) for row in rows} == {("mingru", None, 16)}
        assert all(row.tokens_per_second > 0 for row in rows)


def test_samples_of_a_line_model_do_not_end_early(train_little: Callable[..., Path], temporary: Path) -> None:
    """Else a rate would be that of starting, and a model of short lines would seem slow."""
    bundle = read_bundle(train_little())
    jobs = speed._Jobs(bundle.header.model, None, bundle.header.sequence, sequence_model(bundle), bundle.tokenizer)
    assert [tokens for tokens, _ in jobs._sample(3, 40)] == [40] * 3


def test_the_made_up_text_is_repeatable_and_looks_like_lines_of_text() -> None:
    text = made_up_text(50_000)
    assert text == made_up_text(50_000) != made_up_text(50_000, seed=1)
    assert len(text) == 50_000
    assert 20 < len(text) / text.count("\n") < 80
    assert len(set(text)) > 50
    # The next character depends on the last: a pair is far likelier than its characters alone make it.
    singles, pairs = Counter(text), Counter(pairwise(text))
    (pair, count), *_ = pairs.most_common(1)
    assert count > 5 * singles[pair[0]] * singles[pair[1]] / len(text)


def test_the_best_rates_are_those_of_the_fastest_of_several_runs_that_take_turns(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now, turns = 0.0, ""
    durations = {"a": iter([4.0, 1.0, 2.0]), "b": iter([0.5, 1.0, 0.25])}

    def action(name: str) -> int:
        nonlocal now, turns
        now += next(durations[name])
        turns += name
        return {"a": 8, "b": 1}[name]

    monkeypatch.setattr("time.perf_counter", lambda: now)
    assert best_rates([lambda: action("a"), lambda: action("b")], seconds=7.0) == [8.0, 4.0]
    assert turns == "ababab"  # the time was up in the third round


def test_a_burst_tells_the_operations_that_it_did(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[tuple[int, ...]] = []

    def multiply(a: Array, b: Array, out: Array) -> None:
        done.append((*a.shape, *b.shape, *out.shape))

    monkeypatch.setattr(speed, "BURST_SECONDS", 0.01)
    assert speed._burst(multiply, 3, 5, 7) == 2 * 3 * 5 * 7 * len(done)
    assert set(done) == {(3, 5, 5, 7, 3, 7)} and len(done) > 1


# What is around it


def arithmetic() -> tuple[int, list[int], bool]:
    pools = [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]
    return torch.get_num_threads(), pools, bool((np.array([1e-310]) * 1.0 > 0).all())


def test_threads_and_arithmetic_are_as_before_after_each_row(temporary: Path) -> None:
    torch.set_num_threads(2)
    try:
        with threadpool_limits(2, "blas"):
            before = arithmetic()
            for row in preset_speeds(["mingru"], ["s"], seconds=0, threads=1):
                assert row.threads == 1
                assert arithmetic() == before
    finally:
        torch.set_num_threads(1)


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
def test_nothing_is_left_when_it_stops_early(
    error: type[BaseException], temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []

    def stop(path: Path) -> None:
        seen.extend(file.name for folder in leftovers(temporary) for file in folder.iterdir())
        raise error

    before = arithmetic()
    monkeypatch.setattr(speed, "open_store", stop)
    with pytest.raises(error):
        list(preset_speeds(["mingru"], ["s"], seconds=0))
    assert seen, "the files were somewhere else"
    assert leftovers(temporary) == []
    assert arithmetic() == before


def test_a_stop_in_training_leaves_the_arithmetic_as_it_was(temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*args: object) -> None:
        raise KeyboardInterrupt

    before = arithmetic()
    monkeypatch.setattr(speed, "_training_chunk", stop)
    with pytest.raises(KeyboardInterrupt):
        list[Speed](preset_speeds(["mingru"], ["s"], seconds=0, threads=1))
    assert arithmetic() == before and leftovers(temporary) == []
