"""`seqmodel compare`: models side by side on the same text."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from seqmodel.cli import options
from seqmodel.console.failures import guarded

BUNDLE = ".seqmodel"


@guarded
def command(
    first: Annotated[str, typer.Argument(metavar="MODEL", help="The baseline, a .seqmodel file.")],
    second: Annotated[str, typer.Argument(metavar="MODEL", help="A model to compare with it.")],
    more: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="MODEL|TEXT",
            help=f"More models (names that end in {BUNDLE}); text files, folders, or - for standard input.",
            show_default=False,
        ),
    ] = None,
    worst: Annotated[
        int, typer.Option(min=0, help="Show so many lines on which each model gains most, and loses most.")
    ] = 5,
    resamples: Annotated[int, typer.Option(min=100, help="Number of bootstrap samples for the intervals.")] = 1000,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the bootstrap.")] = 0,
    style: Annotated[
        Literal["table", "tsv", "jsonl"],
        typer.Option("--format", help="table: for people; tsv, jsonl: a row for each model."),
    ] = "table",
    errors: options.ErrorsOption = "strict",
    max_line: options.MaxLineOption = 256,
    quiet: options.QuietOption = False,
    debug: options.DebugOption = False,
) -> None:
    """Compare models on the same text.

    Shows bits per char and word, and each model's difference from the first with an interval. The models may have
    different units. If an interval holds 0, other text of the same source may reverse the order.
    """
    from seqmodel.api.verbs import compare
    from seqmodel.console.compare_view import say_how, show_comparison, write_comparison
    from seqmodel.settings import CorpusSettings

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
