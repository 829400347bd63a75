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
        typer.Option(help="Those with a score below this.", rich_help_panel=_RULE, show_default=False),
    ] = None,
    above: Annotated[
        float | None,
        typer.Option(help="Those with a score above this.", rich_help_panel=_RULE, show_default=False),
    ] = None,
    percentiles: Annotated[
        str | None,
        typer.Option(
            metavar="A..B",
            help="Those from A to B among held-out lines of like length (score --percentile); 95.. for the oddest.",
            rich_help_panel=_RULE,
            show_default=False,
        ),
    ] = None,
    per: Annotated[
        Literal["char", "token", "line"] | None,
        typer.Option(
            help="Whether scores are bits per char, per token or of the line; closed vocabularies have none per char.",
            rich_help_panel=_RULE,
            show_default=False,
        ),
    ] = None,
    against: Annotated[
        Path | None,
        typer.Option(
            metavar="MODEL",
            help="The score is the model's less this one's: below 0, a line is more like the model's text.",
            rich_help_panel=_RULE,
            show_default=False,
        ),
    ] = None,
    invert: Annotated[
        bool, typer.Option("--invert", "-v", help="The others pass instead.", rich_help_panel=_RULE)
    ] = False,
    keep_blank: Annotated[
        bool,
        typer.Option(
            "--keep-blank", help="Blank lines, which have no score, pass; else they never do.", rich_help_panel=_RULE
        ),
    ] = False,
    count: Annotated[bool, typer.Option("--count", "-c", help="Write only how many lines pass.")] = False,
    context: Annotated[
        Literal["carry", "none"],
        typer.Option(help="none: every line stands alone, whatever the model's sequences are."),
    ] = "carry",
    column: Annotated[
        str | None,
        typer.Option(
            help=f"The input is a table, whose rows pass: the column with the text, {options.COLUMN_RULE}.",
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
    """Pass lines on, byte for byte, whose score is within all the bounds given. If none is, the exit code is 0 too.

    In paragraph, document and stream models a line is scored after those before it in the input, whether they
    pass or not. A table keeps its header. A byte order mark at the start of a file is left out.
    """
    from seqmodel.api import load, model_path
    from seqmodel.config import CorpusSettings
    from seqmodel.console.filter_run import FilterRequest, run_filter

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
