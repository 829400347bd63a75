"""`seqmodel bench`: what this machine gives, beside its own matrix product's peak."""

from __future__ import annotations

import os
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal, get_args

import typer

from seqmodel.choices import MAX_THREADS, CellKind
from seqmodel.cli import options
from seqmodel.console.failures import guarded

QUICK_SECONDS, SECONDS = 0.1, 1.5  # that go into each figure


class Cells(StrEnum):  # the command line's library takes lists of enumerations alone
    mingru, lstm, gru, rnn, all = "mingru", "lstm", "gru", "rnn", "all"


class Sizes(StrEnum):
    s, m, l = "s", "m", "l"  # noqa: E741


@guarded
def command(
    cell: Annotated[
        list[Cells] | None,
        typer.Option(help="The recurrence; may be repeated. Default mingru.", show_default=False),
    ] = None,
    size: Annotated[
        list[Sizes] | None,
        typer.Option(help="The preset; may be repeated. Default: all.", show_default=False),
    ] = None,
    model: Annotated[
        Path | None,
        typer.Option("-m", "--model", help="Measure scoring and generation by this model.", show_default=False),
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Measure for a few seconds only; rougher figures.")] = False,
    style: Annotated[Literal["table", "jsonl"], typer.Option("--format", help="Format of the figures.")] = "table",
    threads: Annotated[
        int | None,
        typer.Option(
            min=1, max=MAX_THREADS, help="CPU threads; default: as train and score choose.", show_default=False
        ),
    ] = None,
    quiet: options.QuietOption = False,
    debug: options.DebugOption = False,
) -> None:
    """Measure how fast this machine trains, scores and generates.

    Figures are tokens a second, and the share of the peak rate of matrix products. It trains on a made-up corpus and
    leaves no file. Run nothing else meanwhile.
    """
    from seqmodel.console.bench_view import BenchView, show_table, write_row
    from seqmodel.errors import UsageError
    from seqmodel.model.bundle import read_bundle
    from seqmodel.reports.speed import bundle_speeds, preset_speeds
    from seqmodel.training.planning import SIZES

    if model is not None and (cell or size):
        raise UsageError("-m is given together with --cell or --size", "A bundle has a cell and a size of its own.")
    wanted = cell or [Cells.mingru]
    cells = [kind for kind in get_args(CellKind) if kind in wanted or Cells.all in wanted]
    sizes = [name for name in SIZES if name in (size or SIZES)]
    seconds = QUICK_SECONDS if quick else SECONDS
    rows = []
    with BenchView(quiet) as view:
        view.warn_of(os.environ)
        speeds = (
            preset_speeds(cells, sizes, seconds=seconds, threads=threads)
            if model is None
            else bundle_speeds(read_bundle(model), seconds=seconds, threads=threads)
        )
        for row in speeds:
            rows.append(row)
            view.show(row)
            if style == "jsonl":
                write_row(row)
    if style == "table":
        show_table(rows)
