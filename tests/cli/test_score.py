"""`seqmodel score`: one row per input line, always, in order, as the input comes."""

from __future__ import annotations

import csv
import gzip
import io
import json
import math
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import seqmodel
from seqmodel.api.model import Model
from tests.cli.command import Result, command, environment, run, run_here, told
from tests.conftest import little_text

LINE_COLUMNS = ["line", "bits", "tokens", "chars", "bits_per_char", "text"]
NASTY = [
    b"",
    b"\x00",
    b"a\x00b",
    b"tab\there\t",
    b"\\t is no tab",
    b"\x1b[31mred\x1b[0m",
    b"  two  blanks ",
    b"\xe2\x80\xa8\xc2\x85\x0b\x0c",  # what str.splitlines takes for line ends
    b"\xef\xbb\xbf",
    "cat \u2581 dog \u2585".encode(),
    "日本語 عربى 🐟".encode(),
    b'"quoted" cat',
    b"[red]cat[/red]",
    b"cat\r dog",
    b"<s></s><unk><0x41>",
    b"",
]
lines_of_text = st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\n"), max_size=12))


def jsonl(result: Result) -> list[dict[str, Any]]:
    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is no JSON")

    return [json.loads(line, parse_constant=refuse) for line in result.lines]


@pytest.fixture(scope="module")
def stream_model(train_little: Callable[..., Path]) -> Path:
    return train_little(sequence="stream", steps=20, width=16)


@pytest.fixture(scope="module", params=["char", "word", "byte"])
def any_model(request: pytest.FixtureRequest, train_little: Callable[..., Path]) -> Path:
    return train_little() if request.param == "char" else train_little(unit=request.param, steps=20, width=16)


# Rows


def test_a_pipe_gives_a_header_one_row_a_line_and_a_summary_on_stderr(train_little: Callable[..., Path]) -> None:
    result = run("score", "-m", train_little(), stdin=b"cat dog\n\nanna")
    assert result.code == 0
    assert result.lines[0].split("\t") == LINE_COLUMNS
    assert [(row["line"], row["tokens"], row["chars"], row["text"]) for row in result.rows] == [
        ("1", "8", "7", "cat dog"),
        ("2", "1", "0", ""),
        ("3", "5", "4", "anna"),
    ]
    assert result.rows[1]["bits_per_char"] == ""
    assert float(result.rows[1]["bits"]) > 0
    assert len(result.err.splitlines()) == 1 and result.err.startswith("3 lines, 14 tokens")


def test_rows_are_what_python_gives(train_little: Callable[..., Path], little_model: Model) -> None:
    texts = ["cat dog", "", "anna boil", "Zürich"]
    result = run_here("score", "-m", train_little(), stdin="\n".join(texts).encode())
    expected = [score.bits for score in little_model.score(texts)]
    assert [float(row["bits"]) for row in result.rows] == pytest.approx(expected, abs=1e-3)


def test_every_line_has_its_row_whatever_it_holds(any_model: Path) -> None:
    result = run_here("score", "-m", any_model, stdin=b"\n".join(NASTY) + b"\n")
    assert result.code == 0, result.err
    assert [row["text"].encode() for row in result.rows] == NASTY
    assert [int(row["line"]) for row in result.rows] == list(range(1, len(NASTY) + 1))
    assert all(math.isfinite(float(row["bits"])) for row in result.rows)


@settings(deadline=None, max_examples=25)
@given(lines=lines_of_text, ends=st.sampled_from(["\n", "\r\n"]), last=st.booleans())
def test_as_many_rows_as_lines(train_little: Callable[..., Path], lines: list[str], ends: str, last: bool) -> None:
    data = ends.join(lines) + (ends if last else "")
    expected = data.encode().split(b"\n")
    if not expected[-1]:
        expected.pop()
    if data.encode().startswith(b"\xef\xbb\xbf"):  # a byte order mark is no text
        expected[0] = expected[0][3:]
        if expected == [b""] and data == "\ufeff":
            expected = []
    rows = jsonl(run_here("score", "-q", "--format", "jsonl", "-m", train_little(), stdin=data.encode()))
    texts = [line.decode() for line in expected]
    unterminated = not data.endswith("\n")
    shown = [
        text if unterminated and number == len(texts) else text.removesuffix("\r")
        for number, text in enumerate(texts, start=1)
    ]
    assert [row["text"] for row in rows] == shown
    assert [row["chars"] for row in rows] == list(map(len, shown))


def test_the_byte_unit_takes_any_bytes_and_gives_them_back(train_little: Callable[..., Path]) -> None:
    model = train_little(unit="byte", steps=20, width=16)
    data = bytes(b for b in range(256) if b not in (10, 13)) + b"\n\xff\xfe\n\xf0\x9f\n"
    result = run_here("score", "-m", model, "--no-header", stdin=b"\xc3\n" + data)
    rows = csv.reader(io.StringIO(result.out.decode(errors="surrogateescape"), newline=""), "excel-tab")
    texts = [row[-1].encode(errors="surrogateescape") for row in rows]
    assert texts == [b"\xc3", *data.split(b"\n")[:-1]]


def test_an_unterminated_line_and_a_carriage_return_count_as_the_line_alone(train_little: Callable[..., Path]) -> None:
    result = run_here("score", "-m", train_little(), stdin=b"cat\r\ncat\ncat")
    assert len({row["bits"] for row in result.rows}) == 1
    assert {row["chars"] for row in result.rows} == {"3"}


LEVELS = ("line", "token", "word", "document", "corpus")


@pytest.mark.parametrize(
    ("kind", "unit"), [("line", "byte"), ("paragraph", "word"), ("document", "char"), ("stream", "char")]
)
def test_a_text_with_line_ends_of_windows_has_the_scores_of_the_text(
    kind: str, unit: str, train_little: Callable[..., Path], tmp_path: Path
) -> None:
    """Trained on either, and by whatever level it is told."""
    ended = [little_text(60), little_text(60).replace("\n", "\r\n")]
    models = [train_little(text, sequence=kind, unit=unit, steps=5, width=8) for text in ended]
    file, before = tmp_path / "lines.txt", tmp_path / "before.txt"
    before.write_bytes(b"cat\r\n")
    lines = b"cat dog\n\n \n\rkite\r \nZ\xc3\xbcrich\nanna\nfar"
    for way in (*([f"--by={level}"] for level in LEVELS), ["--context=none"], [f"--context={before}"]):
        outputs = []
        for data in (lines, lines.replace(b"\n", b"\r\n")):
            file.write_bytes(data)
            results = [run_here("score", "-m", model, *way, file) for model in models]
            assert [result.code for result in results] == [0, 0]
            outputs += [(result.out, result.err) for result in results]
        assert len(set(outputs)) == 1, way


@pytest.mark.parametrize("kind", ["line", "paragraph", "document", "stream"])
def test_one_text_has_one_score_whichever_way_it_comes(
    kind: str, train_little: Callable[..., Path], tmp_path: Path
) -> None:
    path = train_little(sequence=kind, steps=20, width=16)
    model = seqmodel.load(path)
    for text in ("cat dog", "Z\u00fcrich ", "anna\u3000boil"):
        ways = {
            "line": (text + "\n", []),
            "windows": (text + "\r\n", []),
            "unended": (text, ["--context=none"]),
            "text": ("", ["--text", text]),
            "tsv": (f"1\t{text}\n", ["--column=2"]),
            "csv": (f'text\n"{text}"\n', ["--column=text", "--input=csv"]),
            "jsonl": (json.dumps({"text": text}) + "\n", ["--column=text", "--input=jsonl"]),
        }
        found: dict[str, float] = {}
        for name, (data, options) in ways.items():
            for level in ("line", "corpus"):
                result = run_here("score", "-m", path, *options, f"--by={level}", "--format=jsonl", stdin=data.encode())
                (row,) = jsonl(result)
                found[f"{name} by {level}"] = row["bits"]
                assert row["chars"] == len(text) + (level == "corpus" and (name != "unended" or kind == "stream"))
        found["score"] = model.score([text])[0].bits
        found["log_probabilities"] = model.log_probabilities([text])[0] / -math.log(2)
        (ranked,) = jsonl(
            run_here(
                *("rescore", "-m", path, "--input=tsv", "--utterance=1", "--hypothesis=2", "--format=jsonl"),
                stdin=f"a\t{text}\n".encode(),
            )
        )
        found["rescore"] = ranked["lm_score"] / -math.log(2)
        assert found == pytest.approx(dict.fromkeys(found, found["score"]), abs=1e-4)


def test_line_ends_inside_a_text_are_those_of_its_file(train_little: Callable[..., Path]) -> None:
    """With carriage returns or without; what a stream text ends with may be left out."""
    path = train_little(sequence="stream", steps=20, width=16)
    lines = jsonl(run_here("score", "-m", path, "--format=jsonl", stdin=b"cat\ndog\n"))
    whole = [
        jsonl(run_here("score", "-m", path, "--format=jsonl", "-t", text))[0] for text in ("cat\ndog", "cat\r\ndog")
    ]
    assert whole[0] == whole[1]
    assert whole[0]["bits"] == pytest.approx(sum(row["bits"] for row in lines), abs=1e-4)
    (short,) = jsonl(run_here("score", "-m", path, "--format=jsonl", "--no-eos", "-t", "cat\ndog"))
    tokens = jsonl(run_here("score", "-m", path, "--format=jsonl", "--by=token", "-t", "cat\ndog"))
    assert short["tokens"] == len(tokens) - 1 == 7
    assert short["bits"] == pytest.approx(sum(token["surprisal_bits"] for token in tokens[:-1]), abs=1e-4)
    kenlm = run_here("score", "-q", "-m", path, "--format=kenlm", "-t", "cat dog").lines[0].split("\t")
    assert [cell.rsplit("=", 1)[0] for cell in kenlm[:-1]] == ["cat", "dog", "</s>"]


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--words", "unicode"], "--words"),
        (["--words", "space", "--by", "token"], "--words"),
        (["--word-boundary", "naive", "--by", "corpus"], "--word-boundary"),
        (["--words", "unicode", "--by", "word", "--format", "kenlm"], "--words"),
        (["--separator", "-"], "--separator"),
        (["--separator", "-", "--column", "1"], "--separator"),
        (["--column-prefix", "b_"], "--column-prefix"),
        (["--column-prefix", "b_", "--column", "1", "--by", "corpus"], "--column-prefix"),
    ],
)
def test_an_option_that_would_do_nothing_is_refused(
    options: list[str], named: str, train_little: Callable[..., Path]
) -> None:
    told(run_here("score", "-m", train_little(), *options, stdin=b"cat\n"), 2, named)


def test_decomposed_text_is_noted_where_the_model_knows_it_composed(train_little: Callable[..., Path]) -> None:
    composed = little_text(60).replace("cat", "caf\u00e9")
    decomposed = "caf\u00e9 dog\ncafe\u0301 dog\nq\u0301\ncafe\u0301\n".encode()
    for unit in ("char", "word"):
        model = train_little(composed, unit=unit, steps=3, width=8)
        for verb in (["score"], ["filter", "--above=0"]):
            assert "2 lines with decomposed" in run_here(*verb, "-m", model, stdin=decomposed).err
            assert run_here(*verb, "-m", model, "-q", stdin=decomposed).err == ""
    model = train_little(composed.replace("\u00e9", "e\u0301"), steps=3, width=8)
    assert "decomposed" not in run_here("score", "-m", model, stdin=decomposed).err


def test_no_input_gives_the_header_alone(train_little: Callable[..., Path]) -> None:
    result = run_here("score", "-m", train_little())
    assert (result.code, result.lines) == (0, ["\t".join(LINE_COLUMNS)])


def test_a_line_of_a_megabyte_is_one_row(train_little: Callable[..., Path]) -> None:
    model = train_little(steps=5, width=8, layers=1)
    result = run_here("score", "-m", model, "--no-text", stdin=b"cat\n" + b"cat dog " * (1 << 17) + b"\ncat\n")
    assert [row["chars"] for row in result.rows] == ["3", str(1 << 20), "3"]
    assert result.rows[0]["bits"] == result.rows[2]["bits"]


# Levels and sums


def test_the_summary_is_the_sum_of_the_lines_and_so_is_the_corpus_row(any_model: Path) -> None:
    data = b"cat dog\nanna\n\nboil the cat\n" * 5
    lines = jsonl(run_here("score", "-m", any_model, "--format", "jsonl", stdin=data))
    corpus = run_here("score", "-m", any_model, "--by", "corpus", "--format", "jsonl", stdin=data)
    (row,) = jsonl(corpus)
    assert corpus.err == ""
    assert row["bits"] == pytest.approx(sum(line["bits"] for line in lines), abs=1e-4)
    assert row["tokens"] == sum(line["tokens"] for line in lines)
    assert (row["sequences"], row["words"], row["chars"], row["bytes"]) == (20, 30, len(data), len(data))
    assert row["bits_per_char"] == pytest.approx(row["bits"] / len(data), rel=1e-5)
    assert row["perplexity"] == pytest.approx(2 ** (row["bits"] / row["tokens"]), rel=1e-4)
    assert row["word_perplexity"] == pytest.approx(2 ** (row["bits"] / row["words"]), rel=1e-4)
    summary = run_here("score", "-m", any_model, stdin=data).err
    assert f"20 lines, {row['tokens']:,} tokens, {row['bits']:,.2f} bits" in summary
    assert f"{row['bits_per_char']:.4f} bits per char" in summary


def test_tokens_sum_to_their_line_and_cover_it(any_model: Path) -> None:
    data = "cat dog\n\nZürich 日本\n kite\n".encode()
    lines = jsonl(run_here("score", "-m", any_model, "--format", "jsonl", stdin=data))
    tokens = jsonl(run_here("score", "-m", any_model, "--by", "token", "--format", "jsonl", stdin=data))
    for line in lines:
        own = [row for row in tokens if row["line"] == line["line"]]
        assert [row["token"] for row in own] == list(range(1, line["tokens"] + 1))
        assert sum(row["surprisal_bits"] for row in own) == pytest.approx(line["bits"], abs=1e-4)
        assert own[-1]["text"] == ""  # the end symbol
        assert own[0]["char_start"] == 0
        assert own[-1]["char_start"] == own[-1]["char_end"]
        if "byte" not in str(seqmodel.load(any_model).header.unit):
            assert own[-1]["char_end"] == line["chars"]
        assert all(row["rank"] >= 1 and row["entropy_bits"] >= 0 for row in own)
        assert all(row["char_start"] <= row["char_end"] for row in own)


def test_the_tokens_of_a_char_model_are_its_characters(train_little: Callable[..., Path]) -> None:
    rows = run_here("score", "-m", train_little(), "--by", "token", stdin=b"cat dog\n").rows
    assert [row["text"] for row in rows] == [*"cat dog", ""]
    assert [(row["char_start"], row["char_end"]) for row in rows] == [
        *((str(i), str(i + 1)) for i in range(7)),
        ("7", "7"),
    ]


@pytest.mark.parametrize(("base", "unit", "scale"), [("e", "nats", math.log(2)), ("10", "bans", math.log10(2))])
def test_other_bases_scale_every_amount_and_rename_it(
    train_little: Callable[..., Path], base: str, unit: str, scale: float
) -> None:
    arguments = ("-m", train_little(), "--format", "jsonl")
    data = b"cat dog\nanna\n"
    for by in ("line", "token", "corpus"):
        in_bits = jsonl(run_here("score", *arguments, "--by", by, stdin=data))
        other = jsonl(run_here("score", *arguments, "--by", by, "--base", base, stdin=data))
        for row, same in zip(in_bits, other, strict=True):
            assert [name.replace("bits", unit) for name in row] == list(same)
            for name, value in row.items():
                expected = value * scale if "bits" in name else value
                assert same[name.replace("bits", unit)] == (
                    expected if isinstance(value, str) else pytest.approx(expected, abs=2e-6)
                )


def test_the_ratios_of_nothing_are_empty_or_null(train_little: Callable[..., Path]) -> None:
    undefined = ("bits_per_char", "bits_per_byte", "perplexity", "word_perplexity")
    (row,) = run_here("score", "-m", train_little(), "--by", "corpus").rows
    assert [row[name] for name in undefined] == [""] * 4
    (row_,) = jsonl(run_here("score", "-m", train_little(), "--by", "corpus", "--format", "jsonl"))
    assert [row_[name] for name in undefined] == [None] * 4


def test_the_summary_of_nothing_has_no_ratios(train_little: Callable[..., Path]) -> None:
    assert run_here("score", "-m", train_little()).err == "0 lines, 0 tokens, 0.00 bits (end symbols counted)\n"
    assert "per word" not in run_here("score", "-m", train_little(), stdin=b"\n").err


def test_a_perplexity_beyond_all_numbers_is_still_json(train_little: Callable[..., Path]) -> None:
    one_word = b"x" * 2000 + b"\n"
    (row,) = jsonl(run_here("score", "-m", train_little(), "--by", "corpus", "--format", "jsonl", stdin=one_word))
    assert row["words"] == 1 and row["bits"] > 1024


# Where text comes from


def test_texts_given_by_option_are_lines_of_their_own(train_little: Callable[..., Path]) -> None:
    result = run_here("score", "-m", train_little(), "-t", "cat dog", "--text", "", "-t", "anna\tboil")
    assert [row["text"] for row in result.rows] == ["cat dog", "", "anna\tboil"]
    piped = run_here("score", "-m", train_little(), stdin=b"cat dog\n\nanna\tboil\n")
    assert [row["bits"] for row in result.rows] == [row["bits"] for row in piped.rows]


def test_files_folders_and_compressed_files_with_a_column_that_names_them(
    train_little: Callable[..., Path], tmp_path: Path
) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "b.txt").write_bytes(b"cat\n")
    (tmp_path / "in" / "a.txt.gz").write_bytes(gzip.compress(b"dog\n\n"))
    (tmp_path / "in" / "ignored.bin").write_bytes(b"\xff\0")
    (tmp_path / "empty.txt").write_bytes(b"")
    (tmp_path / "tab\there.txt").write_bytes(b"cat\n")
    names = [tmp_path / "in", tmp_path / "empty.txt", tmp_path / "tab\there.txt", Path("-")]
    result = run_here("score", "-m", train_little(), *names, stdin=b"kite\n")
    assert result.code == 0
    assert [(Path(row["file"]).name, row["line"], row["text"]) for row in result.rows] == [
        ("a.txt.gz", "1", "dog"),
        ("a.txt.gz", "2", ""),
        ("b.txt", "1", "cat"),
        ("tab\there.txt", "1", "cat"),
        ("<stdin>", "1", "kite"),
    ]
    (alone,) = run_here("score", "-m", train_little(), tmp_path / "in" / "b.txt").rows
    assert list(alone) == LINE_COLUMNS
    (corpus,) = run_here("score", "-m", train_little(), *names, "--by", "corpus", stdin=b"kite\n").rows
    assert "file" not in corpus and corpus["sequences"] == "5"


def test_the_header_and_the_text_can_be_left_out(train_little: Callable[..., Path]) -> None:
    bare = run_here("score", "-m", train_little(), "--no-header", "--no-text", stdin=b"cat\n")
    assert [len(line.split("\t")) for line in bare.lines] == [5]
    assert "cat" not in bare.text
    tokens = run_here("score", "-m", train_little(), "--no-text", "--by", "token", stdin=b"cat\n")
    assert "text" not in tokens.lines[0].split("\t") and len(tokens.lines) == 5


def test_invalid_text_is_replaced_on_request(train_little: Callable[..., Path]) -> None:
    result = run_here("score", "-m", train_little(), "--errors", "replace", stdin=b"cat \xff\n")
    assert [row["text"] for row in result.rows] == ["cat \ufffd"]


def test_a_line_over_the_limit_is_refused_wherever_reading_happens_to_stop(train_little: Callable[..., Path]) -> None:
    limit = 1 << 20
    arguments = ("tokenize", "-m", train_little(), "--max-line", "1")
    assert run_here(*arguments, stdin=b"cat\n" + b"x" * (limit - 8) + b"\ncat\n").code == 0
    for data in (b"x" * (2 * limit), b"x" * (limit + limit // 2) + b"\ncat\n"):
        told(run_here(*arguments, stdin=b"cat\n" + data), 3, "line 2")


def test_quiet_leaves_the_summary_out(train_little: Callable[..., Path]) -> None:
    said, quiet = (run_here("score", *more, "-m", train_little(), stdin=b"cat\n") for more in ((), ("-q",)))
    assert (said.code, quiet.code) == (0, 0) and said.out == quiet.out
    assert "1 line" in said.err and quiet.err == ""


# Context


def test_lines_of_a_line_model_do_not_know_each_other(train_little: Callable[..., Path]) -> None:
    alone = [run_here("score", "-m", train_little(), "-t", text).rows[0]["bits"] for text in ("cat dog", "anna")]
    together = run_here("score", "-m", train_little(), stdin=b"cat dog\nanna\ncat dog\n").rows
    assert [row["bits"] for row in together] == [alone[0], alone[1], alone[0]]


def test_a_stream_carries_its_context_unless_told_not_to(stream_model: Path) -> None:
    data = b"cat dog\ncat dog\ncat dog\n"
    carried = [float(row["bits"]) for row in run_here("score", "-m", stream_model, stdin=data).rows]
    alone = [float(row["bits"]) for row in run_here("score", "-m", stream_model, "--context", "none", stdin=data).rows]
    assert carried[1] != carried[0]
    assert alone == [carried[0]] * 3
    assert "end: none" in run_here("score", "-m", stream_model, stdin=data).err


def test_a_stream_starts_anew_with_every_file(stream_model: Path, tmp_path: Path) -> None:
    for name in ("a.txt", "b.txt"):
        (tmp_path / name).write_bytes(b"cat dog\nanna\n")
    rows = run_here("score", "-m", stream_model, tmp_path / "a.txt", tmp_path / "b.txt").rows
    assert [row["bits"] for row in rows[:2]] == [row["bits"] for row in rows[2:]]


@pytest.mark.parametrize("kind", ["paragraph", "document", "stream"])
def test_every_line_has_its_row_in_every_kind_of_sequence(train_little: Callable[..., Path], kind: str) -> None:
    text = "cat dog\nanna boil\n\nkite long\n" * 40
    model = train_little(text, sequence=kind, steps=20, width=16)
    data = b"\n\ncat\n\n\ndog\nanna\n \nkite"
    for by in ("line", "token"):
        result = run_here("score", "-m", model, "--by", by, "--format", "jsonl", stdin=data)
        assert result.code == 0, result.err
        if by == "line":
            assert [row["text"] for row in jsonl(result)] == data.decode().split("\n")
    lines = jsonl(run_here("score", "-m", model, "--format", "jsonl", stdin=data))
    (corpus,) = jsonl(run_here("score", "-m", model, "--by", "corpus", "--format", "jsonl", stdin=data))
    assert corpus["bits"] == pytest.approx(sum(row["bits"] for row in lines), abs=1e-4)
    assert corpus["sequences"] == {"paragraph": 3, "document": 1, "stream": 1}[kind]


# Levels beyond the line


def test_words_sum_to_their_line_at_either_boundary(any_model: Path) -> None:
    data = "cat dog\n\nZürich, the  cat \n kite\n".encode()
    lines = jsonl(run_here("score", "-m", any_model, "--format", "jsonl", stdin=data))
    for more in ((), ("--word-boundary", "naive"), ("--words", "unicode")):
        arguments = ("-m", any_model, "--by", "word", "--format", "jsonl", *more)
        words = jsonl(run_here("score", *arguments, stdin=data))
        for line in lines:
            own = [row for row in words if row["line"] == line["line"]]
            assert sum(row["surprisal_bits"] for row in own) == pytest.approx(line["bits"], abs=1e-4)
            assert sum(row["tokens"] for row in own) == line["tokens"]
            assert all(line["text"][row["char_start"] : row["char_end"]] == row["text"] for row in own)
            if "unicode" not in more:
                assert [row["text"] for row in own] == (line["text"].split() or [""])


def test_a_document_is_a_file_and_documents_sum_to_the_corpus(
    train_little: Callable[..., Path], tmp_path: Path
) -> None:
    for name, data in (("a.txt", b"cat dog\nanna\n"), ("b.txt", b""), ("c.txt", b"kite")):
        (tmp_path / name).write_bytes(data)
    names = [tmp_path / name for name in ("a.txt", "b.txt", "c.txt")]
    documents = jsonl(run_here("score", "-m", train_little(), *names, "--by", "document", "--format", "jsonl"))
    (corpus,) = jsonl(run_here("score", "-m", train_little(), *names, "--by", "corpus", "--format", "jsonl"))
    assert [Path(row["file"]).name for row in documents] == ["a.txt", "b.txt", "c.txt"]
    assert [row["sequences"] for row in documents] == [2, 0, 1]
    for name in ("sequences", "tokens", "words", "chars", "bytes", "bits"):
        assert corpus[name] == pytest.approx(sum(row[name] for row in documents), abs=1e-5)


def test_the_end_symbol_can_be_left_out(any_model: Path) -> None:
    data = b"cat dog\n\nanna\n"
    arguments = ("-m", any_model, "--format", "jsonl")
    tokens = jsonl(run_here("score", *arguments, "--by", "token", stdin=data))
    with_end = jsonl(run_here("score", *arguments, stdin=data))
    result = run_here("score", *arguments, "--no-eos", stdin=data)
    for row, full in zip(jsonl(result), with_end, strict=True):
        last = [each for each in tokens if each["line"] == full["line"]][-1]
        assert row["tokens"] == full["tokens"] - 1
        assert row["bits"] == pytest.approx(full["bits"] - last["surprisal_bits"], abs=1e-5)
    assert "end symbols left out" in result.err
    (corpus,) = jsonl(run_here("score", *arguments, "--no-eos", "--by", "corpus", stdin=data))
    assert corpus["sequences"] == 3 and corpus["tokens"] == sum(row["tokens"] for row in jsonl(result))
    words = jsonl(run_here("score", *arguments, "--no-eos", "--by", "word", stdin=data))
    assert sum(row["surprisal_bits"] for row in words) == pytest.approx(corpus["bits"], abs=1e-4)


def test_a_closed_vocabulary_tells_what_is_unknown(train_little: Callable[..., Path]) -> None:
    model = train_little("cat dog\nanna boil\n" * 40, unit="word", closed_vocab=True, steps=20, width=16)
    (row,) = jsonl(run_here("score", "-m", model, "--by", "corpus", "--format", "jsonl", stdin=b"cat zebra dog\n"))
    assert row["unknown"] == 1 and row["tokens"] == 4 and row["bits_per_char"] is None
    tokens = jsonl(run_here("score", "-m", model, "--by", "token", "--format", "jsonl", stdin=b"cat zebra dog\n"))
    assert [token["oov"] for token in tokens] == [0, 1, 0, 0]
    known = sum(token["surprisal_bits"] for token in tokens if not token["oov"])
    assert row["known_perplexity"] == pytest.approx(2 ** (known / 3), rel=1e-4)
    assert [(token["char_start"], token["char_end"]) for token in tokens] == [(0, 3), (4, 9), (10, 13), (13, 13)]
    assert "without the 1 unknown" in run_here("score", "-m", model, stdin=b"cat zebra dog\n").err


# Context


def test_a_score_given_a_text_is_what_it_adds(any_model: Path) -> None:
    """log p(text | given) = log p(given, text) − log p(given as a prefix)."""
    arguments = ("-m", any_model, "--format", "jsonl", "--input", "tsv", "--column", "2", "--given-column", "1")
    (row,) = jsonl(run_here("score", *arguments, stdin=b"cat dog\tanna boil\n"))
    tokens = jsonl(run_here("score", "-m", any_model, "--by", "token", "--format", "jsonl", "-t", "cat dog anna boil"))
    own = [token for token in tokens if token["char_start"] >= 7]
    assert row["bits"] == pytest.approx(sum(token["surprisal_bits"] for token in own), abs=1e-4)
    assert row["tokens"] == len(own)
    (spans,) = [
        [
            (r["char_start"], r["char_end"])
            for r in jsonl(run_here("score", *arguments, "--by", "token", stdin=b"cat dog\tanna boil\n"))
        ]
    ]
    assert spans[-1] == (9, 9) and spans[0][0] == 0


def test_nothing_given_is_the_text_alone(any_model: Path) -> None:
    alone = run_here("score", "-m", any_model, stdin=b"anna boil\n").rows[0]["bits"]
    table = run_here("score", "-m", any_model, "--column", "2", "--given-column", "1", "-q", stdin=b"\tanna boil\n")
    assert table.lines == [f"\tanna boil\t{alone}\t{table.lines[0].split(chr(9))[3]}\t9\t{float(alone) / 9:.4f}"]


def test_a_preamble_stands_before_every_line_of_a_line_model(train_little: Callable[..., Path], tmp_path: Path) -> None:
    (tmp_path / "before.txt").write_bytes(b"cat dog\n")
    arguments = ("-m", train_little(), "--format", "jsonl")
    after = jsonl(run_here("score", *arguments, "--context", tmp_path / "before.txt", stdin=b"anna\nkite\n"))
    given = run_here(
        "score", *arguments, "--column", "2", "--given-column", "1", stdin=b"cat dog\tanna\ncat dog\tkite\n"
    )
    assert [row["bits"] for row in after] == pytest.approx([row["bits"] for row in jsonl(given)], abs=1e-5)
    (tmp_path / "before.txt").write_bytes(b"cat\ndog\n")
    told(run_here("score", *arguments, "--context", tmp_path / "before.txt"), 2, "--context has more than one line")
    told(run_here("score", *arguments, "--context", tmp_path / "none.txt"), 3, "no such file")


def test_a_preamble_is_read_as_what_stands_before_a_line_is(train_little: Callable[..., Path], tmp_path: Path) -> None:
    """Without carriage returns in a line model; of paragraphs the last one counts."""

    def bits(model: Path, before: bytes) -> list[str]:
        (tmp_path / "before.txt").write_bytes(before)
        result = run_here("score", "-m", model, "--context", tmp_path / "before.txt", stdin=b"anna\n")
        return [row["bits"] for row in result.rows]

    lines, paragraphs = train_little(), train_little(sequence="paragraph", steps=20, width=16)
    assert bits(lines, b"cat dog\r\n") == bits(lines, b"cat dog\n")
    assert bits(paragraphs, b"boil\n \ncat\ndog\n") == bits(paragraphs, b"cat\ndog\n") != bits(paragraphs, b"dog\n")
    plain = run_here("score", "-m", paragraphs, stdin=b"anna\n").rows
    assert bits(paragraphs, b"cat\n\n") == [row["bits"] for row in plain]


def test_a_byte_model_takes_any_bytes_as_preamble_and_a_table_with_a_mark(
    train_little: Callable[..., Path], tmp_path: Path
) -> None:
    model = train_little(unit="byte", steps=2)
    (tmp_path / "before.bin").write_bytes(b"\xff\xfe")
    result = run_here("score", "-m", model, "--context", tmp_path / "before.bin", stdin=b"cat\n")
    assert result.code == 0 and len(result.lines) == 2
    result = run_here("score", "-m", model, "--column", "text", stdin=b"\xef\xbb\xbftext\ncat\xff\n")
    assert result.code == 0 and result.out.split(b"\n")[1].startswith(b"cat\xff\t")


def test_a_preamble_of_a_stream_is_text_before_it(stream_model: Path, tmp_path: Path) -> None:
    (tmp_path / "before.txt").write_bytes(b"cat dog\nanna\n")
    whole = run_here("score", "-m", stream_model, stdin=b"cat dog\nanna\nkite\nboil\n").rows
    after = run_here("score", "-m", stream_model, "--context", tmp_path / "before.txt", stdin=b"kite\nboil\n").rows
    assert [row["bits"] for row in after] == [row["bits"] for row in whole[2:]]


# Tables


def test_a_tables_columns_pass_through_and_scores_stand_beside_them(train_little: Callable[..., Path]) -> None:
    bits = [row["bits"] for row in run_here("score", "-m", train_little(), stdin=b"cat dog\nanna\n").rows]
    data = b"id\tnote\ttext\n1\t\\d+\tcat dog\n2\t\tanna\n"
    rows = run_here("score", "-m", train_little(), "--column", "text", stdin=data).rows
    assert [(row["id"], row["note"], row["text"], row["bits"]) for row in rows] == [
        ("1", "\\d+", "cat dog", bits[0]),
        ("2", "", "anna", bits[1]),
    ]
    again = run_here(
        "score",
        "-m",
        train_little(),
        "--column",
        "text",
        "--column-prefix",
        "b_",
        "-q",
        stdin="\n".join("\t".join(row.values()) for row in [dict(zip(rows[0], rows[0], strict=True)), *rows]).encode(),
    ).rows
    assert [row["b_bits"] for row in again] == bits == [row["bits"] for row in again]


def test_an_object_stays_as_it_was_written(train_little: Callable[..., Path]) -> None:
    lines = [
        '{ "text" : "cat", "a": 1.10000000000000000000001, "b": 1e999, "c": NaN, "a": -0.0 }',
        '{"n": 123456789012345678901234567890, "text": "d\\u006fg", "z": "\\ud800", "é": {"k": [1.50, {}]}}',
    ]
    data = "".join(f"{line} \r\n" for line in lines).encode()
    result = run_here("score", "-m", train_little(), "--column", "text", "--input", "jsonl", stdin=data)
    rows = [json.loads(line) for line in result.lines]
    assert [line.startswith(given[:-1].rstrip() + ", ") for line, given in zip(result.lines, lines, strict=True)] == [
        True,
        True,
    ]
    scores = json.loads(run_here("score", "-m", train_little(), "--format", "jsonl", "-t", "cat").lines[0])
    assert {name: rows[0][name] for name in ("bits", "tokens", "chars")} == {
        name: scores[name] for name in ("bits", "tokens", "chars")
    }


def test_a_score_column_never_hides_one_of_the_table(train_little: Callable[..., Path]) -> None:
    told(run_here("score", "-m", train_little(), "--column", "text", stdin=b"bits\ttext\n1\ta\n"), 2, "--column-prefix")
    data = b'{"bits": 1, "text": "a"}\n'
    told(
        run_here("score", "-m", train_little(), "--column", "text", "--input", "jsonl", stdin=data),
        2,
        "--column-prefix",
    )


def test_a_csv_of_many_lines_a_cell_comes_out_as_csv(train_little: Callable[..., Path], tmp_path: Path) -> None:
    path = tmp_path / "items.csv"
    path.write_bytes(b'id,text\r\n1,"cat, dog"\r\n2,"two\nlines"\r\n3,\r\n')
    out = run_here("score", "-m", train_little(), "--column", "text", path).out.decode()
    rows = list(csv.DictReader(io.StringIO(out, newline="")))
    assert [(row["id"], row["text"], row["chars"]) for row in rows] == [
        *(("1", "cat, dog", "8"), ("2", "two\nlines", "9"), ("3", "", "0"))
    ]
    words = run_here("score", "-m", train_little(), "--column", "text", "--by", "word", "--format", "jsonl", path)
    assert [(row["id"], row["word"], row["word_text"]) for row in jsonl(words)] == [
        *(("1", 1, "cat,"), ("1", 2, "dog"), ("2", 1, "two"), ("2", 2, "lines"), ("3", 1, ""))
    ]


def test_no_two_columns_have_one_name_and_what_is_renamed_is_told(train_little: Callable[..., Path]) -> None:
    data = b"id\tword\ttext\n1\tx\tcat dog\n"
    options = ("score", "-m", train_little(), "--column", "text")
    for by, count in (("word", 2), ("token", 8)):
        result = run_here(*options, "--by", by, stdin=data)
        names = result.lines[0].split("\t")
        assert len(set(names)) == len(names) and len(result.rows) == count
        number = {"word": "word_number", "token": "token"}[by]
        assert [row[number] for row in result.rows] == [str(i) for i in range(1, count + 1)]
        assert [row[f"{by}_text"] for row in result.rows][:1] == {"word": ["cat"], "token": ["c"]}[by]
        assert [row["word"] for row in result.rows] == ["x"] * count
        assert f"the table has a column text already: the new one is {by}_text" in result.err
        rows = jsonl(run_here(*options, "--by", by, "--format", "jsonl", stdin=data))
        assert [list(row) for row in rows] == [names] * count
        assert [row[number] for row in rows] == list(range(1, count + 1))
    rows = jsonl(run_here(*options, "--by", "word", "--input", "jsonl", stdin=b'{"text": "cat dog"}\n'))
    assert [(row["text"], row["word"], row["word_text"]) for row in rows] == [
        ("cat dog", 1, "cat"),
        ("cat dog", 2, "dog"),
    ]
    other = run_here("score", "-m", train_little(), "--column", "s", "--by", "word", stdin=b"id\ts\n1\tcat\n")
    assert other.lines[0].split("\t")[:6] == ["id", "s", "word", "char_start", "char_end", "text"]
    assert "the new one" not in other.err
    prefixed = run_here(*options, "--by", "word", "--column-prefix", "m_", stdin=data)
    assert prefixed.lines[0].split("\t")[3:7] == ["m_word", "m_char_start", "m_char_end", "m_text"]
    twice = run_here(*options, "--format", "jsonl", stdin=b"a\ta\ttext\n1\t2\tcat\n")
    told(twice, 2, "two columns of one name")


def test_several_tables_get_a_column_that_names_the_file(train_little: Callable[..., Path], tmp_path: Path) -> None:
    for name, text in (("a.csv", "cat"), ("b.csv", "dog")):
        (tmp_path / name).write_text(f"file,text\nx,{text}\n")
    options = ("score", "-m", train_little(), "--column", "text", tmp_path / "a.csv", tmp_path / "b.csv")
    rows = list(csv.DictReader(io.StringIO(run_here(*options).text, newline="")))
    assert [(row["file"], Path(row["source_file"]).name, row["text"]) for row in rows] == [
        ("x", "a.csv", "cat"),
        ("x", "b.csv", "dog"),
    ]
    (alone,) = csv.DictReader(io.StringIO(run_here(*options[:-1]).text, newline=""))
    assert list(alone) == ["file", "text", "bits", "tokens", "chars", "bits_per_char"]


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize(("suffix", "separator"), [("csv", ","), ("csv", ";"), ("tsv", "\t")])
def test_rows_end_as_those_of_the_table_and_keep_its_separator(
    train_little: Callable[..., Path], tmp_path: Path, suffix: str, separator: str, end: str
) -> None:
    path = tmp_path / f"table.{suffix}"
    path.write_bytes(f"id;text{end}1;cat{end}2;dog{end}".replace(";", separator).encode())
    result = run_here("score", "-m", train_little(), "--column", "text", path)
    assert result.text.count(end) == result.text.count("\n") == 3 and "\r" not in result.text.replace("\r\n", "")
    rows = list(csv.DictReader(io.StringIO(result.text, newline=""), delimiter=separator))
    assert [(row["id"], row["text"], row["chars"]) for row in rows] == [("1", "cat", "3"), ("2", "dog", "3")]
    as_csv = run_here("score", "-m", train_little(), "--column", "text", path, "--format", "csv").text
    assert as_csv.count(end) == 3 and as_csv.startswith("id,text,bits")


def test_csv_of_lines_ends_them_by_a_newline(train_little: Callable[..., Path]) -> None:
    assert "\r" not in run_here("score", "-m", train_little(), "--format", "csv", stdin=b"cat\ndog\n").text


def test_raw_tsv_comes_out_raw_unless_tsv_is_asked_for(train_little: Callable[..., Path]) -> None:
    data = b'text\tn\n"Ah" cat\t\\d"\n'
    options = ("score", "-m", train_little(), "--column", "text", "--input", "raw-tsv")
    assert run_here(*options, stdin=data).lines[1].startswith('"Ah" cat\t\\d"\t')
    (row,) = run_here(*options, "--format", "tsv", stdin=data).rows
    assert (row["text"], row["n"], row["chars"]) == ('"Ah" cat', '\\d"', "8")


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        ("tsv", b"id\ttext\n1\tcat\n2\n3\tdog\n\n"),
        ("csv", b"id,text\n1,cat\n2\n3,dog\n\n"),
        ("jsonl", b'{"text": "cat"}\n{"text": null}\n{"text": "dog"}\n\n'),
    ],
)
def test_rows_before_a_bad_one_are_written_and_bad_ones_can_be_skipped(
    train_little: Callable[..., Path], kind: str, data: bytes
) -> None:
    for name, bounds in (("score", ()), ("filter", ("--above", "0"))):
        options = (name, "-m", train_little(), "--column", "text", "--input", kind, *bounds)
        stopped = run_here(*options, stdin=data)
        line = 2 if kind == "jsonl" else 3
        told(stopped, 3, f"<stdin>, line {line}: ", "--skip-bad")
        assert "cat" in stopped.text and "dog" not in stopped.text
        skipped = run_here(*options, "--skip-bad", stdin=data)
        assert skipped.code == 0 and "cat" in skipped.text and "dog" in skipped.text
        assert skipped.err.splitlines()[-1].startswith(f"skipped 2 rows, such as: <stdin>, line {line}: ")
        assert run_here(*options, "--skip-bad", "-q", stdin=data).err == ""
    told(run_here("score", "-m", train_little(), "--skip-bad", stdin=b"cat\n"), 2, "--column")


def test_pandas_reads_the_scores_of_any_lines(train_little: Callable[..., Path]) -> None:
    pandas = pytest.importorskip("pandas")
    lines = ['"cat', "dog", 'cat"', '"', "tab\there", "C:\\new", '"a" "b"'] * 5
    result = run_here("score", "-m", train_little(), stdin="\n".join(lines).encode())
    read = pandas.read_csv(io.BytesIO(result.out), sep="\t")
    assert list(read["text"]) == lines and list(read["line"]) == list(range(1, len(lines) + 1))


def test_rows_of_a_table_stand_alone_in_a_stream_model(stream_model: Path) -> None:
    rows = run_here(
        "score",
        "-m",
        stream_model,
        "--column",
        "1",
        stdin=b"cat dog\ncat dog\n",
    ).lines
    assert rows[0] == rows[1]


# Shares


def test_shares_put_together_are_the_whole_output(train_little: Callable[..., Path], tmp_path: Path) -> None:
    path = tmp_path / "f.txt"
    path.write_text("".join(f"cat {'dog ' * (n % 7)}{n}\n" for n in range(100)))
    whole = run_here("score", "-m", train_little(), path)
    parts = [run_here("score", "-q", "-m", train_little(), path, "--shard", f"{i}/3") for i in (1, 2, 3)]
    assert b"".join(part.out for part in parts) == whole.out
    told(run_here("score", "-m", train_little(), "--shard", "1/2"), 2, "regular")
    told(run_here("score", "-m", train_little(), path, path, "--shard", "1/2"), 2, "one file")


def test_sequences_longer_than_a_line_have_no_shares(stream_model: Path, tmp_path: Path) -> None:
    (tmp_path / "f.txt").write_bytes(b"cat\ndog\n")
    told(run_here("score", "-m", stream_model, tmp_path / "f.txt", "--shard", "1/2"), 2, "--context none")


# Other tools' layouts


def test_the_layout_of_kenlm(train_little: Callable[..., Path]) -> None:
    lines = run_here(
        "score", "-q", "-m", train_little(), "--format", "kenlm", stdin="cat dog\n\nZürich\n".encode()
    ).lines
    bits = [
        float(row["bits"]) for row in run_here("score", "-m", train_little(), stdin="cat dog\n\nZürich\n".encode()).rows
    ]
    words = [[cell.rsplit("=", 1) for cell in line.split("\t")[:-1]] for line in lines[:3]]
    assert [[word for word, _ in row] for row in words] == [["cat", "dog", "</s>"], ["</s>"], ["Zürich", "</s>"]]
    for row, line, total in zip(words, lines, bits, strict=False):
        logs = [float(rest.split(" ")[2]) for _, rest in row]
        found = re.fullmatch(r"Total: (\S+) OOV: (\d+)", line.split("\t")[-1])
        assert found is not None
        assert sum(logs) == pytest.approx(float(found[1]), abs=1e-4) == pytest.approx(-total * math.log10(2), abs=1e-3)
    assert [line.split(":\t")[0] for line in lines[3:]] == [
        *("Perplexity including OOVs", "Perplexity excluding OOVs", "OOVs", "Tokens")
    ]
    assert lines[-1] == "Tokens:\t6"
    assert float(lines[3].split("\t")[1]) == pytest.approx(2 ** (sum(bits) / 6), rel=1e-3)


def test_a_perplexity_of_words_beyond_all_numbers_is_infinite(train_little: Callable[..., Path]) -> None:
    result = run_here("score", "-m", train_little(), "--format", "kenlm", stdin=b"x" * 5_000)
    assert result.code == 0 and "Perplexity including OOVs:\tinf" in result.text


def test_the_layout_of_lm_zoo(train_little: Callable[..., Path]) -> None:
    rows = run_here("score", "-m", train_little(), "--format", "lmzoo", stdin=b"cat\n\n").rows
    assert [(row["sentence_id"], row["token_id"], row["token"]) for row in rows] == [
        *(("1", "1", "c"), ("1", "2", "a"), ("1", "3", "t"), ("1", "4", "</s>"), ("2", "1", "</s>"))
    ]
    tokens = run_here("score", "-m", train_little(), "--by", "token", stdin=b"cat\n\n").rows
    assert [row["surprisal"] for row in rows] == [row["surprisal_bits"] for row in tokens]
    words = run_here("score", "-m", train_little(), "--format", "lmzoo", "--by", "word", stdin=b"cat dog\n").rows
    assert [row["token"] for row in words] == ["cat", "dog"]
    told(run_here("score", "-m", train_little(), "--format", "lmzoo", "--by", "corpus"), 2, "layout")


def test_lm_zoo_numbers_on_over_files_and_names_a_virtual_blank(
    train_little: Callable[..., Path], tmp_path: Path
) -> None:
    for name in ("a.txt", "b.txt"):
        (tmp_path / name).write_bytes(b" cat\ndog\n")
    model = train_little(unit="word", steps=2, width=8)
    rows = run_here("score", "-m", model, "--format", "lmzoo", tmp_path / "a.txt", tmp_path / "b.txt").rows
    assert [row["sentence_id"] for row in rows] == list("11122" + "33344")
    assert [row["token"] for row in rows[:5]] == ["<0x20>", " cat", "</s>", "dog", "</s>"]


def test_a_line_of_white_space_sums_up_in_the_layout_of_kenlm(train_little: Callable[..., Path]) -> None:
    result = run_here("score", "-q", "-m", train_little(), "--format", "kenlm", stdin=b"  \t\n")
    end, total = result.out.decode().splitlines()[0].split("\t")
    assert end.split()[-1] == total.split()[1]


def test_bytes_that_are_replaced_count_as_they_were_read(train_little: Callable[..., Path]) -> None:
    options = ("score", "-m", train_little(), "--by", "corpus", "--errors", "replace")
    assert run_here(*options, stdin=b"cat\xff\ndog\xfe").rows[0]["bytes"] == "9"


# A co-process


class CoProcess:
    """A running `seqmodel score` that is asked line by line."""

    def __init__(self, *arguments: str | Path) -> None:
        self.process = subprocess.Popen(
            command("score", "-q", *arguments), stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment()
        )

    @property
    def pipes(self) -> tuple[IO[bytes], IO[bytes]]:
        assert self.process.stdin is not None and self.process.stdout is not None
        return self.process.stdin, self.process.stdout

    def ask(self, line: bytes) -> list[bytes]:
        given, out = self.pipes
        given.write(line)
        given.flush()
        return out.readline().rstrip(b"\n").split(b"\t")

    def close(self) -> int:
        for pipe in self.pipes:
            pipe.close()
        return self.process.wait(timeout=60)


@pytest.fixture
def co_process() -> Iterator[Callable[..., CoProcess]]:
    started: list[CoProcess] = []

    def start(*arguments: str | Path) -> CoProcess:
        started.append(CoProcess(*arguments))
        return started[-1]

    yield start
    for one in started:
        one.process.kill()
        one.close()


@pytest.mark.parametrize("kind", ["line", "stream"])
def test_a_co_process_answers_each_line_before_the_next_is_given(
    kind: str, train_little: Callable[..., Path], stream_model: Path, co_process: Callable[..., CoProcess]
) -> None:
    model = train_little() if kind == "line" else stream_model
    asked = co_process("-m", model, "--no-header")
    for number, text in enumerate([b"cat dog", b"", b"anna", b"cat dog", b"x" * 100_000, b"cat"], start=1):
        row = asked.ask(text + b"\n")
        assert (int(row[0]), row[-1]) == (number, text)
    assert asked.close() == 0


def test_a_line_that_comes_in_parts_is_scored_when_it_is_whole(
    train_little: Callable[..., Path], co_process: Callable[..., CoProcess]
) -> None:
    asked = co_process("-m", train_little(), "--no-header")
    first = asked.ask(b"Z\xc3\xbcrich\n")
    given, _ = asked.pipes
    given.write(b"Z\xc3")  # half a character
    given.flush()
    assert asked.ask(b"\xbcrich\n")[1:] == first[1:]


def test_tokens_of_a_closed_vocabulary_stand_where_their_characters_do(train_little: Callable[..., Path]) -> None:
    model = train_little(closed_vocab=True, unit="char")
    result = run_here("score", "-m", model, "-t", "a\u6771b", "--by", "token", "--format", "jsonl")
    rows = [json.loads(line) for line in result.lines]
    spans = [(row["char_start"], row["char_end"]) for row in rows]
    assert spans == [(0, 1), (1, 2), (2, 3), (3, 3)]
    assert [row["oov"] for row in rows] == [0, 1, 0, 0]
