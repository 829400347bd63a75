"""`seqmodel bench`: what this machine gives, beside its own matrix product's peak."""

from __future__ import annotations

import os
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal, get_args

import typer

from seqmodel.cli import options
from seqmodel.console.failures import guarded
from seqmodel.kinds import CellKind

QUICK_SECONDS, SECONDS = 0.1, 1.5  # that go into each figure


class Cells(StrEnum):  # the command line's library takes lists of enumerations alone
    mingru, lstm, gru, rnn, all = "mingru", "lstm", "gru", "rnn", "all"


class Sizes(StrEnum):
    s, m, l = "s", "m", "l"  # noqa: E741


@guarded
def command(
    cell: Annotated[
        list[Cells] | None,
        typer.Option(help="The recurrence; may be repeated. Default: mingru.", show_default=False),
    ] = None,
    size: Annotated[
        list[Sizes] | None,
        typer.Option(help="The preset; may be repeated. Default: each.", show_default=False),
    ] = None,
    model: Annotated[
        Path | None,
        typer.Option("-m", "--model", help="Measure this bundle in scoring and generation.", show_default=False),
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Rougher figures, in a few seconds a model.")] = False,
    style: Annotated[Literal["table", "jsonl"], typer.Option("--format", help="How figures are written.")] = "table",
    threads: Annotated[
        int | None,
        typer.Option(min=1, max=1024, help="CPU threads; default: as train and score choose.", show_default=False),
    ] = None,
    quiet: options.QuietOption = False,
    debug: options.DebugOption = False,
) -> None:
    """Measure training, scoring and generation, in tokens a second and as a share of the matrix product's peak.

    It trains on a made-up corpus, of which no file is left. Let nothing else run beside it.
    """
    from seqmodel.console.bench_view import BenchView, show_table, write_row
    from seqmodel.errors import UsageError
    from seqmodel.model.bundle import read_bundle
    from seqmodel.training.planning import SIZES
    from seqmodel.training.speed import bundle_speeds, preset_speeds

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
