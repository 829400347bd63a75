"""What a run keeps of its time for the end."""

from __future__ import annotations

import pytest

from seqmodel.training.throughput import ENDING_SHARE, FINAL_COST, LEAST_SCORED, SAVING_SECONDS, EndReserve


def ending(budget: float | None, held_out: int, *, validated: int = 10_000, per_second: int = 50_000) -> EndReserve:
    made = EndReserve(budget, held_out)
    made.validated = validated
    made.scored(per_second, 1.0)
    return made


def test_as_much_is_kept_as_a_validation_the_final_figures_and_the_saving_take() -> None:
    assert ending(600, 100_000).seconds == pytest.approx(SAVING_SECONDS + 0.2 + 2 * FINAL_COST)


@pytest.mark.parametrize("per_second", [1, 100, 50_000])
@pytest.mark.parametrize("budget", [10, 60, 600])
def test_however_slow_scoring_is_a_small_share_is_kept(budget: float, per_second: int) -> None:
    assert ending(budget, 10_000_000, per_second=per_second).seconds == ENDING_SHARE * budget <= 0.15 * budget


def test_where_steps_are_counted_nothing_is_kept_and_all_is_scored() -> None:
    counted = ending(None, 100_000, per_second=1)
    assert (counted.seconds, counted.affordable(0.0), counted.validation_tokens(16_384)) == (0.0, 100_000, 16_384)


def test_what_was_scored_last_tells_how_long_it_takes() -> None:
    """A single slow moment is forgotten at the next validation."""
    slow = ending(600, 100_000, per_second=100)
    before = slow.seconds
    slow.scored(16_384, 0.3)
    assert slow.seconds < before / 5


def test_the_final_figures_are_of_what_there_is_time_for() -> None:
    made = ending(10, 1_000_000)
    assert made.affordable(3600.0) == 1_000_000
    assert made.affordable(SAVING_SECONDS + 2.0) == pytest.approx(2.0 / FINAL_COST * 50_000, abs=1)
    assert made.affordable(-5.0) >= LEAST_SCORED  # what a last step took too long is not missing here
    assert ending(10, 1000).affordable(-5.0) == 1000


def test_a_validation_is_of_fewer_tokens_where_it_would_take_much_of_the_budget() -> None:
    assert ending(600, 100_000).validation_tokens(16_384) == 16_384
    assert ending(20, 100_000).validation_tokens(16_384) == 10_000
    assert ending(20, 100_000, per_second=1).validation_tokens(16_384) == LEAST_SCORED
