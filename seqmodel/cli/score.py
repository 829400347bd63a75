"""`seqmodel score`: one row per line (or token, word, document, corpus), in order, as the input comes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from seqmodel.cli import options
from seqmodel.console.failures import guarded

_WORDS, _ODD, _MIXTURES, _PICTURES = "Words", "Odd lines", "Mixtures", "Pictures"


@guarded
def command(
    inputs: options.Inputs = None,
    text: Annotated[
        list[str] | None,
        typer.Option("--text", "-t", help="Score this text instead of files; may be repeated.", show_default=False),
    ] = None,
    model: Annotated[
        list[Path] | None,
        typer.Option(
            "-m",
            "--model",
            help="The bundle; else $SEQMODEL_MODEL, else ./model.seqmodel. Given more than once: a mixture of them.",
            show_default=False,
        ),
    ] = None,
    by: Annotated[
        Literal["token", "word", "line", "document", "corpus"], typer.Option(help="What a row stands for.")
    ] = "line",
    style: Annotated[
        Literal["tsv", "csv", "jsonl", "kenlm", "lmzoo"] | None,
        typer.Option("--format", help="Of the rows; else as the table read, or tsv.", show_default=False),
    ] = None,
    header: Annotated[bool, typer.Option("--header/--no-header", help="Begin with the column names.")] = True,
    show_text: Annotated[bool, typer.Option("--show-text/--no-text", help="Write the text beside its score.")] = True,
    base: Annotated[Literal["2", "e", "10"], typer.Option(help="Bits, nats or bans.")] = "2",
    eos: Annotated[
        bool,
        typer.Option("--eos/--no-eos", help="Count the end symbol, or a stream text's newline."),
    ] = True,
    context: Annotated[
        str,
        typer.Option(
            metavar="carry|none|FILE",
            help="none: every line stands alone, whatever the model's sequences are. FILE: a text that comes before.",
        ),
    ] = "carry",
    words: Annotated[
        Literal["space", "unicode"] | None,
        typer.Option(
            help="With --by word: what a word is, by white space (the default) or by UAX 29.",
            rich_help_panel=_WORDS,
            show_default=False,
        ),
    ] = None,
    word_boundary: Annotated[
        Literal["corrected", "naive"] | None,
        typer.Option(
            help="With --by word: a word's end counts to it (corrected, the default) or to the next word (naive).",
            rich_help_panel=_WORDS,
            show_default=False,
        ),
    ] = None,
    column: Annotated[
        str | None,
        typer.Option(
            help="The input is a table: the column with the text, by name, or by number if there is no header.",
            rich_help_panel=options.TABLES,
            show_default=False,
        ),
    ] = None,
    given_column: Annotated[
        str | None,
        typer.Option(help="Score the text given this column's.", rich_help_panel=options.TABLES, show_default=False),
    ] = None,
    separator: Annotated[
        str | None,
        typer.Option(
            help="What joins them where neither has white space there; else a blank.",
            rich_help_panel=options.TABLES,
            show_default=False,
        ),
    ] = None,
    table: options.TableOption = None,
    column_prefix: Annotated[
        str,
        typer.Option(
            help="Put this before the names of the scores.", rich_help_panel=options.TABLES, show_default=False
        ),
    ] = "",
    shard: Annotated[
        str | None,
        typer.Option(metavar="I/N", help="Score the I-th of N shares of a file's lines.", show_default=False),
    ] = None,
    mix: Annotated[
        str | None,
        typer.Option(
            metavar="W,W...|auto",
            help="The share of each model's probability, else equal; auto: fitted on --tune.",
            rich_help_panel=_MIXTURES,
            show_default=False,
        ),
    ] = None,
    tune: Annotated[
        str | None,
        typer.Option(
            metavar="FILE", help="For --mix auto: held-out text.", rich_help_panel=_MIXTURES, show_default=False
        ),
    ] = None,
    html: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="Write a page of the text, coloured by the surprisal of tokens or (--by word) words, instead of rows.",
            rich_help_panel=_PICTURES,
            show_default=False,
        ),
    ] = None,
    worst_first: Annotated[
        bool, typer.Option("--worst-first", help="Sort its lines by bits per char.", rich_help_panel=_PICTURES)
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Overwrite the page if it exists.", rich_help_panel=_PICTURES)
    ] = False,
    heatmap: Annotated[
        bool,
        typer.Option("--heatmap", help="Colour the text in the terminal instead of rows.", rich_help_panel=_PICTURES),
    ] = False,
    explain: Annotated[
        bool,
        typer.Option(
            "--explain",
            help="Show how the probability of a short line is built, token by token; each line stands alone.",
            rich_help_panel=_PICTURES,
        ),
    ] = False,
    percentile: Annotated[
        bool,
        typer.Option(
            "--percentile",
            help="Where the line stands among held-out ones of like length: 100 is the most surprising.",
            rich_help_panel=_ODD,
        ),
    ] = False,
    worst: Annotated[
        bool,
        typer.Option(
            "--worst", help="Where the most surprising span of the line begins and ends.", rich_help_panel=_ODD
        ),
    ] = False,
    errors: options.ErrorsOption = "strict",
    max_line: options.MaxLineOption = 256,
    quiet: options.QuietOption = False,
    debug: options.DebugOption = False,
) -> None:
    """Score text: −log2 p of each line, the end symbol included, or the newline that ends the line.

    In a line model each line is a sequence of its own. In the others a line's score depends on what precedes
    it in its paragraph, document or stream. The rows of a table, and texts given by --text, stand alone: a
    stream model scores each with a newline after it. A row's chars leave the line end out; the sums of
    --by document and corpus count it, as wc -m does, as one character (CR LF too).
    """
    from seqmodel.api import model_path
    from seqmodel.config import CorpusSettings
    from seqmodel.console.mix_run import scorer
    from seqmodel.console.score_pictures import Pictures
    from seqmodel.console.score_run import ScoreRequest, run_score

    paths = model or [model_path()]
    pictures = Pictures(html, worst_first, heatmap, explain, force, " + ".join(path.name for path in paths))
    request = ScoreRequest(
        inputs=tuple(inputs or ()),
        texts=tuple(text or ()),
        level=by,
        style=style,
        base=base,
        header=header,
        show_text=show_text,
        end=eos,
        words=words,
        boundary=word_boundary,
        context=context,
        column=column,
        given_column=given_column,
        separator=separator,
        table=table,
        prefix=column_prefix,
        shard=shard,
        percentile=percentile,
        worst=worst,
        quiet=quiet,
        pictures=pictures,
    )
    settings = CorpusSettings(errors=errors, max_line=max_line << 20)
    run_score(scorer(paths, mix, tune, request, settings), request, settings)
