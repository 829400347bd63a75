"""`seqmodel rescore`: n-best lists by ln p and the scores that they have already."""

from __future__ import annotations

import csv
import io
import json
import math
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from seqmodel.api.model import Model
from seqmodel.errors import DataError, UsageError
from tests.cli.command import Result, command, environment, run, run_here, told

LISTS = b"u1-1 cat xqz\nu1-2 cat dog\nu1-3 cat xqz\nu2-1 anna\nu2-2\nu3 boil\nu3 boil zzz\n"
TABLE = 'utt,hyp,am,note\nA b,cat xqz,-1.5,n\nA b,cat dog,-1,"x, y"\nB,anna,-3,\n'
COLUMNS = ("--utterance", "utt", "--hypothesis", "hyp")


@pytest.fixture
def rescored(train_little: Callable[..., Path]) -> Callable[..., Result]:
    def rescore(*arguments: str | Path, stdin: bytes = LISTS) -> Result:
        return run_here("rescore", "-m", train_little(), *arguments, stdin=stdin)

    return rescore


@pytest.fixture
def written(tmp_path: Path) -> Callable[[str, str], Path]:
    def write(name: str, text: str) -> Path:
        (tmp_path / name).write_text(text, encoding="utf-8")
        return tmp_path / name

    return write


def natural(model: Model, text: str) -> float:
    return -model.score([text])[0].bits * math.log(2)


# What is written


def test_a_pipe_gives_the_best_of_each_utterance_and_a_summary_on_stderr(train_little: Callable[..., Path]) -> None:
    result = run("rescore", "-m", train_little(), stdin=LISTS)
    assert (result.code, result.lines) == (0, ["u1 cat dog", "u2 anna", "u3 boil"])
    assert result.err == "n-best lists: 3, hypotheses: 7, lists with another than the first best: 1\n"


def test_scores_are_ln_p_in_the_order_given(rescored: Callable[..., Result], little_model: Model) -> None:
    result = rescored("--output", "scores", "--format", "jsonl")
    rows = [json.loads(line) for line in result.lines]
    assert [row["hypothesis"] for row in rows] == ["u1-1", "u1-2", "u1-3", "u2-1", "u2-2", "u3", "u3"]
    assert [row["utterance"] for row in rows] == ["u1"] * 3 + ["u2"] * 2 + ["u3"] * 2
    for row in rows:
        assert row["lm_score"] == row["total"] == pytest.approx(natural(little_model, row["text"]), abs=1e-4)
    assert rows[0]["lm_score"] == rows[2]["lm_score"]
    kaldi = [line.split() for line in rescored("--output", "scores").lines]
    assert [key for key, _ in kaldi] == [row["hypothesis"] for row in rows]
    assert [float(score) for _, score in kaldi] == pytest.approx([row["total"] for row in rows], abs=1e-5)


def test_lists_are_sorted_and_ties_stay_in_order(rescored: Callable[..., Result]) -> None:
    result = rescored("--output", "reranked")
    assert result.lines[:3] == ["u1-2 cat dog", "u1-1 cat xqz", "u1-3 cat xqz"]
    even = rescored("--output", "reranked", "--weight", "0")
    assert even.text.encode() == LISTS


@pytest.mark.parametrize("style", ["tsv", "csv"])
def test_rows_of_every_layout_have_a_header_or_none(rescored: Callable[..., Result], style: str) -> None:
    result = rescored("--format", style)
    separator = "\t" if style == "tsv" else ","
    assert result.text.splitlines()[0].split(separator) == ["utterance", "hypothesis", "lm_score", "total", "text"]
    assert [line.split(separator)[1] for line in result.text.splitlines()[1:]] == ["u1-2", "u2-1", "u3"]
    assert rescored("--format", style, "--no-header").text.splitlines() == result.text.splitlines()[1:]


def test_no_lists_give_nothing(rescored: Callable[..., Result]) -> None:
    assert rescored(stdin=b"").out == b""
    assert rescored("--format", "tsv", stdin=b"").lines == ["utterance\thypothesis\tlm_score\ttotal\ttext"]


def test_a_list_is_answered_when_the_next_one_begins(train_little: Callable[..., Path]) -> None:
    asked = command("rescore", "-q", "-m", train_little())
    with subprocess.Popen(asked, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment()) as process:
        assert process.stdin is not None and process.stdout is not None
        for given, answer in [(b"a-1 xqz\na-2 cat\nb-1 dog\n", b"a cat\n"), (b"b-2 dog dog\nc\n", b"b dog\n")]:
            process.stdin.write(given)
            process.stdin.flush()
            assert process.stdout.readline() == answer
        process.stdin.close()
        assert process.stdout.read() == b"c\n"
    assert process.returncode == 0


def test_any_bytes_come_back_from_a_byte_model(train_little: Callable[..., Path]) -> None:
    model = train_little(unit="byte", steps=20, width=16)
    lines = b"a\xff-1 x\x00\xfe y\nb-1 \xc3\n"
    assert run_here("rescore", "-m", model, "--output", "reranked", stdin=lines).out == lines


# Weights


def test_the_total_is_the_weighted_sum(
    rescored: Callable[..., Result], written: Callable[..., Path], little_model: Model
) -> None:
    lists = written("nbest", "u-1 cat dog\nu-2 cat\nv-1 anna\n")
    first, second = written("am", "u-1 -1.5\nu-2 2e1\nv-1 0\n"), written("tm", "u-1 4\nu-2 +.5\nv-1 -3\n")
    weights = ("--weight", "0.25", "--score-weight", "-2", "--score-weight", "3", "--length-penalty", "0.5")
    result = rescored(lists, "--scores", first, "--scores", second, *weights, "--output", "scores")
    found = [float(line.split()[1]) for line in result.lines]
    expected = [(-1.5, 4, 2, "cat dog"), (20, 0.5, 1, "cat"), (0, -3, 1, "anna")]
    assert found == pytest.approx(
        [0.25 * natural(little_model, text) - 2 * a + 3 * b + 0.5 * words for a, b, words, text in expected], abs=1e-4
    )
    plain = rescored(lists, "--scores", first, "--output", "scores")
    usual = [0.5 * natural(little_model, text) + a for a, _, _, text in expected]
    assert [float(line.split()[1]) for line in plain.lines] == pytest.approx(usual, abs=1e-4)


def test_weights_are_fitted_and_serve_again(rescored: Callable[..., Result], written: Callable[..., Path]) -> None:
    lists = "".join(f"u{i}-1 cat dog xqz\nu{i}-2 cat\nu{i}-3 cat dog\n" for i in range(4))
    scores = "".join(f"u{i}-{n} {-50 * n}\n" for i in range(4) for n in (1, 2, 3))
    reference = written("ref", "".join(f"u{i} cat dog\n" for i in range(4)))
    files = (written("nbest", lists), "--scores", written("am", scores))
    result = rescored(*files, "--tune", reference)
    rates, found, _ = result.err.splitlines()
    assert rates == ("WER over 8 words: first-best 50.00 %, weights given 50.00 %, fitted 0.00 %, oracle 0.00 %")
    assert result.lines == [f"u{i} cat dog" for i in range(4)]
    assert found.startswith("fitted: --weight ")
    assert rescored(*files, *found.removeprefix("fitted: ").split()).out == result.out
    assert rescored(*files, "--tune", reference, "-q").err == ""


def test_references_and_lists_that_do_not_fit_are_told(
    rescored: Callable[..., Result], written: Callable[..., Path]
) -> None:
    told(rescored("--tune", written("ref", "u1 cat\nu2 anna\n")), 3, "no reference for 1 of 3", "line 6")
    told(rescored("--tune", written("ref", "u1 a\nu2 a\nu4 b\nu3 a\n")), 3, "no n-best list for 1 of 4", "line 3")
    told(rescored("--tune", written("ref", "u1\nu2\nu3\n")), 3, "no word")
    told(rescored("--tune", "-"), 2, "standard input is named twice")


# Scores beside the lists


@pytest.mark.parametrize("number", ["nan", "-inf", "1e999", "1_0", "x", "1 2", "", "0x1"])
def test_what_is_no_finite_number_is_told_with_its_line(
    rescored: Callable[..., Result], written: Callable[..., Path], number: str
) -> None:
    scores = written("am", f"u1-1 1\nu1-2 {number}\n")
    told(rescored("--scores", scores), 3, "am, line 2: a score that is no finite number")


def test_scores_stand_in_the_order_of_the_lists(rescored: Callable[..., Result], written: Callable[..., Path]) -> None:
    ids = [line.split()[0].decode() for line in LISTS.splitlines()]
    scores = [f"{key} 1\n" for key in ids]
    assert rescored("--scores", written("am", "".join(scores))).code == 0
    told(rescored("--scores", written("am", "".join(scores[:-1]))), 3, "ends before line 7")
    told(rescored("--scores", written("am", "".join([*scores, "u4 1\n"]))), 3, "line 8: more scores")
    told(rescored("--scores", written("am", "".join(reversed(scores)))), 3, "line 1: not the id of line 1")


# Tables


def test_the_columns_of_a_table_pass_through(
    rescored: Callable[..., Result], written: Callable[..., Path], little_model: Model
) -> None:
    table = written("nbest.csv", TABLE)
    result = rescored(table, *COLUMNS, "--score", "am", "--output", "scores")
    header, *rows = csv.reader(io.StringIO(result.text))
    assert header == ["utt", "hyp", "am", "note", "lm_score", "total"]
    assert [row[:4] for row in rows] == list(csv.reader(io.StringIO(TABLE)))[1:]
    assert [float(row[4]) for row in rows] == pytest.approx([natural(little_model, row[1]) for row in rows], abs=1e-3)
    assert [float(row[5]) for row in rows] == pytest.approx([float(r[2]) + float(r[4]) / 2 for r in rows], abs=1e-3)
    again = rescored("--input", "csv", *COLUMNS, "--column-prefix", "b_", "--format", "jsonl", stdin=result.out)
    assert [json.loads(line)["b_lm_score"] for line in again.lines] == pytest.approx(
        [float(rows[i][4]) for i in (1, 2)], abs=1e-3
    )
    told(rescored("--input", "csv", *COLUMNS, stdin=result.out), 2, "already has a column")


def test_json_lines_pass_through(rescored: Callable[..., Result]) -> None:
    lines = [{"utt": 7, "hyp": "xqz", "s": -2, "more": [1]}, {"utt": 7, "hyp": "cat", "s": "-2.5"}]
    data = "".join(json.dumps(line) + "\n" for line in lines).encode()
    arguments = ("--input", "jsonl", *COLUMNS, "--score", "s", "--output", "reranked")
    rows = [json.loads(line) for line in rescored(*arguments, stdin=data).lines]
    assert [{name: row[name] for name in line} for row, line in zip(rows, lines[::-1], strict=True)] == lines[::-1]
    for bad in (b"true", b"null", b"NaN", b"1e400"):
        told(rescored(*arguments, stdin=b'{"utt": "a", "hyp": "b", "s": %s}\n' % bad), 3, "<stdin>, line 1")


def test_a_table_without_a_header_has_numbered_columns(rescored: Callable[..., Result]) -> None:
    numbered = ("--utterance", "1", "--hypothesis", "2")
    result = rescored("--input", "tsv", *numbered, stdin=b"a\txqz\\tq\na\tcat\n")
    (row,) = result.lines
    assert row.split("\t")[:2] == ["a", "cat"]
    (named,) = rescored(*numbered, "--format", "jsonl", stdin=b"a\tb\n").lines
    assert list(json.loads(named)) == ["1", "2", "lm_score", "total"]


def test_a_table_is_written_as_kaldi_does(rescored: Callable[..., Result], written: Callable[..., Path]) -> None:
    table = written("nbest.csv", TABLE.replace("A b", "A").replace("cat dog", '"cat\ndog"'))
    assert rescored(table, *COLUMNS, "--format", "kaldi").lines == ["A cat dog", "B anna"]
    reranked = rescored(table, *COLUMNS, "--format", "kaldi", "--output", "reranked")
    assert reranked.lines == ["A-2 cat dog", "A-1 cat xqz", "B-1 anna"]
    told(rescored(written("b.csv", TABLE), *COLUMNS, "--format", "kaldi"), 3, "line 3", "white space")


def test_rows_whose_score_cannot_be_read_are_skipped_on_request(rescored: Callable[..., Result]) -> None:
    data = b"utt,hyp,am\nA,cat,-1\nA,dog,nan\nA\nB,anna,-2\n"
    options = ("--input", "csv", *COLUMNS, "--score", "am", "--output", "scores")
    told(rescored(*options, stdin=data), 3, "<stdin>, line 3")
    result = rescored(*options, "--skip-bad", stdin=data)
    assert [line.split(",")[1] for line in result.lines[1:]] == ["cat", "anna"]
    assert result.err.splitlines()[-1].startswith("skipped 2 rows, such as: <stdin>, line 4: 1 column where")
    told(rescored("--skip-bad"), 2, "for tables")


# Moses' layout

MOSES = b"""0 ||| cat xqz ||| LM0= -3 TM0= -1 -2 ||| -4.5 ||| 0-0
0 ||| cat dog ||| LM0= -2 TM0= -1 -2.5 ||| -5 ||| 0-0 1-1
1 ||| anna ||| LM0= -1 TM0= -1 -1 ||| -2
"""


def test_moses_lists_are_read_with_their_totals_and_written_back(
    rescored: Callable[..., Result], little_model: Model
) -> None:
    result = rescored("--output", "reranked", "--weight", "2", stdin=MOSES)
    rows = [[cell.strip() for cell in line.split("|||")] for line in result.lines]
    assert [row[:2] for row in rows] == [["0", "cat dog"], ["0", "cat xqz"], ["1", "anna"]]
    assert [row[4:] for row in rows] == [["0-0 1-1"], ["0-0"], []]
    for row, total in zip(rows, (-5, -4.5, -2), strict=True):
        features, _, score = row[2].rpartition(" lm_score= ")
        assert features.startswith("LM0= ") and float(score) == pytest.approx(natural(little_model, row[1]), abs=1e-4)
        assert float(row[3]) == pytest.approx(2 * float(score) + total, abs=1e-4)
    again = rescored("--score", "lm_score", "--weight", "0", "--output", "reranked", stdin=result.out)
    assert [line.split("|||")[:2] for line in again.lines] == [line.split("|||")[:2] for line in result.lines]


def test_moses_features_can_be_named_and_other_layouts_written(
    rescored: Callable[..., Result], written: Callable[..., Path]
) -> None:
    options = ("--weight", "0", "--output", "scores")
    result = rescored(
        "--score", "LM0", "--score", "TM0.2", "--score-weight", "1", "--score-weight", "10", *options, stdin=MOSES
    )
    assert [float(line.split("|||")[3]) for line in result.lines] == [-23, -27, -11]
    assert rescored(*options, "--format", "kaldi", stdin=MOSES).lines == [
        "0-1 -4.500000",
        "0-2 -5.000000",
        "1-1 -2.000000",
    ]
    reference = written("ref", "0 cat dog\n1 anna\n")
    assert "oracle 0.00 %" in rescored("--tune", reference, stdin=MOSES).err
    told(rescored("--score", "x", stdin=MOSES), 3, "line 1: no score", "LM0, TM0.1, TM0.2, total")
    told(rescored("--whole-ids", "--input", "moses", stdin=MOSES), 2, "for Kaldi's layout")
    told(rescored("--format", "moses"), 2, "--format moses")


def test_lists_of_other_layouts_are_refused_with_what_is_expected(
    rescored: Callable[..., Result], written: Callable[..., Path]
) -> None:
    for data in (b"cat dog\t-12.5\ncat xqz\t-3\n", b"cat dog\ncat xqz\n", b"-2145.7 -12.5 2 cat dog\n"):
        result = rescored(stdin=data)
        told(result, 3, "<stdin>, line 1: ", "Expected: `utt-1 words…`")
        assert result.out == b""
        assert rescored("--input", "kaldi", stdin=data).code == 0
    told(rescored(written("nbest.csv", TABLE)), 2, "a table needs --utterance and --hypothesis")
    alone = rescored(stdin=b"1984 was a year\n1985 was another\n")
    assert "every list has one hypothesis" in alone.err and alone.code == 0


# What does not fit


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (("--utterance", "u"), "--hypothesis"),
        (("--input", "csv"), "--hypothesis"),
        (("--score", "am"), "no columns"),
        (("--input", "kaldi", *COLUMNS), "no columns"),
        ((*COLUMNS, "--scores", "x"), "for Kaldi's layout"),
        ((*COLUMNS, "--whole-ids"), "for Kaldi's layout"),
        (("--weight", "nan"), "is not finite"),
        (("--score-weight", "1"), "1 score weights for 0"),
        (("--input", "jsonl", *COLUMNS, "--format", "tsv"), "no fixed columns"),
    ],
)
def test_options_that_do_not_fit_are_refused(
    rescored: Callable[..., Result], arguments: tuple[str, ...], what: str
) -> None:
    told(rescored(*arguments), 2, what)


def test_lists_that_cannot_be_read_are_told(rescored: Callable[..., Result]) -> None:
    told(rescored(stdin=b"a-1 x\nb-1 y\na-2 z\n"), 3, "<stdin>, line 3", "has ended before")
    told(rescored(stdin=b"a-1 x\n\xff\n"), 3, "<stdin>, line 2", "UTF-8")
    told(rescored(stdin=b"10-11 x\n10-11 y\n"), 3, "line 2", "--whole-ids")
    assert rescored("--whole-ids", stdin=b"10-11 xqz\n10-11 cat\n").lines == ["10-11 cat"]


def test_python_users_rescore_one_list(little_model: Model) -> None:
    texts = ["cat xqz", "cat dog", "anna"]
    best, *_ = little_model.rescore(texts, [0, -1, -99], weight=2, score_weights=[3], length_penalty=0.5)
    assert best.text == "cat dog" and best.lm_score == pytest.approx(natural(little_model, "cat dog"), abs=1e-4)
    assert best.total == pytest.approx(2 * best.lm_score - 3 + 0.5 * 2)
    alone = little_model.rescore(texts)
    assert [one.total for one in alone] == sorted(little_model.log_probabilities(texts), reverse=True)
    assert little_model.rescore([]) == little_model.rescore([], []) == []
    with pytest.raises(UsageError, match="weights"):
        little_model.rescore(texts, score_weights=[1])
    with pytest.raises(DataError, match="surrogate"):
        little_model.rescore(["\ud800"])
