"""Tables: every row is read, its cells come back, and a damaged one is told by its line."""

from __future__ import annotations

import csv
import io
import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seqmodel.errors import DataError, UsageError
from seqmodel.text.corpus import Line
from seqmodel.text.tables import TableFormat, TableReader, TableRow, format_of, unescaped

cells = st.text(st.sampled_from(["a", "é", " ", '"', ",", "\\", "n", "\u2028", "\x00", "\x85", "'"]), max_size=6)


def lines_of(text: str, cuts: list[int] | None = None) -> list[list[Line]]:
    parts = text.split("\n")
    last = parts.pop()
    lines = [Line(number, part, True) for number, part in enumerate(parts, start=1)]
    if last:
        lines.append(Line(len(parts) + 1, last, False))
    bounds = [0, *sorted(cut for cut in set(cuts or []) if cut < len(lines)), len(lines)]
    return [lines[a:b] for a, b in pairwise(bounds)]


def rows_of(reader: TableReader, text: str, cuts: list[int] | None = None) -> list[TableRow]:
    rows = [row for batch in reader.rows(lines_of(text, cuts), "table") for row in batch]
    assert all(isinstance(row, TableRow) for row in rows)
    return rows  # type: ignore[return-value]


@settings(deadline=None, max_examples=150)
@given(
    st.lists(st.lists(cells | st.just("two\nlines") | st.just("\r"), min_size=3, max_size=3), max_size=5),
    st.sampled_from(["\n", "\r\n"]),
    st.lists(st.integers(1, 6), max_size=3),
)
def test_csv_gives_every_cell_back_wherever_reading_stops(table: list[list[str]], end: str, cuts: list[int]) -> None:
    out = io.StringIO(newline="")
    csv.writer(out, lineterminator=end, quoting=csv.QUOTE_ALL).writerows([["a", "b", "text"], *table])
    rows = rows_of(TableReader("csv", "text", "a"), out.getvalue(), cuts)
    assert [row.cells for row in rows] == table
    assert [(row.text, row.given) for row in rows] == [(row[2], row[0]) for row in table]


@settings(deadline=None, max_examples=100)
@given(st.lists(st.lists(cells, min_size=2, max_size=2), max_size=5), st.sampled_from(["\n", "\r\n"]))
def test_tsv_keeps_cells_as_they_are_and_reads_the_text_without_its_escapes(table: list[list[str]], end: str) -> None:
    rows = rows_of(TableReader("tsv", "2"), "".join("\t".join(row) + end for row in table))
    assert [list(row.cells) for row in rows] == table
    assert [row.text for row in rows] == [unescaped(row[1]) for row in table]


def test_escapes_mean_what_score_writes_and_others_stay() -> None:
    assert unescaped(r"a\tb\nc\\n\r\d") == "a\tb\nc\\n\r\\d"


@settings(deadline=None, max_examples=100)
@given(st.lists(st.tuples(cells, st.integers() | st.none() | cells), max_size=5))
def test_json_lines_keep_their_objects(pairs: list[tuple[str, Any]]) -> None:
    objects = [{"t": text, "other": other} for text, other in pairs]
    rows = rows_of(TableReader("jsonl", "t"), "".join(json.dumps(each) + "\n" for each in objects))
    assert [row.cells for row in rows] == objects
    assert [row.text for row in rows] == [text for text, _ in pairs]


@pytest.mark.parametrize(
    ("kind", "column", "text", "where"),
    [
        ("tsv", "text", "id\ttext\n1\n", "line 2"),
        ("tsv", "text", "id\tother\n", "line 1"),
        ("tsv", "text", "text\ttext\n", "line 1"),
        ("tsv", "3", "a\tb\tc\na\tb\n", "line 2"),
        ("tsv", "3", "a\tb\n", "line 1"),
        ("csv", "text", 'id,text\n1,"open\nstill\n', "line 2"),
        ("csv", "text", 'id,text\n1,"a"b"c"\n', "line 2"),
        ("jsonl", "t", '{"t": "a"}\n\n', "line 2"),
        ("jsonl", "t", '{"t": "a"}\n[1]\n', "line 2"),
        ("jsonl", "t", '{"t": 1}\n', "line 1"),
        ("jsonl", "t", "[" * 100_000 + "\n", "line 1"),
    ],
)
def test_a_line_that_is_no_row_is_named(kind: TableFormat, column: str, text: str, where: str) -> None:
    with pytest.raises(DataError, match=where):
        rows_of(TableReader(kind, column), text)


def test_rows_before_a_damaged_one_come_first() -> None:
    reader = TableReader("tsv", "text")
    batches = reader.rows(lines_of("id\ttext\n1\ta\n2\n", [2]), "table")
    assert [row.text for row in next(batches)] == ["a"]
    with pytest.raises(DataError, match="line 3"):
        next(batches)


def test_files_of_one_table_have_the_same_columns() -> None:
    reader = TableReader("tsv", "text")
    assert len(rows_of(reader, "id\ttext\n1\ta\n")) == 1
    with pytest.raises(DataError, match="other columns"):
        rows_of(reader, "text\tid\n1\ta\n")


@pytest.mark.parametrize(("kind", "column", "given"), [("jsonl", "1", None), ("tsv", "1", "name"), ("csv", "a", "2")])
def test_numbers_and_names_do_not_mix(kind: TableFormat, column: str, given: str | None) -> None:
    with pytest.raises(UsageError):
        TableReader(kind, column, given)


def test_the_format_is_that_of_the_names() -> None:
    assert format_of(["a.csv", "B.CSV"]) == "csv"
    assert format_of(["a.jsonl.gz"]) == "jsonl"
    assert format_of(["<stdin>"]) == format_of([]) == format_of(["a.csv", "b.jsonl"]) == "tsv"


def test_a_quotation_mark_that_is_never_closed_is_found_before_all_is_read() -> None:
    batches = iter(lines_of('text\ncat\n"dog\n' + "eat\n" * 99, [10, 20, 30]))
    reader = TableReader("csv", "text")
    with pytest.raises(DataError, match="table, line 3: a quotation mark that is not closed in 20 characters"):
        for _ in reader.rows(batches, "table", 20):
            pass
    assert next(batches)[0].number > 10, "the rest was not read"


def test_half_a_character_is_refused_by_its_line_unless_it_is_a_byte() -> None:
    data = lines_of('{"t": "cat"}\n{"t": "c\\udcff"}\n')
    with pytest.raises(DataError, match="table, line 2: a lone surrogate"):
        list(TableReader("jsonl", "t").rows(data, "table"))
    rows = [row.text for batch in TableReader("jsonl", "t").rows(data, "table", any_bytes=True) for row in batch]
    assert rows == ["cat", "c\udcff"]
    with pytest.raises(DataError, match="line 1: a lone surrogate"):
        list(TableReader("jsonl", "t").rows(lines_of('{"t": "\\ud800"}\n'), "table", any_bytes=True))


@pytest.mark.parametrize("column", ["٣", "9" * 30, "²"])
def test_what_only_looks_like_a_number_is_a_name(column: str) -> None:
    assert rows_of(TableReader("tsv", column), f"a\t{column}\ncat\tdog\n")[0].text == "dog"
