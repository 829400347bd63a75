"""The command line: the commands by group. A command's file is imported when it is called: `--help` is quick."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

import seqmodel
from seqmodel.cli.usage import Command, understood
from seqmodel.console.failures import guarded
from seqmodel.console.signals import die_on_signals, unwind_on_signals

GROUPS: dict[str, dict[str, str]] = {
    "Train": {
        "train": "Train a model on text.",
        "tokenize": "Encode a corpus into a token store, or show text as tokens.",
    },
    "Score": {
        "score": "Score text: −log2 p of each line, word, token or document.",
        "compare": "Compare models on the same text.",
        "rescore": "Rescore n-best lists by ln p, alone or with other scores.",
        "filter": "Print the lines whose score lies within bounds.",
    },
    "Generate": {
        "generate": "Sample continuations of a prefix.",
        "complete": "Suggest the most probable completions of a text's last word.",
        "top": "List the most probable whole sequences, best first.",
    },
    "Look": {
        "info": "Show what is in a model.",
        "plot": "Draw the training curves of one or more runs.",
        "bench": "Measure how fast this machine trains, scores and generates.",
    },
}
_SETTINGS = {"help_option_names": ["-h", "--help"]}


class _LazyCommands(TyperGroup):
    """Knows every command's name and help; loads the one that is called."""

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        name, found, rest = super().resolve_command(ctx, args)
        return name, found and load_command(str(name)), rest


def load_command(name: str) -> Any:
    """The command of this name, with its options."""
    alone = typer.Typer(pretty_exceptions_enable=False, add_completion=False)
    function = import_module(f"seqmodel.cli.{name}").command
    alone.command(name, cls=Command, context_settings=_SETTINGS)(function)
    return typer.main.get_command(alone)


app = typer.Typer(
    name="seqmodel",
    cls=_LazyCommands,
    help="Train recurrent language models on your own text, score sequences, sample continuations.",
    pretty_exceptions_enable=False,
    context_settings=_SETTINGS,
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


def _placeholder() -> Callable[[], None]:
    return lambda: None


for _group, _commands in GROUPS.items():
    for _name, _help in _commands.items():
        app.command(_name, help=_help, rich_help_panel=_group)(_placeholder())


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
