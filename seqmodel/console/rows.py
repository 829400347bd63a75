"""Rows of data on standard output: TSV or CSV with a header line, or JSON lines."""

from __future__ import annotations

import io
import json
import math
import os
import re
import sys
from collections.abc import Iterable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Literal, TextIO

from seqmodel.choices import Unit
from seqmodel.text.delimited import Layout, joined
from seqmodel.text.visible import STEERING, TURNING, visible

RowFormat = Literal["tsv", "csv", "jsonl"]

ROWS_AT_ONCE = 1 << 12  # rows of one write: a long line has one for each token

LAYOUTS = {"tsv": Layout("\t"), "csv": Layout(",")}
_JSON_ESCAPES = {code: f"\\u{code:04x}" for code in range(127, 160)}  # JSON itself escapes those below 32

_SURROGATE = re.compile("[\ud800-\udfff]")


def data_output(unit: Unit) -> TextIO:
    """Standard output as UTF-8 in every locale; for the byte unit, bytes that are no UTF-8 are written unchanged."""
    stdout = sys.stdout
    if isinstance(stdout, io.TextIOWrapper):
        stdout.reconfigure(encoding="utf-8", errors="surrogateescape" if unit == "byte" else "strict", newline="\n")
    return stdout


def write_name(path: Path) -> None:
    """Write a file's name as a line of standard output: its bytes, or visible characters on a terminal."""
    if sys.stdout.isatty():
        sys.stdout.write(f"{visible(str(path))}\n")
    else:
        sys.stdout.flush()
        sys.stdout.buffer.write(os.fsencode(path) + b"\n")
    sys.stdout.flush()


def steering(stream: TextIO) -> dict[int, str]:
    """A table for `str.translate` that escapes control characters; empty if `stream` is no terminal."""
    return {**STEERING, 13: "\\r"} if stream.isatty() else {}


class Tenths(float):
    """A number that is written to one decimal."""


class RowWriter:
    """Writes rows of the same columns in one format. Undefined numbers are empty in TSV and CSV, null in JSON.

    TSV and CSV quote cells as `csv.excel_tab` and `csv.excel` do, which pandas and R read by default; `layout` replaces
    these rules. On a terminal control characters are shown, not sent.
    """

    def __init__(
        self, stream: TextIO, columns: Sequence[str], style: RowFormat, header: bool, layout: Layout | None = None
    ) -> None:
        self.stream, self.columns, self.style = stream, columns, style
        self.layout = layout or LAYOUTS.get(style, LAYOUTS["tsv"])
        self.steering = steering(stream)
        self.json_escapes = _JSON_ESCAPES | ({code: f"\\u{code:04x}" for code in TURNING} if self.steering else {})
        if header and style != "jsonl":
            self.write([columns])

    def write(self, rows: Iterable[Sequence[Any]], beside: str = "") -> None:
        """Write rows. In JSON the columns follow those of the object `beside`, whose text stays as it is."""
        lines = (self._json(row, beside) if self.style == "jsonl" else self._record(row) for row in rows)
        while several := list(islice(lines, ROWS_AT_ONCE)):
            self.stream.write("".join(several))

    def flush(self) -> None:
        self.stream.flush()

    def _record(self, row: Sequence[Any]) -> str:
        return joined([self._cell(value) for value in row], self.layout)

    def _cell(self, value: Any) -> str:
        if isinstance(value, str):
            return value.translate(self.steering) if self.steering else value
        return _number(value)

    def _json(self, row: Sequence[Any], beside: str) -> str:
        own = json.dumps(dict(zip(self.columns, map(_plain, row), strict=True)), ensure_ascii=False)
        line = f"{beside.rstrip().removesuffix('}').rstrip()}, {own[1:]}" if beside else own
        return _surrogates_escaped(line.translate(self.json_escapes)) + "\n"


def _number(value: Any) -> str:
    if isinstance(value, float):
        if isinstance(value, Tenths) and not math.isnan(value):
            return f"{value:.1f}"
        value += 0.0  # turns -0.0 into 0.0
        return "" if math.isnan(value) else f"{value:.6g}" if abs(value) < 1e-3 else f"{value:.4f}"
    return "" if value is None else str(value)


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        if not math.isfinite(value):
            return None
        return (float(f"{value:.6g}") if abs(value) < 1e-3 else round(value, 6)) + 0.0
    return value


def _surrogates_escaped(text: str) -> str:
    """Lone surrogates (bytes that are no UTF-8) as JSON escapes, which `json.loads` reads back."""
    return _SURROGATE.sub(lambda match: f"\\u{ord(match.group()):04x}", text) if not text.isascii() else text
