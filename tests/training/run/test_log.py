"""The log: one row of valid JSON for each event, dense where much happens, whole after a row was cut."""

from __future__ import annotations

import json
import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from seqmodel.training.events import Noted, StepDone
from seqmodel.training.run.log import RunLog


def step(elapsed: float, bits: float = 2.0) -> StepDone:
    return StepDone(1, 10, 0.1, bits, 100.0, 0.5, elapsed, 1e-3)


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line, parse_constant=lambda name: pytest.fail(name)) for line in path.read_text().splitlines()]


def test_steps_are_logged_densely_at_first_and_then_one_a_second(tmp_path: Path) -> None:
    with RunLog(tmp_path / "x.jsonl", append=False) as log:
        for number in range(1, 4001):
            log.add(step(number / 20))
    times = [row["elapsed"] for row in rows(tmp_path / "x.jsonl")]
    assert times[:60] == [number / 20 for number in range(1, 61)]
    late = [time for time in times if time > 100]
    assert all(b - a == pytest.approx(1.0) for a, b in pairwise(late))
    assert len(late) == 100


def test_a_number_that_is_none_is_null(tmp_path: Path) -> None:
    with RunLog(tmp_path / "x.jsonl", append=False) as log:
        log.add(step(1.0, math.nan))
        log.add(step(2.0, math.inf))
    assert [row["bits_per_char"] for row in rows(tmp_path / "x.jsonl")] == [None, None]


@pytest.mark.parametrize("cut", ['{"event": "No', "", '{"event": "Noted", "text": "whole"}\n'])
def test_what_is_left_of_a_row_is_taken_away_before_the_log_goes_on(cut: str, tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text('{"event": "Noted", "text": "first"}\n' + cut)
    with RunLog(path, append=True) as log:
        log.add(Noted("last"))
    texts = [row["text"] for row in rows(path)]
    assert texts == ["first", "whole", "last"] if cut.endswith("\n") else ["first", "last"]


def test_a_log_that_was_taken_away_begins_anew(tmp_path: Path) -> None:
    with RunLog(tmp_path / "x.jsonl", append=True) as log:
        log.add(Noted("first"))
    assert len(rows(tmp_path / "x.jsonl")) == 1
