"""The output of `bench`: each figure on standard error when it is measured, then one table on standard output."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from types import TracebackType
from typing import TYPE_CHECKING

from rich.console import Console
from rich.status import Status
from rich.table import Table

from seqmodel.console.rows import RowWriter, data_output
from seqmodel.console.terminal import console, say
from seqmodel.text.visible import visible

if TYPE_CHECKING:
    from seqmodel.reports.speed import Job, Speed

TITLES: dict[Job, str] = {
    "train": "train",
    "score_lines": "score\nlines",
    "score_text": "score\none text",
    "generate_1": "generate\n1",
    "generate_32": "generate\n32",
    "tokenize": "tokenize",
}
LEAST_WIDTH = 110  # columns of the table off a terminal


class BenchView:
    """Context manager that prints each figure when it is measured; if `quiet`, it prints nothing."""

    def __init__(self, quiet: bool) -> None:
        self.quiet = quiet
        self.status: Status | None = None

    def __enter__(self) -> BenchView:
        if console().is_terminal and not self.quiet:
            self.status = console().status("measuring …")
            self.status.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.status is not None:
            self.status.stop()

    def warn_of(self, environment: Mapping[str, str]) -> None:
        """Warn of environment variables that change the figures."""
        chosen = environment.get("OPENBLAS_CORETYPE")
        if chosen is not None and not self.quiet:
            say(f"OPENBLAS_CORETYPE={visible(chosen)} is set: NumPy may be slower than it could be", "yellow")

    def show(self, row: Speed) -> None:
        if not self.quiet:
            say(f"{_model(row)}, {row.what}: {_figures(row)}")


def write_row(row: Speed) -> None:
    """Write a figure as one JSON line on standard output."""
    values = dataclasses.asdict(row)
    writer = RowWriter(data_output("char"), list(values), "jsonl", False)
    writer.write([list(values.values())])
    writer.flush()


def show_table(rows: Sequence[Speed]) -> None:
    """Print a table with a row per model and a column per job. The rows of a model must follow each other."""
    jobs = [job for job in TITLES if any(row.what == job for row in rows)]
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), title_justify="left")
    table.add_column("tokens/s (share of peak)", no_wrap=True)
    for job in jobs:
        table.add_column(TITLES[job], justify="right", no_wrap=True)
    for model, group in groupby(rows, _model):
        by_job = {row.what: _figures(row) for row in group}
        table.add_row(model, *(by_job.get(job, "") for job in jobs))
    out = Console(highlight=False, width=None if sys.stdout.isatty() else LEAST_WIDTH)
    out.print(table)
    for line in _peaks(rows):
        out.print(line, soft_wrap=True, markup=False)


def _peaks(rows: Sequence[Speed]) -> Iterator[str]:
    """Yield one line per library: the peaks that the shares refer to, by width and threads."""
    for library, job in (("torch", "train"), ("NumPy", "score_lines")):
        best: dict[str, float] = {}
        for row in rows:
            if row.what == job and row.peak_gflops is not None:
                key = f"width {row.width}, {row.threads} thread{'s' * (row.threads > 1)}"
                key += f" (trained in {row.precision})" if row.precision else ""
                best[key] = max(best.get(key, 0.0), row.peak_gflops)
        if best:
            yield f"{library}'s fp32 peak: " + "; ".join(f"{peak:.0f} GFLOP/s at {key}" for key, peak in best.items())


def _model(row: Speed) -> str:
    size = "" if row.size is None else f"{row.size} "
    return f"{row.cell} {size}{row.layers}×{row.width}"


def _figures(row: Speed) -> str:
    if row.what == "tokenize":
        return f"{row.tokens_per_second / 1e6:,.1f} M"
    share = "" if row.share is None else f" {row.share:4.0%}"
    return f"{row.tokens_per_second:,.0f}{share}"
