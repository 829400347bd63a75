"""Text coloured in the terminal: all of it is shown, nothing steers the terminal, and the ink can be read."""

from __future__ import annotations

import io
import re
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rich.color import Color
from rich.style import Style

from seqmodel.api.model import Model
from seqmodel.console.heatmap_view import MOST_IN_LINE, HeatmapOutput, styles
from seqmodel.errors import UsageError
from seqmodel.reports.highlight import END_SIGN, Marking
from seqmodel.reports.palette import STEPS
from seqmodel.text.visible import with_signs
from tests.reports.test_palette import contrast

SEQUENCE = re.compile(r"\x1b\[[\d;]*m")
VARIABLES = ("NO_COLOR", "FORCE_COLOR", "COLORTERM", "COLORFGBG", "COLUMNS", "TTY_COMPATIBLE", "TTY_INTERACTIVE")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def colours(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "80")
    return monkeypatch


def drawn(model: Model, texts: list[str], *, by_word: bool = False, files: tuple[str, ...] = ()) -> str:
    stream = Terminal()
    output = HeatmapOutput(Marking(model.tokenizer, by_word), len(files) > 1, stream)
    for number, row in enumerate(model.score(texts)):
        output.line(files[number] if files else "", row)
    return stream.getvalue()


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(st.characters(exclude_categories=["Cs", "Mn", "Me", "Mc"]), max_size=30))
def test_all_text_is_shown_and_nothing_else_steers(little_model: Model, colours: pytest.MonkeyPatch, text: str) -> None:
    shown = SEQUENCE.sub("", drawn(little_model, [text]))
    assert all(char.isprintable() or char == "\n" for char in shown)
    _, _, *rows = shown.split("\n")
    cells = "".join(row[16:] for row in rows)
    expected = "".join(map(with_signs, text)) + END_SIGN
    assert "".join(cells.split()) == "".join(expected.split())
    assert rows[0].split()[0] == "1"


def test_lines_stay_within_the_width_and_are_indented(little_model: Model, colours: pytest.MonkeyPatch) -> None:
    _, _, *rows = SEQUENCE.sub("", drawn(little_model, ["cat dog boil " * 20, "x" * 200])).splitlines()
    assert max(map(len, rows)) <= 80 and len(rows) > 6
    assert [row[:6].strip() for row in rows if row[:6].strip()] == ["1", "2"]
    assert rows[1].startswith(" " * 16) and rows[1][16] != " "


def backgrounds(line: str) -> list[str]:
    return re.findall(r"48;(?:5|2);([\d;]+)m", line)


def test_true_colours_are_the_pages_and_256_are_fewer(little_model: Model, colours: pytest.MonkeyPatch) -> None:
    few = backgrounds(drawn(little_model, ["cat ☃"]).splitlines()[0])
    colours.setenv("COLORTERM", "truecolor")
    many = backgrounds(drawn(little_model, ["cat ☃"]).splitlines()[0])
    assert (len(set(few)), len(set(many))) == (5, STEPS + 1)
    colours.setenv("COLORFGBG", "0;15")
    assert backgrounds(drawn(little_model, ["cat ☃"]).splitlines()[0])[0] == "255;255;255"


def test_a_mark_has_the_shade_of_its_bits(little_model: Model, colours: pytest.MonkeyPatch) -> None:
    colours.setenv("COLORTERM", "truecolor")
    (row,) = little_model.score(["☃"])
    legend, _, line = drawn(little_model, ["☃"]).splitlines()
    assert row.scores.bits[:3].sum() > 8
    assert backgrounds(line)[0] == backgrounds(legend)[-1]


@pytest.mark.parametrize("is_light", [False, True])
@pytest.mark.parametrize("is_true", [False, True])
def test_the_ink_can_be_read_and_shades_go_one_way(is_light: bool, is_true: bool) -> None:
    def code(colour: Color | None) -> str:
        assert colour is not None
        return colour.get_truecolor().hex

    all_styles: list[Style] = styles(is_light=is_light, is_true=is_true)
    papers = [code(style.bgcolor) for style in all_styles]
    assert min(contrast(code(style.color), paper) for style, paper in zip(all_styles, papers, strict=True)) >= 4.5
    distances = [contrast(papers[0], paper) for paper in papers]
    assert all(before <= after for before, after in pairwise(distances)) and distances[-1] > 2


@pytest.mark.parametrize(
    ("name", "value"), [("NO_COLOR", "1"), ("TERM", "dumb"), ("TERM", "xterm"), ("COLORTERM", None)]
)
def test_without_colours_it_is_refused(
    little_model: Model, colours: pytest.MonkeyPatch, name: str, value: str | None
) -> None:
    stream: io.StringIO = Terminal()
    if value is None:
        stream = io.StringIO()  # no terminal
    else:
        colours.setenv(name, value)
    with pytest.raises(UsageError, match="256 colours"):
        HeatmapOutput(Marking(little_model.tokenizer), False, stream)
    assert stream.getvalue() == ""


def test_words_are_coloured_whole_and_files_named(little_model: Model, colours: pytest.MonkeyPatch) -> None:
    shown = drawn(little_model, ["cat dog", "anna"], by_word=True, files=("a\x1b.txt", "b.txt"))
    rows = SEQUENCE.sub("", shown).splitlines()
    assert "surprisal of a word" in rows[0]
    assert [row.strip() for row in rows if ".txt" in row] == ["a⟨ESC⟩.txt", "b.txt"]
    assert "cat dog" in rows[3] and END_SIGN not in rows[3]


def test_a_long_line_is_cut_and_it_is_said(little_model: Model, colours: pytest.MonkeyPatch) -> None:
    shown = SEQUENCE.sub("", drawn(little_model, ["a" * (MOST_IN_LINE + 4)]))
    assert shown.rstrip().endswith("… 5 more tokens") and shown.count("aaa") > 10
