"""`seqmodel rescore`: n-best lists by what a model thinks of each hypothesis."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from seqmodel.cli import options
from seqmodel.console.failures import guarded

_KALDI, _WEIGHTS = "Kaldi's layout", "Weights"


@guarded
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
    kind: Annotated[
        Literal["kaldi", "moses", "tsv", "csv", "jsonl", "raw-tsv"] | None,
        typer.Option(
            "--input",
            help="kaldi: lines of an id and words. moses: 0 ||| words ||| features ||| total. Or a table (raw-tsv: "
            "TSV without quoting). Default: by the first line; with --hypothesis by the file's name, else tsv.",
            show_default=False,
        ),
    ] = None,
    scores: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FILE",
            help="Another score of each hypothesis: lines of id and number, same order; may be repeated.",
            rich_help_panel=_KALDI,
            show_default=False,
        ),
    ] = None,
    whole_ids: Annotated[
        bool,
        typer.Option(
            "--whole-ids",
            help="Read ids as they are: utt-1 is an utterance, not hypothesis 1 of utt.",
            rich_help_panel=_KALDI,
        ),
    ] = False,
    utterance: Annotated[
        str | None,
        typer.Option(
            help=f"Column with the utterance's id, {options.COLUMN_RULE}.",
            rich_help_panel=options.TABLES,
            show_default=False,
        ),
    ] = None,
    hypothesis: Annotated[
        str | None,
        typer.Option(
            help="Column with the text of the hypothesis.", rich_help_panel=options.TABLES, show_default=False
        ),
    ] = None,
    score: Annotated[
        list[str] | None,
        typer.Option(
            metavar="COLUMN",
            help="Column, or Moses feature (TM0.2: its second number), with another score; may be repeated. Default: "
            "Moses' total.",
            rich_help_panel=options.TABLES,
            show_default=False,
        ),
    ] = None,
    skip_bad: options.SkipBadOption = False,
    column_prefix: Annotated[
        str,
        typer.Option(
            help="Prefix of the columns lm_score and total.", rich_help_panel=options.TABLES, show_default=False
        ),
    ] = "",
    weight: Annotated[
        float | None,
        typer.Option(
            help="Weight of ln p; default 1, or 0.5 beside other scores.", rich_help_panel=_WEIGHTS, show_default=False
        ),
    ] = None,
    score_weight: Annotated[
        list[float] | None,
        typer.Option(
            help="Weight of each other score, in their order; default 1. Costs need a negative one.",
            rich_help_panel=_WEIGHTS,
            show_default=False,
        ),
    ] = None,
    length_penalty: Annotated[float, typer.Option(help="Added for every word.", rich_help_panel=_WEIGHTS)] = 0.0,
    tune: Annotated[
        str | None,
        typer.Option(
            metavar="REFERENCE",
            help="Fit the weights to the word error rate against these lines of utterance and words, starting "
            "from the given weights.",
            rich_help_panel=_WEIGHTS,
            show_default=False,
        ),
    ] = None,
    errors: options.ErrorsOption = "strict",
    max_line: options.MaxLineOption = 256,
    quiet: options.QuietOption = False,
    debug: options.DebugOption = False,
) -> None:
    """Rescore n-best lists by ln p, alone or with other scores.

    total = weight × ln p (end symbol included) + weighted other scores + length penalty × number of words.

    Input: a line for each hypothesis, `utt-1 words...`, `utt-2 words...` (Kaldi) or `0 ||| words ||| features |||
    total` (Moses), grouped by utterance; or a table.
    """
    from seqmodel.api.verbs import load, model_path
    from seqmodel.console.rescore_run import RescoreRequest, run_rescore
    from seqmodel.settings import CorpusSettings

    request = RescoreRequest(
        nbest=nbest,
        kind=kind,
        whole_ids=whole_ids,
        utterance=utterance,
        hypothesis=hypothesis,
        score_columns=tuple(score or ()),
        score_files=tuple(scores or ()),
        weight=weight,
        score_weights=tuple(score_weight or ()),
        length_penalty=length_penalty,
        tune=tune,
        skip_bad=skip_bad,
        output=output,
        style=style,
        header=header,
        prefix=column_prefix,
        quiet=quiet,
    )
    run_rescore(load(model_path(model)), request, CorpusSettings(errors=errors, max_line=max_line << 20))
