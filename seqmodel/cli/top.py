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
    count: Annotated[int, typer.Option("--count", "-n", min=1, help="How many sequences.")] = 10,
    prefix: Annotated[
        str,
        typer.Option("--prefix", "-p", help="Only those that begin with these tokens; probabilities given them."),
    ] = "",
    max_bits: Annotated[
        float | None,
        typer.Option(min=0, help="Only those of at most so many bits.", show_default=False),
    ] = None,
    any_text: options.AnyTextOption = False,
    effort: Annotated[
        int, typer.Option(min=1, help="Extend at most so many beginnings.", rich_help_panel=_LIMITS)
    ] = 200_000,
    frontier: Annotated[
        int,
        typer.Option(min=1, help="Keep at most so many to be extended further.", rich_help_panel=_LIMITS),
    ] = 100_000,
    memory: Annotated[int, typer.Option(min=1, help="Let them take at most so many MiB.", rich_help_panel=_LIMITS)] = (
        1024
    ),
    style: Annotated[Literal["tsv", "csv", "jsonl"], typer.Option("--format", help="Of the rows.")] = "tsv",
    header: Annotated[bool, typer.Option("--header/--no-header", help="Begin with the column names.")] = True,
    quiet: options.QuietOption = False,
    debug: options.DebugOption = False,
) -> None:
    """The most probable whole sequences, best first, with −log2 p and the probability of all so far.

    Each is written once no other can come before it (proved 1). Where a limit ends the search, what has been found
    follows without that proof (proved 0). Every text comes once, in its canonical tokens; a stream has no sequences.
    In word and subword models a prefix stands for the tokens that it is spelled with, not for longer words.
    """
    from seqmodel.api import load, model_path
    from seqmodel.console.rows import data_output
    from seqmodel.console.top_output import write_top

    loaded = load(model_path(model))
    limits = {"max_bits": max_bits, "effort": effort, "frontier": frontier, "memory": memory << 20}
    search = loaded.top(count, prefix, any_text=any_text, **limits)
    write_top(search, data_output(loaded.header.unit), style, header, quiet)
