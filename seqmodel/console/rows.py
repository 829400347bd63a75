"""Rows of data on standard output: TSV with a header line, or JSON lines. Flushed whenever a batch is done."""

from __future__ import annotations

import io
import json
import math
import sys
from collections.abc import Iterable, Sequence
from typing import Any, Literal, TextIO

from seqmodel.kinds import Unit

RowFormat = Literal["tsv", "jsonl"]

_ESCAPES = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})
_JSON_ESCAPES = {code: f"\\u{code:04x}" for code in range(127, 160)}  # those below 32 JSON escapes itself
_STEERING = {code: f"\\x{code:02x}" for code in [*range(32), *range(127, 160)] if code not in (9, 10, 13)}


def data_output(unit: Unit) -> TextIO:
    """Standard output as UTF-8 whatever the locale; for the byte unit any bytes come back as they were."""
    stdout = sys.stdout
    if isinstance(stdout, io.TextIOWrapper):
        stdout.reconfigure(encoding="utf-8", errors="surrogateescape" if unit == "byte" else "strict", newline="\n")
    return stdout


class RowWriter:
    """Writes rows with the same columns in one format. Undefined numbers are empty in TSV and null in JSON."""

    def __init__(self, stream: TextIO, columns: Sequence[str], style: RowFormat, header: bool) -> None:
        self.stream, self.columns, self.style = stream, columns, style
        self.escapes = _ESCAPES if not stream.isatty() else {**_ESCAPES, **_STEERING}
        if style == "tsv" and header:
            stream.write("\t".join(columns) + "\n")

    def write(self, rows: Iterable[Sequence[Any]]) -> None:
        lines = [self._json(row) if self.style == "jsonl" else "\t".join(map(self._cell, row)) for row in rows]
        if lines:
            self.stream.write("\n".join(lines) + "\n")

    def flush(self) -> None:
        self.stream.flush()

    def _cell(self, value: Any) -> str:
        if isinstance(value, str):
            return value.translate(self.escapes)
        if isinstance(value, float):
            value += 0.0  # no minus before nothing
            return "" if math.isnan(value) else f"{value:.6g}" if abs(value) < 1e-3 else f"{value:.4f}"
        return str(value)

    def _json(self, row: Sequence[Any]) -> str:
        cells = dict(zip(self.columns, map(_plain, row), strict=True))
        return json.dumps(cells, ensure_ascii=False).translate(_JSON_ESCAPES)


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, 6) + 0.0 if math.isfinite(value) else None
    if isinstance(value, str) and any("\ud800" <= char <= "\udfff" for char in value):
        return value.encode("utf-8", "surrogateescape").decode("latin-1")  # bytes that are no UTF-8, one char each
    return value
