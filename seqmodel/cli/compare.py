"""`seqmodel compare`: models side by side on the same text."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from seqmodel.cli import options
from seqmodel.console.failures import guarded

BUNDLE = ".seqmodel"


@guarded
def command(
    first: Annotated[str, typer.Argument(metavar="MODEL", help="The bundle that the others are measured against.")],
    second: Annotated[str, typer.Argument(metavar="MODEL", help="Another.")],
    more: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="MODEL|TEXT",
            help=f"More bundles (names that end in {BUNDLE}); text files, folders, or - for standard input.",
            show_default=False,
        ),
    ] = None,
    worst: Annotated[int, typer.Option(min=0, help="Show so many lines that differ most, each way.")] = 5,
    resamples: Annotated[int, typer.Option(min=100, help="Bootstrap samples behind an interval.")] = 1000,
    seed: Annotated[int, typer.Option(min=0, help="Of the bootstrap.")] = 0,
    style: Annotated[
        Literal["table", "tsv", "jsonl"], typer.Option("--format", help="Tables, or a row per model.")
    ] = "table",
    errors: options.ErrorsOption = "strict",
    max_line: options.MaxLineOption = 256,
    quiet: options.QuietOption = False,
    debug: options.DebugOption = False,
) -> None:
    """Compare models on the same text: bits per char and word, and how sure it is that they differ from the first.

    The models may be of different units. Where an interval holds 0, other text of the same source may turn it round.
    """
    from seqmodel.api import compare
    from seqmodel.config import CorpusSettings
    from seqmodel.console.compare_view import say_how, show_comparison, write_comparison

    names = more or []
    found = compare(
        [first, second, *(name for name in names if name.endswith(BUNDLE))],
        [name for name in names if not name.endswith(BUNDLE)],
        worst=worst,
        resamples=resamples,
        seed=seed,
        corpus=CorpusSettings(errors=errors, max_line=max_line << 20),
    )
    if not quiet:
        say_how(found)
    if style == "table":
        show_comparison(found)
    else:
        write_comparison(found, style)
