"""`seqmodel filter`: lines whose score fits pass, unchanged."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from seqmodel.cli import options
from seqmodel.console.failures import guarded

_RULE = "Which lines pass"


@guarded
def command(
    inputs: options.Inputs = None,
    model: options.ModelOption = None,
    below: Annotated[
        float | None,
        typer.Option(help="Print lines with a score below this.", rich_help_panel=_RULE, show_default=False),
    ] = None,
    above: Annotated[
        float | None,
        typer.Option(help="Print lines with a score above this.", rich_help_panel=_RULE, show_default=False),
    ] = None,
    percentiles: Annotated[
        str | None,
        typer.Option(
            metavar="A..B",
            help="Print lines of these percentiles (see score --percentile); 95.. for the oddest.",
            rich_help_panel=_RULE,
            show_default=False,
        ),
    ] = None,
    per: Annotated[
        Literal["char", "token", "line"] | None,
        typer.Option(
            help="Score in bits per char, per token or of the whole line; default char (closed vocabulary: token).",
            rich_help_panel=_RULE,
            show_default=False,
        ),
    ] = None,
    against: Annotated[
        Path | None,
        typer.Option(
            metavar="MODEL",
            help="Subtract this model's score; a line below 0 is more like the text of -m.",
            rich_help_panel=_RULE,
            show_default=False,
        ),
    ] = None,
    invert: Annotated[
        bool, typer.Option("--invert", "-v", help="Print the other lines instead.", rich_help_panel=_RULE)
    ] = False,
    keep_blank: Annotated[
        bool,
        typer.Option("--keep-blank", help="Print blank lines, too; they have no score.", rich_help_panel=_RULE),
    ] = False,
    count: Annotated[bool, typer.Option("--count", "-c", help="Print only the number of lines.")] = False,
    context: Annotated[
        Literal["carry", "none"],
        typer.Option(help="none: score every line by itself. carry: as the model was trained."),
    ] = "carry",
    column: Annotated[
        str | None,
        typer.Option(
            help=f"Read a table and print its rows: the text's column, {options.COLUMN_RULE}.",
            rich_help_panel=options.TABLES,
            show_default=False,
        ),
    ] = None,
    table: options.TableOption = None,
    skip_bad: options.SkipBadOption = False,
    errors: options.ErrorsOption = "strict",
    max_line: options.MaxLineOption = 256,
    quiet: options.QuietOption = False,
    debug: options.DebugOption = False,
) -> None:
    """Print the lines whose score lies within the given bounds, unchanged.

    The exit code is 0 even if no line does. Paragraph, document and stream models score a line given all lines before
    it, printed or not. A table keeps its header; a byte order mark is left out.
    """
    from seqmodel.api.verbs import load, model_path
    from seqmodel.console.filter_run import FilterRequest, run_filter
    from seqmodel.settings import CorpusSettings

    request = FilterRequest(
        inputs=tuple(inputs or ()),
        below=below,
        above=above,
        percentiles=percentiles,
        per=per,
        invert=invert,
        keep_blank=keep_blank,
        count=count,
        context=context,
        column=column,
        table=table,
        skip_bad=skip_bad,
        quiet=quiet,
    )
    settings = CorpusSettings(errors=errors, max_line=max_line << 20)
    run_filter(load(model_path(model)), load(against) if against is not None else None, request, settings)
