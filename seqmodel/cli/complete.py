"""`seqmodel complete`: the most probable ways to finish a word, or to say the next one."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from seqmodel.cli import options
from seqmodel.console.failures import guarded


@guarded
def command(
    text: Annotated[
        str | None,
        typer.Argument(help="What is completed; - for the lines of standard input.", show_default=False),
    ] = None,
    model: options.ModelOption = None,
    k: Annotated[int, typer.Option("-k", min=1, help="How many completions.")] = 5,
    effort: Annotated[int, typer.Option(min=1, help="Read at most so many beginnings of completions.")] = 256,
    next_tokens: Annotated[
        bool, typer.Option("--next", help="The most probable next tokens instead of completions.")
    ] = False,
    any_text: options.AnyTextOption = False,
    style: Annotated[
        Literal["tsv", "jsonl"] | None,
        typer.Option("--format", help="Else a table on a terminal, and tsv elsewhere.", show_default=False),
    ] = None,
    requests: Annotated[
        bool,
        typer.Option(
            "--jsonl", help='Answer requests {"prefix": "the qu", "k": 5} on standard input, line by line, as JSON.'
        ),
    ] = False,
    header: Annotated[bool, typer.Option("--header/--no-header", help="Begin with the column names.")] = True,
    quiet: options.QuietOption = False,
    debug: options.DebugOption = False,
) -> None:
    """Finish the last word of a text, or say the next word after white space: the most probable ways, best first.

    A completion is what is added until a word ends, at white space or the end of the sequence. An empty one says that
    the word is complete as it is. Its probability is given the text; that of all that was not looked at is "missing".
    """
    from seqmodel.api import load, model_path
    from seqmodel.console.complete_run import CompleteRequest, run_complete

    request = CompleteRequest(text, k, effort, next_tokens, any_text, style, requests, header, quiet)
    run_complete(load(model_path(model)), request)
