"""Logs read back: all of a run's points in order, whatever became of the run, and nothing else taken for a log."""

from __future__ import annotations

import json
import math
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from seqmodel.api.verbs import run_training
from seqmodel.errors import DataError
from seqmodel.reports.history import LONGEST_ROW, read_history
from seqmodel.training.events import Event
from tests.conftest import little_text
from tests.reports.logs import EVALUATED, falling, finished, planned, step, validated, write_log
from tests.training.test_resume import request, stop_after


def test_a_log_gives_its_points_and_final_figures(tmp_path: Path) -> None:
    log = write_log(tmp_path / "a.jsonl", [planned(), step(1, 0.5, 5.0), validated(1, 0.75, 4.0), EVALUATED])
    history = read_history(log)
    assert [(p.step, p.tokens, p.seconds, p.bits) for p in history.train] == [(1, 100, 0.5, 5.0)]
    assert [(p.step, p.tokens, p.seconds, p.bits) for p in history.held_out] == [(1, 100, 0.75, 4.0)]
    assert (history.evaluated, history.per) == (EVALUATED, "char")


def test_closed_vocabularies_are_read_in_bits_per_token(tmp_path: Path) -> None:
    events: list[Event] = [planned("token", 4.0), step(1, 0.5, 2.0), validated(1, 0.5, 1.5)]
    history = read_history(write_log(tmp_path / "a.jsonl", events))
    assert (history.per, history.train[0].bits, history.held_out[0].bits) == ("token", 8.0, 6.0)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(data=st.data())
def test_a_log_that_is_cut_anywhere_gives_the_points_before_the_cut(data: st.DataObject, tmp_path: Path) -> None:
    whole = write_log(tmp_path / "whole.jsonl", [*falling(), EVALUATED])
    text = whole.read_bytes()
    cut = data.draw(st.integers(0, len(text)))
    part = tmp_path / "part.jsonl"
    part.write_bytes(text[:cut])
    lines = text.splitlines()
    ends = accumulate(len(line) + 1 for line in lines)
    rows = [json.loads(line) for line, end in zip(lines, ends, strict=True) if end - 1 <= cut]  # its line end or not
    steps = [row["step"] for row in rows if row["event"] == "StepDone"]
    if not steps:
        with pytest.raises(DataError, match="no step yet"):
            read_history(part)
        return
    history, full = read_history(part), read_history(whole)
    assert [point.step for point in history.train] == steps
    assert history.train == full.train[: len(history.train)]
    assert history.held_out == full.held_out[: len(history.held_out)]
    assert (history.evaluated is None) == (cut < len(text) - 1)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(data=st.data())
def test_a_damaged_line_that_is_not_the_last_is_refused_by_its_number(data: st.DataObject, tmp_path: Path) -> None:
    lines = write_log(tmp_path / "whole.jsonl", falling()).read_bytes().splitlines(keepends=True)
    number = data.draw(st.integers(0, len(lines) - 1))
    keep = data.draw(st.integers(1, len(lines[number]) - 2))
    lines[number] = lines[number][:keep] + b"\n"
    (tmp_path / "damaged.jsonl").write_bytes(b"".join(lines))
    with pytest.raises(DataError, match=rf"damaged\.jsonl:{number + 1}: "):
        read_history(tmp_path / "damaged.jsonl")


GOOD = '{"event": "Planned", "per": "char"}\n'
POINT = '{"event": "Validated", "step": 1, "tokens": 1, "elapsed": 1, "bits_per_char": 2}\n'


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("hello\n", 1),
        ("[1]\n", 1),
        ("1\n", 1),
        ('{"event": 1}\n', 1),
        ('{"event": "Strange"}\n', 1),
        (POINT, 1),
        ('{"event": "Planned"}\n', 1),
        ('{"event": "Planned", "per": "token"}\n', 1),
        ('{"event": "Planned", "per": ["char"]}\n', 1),
        (GOOD + "\n", 2),
        (GOOD + POINT.replace("2}", "NaN}"), 2),
        (GOOD + POINT.replace("2}", "1e999}"), 2),
        (GOOD + POINT.replace("2}", "-1}"), 2),
        (GOOD + POINT.replace("2}", '"2"}'), 2),
        (GOOD + POINT.replace("2}", "true}"), 2),
        (GOOD + POINT.replace('"tokens"', '"token"'), 2),
        (GOOD + POINT.replace('"step": 1', '"step": null'), 2),
        (GOOD + POINT + '{"event": "Evaluated"}\n', 3),
        (GOOD + "[" * 100_000 + "\n", 2),
        (GOOD + "1" * 5000 + "\n", 2),
        (GOOD + "\xff\n", 2),
        (GOOD + " " * (LONGEST_ROW + 1) + POINT, 2),
    ],
    ids=lambda value: str(value)[:60],
)
def test_what_is_no_log_is_refused_with_the_line(text: str, line: int, tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_bytes(text.encode("latin-1"))
    with pytest.raises(DataError, match=rf"x\.jsonl:{line}: "):
        read_history(tmp_path / "x.jsonl")


@pytest.mark.parametrize("text", ["", GOOD, GOOD + '{"event": "Noted", "text": "x"}\n', '{"event": "Pla'])
def test_a_log_without_a_step_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_text(text)
    with pytest.raises(DataError, match="no step yet"):
        read_history(tmp_path / "x.jsonl")


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        read_history(tmp_path / "x.jsonl")


def test_a_loss_that_is_no_number_is_left_out(tmp_path: Path) -> None:
    events: list[Event] = [planned(), step(1, 1.0, 3.0), step(2, 2.0, math.nan), step(3, 3.0, 2.0)]
    assert [p.step for p in read_history(write_log(tmp_path / "x.jsonl", events)).train] == [1, 3]


def test_a_resumed_run_goes_on_in_time(tmp_path: Path) -> None:
    first: list[Event] = [
        planned(),
        step(1, 1.0, 5.0),
        step(2, 2.0, 4.0),
        validated(2, 2.5, 4.0),
        finished(2, 3.0),
        EVALUATED,
    ]
    second: list[Event] = [planned(), step(3, 1.0, 3.0), validated(3, 1.5, 3.0)]
    history = read_history(write_log(tmp_path / "x.jsonl", first, second))
    assert [(p.step, p.seconds) for p in history.train] == [(1, 1.0), (2, 2.0), (3, 4.0)]
    assert [(p.step, p.seconds) for p in history.held_out] == [(2, 2.5), (3, 4.5)]
    assert history.evaluated is None  # of the first part only


def test_steps_that_were_lost_and_done_again_are_there_once(tmp_path: Path) -> None:
    first: list[Event] = [
        planned(),
        *(step(number, float(number), 9.0 - number) for number in range(1, 6)),
        validated(5, 5.5, 4.0),
    ]
    second: list[Event] = [planned(), *(step(number, number - 2.0, 8.0 - number) for number in range(3, 7))]
    history = read_history(write_log(tmp_path / "x.jsonl", first, second))
    assert [(p.step, p.seconds, p.bits) for p in history.train] == [
        (1, 1.0, 8.0),
        (2, 2.0, 7.0),
        *((number, float(number), 8.0 - number) for number in range(3, 7)),
    ]
    assert history.held_out == ()


def test_the_log_of_a_run_that_was_stopped_and_resumed_is_one_history(tmp_path: Path) -> None:
    (tmp_path / "corpus.txt").write_text(little_text(150))
    output = tmp_path / "m.seqmodel"
    run_training(request(output, tmp_path / "corpus.txt"), should_stop=stop_after(4))
    first = read_history(tmp_path / "m.jsonl")
    result = run_training(request(output, tmp_path / "corpus.txt", resume=True))
    history = read_history(tmp_path / "m.jsonl")
    assert history.train[: len(first.train)] == first.train and len(history.train) > len(first.train)
    points: list[Any] = [*history.train]
    assert all(a.step < b.step and a.seconds < b.seconds and a.tokens < b.tokens for a, b in pairwise(points))
    held_out = result.header.held_out
    assert held_out is not None and history.evaluated is not None
    assert history.evaluated.bits_per_char == held_out.bits_per_char
    assert history.evaluated.elapsed > 0
