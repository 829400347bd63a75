"""The curve in the terminal: what is drawn where, in plain characters and in braille."""

from __future__ import annotations

import os
import pty
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from seqmodel.console.curve_view import curves
from seqmodel.reports.figure_data import Axis, Baseline, CurvePoint, Picture, RunPicture, picture
from seqmodel.reports.history import read_history
from tests.cli.command import command, environment
from tests.reports.logs import EVALUATED, falling, write_log

TICKS = ((1.0, "1"), (2.0, "2"), (3.0, "3"))
ACROSS = ((0.0, "0"), (10.0, "10"))
RUN = RunPicture(
    "run",
    (CurvePoint(0.0, 3.0), CurvePoint(5.0, 2.0), CurvePoint(10.0, 1.5)),
    (CurvePoint(0.0, 9.0), CurvePoint(5.0, 1.5), CurvePoint(10.0, 1.0)),
    (Baseline("unigram", 9.0, True), Baseline("final", 1.25, False)),
)
SMALL = Picture(Axis("seconds", 0.0, 10.0, ACROSS), Axis("bits per char", 1.0, 3.0, TICKS), (RUN,))


def drawn(shown: Picture, columns: int, lines: int, plain: bool) -> list[str]:
    return curves(shown, columns, lines, plain).plain.split("\n")[:-1]


def test_the_small_picture_in_plain_characters() -> None:
    assert drawn(SMALL, 44, 12, plain=True) == [
        "bits per char",
        "3 +...       o              unigram 9.000 ^",
        "  |   ...    o",
        "  |      .....o",
        "2 +           o......",
        "  |            ooo   ......",
        "  |- - - - - - - -oooooo -  final 1.250",
        "1 +                     ooo",
        "  ++----------------------+",
        "   0                     10",
        "           seconds",
        "  run   o held-out 1.000   . train 1.500",
    ]


def test_the_small_picture_in_braille() -> None:
    assert drawn(SMALL, 44, 12, plain=False) == [
        "bits per char",
        "3 ┤⠑⠢⢄      ⠸⡄              unigram 9.000 ↑",
        "  │   ⠉⠒⠤⡀   ⢧",
        "  │      ⠈⠑⠢⢄⠸⡄",
        "2 ┤          ⠉⢧⠤⣀⣀",
        "  │           ⠸⡄  ⠉⠉⠒⠒⠤⠤⣀⣀",
        "  │╌╌╌╌╌╌╌╌╌╌╌╌⠛⠶⢦⣤⣄⣀╌╌╌╌╌⠉ final 1.250",
        "1 ┤                ⠈⠉⠛⠳⠶⢦⣤⣀",
        "  └┬──────────────────────┬",
        "   0                     10",
        "           seconds",
        "  run   ⠶⠶ held-out 1.000   ⠒⠒ train 1.500",
    ]


def test_held_out_is_drawn_stronger_than_train_and_levels_weaker() -> None:
    styles = {str(span.style) for span in curves(SMALL, 44, 12, plain=False).spans}
    assert styles >= {"bold cyan", "cyan", "dim cyan"}


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30)
@given(columns=st.integers(40, 160), lines=st.integers(10, 40), plain=st.booleans(), runs=st.integers(1, 4))
def test_a_picture_fits_its_place(columns: int, lines: int, plain: bool, runs: int, tmp_path: Path) -> None:
    logs = [write_log(tmp_path / f"{'long' * 5 * number}.jsonl", [*falling(), EVALUATED]) for number in range(1, 5)]
    shown = drawn(picture([read_history(log) for log in logs[:runs]], "tokens"), columns, lines, plain)
    assert len(shown) == max(lines, 6 + 4 + runs)
    assert all(len(line) <= columns for line in shown)
    assert any("bits per char" in line for line in shown) and all("held-out 2" in line for line in shown[-runs:])
    assert not plain or all(line.isascii() for line in shown)


def on_terminal(log: Path, **more: str) -> str:
    """What the command writes to a terminal."""
    ours, theirs = pty.openpty()
    with open(ours, "rb", buffering=0) as reading:
        process = subprocess.Popen(
            command("plot", log),
            stdout=theirs,
            env=environment(**{"TERM": "xterm", "COLUMNS": "90", "LINES": "30"} | more),
        )
        os.close(theirs)
        data = b""
        try:
            while part := reading.read(1 << 16):
                data += part
        except OSError:  # how Linux tells that the other side is closed
            pass
        assert process.wait(60) == 0
    return data.decode()


@pytest.mark.parametrize("plain", [{"NO_COLOR": "1"}, {"TERM": "dumb"}, {"PYTHONIOENCODING": "latin-1"}], ids=str)
def test_on_a_terminal_it_is_drawn_in_colour_and_braille_unless_that_is_not_wanted(
    plain: dict[str, str], tmp_path: Path
) -> None:
    log = write_log(tmp_path / "a.jsonl", [*falling(), EVALUATED])
    rich = on_terminal(log)
    assert "\x1b[" in rich and "⠒" in rich and "└" in rich
    assert rich.count("\n") == 28
    shown = on_terminal(log, **plain)
    assert "\x1b" not in shown and shown.isascii() and "held-out" in shown
