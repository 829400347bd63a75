"""`seqmodel rescore`: n-best lists ranked by what a model thinks of each hypothesis."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from seqmodel.cli import options
from seqmodel.cli.command import command as as_command
from seqmodel.command_settings import NbestSettings, ReadingSettings, WeightSettings


@as_command
def command(
    nbest: Annotated[
        str, typer.Argument(help="The n-best lists: a file (.gz .bz2 .xz .zst too), or - for standard input.")
    ] = "-",
    model: options.ModelOption = None,
    output: Annotated[
        Literal["best", "reranked", "scores"],
        typer.Option(
            help="best: the best hypothesis of each utterance. reranked: all, best first. scores: all in input order, "
            "with ln p and the total."
        ),
    ] = "best",
    style: Annotated[
        Literal["kaldi", "moses", "tsv", "csv", "jsonl"] | None,
        typer.Option("--format", help="Format of the output; default: as the input.", show_default=False),
    ] = None,
    header: Annotated[
        bool, typer.Option("--header/--no-header", help="Write the column names of a table first.")
    ] = True,
    *,
    lists: NbestSettings,
    column_prefix: Annotated[
        str,
        typer.Option(
            help="Prefix of the columns lm_score and total.", rich_help_panel=options.TABLES, show_default=False
        ),
    ] = "",
    weights: WeightSettings,
    reading: ReadingSettings,
    quiet: options.QuietOption = False,
) -> None:
    """Rescore n-best lists by ln p, alone or with other scores.

    total = weight × ln p (end symbol included) + weighted other scores + length penalty × number of words.

    Input: a line for each hypothesis, `utt-1 words...`, `utt-2 words...` (Kaldi) or `0 ||| words ||| features |||
    total` (Moses), grouped by utterance; or a table.
    """
    from seqmodel.api.verbs import rescore
    from seqmodel.console.rescore_view import show_rescored

    settings = {"lists": lists, "weights": weights, "reading": reading}
    show_rescored(rescore(nbest, model, **settings), output, style, header, column_prefix, quiet)
