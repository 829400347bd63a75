"""The frontier gives its items by score, and of equal scores the oldest first."""

from __future__ import annotations

import math

from seqmodel.decoding.frontier import Frontier


def filled() -> Frontier[str]:
    frontier: Frontier[str] = Frontier()
    for score, item in ((-2.0, "b"), (-1.0, "a"), (-2.0, "c"), (-3.0, "d")):
        frontier.push(score, item)
    return frontier


def test_items_come_by_score_and_then_by_age() -> None:
    frontier = filled()
    assert frontier.best == -1 and frontier.first == "a"
    assert [frontier.pop() for _ in range(4)] == ["a", "b", "c", "d"]
    assert len(frontier) == 0 and frontier.best == -math.inf


def test_a_lowered_item_keeps_its_age() -> None:
    frontier = filled()
    frontier.lower(-3.0)
    assert frontier.ranked() == ["b", "c", "a", "d"]


def test_a_cut_keeps_the_best_and_tells_the_best_score_dropped() -> None:
    frontier = filled()
    assert frontier.cut(4) == -math.inf
    assert frontier.cut(2) == -2
    assert sorted(frontier) == ["a", "b"] and frontier.pop() == "a"
