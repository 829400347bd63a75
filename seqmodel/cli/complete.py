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
        typer.Argument(help="Text to complete; - for the lines of standard input.", show_default=False),
    ] = None,
    model: options.ModelOption = None,
    k: Annotated[int, typer.Option("-k", min=1, help="Number of completions.")] = 5,
    effort: Annotated[int, typer.Option(min=1, help="Search at most so many partial completions.")] = 256,
    next_tokens: Annotated[bool, typer.Option("--next", help="Give the most probable next tokens instead.")] = False,
    any_text: options.AnyTextOption = False,
    style: Annotated[
        Literal["tsv", "jsonl"] | None,
        typer.Option("--format", help="Default: a table on a terminal, else tsv.", show_default=False),
    ] = None,
    requests: Annotated[
        bool,
        typer.Option(
            "--jsonl", help='Answer requests {"prefix": "the qu", "k": 5} on standard input, line by line, as JSON.'
        ),
    ] = False,
    header: Annotated[bool, typer.Option("--header/--no-header", help="Write the column names first.")] = True,
    quiet: options.QuietOption = False,
    debug: options.DebugOption = False,
) -> None:
    """Suggest the most probable completions of a text's last word, or its next word.

    After white space the next word is suggested. A completion ends where its word ends, at white space or the end of
    the sequence; an empty one means that the word is complete. Probabilities are given the text; "missing" is the
    probability that was not searched.
    """
    from seqmodel.api.verbs import load, model_path
    from seqmodel.console.complete_run import CompleteRequest, run_complete
    from seqmodel.console.escapes import say_escapes

    request = CompleteRequest(text, k, effort, next_tokens, any_text, style, requests, header, quiet)
    loaded = load(model_path(model))
    if not quiet:
        say_escapes(loaded.tokenizer, {"the text": [text or ""]})
    run_complete(loaded, request)
