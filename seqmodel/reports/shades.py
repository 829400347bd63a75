"""The colours of surprisal: one hue, from the paper's colour at 0 bits to the deepest shade, for light and dark paper.

Steps are even in OKLab (Ottosson 2020), a space in which equal distances look equal. Ink can be read on every shade.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

STEPS = 16  # shades above that of 0 bits
HUE = 40.0  # degrees: vermilion

Colour = tuple[float, float]  # lightness and chroma in OKLab, at the hue


@dataclass(frozen=True)
class Scheme:
    """Colours as `#rrggbb`; `shades` are STEPS + 1, that of 0 bits first."""

    ink: str
    shades: tuple[str, ...]


def step(bits: float, top: float) -> int:
    """The shade, from 0 to STEPS, of an amount on a scale whose deepest shade begins at `top` bits."""
    return STEPS if bits >= top else round(max(bits, 0.0) / top * STEPS)


def _ramp(paper: Colour, deepest: Colour) -> tuple[str, ...]:
    parts = [number / STEPS for number in range(STEPS + 1)]
    return tuple(
        srgb((1 - part) * paper[0] + part * deepest[0], (1 - part) * paper[1] + part * deepest[1], HUE)
        for part in parts
    )


def srgb(lightness: float, chroma: float, hue: float) -> str:
    """`#rrggbb` of a colour in OKLab (hue in degrees), by way of the cone responses l, m, s."""
    a, b = chroma * math.cos(math.radians(hue)), chroma * math.sin(math.radians(hue))
    l = (lightness + 0.3963377774 * a + 0.2158037573 * b) ** 3  # noqa: E741
    m = (lightness - 0.1055613458 * a - 0.0638541728 * b) ** 3
    s = (lightness - 0.0894841775 * a - 1.2914855480 * b) ** 3
    linear = (
        4.0767416621 * l - 3.3077115913 * m + 0.2309699292 * s,
        -1.2684380046 * l + 2.6097574011 * m - 0.3413193965 * s,
        -0.0041960863 * l - 0.7034186147 * m + 1.7076147010 * s,
    )
    return "#" + "".join(f"{round(255 * _gamma(value)):02x}" for value in linear)


def _gamma(value: float) -> float:
    value = min(max(value, 0.0), 1.0)
    return 12.92 * value if value <= 0.0031308 else 1.055 * value ** (1 / 2.4) - 0.055


LIGHT = Scheme("#111111", _ramp((1.0, 0.0), (0.64, 0.19)))
DARK = Scheme("#f5f5f5", _ramp((0.2, 0.0), (0.55, 0.165)))
