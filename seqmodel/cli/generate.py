"""`seqmodel generate`: sample continuations, streamed as they are drawn."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from seqmodel.cli import options
from seqmodel.cli.command import command as as_command
from seqmodel.command_settings import SamplingSettings

_SEARCH, _LIMITS = "Search", "Limits"


@as_command
def command(
    prefix: Annotated[
        list[str] | None, typer.Option("--prefix", "-p", help="Text to continue; may be repeated.")
    ] = None,
    prefix_file: Annotated[
        Path | None,
        typer.Option(help="Continue each line of this file, or of standard input (-).", show_default=False),
    ] = None,
    model: options.ModelOption = None,
    style: Annotated[
        Literal["text", "jsonl"],
        typer.Option("--format", help="text: prefix and continuation; jsonl: one object per sample."),
    ] = "text",
    show_probs: Annotated[
        bool, typer.Option("--show-probs", help="Colour the text by its probability, on a terminal.")
    ] = False,
    *,
    sampling: SamplingSettings,
    novel: Annotated[
        bool,
        typer.Option(
            "--novel",
            help="Redraw samples that copy the training text; needs a model of train --fingerprint.",
            rich_help_panel=SamplingSettings.panel,
        ),
    ] = False,
    beam: Annotated[
        int | None,
        typer.Option(
            help="Do not sample; find the most probable continuations by a beam search of this width.",
            min=1,
            max=1000,
            rich_help_panel=_SEARCH,
            show_default=False,
        ),
    ] = None,
    length_normalisation: Annotated[
        Literal["none", "per-token"],
        typer.Option(
            help="Rank by the probability of the whole, or by that of the average token.", rich_help_panel=_SEARCH
        ),
    ] = "none",
    until_end: Annotated[
        bool, typer.Option("--until-end", help="Stop only at the end of the sequence.", rich_help_panel=_LIMITS)
    ] = False,
    max_line: options.MaxLineOption = 16,
    quiet: options.QuietOption = False,
) -> None:
    """Sample continuations of a prefix.

    Line models write one sample a line. Other models write a line "---" between samples.
    Samples hold only characters of the training text. With --top-k, --top-p, --min-p or a temperature below 1 a word
    model writes only words that it knows. --any-text lifts both limits.
    """
    from seqmodel.api.verbs import load, model_path
    from seqmodel.console.escapes import say_escapes
    from seqmodel.console.generate_run import BeamSearch, prefixes, run_generate, with_longest_copy

    loaded = load(model_path(model))
    settings = loaded.limited(with_longest_copy(sampling, novel), until_end=until_end)
    if not quiet:
        say_escapes(loaded.tokenizer, {"--prefix": prefix or (), "--stop": sampling.stop, "--ban": sampling.ban})
    search = BeamSearch(beam, length_normalisation) if beam is not None else None
    given = prefixes(loaded, tuple(prefix or ()), prefix_file, max_line << 20)
    run_generate(loaded, given, settings, style, show_probs, search, quiet)
