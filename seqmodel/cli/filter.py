"""`seqmodel filter`: lines whose score fits pass, unchanged."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from seqmodel.cli import options
from seqmodel.cli.command import command as as_command
from seqmodel.command_settings import FilterSettings, ReadingSettings, TableSettings


@as_command
def command(
    inputs: options.Inputs = None,
    model: options.ModelOption = None,
    *,
    rule: FilterSettings,
    against: Annotated[
        Path | None,
        typer.Option(
            metavar="MODEL",
            help="Subtract this model's score; a line below 0 is more like the text of -m.",
            rich_help_panel=FilterSettings.panel,
            show_default=False,
        ),
    ] = None,
    count: Annotated[bool, typer.Option("--count", "-c", help="Print only the number of lines.")] = False,
    table: TableSettings,
    reading: ReadingSettings,
    quiet: options.QuietOption = False,
) -> None:
    """Print the lines whose score lies within the given bounds, unchanged.

    The exit code is 0 even if no line does. Paragraph, document and stream models score a line given all lines before
    it, printed or not. A table keeps its header; a byte order mark is left out.
    """
    from seqmodel.api.verbs import filter
    from seqmodel.console.filter_view import show_filtered
    from seqmodel.console.terminal import notes

    settings = {"rule": rule, "table": table, "reading": reading}
    show_filtered(filter(inputs or (), model, against=against, on_note=notes(quiet), **settings), count, quiet)
