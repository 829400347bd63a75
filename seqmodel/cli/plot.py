"""`seqmodel plot`: how runs went, as a curve in the terminal or a figure in a file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from seqmodel.choices import Over
from seqmodel.cli import options
from seqmodel.console.failures import guarded


@guarded
def command(
    logs: Annotated[
        list[Path],
        typer.Argument(metavar="LOG", help="Logs of runs: the .jsonl files beside the bundles.", show_default=False),
    ],
    over: Annotated[Over, typer.Option(help="Horizontal axis.")] = "time",
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="Write a figure, .svg or .png (needs matplotlib).", show_default=False),
    ] = None,
    force: options.ForceOption = False,
    debug: options.DebugOption = False,
) -> None:
    """Draw the training curves of one or more runs.

    Shows train and held-out bits per char, with the final figures as horizontal lines. Runs of different units share
    the axis. Without -o the curve is drawn in the terminal.
    """
    if output is None:
        from seqmodel.console.curve_view import show_curves

        show_curves(logs, over)
        return
    from seqmodel.api.verbs import plot
    from seqmodel.console.rows import write_name

    write_name(plot(logs, output, over=over, force=force))
