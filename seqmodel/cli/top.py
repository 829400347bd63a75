"""`seqmodel top`: the most probable whole sequences, in order."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from seqmodel.cli import options
from seqmodel.console.failures import guarded

_LIMITS = "Limits of the search"


@guarded
def command(
    model: options.ModelOption = None,
    count: Annotated[int, typer.Option("--count", "-n", min=1, help="Number of sequences.")] = 10,
    prefix: Annotated[
        str,
        typer.Option(
            "--prefix",
            "-p",
            help="List only sequences that begin with this text's tokens; probabilities are given them.",
        ),
    ] = "",
    max_bits: Annotated[
        float | None,
        typer.Option(min=0, help="List only sequences of at most so many bits.", show_default=False),
    ] = None,
    any_text: options.AnyTextOption = False,
    effort: Annotated[
        int, typer.Option(min=1, help="Extend at most so many partial sequences.", rich_help_panel=_LIMITS)
    ] = 200_000,
    frontier: Annotated[
        int,
        typer.Option(min=1, help="Keep at most so many partial sequences.", rich_help_panel=_LIMITS),
    ] = 100_000,
    memory: Annotated[int, typer.Option(min=1, help="Keep at most so many MiB of them.", rich_help_panel=_LIMITS)] = (
        1024
    ),
    style: Annotated[Literal["tsv", "csv", "jsonl"], typer.Option("--format", help="Format of the rows.")] = "tsv",
    header: Annotated[bool, typer.Option("--header/--no-header", help="Write the column names first.")] = True,
    quiet: options.QuietOption = False,
    debug: options.DebugOption = False,
) -> None:
    """List the most probable whole sequences, best first.

    A sequence is written once it is proved that none that is missing is more probable (proved 1). If a limit ends the
    search first, the best found so far follow (proved 0). Stream models have no whole sequences. In word and subword
    models a prefix means its own tokens: "regist" does not find "register".
    """
    from seqmodel.api.verbs import load, model_path
    from seqmodel.console.escapes import say_escapes
    from seqmodel.console.rows import data_output
    from seqmodel.console.top_output import write_top

    loaded = load(model_path(model))
    if not quiet:
        say_escapes(loaded.tokenizer, {"--prefix": [prefix]})
    limits = {"max_bits": max_bits, "effort": effort, "frontier": frontier, "memory": memory << 20}
    search = loaded.top(count, prefix, any_text=any_text, **limits)
    write_top(search, data_output(loaded.header.unit), style, header, quiet)
