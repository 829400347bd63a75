"""Tuning of score weights to the fewest word errors on n-best lists with known references.

Along one weight the total of a hypothesis is a straight line. So the best hypothesis of a list changes at few places,
and the errors of all lists are a step function, whose steps are computed exactly (Och 2003, "Minimum error rate
training in statistical machine translation"). One weight after another moves to its best step, while errors fall.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from seqmodel.errors import DataError
from seqmodel.scoring.rescoring import Combination, Numbers

Counts = npt.NDArray[np.int64]
PENALTY = 1  # place of the length penalty in `Combination.vector`


def word_errors(references: Sequence[str], hypotheses: Sequence[str]) -> list[int]:
    """Word edit distance of each hypothesis to its reference; white space divides words."""
    from rapidfuzz.distance import Levenshtein

    return [Levenshtein.distance(a.split(), b.split()) for a, b in zip(references, hypotheses, strict=True)]


@dataclass(frozen=True)
class JudgedLists:
    """N-best lists as arrays, with the word errors of each hypothesis.

    Features are (lists, N, F) in the order of `Combination.vector`, errors (lists, N); `words` counts the words of all
    references. Shorter lists are padded with their first hypothesis, which changes no result.
    """

    features: Numbers
    errors: Counts
    words: int

    @classmethod
    def of(
        cls, features: Sequence[Numbers], hypotheses: Sequence[Sequence[str]], references: Sequence[str]
    ) -> JudgedLists:
        """Judge lists, each given by its features (N, F) and texts, against their references.

        Raises:
            DataError: if the references hold no word.
        """
        words = sum(len(text.split()) for text in references)
        if not words:
            raise DataError("the references hold no word", "Give --tune lines of utterance and words.")
        said = [reference for reference, texts in zip(references, hypotheses, strict=True) for _ in texts]
        flat = word_errors(said, [text for texts in hypotheses for text in texts])
        ends = np.cumsum([len(texts) for texts in hypotheses])
        longest = max(map(len, hypotheses))
        fill = [np.where(np.arange(longest) < len(texts), np.arange(longest), 0) for texts in hypotheses]
        errors = [part[at] for part, at in zip(np.split(np.array(flat), ends[:-1]), fill, strict=True)]
        return cls(np.stack([part[at] for part, at in zip(features, fill, strict=True)]), np.stack(errors), words)

    def with_weights(self, combination: Combination) -> int:
        """Word errors if the hypothesis with the highest total is chosen from each list."""
        best = combination.totals(self.features).argmax(axis=1)
        return int(self.errors[np.arange(len(best)), best].sum())

    @property
    def first(self) -> int:
        """Word errors if the first hypothesis is chosen from each list."""
        return int(self.errors[:, 0].sum())

    @property
    def oracle(self) -> int:
        """Word errors of the best possible choice."""
        return int(self.errors.min(axis=1).sum())


def tuned(lists: JudgedLists, given: Combination) -> Combination:
    """Tune weights, starting from those given; returns them unchanged if none with fewer errors are found.

    Only ratios of weights matter, so one weight stays fixed: that of the first other score, or the model's if there is
    no other score. No weight of a score changes its sign.
    """
    free = [0, *range(3, len(given.vector))] if given.score_weights else []
    best, fewest = given, lists.with_weights(given)
    improving = True
    while improving:
        improving = False
        moves = [_moved(lists, best, number) for number in [PENALTY, *free]]
        moves += [_moved(lists, aside, PENALTY) for number in free for aside in _aside(lists, best, number)]
        for moved in moves:
            errors = lists.with_weights(moved)
            if errors < fewest:
                best, fewest, improving = moved, errors, True
    return best


def _moved(lists: JudgedLists, combination: Combination, number: int) -> Combination:
    """Move one weight to the nearest place with the fewest errors; the others stay."""
    value = combination.vector[number]
    begins, ends, errors = _line(lists, combination, number)
    distance = np.maximum(np.maximum(begins - value, value - ends), 0)
    at = np.lexsort((distance, errors))[0]
    return combination.with_weight(number, float(_inside(begins[at], ends[at], value)))


def _aside(lists: JudgedLists, combination: Combination, number: int) -> list[Combination]:
    """Move one weight by 1, 2, 4, 8 … steps of the errors to either side, and beyond the last step; one copy each.

    Beyond the last step the other scores only break ties of this one.
    """
    value = combination.vector[number]
    begins, ends, _ = _line(lists, combination, number)
    here = int(np.searchsorted(ends, value))
    far = [1 << power for power in range(len(ends).bit_length())]
    at = [place for step in far for place in (here - step, here + step) if 0 <= place < len(ends)]
    values = [_inside(begins[i], ends[i], value) for i in at]
    last = max(abs(edge) for edge in (value, *begins, *ends) if math.isfinite(edge))
    values += [math.copysign(last * 4.0**power, value) for power in range(1, 5)]
    return [combination.with_weight(number, float(one)) for one in values]


def _line(lists: JudgedLists, combination: Combination, number: int) -> tuple[Numbers, Numbers, Counts]:
    """The intervals in which a weight can lie with constant errors: (begins, ends, errors)."""
    level = combination.with_weight(number, 0.0).totals(lists.features)
    places, errors = error_steps(level, lists.features[..., number], lists.errors)
    low, high = -math.inf, math.inf
    if number != PENALTY:
        low, high = (0.0, high) if combination.vector[number] >= 0 else (low, 0.0)
    edges = np.clip(np.concatenate([[-math.inf], places, [math.inf]]), low, high)
    wide = edges[:-1] < edges[1:]
    return edges[:-1][wide], edges[1:][wide], errors[wide]


def _inside(begin: float, end: float, value: float) -> float:
    """The value if it lies inside the interval, else a short number near the middle."""
    if begin < value < end:
        return value
    if math.isinf(begin) or math.isinf(end):
        edge, way = (end, -1) if math.isinf(begin) else (begin, 1)
        middle = edge + way * (max(abs(edge - value), abs(edge)) or 1.0)
    else:
        middle = (begin + end) / 2
    shorter = (float(f"{middle:.{digits}g}") for digits in range(1, 17))
    return next((number for number in shorter if begin < number < end), middle)


def error_steps(level: Numbers, slope: Numbers, errors: Counts) -> tuple[Numbers, Counts]:
    """Errors of the hypotheses best by level + x · slope, as a step function of x; arguments are (lists, N).

    Returns the places (K,) of its steps, rising, and the errors (K + 1,) before, between and after them.

    Example: one list with levels 0, 1, slopes 1, 0 and errors 3, 5: places [1], errors [5, 3].
    """
    rows = np.arange(len(level))
    lowest = slope == slope.min(axis=1, keepdims=True)
    best = np.where(lowest, level, -np.inf).argmax(axis=1)
    total = int(errors[rows, best].sum())
    places, changes = [np.empty(0)], [np.empty(0, np.int64)]
    while len(rows):
        gap = slope[rows] - slope[rows, best][:, None]
        rise = level[rows, best][:, None] - level[rows]
        crossing = np.full(gap.shape, np.inf)
        with np.errstate(over="ignore"):
            np.divide(rise, gap, out=crossing, where=gap > 0)
        place = crossing.min(axis=1)
        following = np.where(crossing == place[:, None], slope[rows], -np.inf).argmax(axis=1)
        on = place < np.inf
        places.append(place[on])
        changes.append((errors[rows, following] - errors[rows, best])[on])
        rows, best = rows[on], following[on]
    where = np.concatenate(places)
    order = np.argsort(where, kind="stable")
    steps = total + np.concatenate([[0], np.cumsum(np.concatenate(changes)[order])])
    return where[order], steps
