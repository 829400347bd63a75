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
            help="The model; default $SEQMODEL_MODEL, else ./model.seqmodel. Repeat it to mix several.",
            show_default=False,
        ),
    ] = None,
    by: Annotated[
        Literal["token", "word", "line", "document", "corpus"], typer.Option(help="Write one row for each of these.")
    ] = "line",
    style: Annotated[
        Literal["tsv", "csv", "jsonl", "kenlm", "lmzoo"] | None,
        typer.Option(
            "--format", help="Format of the rows; default: that of the input table, else tsv.", show_default=False
        ),
    ] = None,
    header: Annotated[bool, typer.Option("--header/--no-header", help="Write the column names first.")] = True,
    show_text: Annotated[bool, typer.Option("--show-text/--no-text", help="Write the text beside its score.")] = True,
    base: Annotated[
        Literal["2", "e", "10"], typer.Option(help="Base of logarithms: 2 gives bits, e nats, 10 bans.")
    ] = "2",
    eos: Annotated[
        bool, typer.Option("--eos/--no-eos", help="Count the end symbol, or a stream text's newline.")
    ] = True,
    context: Annotated[
        str,
        typer.Option(
            metavar="carry|none|FILE",
            help="none: score every line by itself. FILE: score after this text. carry: as the model was trained.",
        ),
    ] = "carry",
    words: Annotated[
        Literal["space", "unicode"] | None,
        typer.Option(
            help="With --by word: split words at white space (the default), or by Unicode (UAX 29).",
            rich_help_panel=_WORDS,
            show_default=False,
        ),
    ] = None,
    word_boundary: Annotated[
        Literal["corrected", "naive"] | None,
        typer.Option(
            help="With --by word: a word's score includes its end (corrected, the default), or the next one's does.",
            rich_help_panel=_WORDS,
            show_default=False,
        ),
    ] = None,
    column: Annotated[
        str | None,
        typer.Option(
            help=f"Read a table: the text's column, {options.COLUMN_RULE}.",
            rich_help_panel=options.TABLES,
            show_default=False,
        ),
    ] = None,
    given_column: Annotated[
        str | None,
        typer.Option(
            help="Score the text given the text of this column.", rich_help_panel=options.TABLES, show_default=False
        ),
    ] = None,
    separator: Annotated[
        str | None,
        typer.Option(
            help="Join the given text and the text by this, unless white space is there; default: a blank.",
            rich_help_panel=options.TABLES,
            show_default=False,
        ),
    ] = None,
    table: options.TableOption = None,
    skip_bad: options.SkipBadOption = False,
    column_prefix: Annotated[
        str,
        typer.Option(help="Prefix of the names of score columns.", rich_help_panel=options.TABLES, show_default=False),
    ] = "",
    shard: Annotated[
        str | None,
        typer.Option(metavar="I/N", help="Score only part I of N of a file's lines.", show_default=False),
    ] = None,
    mix: Annotated[
        str | None,
        typer.Option(
            metavar="W,W...|auto",
            help="Weights of the models; default equal; auto: fitted to the --tune text.",
            rich_help_panel=_MIXTURES,
            show_default=False,
        ),
    ] = None,
    tune: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="Held-out text for --mix auto; with --column a table like the input.",
            rich_help_panel=_MIXTURES,
            show_default=False,
        ),
    ] = None,
    html: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="Write no rows but a page of the text, coloured by surprisal, by token or --by word.",
            rich_help_panel=_PICTURES,
            show_default=False,
        ),
    ] = None,
    worst_first: Annotated[
        bool,
        typer.Option(
            "--worst-first", help="With --html: sort lines by bits per char, highest first.", rich_help_panel=_PICTURES
        ),
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Overwrite the page if it exists.", rich_help_panel=_PICTURES)
    ] = False,
    heatmap: Annotated[
        bool,
        typer.Option(
            "--heatmap", help="Write no rows but the coloured text, in the terminal.", rich_help_panel=_PICTURES
        ),
    ] = False,
    explain: Annotated[
        bool,
        typer.Option(
            "--explain",
            help="Show token by token how a short line's probability is built.",
            rich_help_panel=_PICTURES,
        ),
    ] = False,
    percentile: Annotated[
        bool,
        typer.Option(
            "--percentile",
            help="Add the line's rank among held-out lines of similar length; 100: most surprising.",
            rich_help_panel=_ODD,
        ),
    ] = False,
    worst: Annotated[
        bool,
        typer.Option(
            "--worst", help="Add where the most surprising span of the line begins and ends.", rich_help_panel=_ODD
        ),
    ] = False,
    errors: options.ErrorsOption = "strict",
    max_line: options.MaxLineOption = 256,
    quiet: options.QuietOption = False,
    debug: options.DebugOption = False,
) -> None:
    """Score text: −log2 p of each line.

    The end symbol (in stream models the newline) is counted. A line model scores each line by itself; other models
    score it given what precedes it in its paragraph, document or stream. Table rows and --text are scored alone: a
    stream model scores each with a newline after it. `chars` of a row leaves the line end out; the sums of --by
    document and corpus count it as one character (CR LF too), as wc -m does.
    """
    from seqmodel.api.verbs import model_path
    from seqmodel.console.mix_run import scorer
    from seqmodel.console.score_pictures import Pictures
    from seqmodel.console.score_run import ScoreRequest, run_score
    from seqmodel.settings import CorpusSettings

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
        skip_bad=skip_bad,
        prefix=column_prefix,
        shard=shard,
        percentile=percentile,
        worst=worst,
        quiet=quiet,
        pictures=pictures,
    )
    settings = CorpusSettings(errors=errors, max_line=max_line << 20)
    run_score(scorer(paths, mix, tune, request, settings), request, settings)
