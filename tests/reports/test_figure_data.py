"""What a picture shows: limits, ticks, names and places for labels."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seqmodel.errors import UsageError
from seqmodel.reports.figure_data import LONGEST_NAME, MOST_TICKS, _short_label, _ticks, names, picture, spread
from seqmodel.reports.history import History, read_history
from seqmodel.training.events import Event
from tests.reports.logs import EVALUATED, falling, planned, step, write_log


def history(folder: Path, name: str = "a", first: float = 9.0, final: bool = True) -> History:
    return read_history(write_log(folder / f"{name}.jsonl", [*falling(first=first), *([EVALUATED] if final else [])]))


@pytest.mark.parametrize("first", [9.0, 50.0, 1e6])
def test_the_first_steps_do_not_squash_the_rest(first: float, tmp_path: Path) -> None:
    shown = picture([history(tmp_path, first=first)], "time")
    assert shown.y.high < 5.0  # the unigram is at 4.5
    assert shown.y.low < 2.25


def test_where_a_run_ends_is_seen_however_bad_it_is(tmp_path: Path) -> None:
    bad = read_history(write_log(tmp_path / "bad.jsonl", [planned(), step(1, 1.0, 8.0), step(2, 2.0, 7.0), EVALUATED]))
    assert picture([bad], "time").y.high > 7.0


def test_a_unigram_far_above_all_else_is_told_at_the_edge(tmp_path: Path) -> None:
    flat: list[Event] = [
        planned(),
        *(step(number, float(number), 2.5 - number / 100) for number in range(1, 9)),
        EVALUATED,
    ]
    (run,) = picture([read_history(write_log(tmp_path / "flat.jsonl", flat))], "time").runs
    assert {baseline.label: baseline.above for baseline in run.baselines} == {
        "unigram": True,
        "counts": False,
        "recurrence": False,
        "together": False,
    }


def test_a_run_that_goes_on_has_no_baselines(tmp_path: Path) -> None:
    (run,) = picture([history(tmp_path, final=False)], "time").runs
    assert run.baselines == () and run.train and run.held_out


def test_of_many_runs_only_what_they_came_to_is_drawn(tmp_path: Path) -> None:
    shown = picture([history(tmp_path, name) for name in "abc"], "time")
    assert [[baseline.label for baseline in run.baselines] for run in shown.runs] == [["together"]] * 3


def test_curves_are_drawn_over_time_or_tokens(tmp_path: Path) -> None:
    read = history(tmp_path)
    assert picture([read], "time").runs[0].train[-1][0] == 10.0
    over_tokens = picture([read], "tokens")
    assert over_tokens.runs[0].train[-1][0] == 1000.0
    assert over_tokens.runs[0].held_out[0][0] == 200.0
    assert (over_tokens.x.title, over_tokens.y.title) == ("training tokens", "bits per char")


@pytest.mark.parametrize(("seconds", "title"), [(100.0, "seconds"), (1000.0, "minutes"), (20_000.0, "hours")])
def test_time_is_told_in_a_unit_that_fits(seconds: float, title: str, tmp_path: Path) -> None:
    events: list[Event] = [planned(), step(1, seconds / 2, 3.0), step(2, seconds, 2.5)]
    shown = picture([read_history(write_log(tmp_path / "a.jsonl", events))], "time")
    assert shown.x.title == title and 1 < shown.x.high < 120


def test_bits_per_char_and_per_token_share_no_axis(tmp_path: Path) -> None:
    closed = read_history(write_log(tmp_path / "closed.jsonl", [planned("token", 5.0), step(1, 1.0, 2.0)]))
    assert picture([closed], "time").y.title == "bits per token"
    with pytest.raises(UsageError, match="closed"):
        picture([closed, history(tmp_path)], "time")


def test_names_are_short_distinct_and_steer_nothing() -> None:
    assert names([Path("x/a.jsonl"), Path("b.jsonl")]) == ["a", "b"]
    assert names([Path("x/a.jsonl"), Path("y/a.jsonl")]) == ["x/a.jsonl", "y/a.jsonl"]
    assert names([Path("\x1b[31m\n\u202e\udcff.jsonl")]) == ["?[31m???"]
    (name,) = names([Path("long" * 30 + "end.jsonl")])
    assert len(name) == LONGEST_NAME and name.endswith("end")


@given(
    places=st.lists(st.floats(-5, 25), max_size=8),
    gap=st.floats(0.1, 2.0),
)
def test_labels_keep_apart_in_order_and_inside(places: list[float], gap: float) -> None:
    found = spread(places, gap, 0.0, 20.0)
    inside = sorted(found)
    assert all(b - a >= gap - 1e-9 for a, b in pairwise(inside))
    assert all(-1e-9 <= place <= 20 + 1e-9 for place in found)
    order = sorted(range(len(places)), key=lambda i: places[i])
    assert [found[i] for i in order] == inside


def test_labels_that_have_room_stay_where_they_are() -> None:
    assert spread([4.0, 1.0, 7.5], 1.0, 0.0, 10.0) == [4.0, 1.0, 7.5]
    assert spread([1.0, 1.0, 5.0], 2.0, 0.0, 10.0) == [0.0, 2.0, 5.0]


@given(low=st.floats(0, 1e6), size=st.floats(1e-3, 1e9))
def test_ticks_are_even_and_inside(low: float, size: float) -> None:
    high = low + size
    ticks = _ticks(low, high, lambda value, step: f"{value:.12g}")
    assert 2 <= len(ticks) <= MOST_TICKS + 1
    assert all(low - 1e-6 * size <= place <= high + 1e-6 * size for place, _ in ticks)
    steps = [(b - a) / size for (a, _), (b, _) in pairwise(ticks)]
    assert steps == pytest.approx([steps[0]] * len(steps), rel=1e-4)


@pytest.mark.parametrize(
    ("value", "step", "label"),
    [(0, 5e4, "0"), (5e4, 5e4, "50k"), (1.5e6, 5e5, "1.5M"), (2e9, 1e9, "2G"), (500, 100, "500"), (1500, 500, "1.5k")],
)
def test_large_numbers_have_short_labels(value: float, step: float, label: str) -> None:
    assert _short_label(value, step) == label
