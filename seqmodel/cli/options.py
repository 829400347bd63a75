"""Options that several commands share."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import typer

from seqmodel.choices import SequenceKind, TextErrors, Unit

TABLES = "Tables"  # the help panel of what is asked of them

Inputs = Annotated[
    list[str] | None,
    typer.Argument(help="Text files (also .gz .bz2 .xz .zst), folders, or - for standard input.", show_default=False),
]
ModelOption = Annotated[
    Path | None,
    typer.Option(
        "-m", "--model", help="The model; default $SEQMODEL_MODEL, else ./model.seqmodel.", show_default=False
    ),
]
SEQUENCE_HELP = (
    "What is scored as one independent sequence: a line, a paragraph (between blank lines) or a document (a file); "
    "stream: all is one continuing text without an end."
)
CLOSED_HELP = "Map unknown words to <unk> instead of spelling them in bytes."
KEEP_BLANK_HELP = "Treat blank lines as sequences, too."
ERRORS_HELP = "On invalid UTF-8: strict stops, replace reads U+FFFD."
MAX_LINE_HELP = "Refuse longer lines (MiB)."
UnitOption = Annotated[Unit, typer.Option(help="What a token is.", rich_help_panel="Text")]
SequenceOption = Annotated[SequenceKind, typer.Option(help=SEQUENCE_HELP, rich_help_panel="Text")]
VocabularyOption = Annotated[
    int | None,
    typer.Option(
        "--vocab-size",
        min=1,
        help="Size of the vocabulary, with its 3 symbols and 256 bytes.",
        rich_help_panel="Text",
        show_default=False,
    ),
]
ClosedOption = Annotated[bool, typer.Option("--closed-vocab", help=CLOSED_HELP, rich_help_panel="Text")]
_PATTERN = partial(typer.Option, metavar="PATTERN", rich_help_panel="Text", show_default=False)
IncludeOption = Annotated[
    list[str] | None,
    _PATTERN("--include", help="Of folders, take the files whose names match ('*.abc'); else those that hold text."),
]
ExcludeOption = Annotated[
    list[str] | None, _PATTERN("--exclude", help="Of folders, leave out the files whose names match.")
]
KeepBlankOption = Annotated[bool, typer.Option("--keep-blank", help=KEEP_BLANK_HELP, rich_help_panel="Text")]
COLUMN_RULE = "by name, or by number from 1 if there is no header; =7 is the name 7"
TableOption = Annotated[
    Literal["tsv", "csv", "jsonl", "raw-tsv"] | None,
    typer.Option(
        "--input",
        help="The table's format; else by the file's name, or tsv. raw-tsv: TSV without quoting.",
        rich_help_panel=TABLES,
        show_default=False,
    ),
]
SkipBadOption = Annotated[
    bool,
    typer.Option(
        "--skip-bad",
        help="Leave out rows that cannot be read, and count them; the exit code is still 0.",
        rich_help_panel=TABLES,
    ),
]
ColumnOption = Annotated[
    str | None,
    typer.Option(
        "--column",
        help="The input is a table: each row of this column is a sequence; by name, or by number without a header.",
        rich_help_panel=TABLES,
        show_default=False,
    ),
]


def _escapes_read(text: str | None) -> str | None:
    if text is None:
        return None
    from seqmodel.settings import unescaped

    return unescaped(text)


RecordOption = Annotated[
    str | None,
    typer.Option(
        "--record-separator",
        metavar="STRING",
        help="What stands between the sequences of a file: '<|endoftext|>', '\\n---\\n'. What follows its last "
        "newline begins the next one: '\\n>' for FASTA, '\\n\\nX:' for tunes.",
        callback=_escapes_read,
        rich_help_panel="Text",
        show_default=False,
    ),
]
ErrorsOption = Annotated[TextErrors, typer.Option(help=ERRORS_HELP, rich_help_panel="Text")]
MaxLineOption = Annotated[int, typer.Option(help=MAX_LINE_HELP, min=1, rich_help_panel="Text")]
AnyTextOption = Annotated[bool, typer.Option("--any-text", help="Also write characters that the training text lacks.")]
ForceOption = Annotated[bool, typer.Option("--force", help="Overwrite the output if it exists.")]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="Write no progress and no summary to standard error.")]
DebugOption = Annotated[bool, typer.Option("--debug", help="Show a traceback when something fails.")]
