"""Rows of tables and records of files as sequences."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import seqmodel
from seqmodel.errors import DataError, UsageError
from seqmodel.settings import CorpusSettings
from seqmodel.text import line_blocks
from seqmodel.text.corpus import END_MARK, CorpusSummary
from seqmodel.text.sequences import RecordCutter, read_sequences
from seqmodel.text.sources import Source, find_sources
from seqmodel.tokens.store import open_store
from tests.cli.command import run_here

E = END_MARK
SMALL: dict[str, Any] = {"width": 4, "layers": 1, "ngram": "off", "steps": 1}
FLAGS = ("--width", "4", "--layers", "1", "--ngram", "off", "--steps", "1")
BOOK = 'id,text,label\n1,"the cat, the dog",a\n2,"he said ""no""\nand left",b\n3, ,a\n'


def read(path: Path, **options: object) -> tuple[str, CorpusSummary]:
    summary = CorpusSummary()
    blocks = read_sequences(find_sources([str(path)]), CorpusSettings.model_validate(options), summary)
    return "".join(blocks), summary


def test_a_column_of_csv_is_trained_on_without_header_quotes_and_labels(tmp_path: Path) -> None:
    path = tmp_path / "book.csv"
    path.write_text(BOOK)
    text, summary = read(path, column="text")
    assert text == f'the cat, the dog{E}he said "no"\nand left{E}'
    assert (summary.files, summary.chars, summary.lines) == (1, 39, 3)
    assert read(path, column="text", keep_blank=True)[0].endswith(f"left{E} {E}")
    assert read(path, column="text", sequence="stream")[0] == f'the cat, the dog\nhe said "no"\nand left\n{E}'
    with pytest.raises(DataError, match="line 1"):
        read(path, column="nothing")


def test_tables_are_read_by_their_names_each_with_a_header_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_text('text\tn\n"one\ttwo"\t1\n')
    (tmp_path / "b.jsonl").write_text(json.dumps({"n": 2, "text": "thr\nee"}) + "\n")
    (tmp_path / "c.csv").write_text("n,text\n4,five\n")
    assert read(tmp_path, column="text")[0] == f"one\ttwo{E}thr\nee{E}five{E}"
    assert read(tmp_path / "a.tsv", column="2")[0] == f"n{E}1{E}"
    (tmp_path / "d.tsv").write_text("text\tn\none\t1\n")
    assert read(tmp_path / "d.tsv", column="1", table="csv")[0] == f"text\tn{E}one\t1{E}"


def test_train_and_tokenize_take_a_column_and_python_by_the_same_name(tmp_path: Path) -> None:
    path = tmp_path / "book.csv"
    path.write_text(BOOK)
    for number, options in enumerate((("train", *FLAGS), ("tokenize",))):
        output = tmp_path / f"m{number}{'.seqmodel' if number == 0 else '.tokens'}"
        result = run_here(*options, path, "-o", output, "--column", "text")
        assert result.code == 0, result.err
        assert "plain text" not in result.err
    store = open_store(tmp_path / "m1.tokens")
    assert store.tokenizer.decode(store.ids[0:16].tolist()) == "the cat, the dog"
    assert (store.header.sequence, store.header.sequences) == ("line", 2)
    header = seqmodel.train(str(path), tmp_path / "p.seqmodel", column="text", **SMALL).header
    assert header.corpus is not None and header.corpus.column == "text"
    assert header.provenance.sequences == 2
    again = run_here("train", tmp_path / "m1.tokens", *FLAGS, "-o", tmp_path / "s.seqmodel", "--column", "label")
    assert again.code == 2 and "column is text in the token store, not label" in again.err


def test_a_table_without_a_column_is_told_of(tmp_path: Path) -> None:
    path = tmp_path / "book.csv"
    path.write_text(BOOK)
    result = run_here("tokenize", path, "-o", tmp_path / "m.tokens")
    assert "book.csv: a table is read as plain text" in result.err
    assert "--column NAME takes the text of one (id, text, label)" in result.err
    (tmp_path / "x.jsonl").write_text('{"text": "one", "n": 1}\n')
    assert "(text, n)" in run_here("train", tmp_path / "x.jsonl", *FLAGS, "-o", tmp_path / "o.seqmodel").err
    (tmp_path / "plain.tsv").write_text("one\ntwo\n")
    assert "table" not in run_here("tokenize", tmp_path / "plain.tsv", "-o", tmp_path / "n.tokens").err


def test_held_out_text_is_read_from_the_same_column(tmp_path: Path) -> None:
    path = tmp_path / "book.csv"
    path.write_text("id,text\n" + "".join(f"{n},the cat {n}\n" for n in range(200)))
    (tmp_path / "v.csv").write_text("text\nthe cat 7\n")
    result = seqmodel.train(
        str(path),
        tmp_path / "m.seqmodel",
        column="text",
        valid=str(tmp_path / "v.csv"),
        **SMALL,
    )
    assert result.header.held_out is not None and result.header.held_out.chars == len("the cat 7\n")


# Records


RECORDS = {
    "<|endoftext|>": ("la la\nlo<|endoftext|>\nli li\n\n<|endoftext|>\n", f"la la\nlo{E}li li{E}"),
    "\n<|endoftext|>\n": ("la\nlo\n<|endoftext|>\nli <|endoftext|> li\n", f"la\nlo{E}li <|endoftext|> li{E}"),
    "\n>": (">one\nACGT\nAC\n>two\nTT\n", f">one\nACGT\nAC{E}>two\nTT{E}"),
    ">": (">one\nACGT\nAC\n>two\nTT\n", f"one\nACGT\nAC{E}two\nTT{E}"),
    "\n\nX:": ("X:1\nK:D\n\nX:2\nK:G\n\n\n\nX:3\n", f"X:1\nK:D{E}X:2\nK:G{E}X:3{E}"),
    "\n\n[Event": ('[Event "a"]\n\n1. e4\n\n[Event "b"]\n\n1. d4\n', f'[Event "a"]\n\n1. e4{E}[Event "b"]\n\n1. d4{E}'),
}


@pytest.mark.parametrize("separator", RECORDS)
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("size", [1, 7, 1 << 20])
def test_records_are_sequences(separator: str, end: str, size: int) -> None:
    text, expected = RECORDS[separator]
    chosen = CorpusSettings(record_separator=separator)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(line_blocks, "READ_SIZE", size)
        source = Source("memory", file=io.BytesIO(text.replace("\n", end).encode()))
        assert "".join(read_sequences([source, source], chosen)) == expected * 2
    assert chosen.sequence == "document"


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.text(st.sampled_from("ab>\n "), max_size=5), max_size=12),
    st.text(st.sampled_from("ab>\n"), min_size=1, max_size=3),
)
def test_records_are_the_same_however_the_text_comes(parts: list[str], separator: str) -> None:
    cutter = RecordCutter(separator)
    found = "".join([*map(cutter.cut, parts), cutter.finish()])
    kept = separator.rpartition("\n")[2] if "\n" in separator else ""
    dropped = separator.removesuffix(kept) if kept else separator
    rest, records, begin = "".join(parts), [], ""
    while rest:
        record, there, rest = rest.partition(separator)
        records.append(begin + record)
        begin = kept if there else ""
    records = [record.strip("\n") for record in [*records, begin] if record.strip()]
    assert found == "".join(record + END_MARK for record in records)
    assert dropped + kept == separator


def test_memory_is_bounded_by_what_comes_not_by_the_record() -> None:
    cutter = RecordCutter("\n---\n")
    for _ in range(1000):
        cutter.cut("a line of a record that never ends\n")
        assert len(cutter.rest) <= 5


def test_the_separator_reads_escapes_and_makes_documents(tmp_path: Path) -> None:
    path = tmp_path / "tunes.abc"
    path.write_text("X:1\nK:D\n\nX:2\nK:G\n" * 30)
    output = tmp_path / "m.seqmodel"
    told = run_here("train", path, *FLAGS, "-o", output, "--record-separator", "\\n\\nX:")
    assert told.code == 0, told.err
    assert seqmodel.load(output).header.sequence == "document"
    assert run_here("tokenize", path, "-o", tmp_path / "m.tokens", "--record-separator", "\\n\\nX:").code == 0
    assert open_store(tmp_path / "m.tokens").header.corpus == CorpusSettings(record_separator="\n\nX:")
    refused = run_here("train", path, *FLAGS, "--record-separator", ">", "--sequence", "line")
    assert refused.code == 2 and "leave out --sequence line" in refused.err
    with pytest.raises(UsageError, match="--record-separator and --column"):
        seqmodel.train(str(path), output, record_separator=">", column="a", force=True)
    with pytest.raises(UsageError, match="--input without --column"):
        seqmodel.train(str(path), output, input="csv", force=True)


def test_held_out_records_are_written_as_they_are_read(tmp_path: Path) -> None:
    path, held = tmp_path / "tunes.abc", tmp_path / "held.txt"
    path.write_text("\n\n".join(f"X:{n}\nK:{'CDEFGAB'[n % 7]}" for n in range(400)))
    seqmodel.train(
        str(path),
        tmp_path / "m.seqmodel",
        record_separator="\n\nX:",
        write_valid=str(held),
        **SMALL,
    )
    text, _ = read(held, record_separator="\n\nX:")
    assert text.count(E) == held.read_text().count("K:") > 10 and text.startswith("X:")
