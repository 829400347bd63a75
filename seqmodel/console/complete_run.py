"""Carries out `seqmodel complete`: for one text, for the lines of standard input, or for JSON requests."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, Literal, TextIO

from seqmodel.api.model import Model
from seqmodel.console.complete_view import show_bars
from seqmodel.console.rows import RowWriter, data_output
from seqmodel.console.terminal import say
from seqmodel.decoding.completion import Completions, NextTokens
from seqmodel.errors import SeqmodelError, UsageError
from seqmodel.settings import CorpusSettings
from seqmodel.text.corpus import Line, read_lines
from seqmodel.text.sources import STDIN, find_sources


@dataclass(frozen=True)
class CompleteRequest:
    """The options of the command."""

    text: str | None
    k: int
    effort: int
    next_tokens: bool
    any_text: bool
    style: Literal["tsv", "jsonl"] | None
    requests: bool
    header: bool
    quiet: bool


def run_complete(model: Model, request: CompleteRequest) -> None:
    """Write the completions of each text to standard output, one text after another.

    Raises:
        UsageError: if the options contradict each other.
    """
    out = data_output(model.header.unit)
    if request.requests:
        if request.text is not None or request.next_tokens or request.style == "tsv":
            raise UsageError(
                "--jsonl reads its requests from standard input", "Leave out the text, --next and --format."
            )
        answer_requests(model, request, out)
        return
    if request.text is None:
        raise UsageError("no text is given", 'Give it in quotes, "" for the beginning, or - for lines of a pipe.')
    style = request.style or ("table" if out.isatty() else "tsv")
    lines = request.text == STDIN
    output = _Output(out, style, request, lines)
    for number, text in _lines(model) if lines else [(1, request.text)]:
        output.write(number, answer(model, text, request))


Answer = Completions | NextTokens


def answer(model: Model, text: str, request: CompleteRequest) -> Answer:
    """The most probable completions of a text, or its next tokens if the request asks for them."""
    if request.next_tokens:
        return model.next_tokens(text, request.k, any_text=request.any_text)
    return model.completions(text, request.k, effort=request.effort, any_text=request.any_text)


def _lines(model: Model) -> Iterator[tuple[int, str]]:
    """Yield number and text of each line of standard input."""
    for line in _read(any_bytes=model.header.unit == "byte"):
        yield line.number, line.body


def _read(any_bytes: bool) -> Iterator[Line]:
    (source,) = find_sources([STDIN])
    for batch in read_lines(source, CorpusSettings(), any_bytes):
        yield from batch


class _Output:
    """Writes answers in one style, and to standard error the probability that they leave out."""

    def __init__(self, out: TextIO, style: str, request: CompleteRequest, lines: bool) -> None:
        self.out, self.style, self.lines, self.quiet = out, style, lines, request.quiet
        self.names = ["token", "probability", "cumulative"] if request.next_tokens else ["completion", "probability"]
        if style == "tsv":
            columns = (["line"] if lines else []) + self.names
            self.writer = RowWriter(out, columns, "tsv", request.header)
        elif style == "jsonl":
            key = "tokens" if request.next_tokens else "completions"
            self.writer = RowWriter(out, ["prefix", key, "missing"], "jsonl", False)

    def write(self, number: int, found: Answer) -> None:
        rows = _rows(found)
        if self.style == "jsonl":
            names = ["text" if name == "completion" else name for name in self.names]
            objects = [dict(zip(names, map(_rounded, row), strict=True)) for row in rows]
            self.writer.write([[found.prefix, objects, found.missing]])
        elif self.style == "tsv":
            self.writer.write([[number, *row] if self.lines else row for row in rows])
        else:
            show_bars(self.out, self.names, rows)
        self.out.flush()
        if self.style != "jsonl" and not self.quiet:
            say((f"line {number}: " if self.lines else "") + _left_out(found))


def _rows(found: Answer) -> list[list[Any]]:
    if isinstance(found, Completions):
        return [[one.text, one.probability] for one in found.best]
    sums = accumulate(one.probability for one in found.best)
    return [[one.token, one.probability, total] for one, total in zip(found.best, sums, strict=True)]


def _left_out(found: Answer) -> str:
    """The probability that no completion covers, and the reason."""
    told = f"missing: {found.missing:.4f}"
    if isinstance(found, NextTokens):
        return told
    return told + (", none of it as probable as these" if found.settled else ", with --effort spent")


def _rounded(value: Any) -> Any:
    return float(f"{value:.6g}") if isinstance(value, float) else value


# Requests


def answer_requests(model: Model, request: CompleteRequest, out: TextIO) -> None:
    """Answer requests on standard input, one JSON object a line, until it ends.

    An invalid request is answered by an `error` that quotes nothing of it.
    """
    answers = RowWriter(out, ["completions", "missing"], "jsonl", False)
    errors = RowWriter(out, ["error"], "jsonl", False)
    for line in _read(any_bytes=True):
        beside = ""
        try:
            asked = _parsed(line.text)
            beside = json.dumps(identity) if (identity := _identity(asked)) else ""
            found = model.completions(
                _prefix(asked), asked.get("k", request.k), effort=request.effort, any_text=request.any_text
            )
            best = [{"text": one.text, "probability": _rounded(one.probability)} for one in found.best]
            answers.write([[best, found.missing]], beside)
        except SeqmodelError as error:
            errors.write([[error.message]], beside)
        out.flush()


def _parsed(line: str) -> dict[str, Any]:
    try:
        asked = json.loads(line)
    except (ValueError, RecursionError):
        raise UsageError("the request is not JSON") from None
    if not isinstance(asked, dict):
        raise UsageError("the request is not a JSON object")
    return asked


def _identity(asked: dict[str, Any]) -> dict[str, Any]:
    """The request's `id`, which its answer repeats; empty if it has none."""
    if "id" not in asked:
        return {}
    if not isinstance(asked["id"], str | int | None):
        raise UsageError("id takes a string or an integer")
    return {"id": asked["id"]}


def _prefix(asked: dict[str, Any]) -> str:
    if not asked.keys() <= {"prefix", "k", "id"}:
        raise UsageError("a request takes prefix, k and id, and no other field")
    prefix = asked.get("prefix")
    if not isinstance(prefix, str):
        raise UsageError("the request needs a prefix, a string")
    return prefix
