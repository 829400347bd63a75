"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from seqmodel.kinds import SequenceKind, TextErrors, Unit

TABLES = "Tables"  # the help panel of what is asked of them

Inputs = Annotated[
    list[str] | None,
    typer.Argument(help="Text files (.gz .bz2 .xz .zst too), folders, or - for standard input.", show_default=False),
]
ModelOption = Annotated[
    Path | None,
    typer.Option("-m", "--model", help="The bundle; else $SEQMODEL_MODEL, else ./model.seqmodel.", show_default=False),
]
SEQUENCE_HELP = (
    "What is one sequence, with a start and an end: a line, a block between blank lines, a whole file; "
    "or stream: one continuing text without an end."
)
CLOSED_HELP = "Map unknown words to <unk> instead of spelling them in bytes."
KEEP_BLANK_HELP = "Blank lines are sequences too."
ERRORS_HELP = "Invalid UTF-8: strict stops, replace puts U+FFFD."
MAX_LINE_HELP = "Longest line that is read, in MiB."
UnitOption = Annotated[Unit, typer.Option(help="What a token is.", rich_help_panel="Text")]
SequenceOption = Annotated[SequenceKind, typer.Option(help=SEQUENCE_HELP, rich_help_panel="Text")]
VocabularyOption = Annotated[
    int | None,
    typer.Option(
        "--vocab-size",
        min=1,
        help="Vocabulary size, the 259 symbols and bytes included.",
        rich_help_panel="Text",
        show_default=False,
    ),
]
ClosedOption = Annotated[bool, typer.Option("--closed-vocab", help=CLOSED_HELP, rich_help_panel="Text")]
KeepBlankOption = Annotated[bool, typer.Option("--keep-blank", help=KEEP_BLANK_HELP, rich_help_panel="Text")]
TableOption = Annotated[
    Literal["tsv", "csv", "jsonl"] | None,
    typer.Option("--input", help="The table's format; else by the file's name, or tsv.", rich_help_panel=TABLES),
]
ErrorsOption = Annotated[TextErrors, typer.Option(help=ERRORS_HELP, rich_help_panel="Text")]
MaxLineOption = Annotated[int, typer.Option(help=MAX_LINE_HELP, min=1, rich_help_panel="Text")]
AnyTextOption = Annotated[bool, typer.Option("--any-text", help="Also characters that the training text lacks.")]
ForceOption = Annotated[bool, typer.Option("--force", help="Overwrite what exists.")]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="No progress and no summary on standard error.")]
DebugOption = Annotated[bool, typer.Option("--debug", help="Show a traceback when something fails.")]
