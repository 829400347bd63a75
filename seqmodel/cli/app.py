"""The command line: every command under its name."""

from __future__ import annotations

import io
import sys
from typing import Annotated

import typer

import seqmodel
from seqmodel.cli import bench, compare, complete, filter, generate, info, plot, rescore, score, tokenize, top, train
from seqmodel.cli.usage import Command, understood
from seqmodel.console.failures import guarded
from seqmodel.console.signals import die_on_signals, unwind_on_signals

app = typer.Typer(
    name="seqmodel",
    help="Train recurrent language models on your own text, score sequences, sample continuations.",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"seqmodel {seqmodel.__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Train recurrent language models on your own text, score sequences, sample continuations.

    Data goes to standard output, everything else to standard error.
    Exit codes: 0 ok, 1 failure, 2 usage, 3 bad input, 4 bad model, 5 out of disk or memory.
    """


app.command("train", cls=Command, rich_help_panel="Train")(train.command)
app.command("tokenize", cls=Command, rich_help_panel="Train")(tokenize.command)
app.command("score", cls=Command, rich_help_panel="Score")(score.command)
app.command("compare", cls=Command, rich_help_panel="Score")(compare.command)
app.command("rescore", cls=Command, rich_help_panel="Score")(rescore.command)
app.command("filter", cls=Command, rich_help_panel="Score")(filter.command)
app.command("generate", cls=Command, rich_help_panel="Generate")(generate.command)
app.command("complete", cls=Command, rich_help_panel="Generate")(complete.command)
app.command("top", cls=Command, rich_help_panel="Generate")(top.command)
app.command("info", cls=Command, rich_help_panel="Look")(info.command)
app.command("plot", cls=Command, rich_help_panel="Look")(plot.command)
app.command("bench", cls=Command, rich_help_panel="Look")(bench.command)


@guarded
def main() -> None:
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # our own words must not fail in a narrow locale
    unwind_on_signals()
    try:
        code = app(sys.argv[1:] or ["--help"], prog_name="seqmodel", standalone_mode=False)
    except Exception as error:
        if hasattr(error, "format_message"):  # the command line's own errors
            raise understood(error) from None
        raise
    die_on_signals()
    if code:
        raise SystemExit(code)
