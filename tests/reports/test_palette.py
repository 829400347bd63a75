"""The colours of surprisal: even steps of one hue, on each of which the ink can be read."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seqmodel.reports.palette import DARK, LIGHT, STEPS, Scheme, step

SCHEMES = pytest.mark.parametrize("scheme", [LIGHT, DARK], ids=["light", "dark"])


def luminance(colour: str) -> float:
    """Relative luminance as WCAG 2 defines it."""
    values = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in values]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@SCHEMES
def test_the_ink_can_be_read_on_every_shade(scheme: Scheme) -> None:
    assert min(contrast(scheme.ink, shade) for shade in scheme.shades) >= 4.5


@SCHEMES
def test_shades_go_one_way_from_the_paper(scheme: Scheme) -> None:
    assert len(scheme.shades) == STEPS + 1
    distances = [contrast(scheme.shades[0], shade) for shade in scheme.shades]
    assert distances[0] == 1 and distances[-1] > 3
    assert all(before < after for before, after in pairwise(distances))


def test_the_paper_is_white_or_nearly_black() -> None:
    assert LIGHT.shades[0] == "#ffffff"
    assert luminance(DARK.shades[0]) < 0.01
    assert len({DARK.shades[0][at : at + 2] for at in (1, 3, 5)}) == 1  # grey


@given(st.floats(0, 40), st.floats(0, 40))
def test_more_bits_are_no_lighter_shade(one: float, other: float) -> None:
    low, high = sorted((one, other))
    assert 0 <= step(low, 8) <= step(high, 8) <= STEPS


def test_the_scale_begins_at_nothing_and_ends_at_its_top() -> None:
    assert [step(bits, 8) for bits in (-1e-9, 0.0, 0.2, 4.0, 8.0, 1e9)] == [0, 0, 0, STEPS // 2, STEPS, STEPS]
