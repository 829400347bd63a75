"""`seqmodel score`: one row per line (or token, or corpus), in order, as the input comes."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from seqmodel.cli import options
from seqmodel.console.failures import guarded
from seqmodel.console.rows import RowFormat


@guarded
def command(
    inputs: options.Inputs = None,
    text: Annotated[
        list[str] | None,
        typer.Option("--text", "-t", help="Score this text instead of files; may be repeated.", show_default=False),
    ] = None,
    model: options.ModelOption = None,
    by: Annotated[Literal["line", "token", "corpus"], typer.Option(help="What a row stands for.")] = "line",
    style: Annotated[RowFormat, typer.Option("--format", help="How rows are written.")] = "tsv",
    header: Annotated[bool, typer.Option("--header/--no-header", help="TSV: begin with the column names.")] = True,
    show_text: Annotated[bool, typer.Option("--show-text/--no-text", help="Write the text beside its score.")] = True,
    base: Annotated[Literal["2", "e", "10"], typer.Option(help="Bits, nats or bans.")] = "2",
    context: Annotated[
        Literal["carry", "none"],
        typer.Option(help="none: every line stands alone, whatever the model's sequences are."),
    ] = "carry",
    errors: options.ErrorsOption = "strict",
    max_line: options.MaxLineOption = 256,
    quiet: options.QuietOption = False,
    debug: options.DebugOption = False,
) -> None:
    """Score text: −log2 p of each line, the end symbol (or the newline) included.

    In a line model each line is a sequence of its own. In the others a line's score depends on what precedes
    it in its paragraph, document or stream.
    """
    from seqmodel.api import load, model_path
    from seqmodel.config import CorpusSettings
    from seqmodel.console.rows import RowWriter, data_output
    from seqmodel.console.score_view import UNITS, CorpusTotals, columns, line_row, token_rows
    from seqmodel.errors import UsageError
    from seqmodel.text.corpus import Line, find_sources, read_lines

    if text and inputs:
        raise UsageError("both --text and files are given", "Give one of them.")
    loaded = load(model_path(model))
    unit, closed, scale = loaded.header.unit, loaded.header.closed, UNITS[base][1]
    settings = CorpusSettings(errors=errors, max_line=max_line << 20)
    sources = [] if text else find_sources(inputs or ["-"])
    names = columns(by, base, len(sources) > 1, show_text)
    writer = RowWriter(data_output(unit), names, style, header)
    totals = CorpusTotals()
    given = [Line(number, line, False) for number, line in enumerate(text or [], start=1)]
    streams = [("", iter([given]))] if text else [(s.name, read_lines(s, settings, unit == "byte")) for s in sources]
    for name, batches in streams:
        totals.sequences += not loaded.header.model.ends  # a stream has no end symbol to count
        for rows in loaded.score_lines(batches, details=by == "token", restart=bool(text) or context == "none"):
            file = [name] if len(sources) > 1 else []
            for row in rows:
                totals.add(row, unit)
                if by == "line":
                    writer.write([[*file, *line_row(row, scale, closed, show_text)]])
                elif by == "token":
                    writer.write([*file, *cells] for cells in token_rows(row, loaded.tokenizer, scale, show_text))
            writer.flush()
    if by == "corpus":
        writer.write([totals.row(scale, closed)])
    elif not quiet:
        typer.echo(totals.summary(base, closed, loaded.header.model.ends), err=True)
