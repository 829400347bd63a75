"""The command line: every command under its name."""

from __future__ import annotations

import io
import sys
from typing import Annotated

import typer

import seqmodel
from seqmodel.cli import bench, compare, complete, filter, generate, info, plot, rescore, score, tokenize, top, train
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


app.command("train")(train.command)
app.command("score")(score.command)
app.command("compare")(compare.command)
app.command("rescore")(rescore.command)
app.command("filter")(filter.command)
app.command("generate")(generate.command)
app.command("complete")(complete.command)
app.command("top")(top.command)
app.command("tokenize")(tokenize.command)
app.command("info")(info.command)
app.command("bench")(bench.command)
app.command("plot")(plot.command)


@guarded
def main() -> None:
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # our own words must not fail in a narrow locale
    unwind_on_signals()
    code = app(sys.argv[1:] or ["--help"], prog_name="seqmodel", standalone_mode=False)
    die_on_signals()
    if code:
        raise SystemExit(code)
