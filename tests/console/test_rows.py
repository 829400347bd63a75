"""Rows of data: every value comes back from what is written, and nothing that is written steers a terminal."""

from __future__ import annotations

import csv
import io
import json
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seqmodel.console.rows import RowFormat, RowWriter
from seqmodel.console.score_view import ScoreView, total_cells
from seqmodel.scoring.totals import CorpusTotals
from seqmodel.tokens.fitting import vocabulary_proto
from seqmodel.tokens.tokenizer import Tokenizer

CONTROLS = [chr(code) for code in [*range(32), *range(127, 160)]]
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
nasty = st.lists(st.sampled_from([*CONTROLS, "\\", "t", "n", "x", "\u2028", "\u202e", "é", " "]), max_size=12)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def written(rows: list[list[Any]], style: RowFormat = "tsv", header: bool = False, terminal: bool = False) -> str:
    stream = Terminal() if terminal else io.StringIO()
    names = [f"c{i}" for i in range(len(rows[0]) if rows else 2)]
    writer = RowWriter(stream, names, style, header)
    writer.write(rows)
    return stream.getvalue()


@settings(deadline=None, max_examples=200)
@given(st.lists(st.tuples(texts, nasty.map("".join)), max_size=5))
@pytest.mark.parametrize(("style", "dialect"), [("tsv", "excel-tab"), ("csv", "excel")])
def test_tsv_and_csv_give_every_text_back_to_usual_readers(
    style: RowFormat, dialect: str, pairs: list[tuple[str, str]]
) -> None:
    out = written([list(pair) for pair in pairs], style)
    assert [tuple(row) for row in csv.reader(io.StringIO(out, newline=""), dialect, strict=True)] == pairs
    assert out.endswith("\n") or not pairs


@pytest.mark.parametrize(("style", "separator"), [("tsv", "\t"), ("csv", ",")])
def test_pandas_reads_every_row_by_default(style: RowFormat, separator: str) -> None:
    pandas = pytest.importorskip("pandas")
    cells = ['"begins', 'in " it', '"', '""', "tab\tbed", "a, b", "two\nlines", "a\r", "\r\n", "C:\\new", "\\t", "\\"]
    cells += [
        "#",
        "'",
        " blank ",
        "\u2028\x85\x0b\x0c",
        "\x00",
        "a\x00b",
        "\x1b[31m",
        *("x" + char for char in CONTROLS),
    ]
    out = written([[number, cell] for number, cell in enumerate(cells)], style, header=True)
    read = pandas.read_csv(io.BytesIO(out.encode()), sep=separator)
    assert (list(read["c0"]), list(read["c1"])) == (list(range(len(cells))), cells)


def test_one_empty_cell_is_no_blank_line() -> None:
    assert written([["a"], [""], ["b"]]) == 'a\n""\nb\n'


@settings(deadline=None, max_examples=200)
@given(st.lists(st.tuples(texts, nasty.map("".join)), max_size=5))
def test_json_gives_every_text_back_and_one_line_per_row(pairs: list[tuple[str, str]]) -> None:
    lines = written([list(pair) for pair in pairs], "jsonl").split("\n")
    assert lines.pop() == ""
    assert [tuple(json.loads(line).values()) for line in lines] == pairs


@settings(deadline=None, max_examples=100)
@given(nasty.map("".join))
@pytest.mark.parametrize("style", ["tsv", "csv", "jsonl"])
def test_rows_on_a_terminal_hold_no_control_characters(style: RowFormat, text: str) -> None:
    line = written([[text]], style, terminal=True)
    assert line.endswith("\n")
    allowed = set() if style == "jsonl" else {"\t", "\n"}  # they stand in quotes there
    assert not set(line.removesuffix("\n")) & set(CONTROLS) - allowed, line


@pytest.mark.parametrize(
    ("value", "tsv", "plain"),
    [
        (math.nan, "", None),
        (0.0, "0", 0.0),
        (1.5, "1.5000", 1.5),
        (12345.67891234, "12345.6789", 12345.678912),
        (1e-5, "1e-05", 1e-05),
        (-2.25, "-2.2500", -2.25),
        (7, "7", 7),
        ("", "", ""),
    ],
)
def test_numbers_are_written_alike_every_time(value: Any, tsv: str, plain: Any) -> None:
    assert written([[value, "x"]]) == f"{tsv}\tx\n"
    assert json.loads(written([[value, "x"]], "jsonl")) == {"c0": plain, "c1": "x"}


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_json_rows_are_json_whatever_the_number(value: float) -> None:
    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is no JSON")

    json.loads(written([[value]], "jsonl"), parse_constant=refuse)


def test_no_probability_of_one_is_written_as_minus_nothing() -> None:
    assert written([[-0.0]]) == "0\n"


@pytest.mark.parametrize(("header", "first"), [(True, "c0\tc1"), (False, "1\t2")])
def test_the_header_line_is_there_when_asked_for(header: bool, first: str) -> None:
    assert written([[1, 2]], header=header).split("\n")[0] == first


def test_json_has_no_header_line_and_no_rows_write_nothing() -> None:
    assert written([], header=True) == "c0\tc1\n"
    assert written([], "jsonl", header=True) == ""


def test_bytes_that_are_no_text_come_back_from_json() -> None:
    line = written([[b"a\xff\xe2\xc3\xa9".decode("utf-8", "surrogateescape")]], "jsonl")
    assert line == '{"c0": "a\\udcff\\udce2é"}\n'
    assert json.loads(line)["c0"].encode("utf-8", "surrogateescape") == b"a\xff\xe2\xc3\xa9"


@pytest.mark.parametrize(("base", "unit"), [("2", "bits"), ("e", "nats"), ("10", "bans")])
def test_the_base_is_in_every_name(base: Any, unit: str) -> None:
    tokenizer = Tokenizer(vocabulary_proto(["a"], word=False), "char")
    assert ScoreView(tokenizer, "line", base).columns == ["line", unit, "tokens", "chars", f"{unit}_per_char", "text"]
    assert ScoreView(tokenizer, "token", base, files=True, text=False).columns == [
        *("file", "line", "token", "char_start", "char_end"),
        *(f"surprisal_{unit}", f"entropy_{unit}", "rank", "oov"),
    ]
    assert ScoreView(tokenizer, "word", base).columns == [
        *("line", "word", "char_start", "char_end", "text", f"surprisal_{unit}", "tokens", "oov")
    ]
    assert ScoreView(tokenizer, "corpus", base, files=True).columns == [
        *("sequences", "tokens", "words", "chars", "bytes", unit, f"{unit}_per_char", f"{unit}_per_byte"),
        *("perplexity", "word_perplexity"),
    ]


def test_the_ratios_of_nothing_are_undefined() -> None:
    assert all(math.isnan(value) for value in total_cells(CorpusTotals(), 1.0, False)[6:])


def test_perplexities_are_powers_of_the_mean_bits_in_any_base() -> None:
    totals = CorpusTotals(sequences=2, tokens=8, words=4, chars=16, bytes=20, bits=24.0, lines=2)
    scale = math.log(2)
    expected = [2, 8, 4, 16, 20, 24 * scale, 1.5 * scale, 1.2 * scale, 8.0, 64.0]
    assert total_cells(totals, scale, False) == pytest.approx(expected)
