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

from seqmodel.choices import TableFormat
from seqmodel.errors import DataError, UsageError
from seqmodel.text.corpus import Line
from seqmodel.text.tables import TableReader, TableRow, format_of

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


tables = st.lists(
    st.lists(cells | st.sampled_from(["two\nlines", "\r", "\t", "a\r\n"]), min_size=3, max_size=3), max_size=5
)


@settings(deadline=None, max_examples=200)
@given(
    tables,
    st.sampled_from(["\n", "\r\n"]),
    st.lists(st.integers(1, 6), max_size=3),
    st.sampled_from([csv.QUOTE_ALL, csv.QUOTE_MINIMAL]),
)
@pytest.mark.parametrize(("kind", "dialect"), [("csv", "excel"), ("tsv", "excel-tab")])
def test_every_cell_comes_back_wherever_reading_stops(
    kind: TableFormat, dialect: str, table: list[list[str]], end: str, cuts: list[int], quoting: Any
) -> None:
    table = [[cell.replace("\r", "\v") if quoting == csv.QUOTE_MINIMAL else cell for cell in row] for row in table]
    out = io.StringIO(newline="")
    csv.writer(out, dialect, lineterminator=end, quoting=quoting).writerows([["a", "b", "text"], *table])
    reader = TableReader(kind, "text", "a")
    rows = rows_of(reader, out.getvalue(), cuts)
    assert [row.cells for row in rows] == table
    assert [(row.text, row.given) for row in rows] == [(row[2], row[0]) for row in table]
    assert reader.layout.newline == end
    assert "".join(row.as_read.decode() for row in rows) == out.getvalue().partition(end)[2]


def test_tsv_is_read_as_pandas_writes_it() -> None:
    pandas = pytest.importorskip("pandas")
    texts = ['say "no"', '"', "C:\\new\\table", "\\textit{a}", "tab\tbed", "two\nlines", "a\rb", "", " x "]
    table = pandas.DataFrame({"id": range(len(texts)), "text": texts}).to_csv(sep="\t", index=False)
    assert [row.text for row in rows_of(TableReader("tsv", "text"), table)] == texts


def test_a_quotation_mark_inside_a_cell_is_one_and_a_carriage_return_too() -> None:
    rows = rows_of(TableReader("tsv", "2"), 'a\t5" pipe\nb\tc"d"\ne\tf\rg\r\n')
    assert [row.text for row in rows] == ['5" pipe', 'c"d"', "f\rg"]


def test_raw_tsv_has_no_quoting() -> None:
    rows = rows_of(TableReader("raw-tsv", "text"), 'text\tn\n"Ah" he said\t"1\nC:\\t"\t""\n')
    assert [row.cells for row in rows] == [['"Ah" he said', '"1'], ['C:\\t"', '""']]
    with pytest.raises(DataError, match="line 2: a quotation mark that closes before") as caught:
        rows_of(TableReader("tsv", "text"), 'text\tn\n"Ah" he said\t"1\n')
    assert "--input raw-tsv" in caught.value.hint


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
        ("jsonl", "t", '{"t": null}\n', "line 1: null"),
        ("jsonl", "t", '{"t": "a"}\n\n', "line 2: a blank line"),
        ("tsv", "text", "id\ttext\n1\ta\n\n", "line 3: a blank line"),
        ("csv", "text", "id,text\n1,a\n\n", "line 3: a blank line"),
        ("jsonl", "t", "[" * 100_000 + "\n", "line 1"),
    ],
)
def test_a_line_that_is_no_row_is_named(kind: TableFormat, column: str, text: str, where: str) -> None:
    with pytest.raises(DataError, match=where):
        rows_of(TableReader(kind, column), text)


BAD: list[tuple[TableFormat, str, list[str], int]] = [
    ("tsv", "id\ttext\n1\ta\n2\n3\tb\n\n", ["a", "b"], 3),
    ("csv", 'id,text\n1,a\n2,"x"y\n3,"b\nc"\n4,"never\n5,d\n', ["a", "b\nc", "d"], 3),
    ("jsonl", '{"text": "a"}\n{"text": null}\n{"text": "b"}\n\n[]\n', ["a", "b"], 2),
]


@pytest.mark.parametrize(("kind", "table", "good", "line"), BAD)
def test_rows_before_a_bad_one_come_first_from_the_same_batch_too(
    kind: TableFormat, table: str, good: list[str], line: int
) -> None:
    batches = TableReader(kind, "text").rows(lines_of(table), "table")
    assert [row.text for row in next(batches)] == good[:1]
    with pytest.raises(DataError, match=f"table, line {line}: "):
        next(batches)


@pytest.mark.parametrize(("kind", "table", "good", "line"), BAD)
@pytest.mark.parametrize("cuts", [[], [1, 2, 3, 4, 5]])
def test_bad_rows_are_skipped_and_counted_on_request(
    kind: TableFormat, table: str, good: list[str], line: int, cuts: list[int]
) -> None:
    reader = TableReader(kind, "text", skip_bad=True)
    assert [row.text for row in rows_of(reader, table, cuts)] == good
    assert reader.skipped == {"tsv": 2, "csv": 2, "jsonl": 3}[kind]
    assert reader.example_skipped.startswith(f"table, line {line}: ")


def test_a_bad_header_is_never_skipped() -> None:
    with pytest.raises(DataError, match="line 1"):
        rows_of(TableReader("tsv", "text", skip_bad=True), "id\tother\n1\ta\n")
    with pytest.raises(DataError, match="line 1"):
        rows_of(TableReader("csv", "text", skip_bad=True), '"id"s,text\n1,a\n')


@pytest.mark.parametrize(
    ("kind", "table", "parts"),
    [
        ("tsv", "id\tsentence\tlabel (1)\n", ["does not name the column", "found: id, sentence, label (1)"]),
        ("tsv", "text\tid\ttext\n", ["names the column twice"]),
        ("tsv", "id,text\n1,a\n", ["read as tsv", "read as CSV it does", "--input csv"]),
        ("tsv", "id;text\n1;a\n", ["--input csv"]),
        ("csv", "\t".join("abc"), ["found: a, b, c", "--input"]),
        ("csv", "id;sentence\n", ["found: id, sentence"]),
        ("tsv", "id,sentence\n", ["read as tsv", "found: id, sentence", "--input"]),
        ("tsv", "a line of text\n", ["found 1 column"]),
        ("jsonl", '{"id": 1, "sentence": "a"}\n', ["line 1", "found: id, sentence"]),
        ("tsv", "\t".join(f"c{i}" for i in range(20)), ["c11 and 8 more"]),
        ("csv", "What I said, and then, you see,\n", ["found 4 columns"]),
        ("tsv", "a secret that is long enough to be a text, not a name\tb\n", ["found 2 columns"]),
    ],
)
def test_a_missing_column_is_told_with_those_found(kind: TableFormat, table: str, parts: list[str]) -> None:
    with pytest.raises(DataError) as caught:
        rows_of(TableReader(kind, "text"), table)
    told = f"{caught.value.message}. {caught.value.hint}"
    assert all(part in told for part in parts), told


@pytest.mark.parametrize(
    ("table", "separator"),
    [
        ('id;text\n1;"a; b"\n2;c,d\n', ";"),
        ('"id";"text"\n1;"a; b"\n2;c,d\n', ";"),
        ('id\ttext\n1\t"a; b"\n2\tc,d\n', "\t"),
        ('id, text\n1, "a; b"\n2, "c,d"\n', ","),
    ],
)
def test_csv_with_other_separators_is_known_by_its_header(table: str, separator: str) -> None:
    reader = TableReader("csv", "text")
    assert [(row.text, row.cells) for row in rows_of(reader, table)] == [
        ("a; b", ["1", "a; b"]),
        ("c,d", ["2", "c,d"]),
    ]
    assert reader.layout.separator == separator


def test_a_header_that_names_the_column_is_taken_as_it_is() -> None:
    assert rows_of(TableReader("csv", "text"), "text,a;b\nx;y,z\n")[0].cells == ["x;y", "z"]
    assert rows_of(TableReader("csv", " text"), "id, text\n1, a\n")[0].text == " a"


def test_files_of_one_table_have_the_same_columns() -> None:
    reader = TableReader("tsv", "text")
    assert len(rows_of(reader, "id\ttext\n1\ta\n")) == 1
    with pytest.raises(DataError, match="other columns"):
        rows_of(reader, "text\tid\n1\ta\n")


@pytest.mark.parametrize(("kind", "column", "given"), [("tsv", "1", "name"), ("csv", "a", "2"), ("tsv", "=1", "2")])
def test_numbers_and_names_do_not_mix(kind: TableFormat, column: str, given: str | None) -> None:
    with pytest.raises(UsageError):
        TableReader(kind, column, given)


def test_a_name_may_be_a_number() -> None:
    table = "2023\t2024\ncat\tdog\n"
    assert [row.text for row in rows_of(TableReader("tsv", "=2024"), table)] == ["dog"]
    assert [row.text for row in rows_of(TableReader("tsv", "2"), table)] == ["2024", "dog"]
    assert [row.text for row in rows_of(TableReader("jsonl", "7", "t"), '{"7": "cat", "t": "a"}\n')] == ["cat"]
    with pytest.raises(DataError, match="2 columns, so none of that number") as caught:
        rows_of(TableReader("tsv", "2024", skip_bad=True), table)
    assert "=2024 is the name 2024" in caught.value.hint


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
