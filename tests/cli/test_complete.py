"""`seqmodel complete`: words finished for a person, a pipe and an editor."""

from __future__ import annotations

import io
import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import seqmodel
from seqmodel.console.complete_view import show_bars
from tests.cli.command import Result, command, environment, run, run_here, told

CANARY = "Xylocarp-canary"


def objects(result: Result) -> list[dict[str, Any]]:
    assert result.code == 0, result.err
    return [json.loads(line) for line in result.lines]


# One text, or lines


def test_a_word_is_finished_and_what_is_missing_is_told(train_little: Callable[..., Path]) -> None:
    result = run("complete", "cat d", "-k", "2", "-m", train_little())
    assert result.code == 0
    assert result.lines[0] == "completion\tprobability"
    assert result.rows[0]["completion"] == "og" and float(result.rows[0]["probability"]) > 0.5
    assert len(result.rows) == 2
    assert result.err.startswith("missing: 0.") and len(result.err.splitlines()) == 1


def test_each_form_says_the_same(train_little: Callable[..., Path]) -> None:
    model = train_little()
    arguments = ("complete", "cat ", "-k", "7", "-m", model)
    found = seqmodel.load(model).completions("cat ", 7)
    rows = run_here(*arguments, "--no-header", "-q")
    assert rows.err == ""
    assert [line.split("\t")[0] for line in rows.lines] == [one.text for one in found.best]
    (answer,) = objects(run_here(*arguments, "--format", "jsonl"))
    assert list(answer) == ["prefix", "completions", "missing"]
    assert answer["prefix"] == "cat " and answer["missing"] == pytest.approx(found.missing, abs=1e-5)
    assert [one["text"] for one in answer["completions"]] == [one.text for one in found.best]
    given_ = [one["probability"] for one in answer["completions"]]
    assert given_ == pytest.approx([one.probability for one in found.best], rel=1e-5)


def test_the_next_tokens_with_their_sums(train_little: Callable[..., Path]) -> None:
    arguments = ("complete", "cat d", "--next", "-k", "3", "-m", train_little())
    result = run_here(*arguments)
    assert result.lines[0] == "token\tprobability\tcumulative"
    assert result.rows[0]["token"] == "o" and len(result.rows) == 3
    sums = [float(row["cumulative"]) for row in result.rows]
    assert sums == pytest.approx([sum(float(row["probability"]) for row in result.rows[: n + 1]) for n in range(3)])
    (answer,) = objects(run_here(*arguments, "--format", "jsonl"))
    assert list(answer) == ["prefix", "tokens", "missing"]
    assert [list(one) for one in answer["tokens"]] == [["token", "probability", "cumulative"]] * 3


@pytest.mark.parametrize("unit", ["char", "word", "subword", "byte"])
def test_lines_of_a_pipe_are_completed_in_order(unit: str, train_little: Callable[..., Path]) -> None:
    model = train_little() if unit == "char" else train_little(unit=unit, steps=20, width=16)
    texts = ["cat d", "", "anna ", "x🙂", "  ", "cat\tdo", "a\x00", "\x1b[31m", "[red]", "日本", "dog" * 40]
    result = run_here("complete", "-", "-m", model, stdin="\r\n".join([*texts, ""]).encode())
    assert result.lines[0] == "line\tcompletion\tprobability"
    assert sorted({int(row["line"]) for row in result.rows}) == list(range(1, len(texts) + 1))
    assert [line.split(":")[0] for line in result.err.splitlines()] == [f"line {n + 1}" for n in range(len(texts))]
    answers = objects(run_here("complete", "-", "--format", "jsonl", "-m", model, stdin="\n".join(texts).encode()))
    assert [answer["prefix"] for answer in answers] == texts
    for answer in answers:
        assert sum(one["probability"] for one in answer["completions"]) + answer["missing"] <= 1 + 1e-4


def test_a_byte_model_takes_any_bytes(train_little: Callable[..., Path]) -> None:
    model = train_little(unit="byte", steps=20, width=16)
    result = run_here("complete", "-", "--format", "jsonl", "-m", model, stdin=b"ca\xff\xc3\n")
    (answer,) = objects(result)
    assert answer["prefix"].encode("utf-8", "surrogateescape") == b"ca\xff\xc3"
    assert run_here("complete", "-", "-m", model, stdin=b"ca\xff\xc3\n").code == 0


def test_newlines_are_for_models_of_more_than_lines(train_little: Callable[..., Path]) -> None:
    told(run_here("complete", f"{CANARY}\nca", "-m", train_little()), 2, "newline")
    told(run_here("complete", f"{CANARY}\nca", "--next", "-m", train_little()), 2, "newline")
    stream = train_little(sequence="stream", steps=20, width=16)
    assert len(run_here("complete", "cat\nca", "-m", stream).rows) == 5


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        ([], "no text"),
        (["cat", "-k", "0"], "-k"),
        (["cat", "--effort", "0"], "--effort"),
        (["cat", "--format", "csv"], "--format"),
        (["cat", "--jsonl"], "--jsonl"),
        (["--next", "--jsonl"], "--jsonl"),
        (["--format", "tsv", "--jsonl"], "--jsonl"),
        (["cat", "dog"], "complete takes 1 argument, but 2 are given"),
    ],
    ids=str,
)
def test_what_cannot_be_asked_is_told_in_one_line(
    arguments: list[str], part: str, train_little: Callable[..., Path]
) -> None:
    told(run_here("complete", *arguments, "-m", train_little()), 2, part)


def test_input_that_is_no_text_is_told(train_little: Callable[..., Path]) -> None:
    told(run_here("complete", "-", "-m", train_little(), stdin=b"cat\n\xff\n"), 3, "invalid UTF-8")
    told(run("complete", "cat\udcff", "-m", train_little()), 3, "lone surrogate")


# Requests


def answers(model: Path, *requests: Any, raw: bytes = b"") -> list[dict[str, Any]]:
    data = b"".join(json.dumps(request).encode() + b"\n" for request in requests) + raw
    return objects(run_here("complete", "--jsonl", "-m", model, stdin=data))


def test_requests_are_answered_one_by_one(train_little: Callable[..., Path]) -> None:
    found = answers(
        train_little(), {"prefix": "cat d", "k": 2}, {"prefix": "an", "id": "x\ud800"}, {"id": 7, "prefix": ""}
    )
    assert [list(answer) for answer in found] == [
        ["completions", "missing"],
        ["id", "completions", "missing"],
        ["id", "completions", "missing"],
    ]
    assert [len(answer["completions"]) for answer in found] == [2, 5, 5]
    assert found[0]["completions"][0]["text"] == "og"
    assert [answer.get("id") for answer in found] == [None, "x\ud800", 7]


def test_a_request_that_cannot_be_is_answered_and_the_next_one_too(train_little: Callable[..., Path]) -> None:
    wrong: list[Any] = [
        {"prefix": CANARY, "k": 0},
        {"prefix": CANARY, "k": True},
        {"prefix": CANARY, "k": 1.5},
        {"prefix": CANARY, "k": "1"},
        {"prefix": CANARY, "k": None},
        {"prefix": f"{CANARY}\n"},
        {"prefix": f"{CANARY}\ud800"},
        {"prefix": CANARY, CANARY: 1},
        {"prefix": CANARY, "id": 1.5},
        {"prefix": CANARY, "id": [CANARY]},
        {"prefix": [CANARY]},
        {"prefix": None},
        {},
        [],
        CANARY,
        None,
        3,
    ]
    for number, request in enumerate(wrong):
        if isinstance(request, dict) and "id" not in request:
            request["id"] = number
    raw = b'\n{\n\xff\n{"prefix": "\xff"}\n' + b"[" * 100_000 + b'\n{"prefix": "cat d", "k": 1, "id": "last"}'
    *refused, last = answers(train_little(), *wrong, raw=raw)
    assert len(refused) == len(wrong) + 5
    for number, answer in enumerate(refused):
        assert answer["error"] and CANARY not in json.dumps(answer)
        asked = wrong[number] if number < len(wrong) else None
        if isinstance(asked, dict) and asked.get("id") == number:
            assert answer["id"] == number
    assert last["id"] == "last" and last["completions"][0]["text"] == "og"


@settings(max_examples=40, deadline=None)
@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=12), max_size=5))
def test_as_many_answers_as_requests_whatever_they_ask(train_little: Callable[..., Path], texts: list[str]) -> None:
    found = answers(train_little(), *({"prefix": text, "id": text} for text in texts))
    assert [answer["id"] for answer in found] == texts
    for text, answer in zip(texts, found, strict=True):
        assert ("error" in answer) == ("\n" in text)


@pytest.fixture
def editor(train_little: Callable[..., Path]) -> Iterator[subprocess.Popen[bytes]]:
    arguments = command("complete", "--jsonl", "-m", train_little())
    process = subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment())
    yield process
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        assert pipe is not None
        pipe.close()


def test_an_editor_asks_key_by_key(editor: subprocess.Popen[bytes], train_little: Callable[..., Path]) -> None:
    """Each answer comes before the next request, and is that of a process which was asked nothing before."""
    assert editor.stdin is not None and editor.stdout is not None
    typed = ["c", "ca", "cat", "cat ", "cat d", "cat", "anna bo" * 30, "cat d", "", "cat d"]
    for text in typed:
        editor.stdin.write(json.dumps({"prefix": text, "k": 2}).encode() + b"\n")
        editor.stdin.flush()
        answer = json.loads(editor.stdout.readline())
        fresh = seqmodel.load(train_little()).completions(text, 2)
        assert [one["text"] for one in answer["completions"]] == [one.text for one in fresh.best]
        for one, other in zip(answer["completions"], fresh.best, strict=True):
            assert one["probability"] == pytest.approx(other.probability, rel=1e-3)
    editor.stdin.close()
    assert editor.wait(timeout=60) == 0


# A terminal


def test_bars_are_in_proportion_and_text_is_only_shown() -> None:
    out = io.StringIO()
    show_bars(out, ["completion", "probability"], [["[red]a[/red]", 0.5], ["\x1b[31m\n\t", 0.25], ["", 0.0]])
    lines = out.getvalue().splitlines()
    assert "[red]a[/red]" in lines[1] and "0.5000" in lines[1]
    assert "\\x1b[31m\\n\\x09" in lines[2] and "\x1b" not in out.getvalue()
    assert [line.count("█") for line in lines] == [0, 32, 16, 0]
