"""The colours of surprisal: one hue, from the paper's colour at 0 bits to the deepest shade, for light and dark paper.

Each scheme has STEPS + 1 shades at hue 40° in OKLab (Ottosson 2020), a space in which equal distances look equal:
lightness and chroma go in even steps from (1, 0) to (0.64, 0.19) on white, from (0.2, 0) to (0.55, 0.165) on black.
"""

from __future__ import annotations

from dataclasses import dataclass

STEPS = 16  # shades beside that of 0 bits


@dataclass(frozen=True)
class Scheme:
    """Colours as `#rrggbb`: STEPS + 1 shades from 0 bits on, and an ink that is readable on each."""

    ink: str
    shades: tuple[str, ...]


def step(bits: float, top: float) -> int:
    """The number of the shade for `bits`, from 0 to STEPS; the deepest begins at `top` bits."""
    return STEPS if bits >= top else round(max(bits, 0.0) / top * STEPS)


LIGHT = Scheme(
    "#111111",
    tuple(
        "#ffffff #fff5f2 #ffebe4 #ffe1d7 #fed7ca #fecebd #fdc4b0 #fbbaa3 #faaf95 "
        "#f8a588 #f69b7b #f4906d #f28660 #ef7b51 #ed7042 #ea6430 #e65719".split()
    ),
)
DARK = Scheme(
    "#f5f5f5",
    tuple(
        "#161616 #1f1917 #291d19 #33201a #3c231b #46271c #502a1c #5a2d1c #65301d "
        "#6f331c #7a351c #85381b #903b1a #9b3d19 #a64016 #b14314 #bd4510".split()
    ),
)
