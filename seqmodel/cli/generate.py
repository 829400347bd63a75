"""`seqmodel generate`: sample continuations, streamed as they are drawn."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from seqmodel.cli import options
from seqmodel.console.failures import guarded

_SAMPLING, _SEARCH, _LIMITS = "Sampling", "Search", "Limits"


def _sampling(help: str, **more: Any) -> Any:
    return typer.Option(help=help, rich_help_panel=_SAMPLING, show_default=False, **more)


def _limit(help: str, **more: Any) -> Any:
    return typer.Option(help=help, rich_help_panel=_LIMITS, show_default=False, **more)


@guarded
def command(
    prefix: Annotated[
        list[str] | None, typer.Option("--prefix", "-p", help="Text to continue; may be repeated.")
    ] = None,
    prefix_file: Annotated[
        Path | None,
        typer.Option(help="Continue each line of this file, or of standard input (-).", show_default=False),
    ] = None,
    model: options.ModelOption = None,
    count: Annotated[int, typer.Option("--count", "-n", min=1, help="Number of samples for each prefix.")] = 1,
    first: Annotated[int, typer.Option(min=0, help="Number of the first sample, to make it again.")] = 0,
    seed: Annotated[
        int | None,
        typer.Option(min=0, help="Seed, for repeatable samples; default: random.", show_default=False),
    ] = None,
    reproducible: Annotated[
        bool, typer.Option("--reproducible", help="Compute samples one by one, so that each can be made again exactly.")
    ] = False,
    style: Annotated[
        Literal["text", "jsonl"],
        typer.Option("--format", help="text: prefix and continuation; jsonl: one object per sample."),
    ] = "text",
    show_probs: Annotated[
        bool, typer.Option("--show-probs", help="Colour the text by its probability, on a terminal.")
    ] = False,
    temperature: Annotated[
        float,
        typer.Option(
            min=0, help="Below 1: safer; above 1: wilder; 0: always the most probable token.", rich_help_panel=_SAMPLING
        ),
    ] = 1.0,
    top_k: Annotated[int | None, _sampling("Draw from the k most probable tokens.", min=1)] = None,
    top_p: Annotated[
        float | None,
        _sampling("Draw from the most probable tokens that together reach probability p (0 < p <= 1)."),
    ] = None,
    min_p: Annotated[
        float | None,
        _sampling("Draw from the tokens at least p times as probable as the best one (0 < p <= 1)."),
    ] = None,
    repetition_penalty: Annotated[
        float,
        typer.Option(
            min=1, help="Raise the probability of tokens already used to this power; 1: off.", rich_help_panel=_SAMPLING
        ),
    ] = 1.0,
    any_text: Annotated[
        bool,
        typer.Option(
            "--any-text",
            help="Also write characters that the training text lacks and, where sampling is narrowed, unknown words.",
            rich_help_panel=_SAMPLING,
        ),
    ] = False,
    ban: Annotated[list[str] | None, _sampling("Never write this string; may be repeated.")] = None,
    novel: Annotated[
        bool,
        typer.Option(
            "--novel",
            help="Redraw samples that copy the training text; needs a model of train --fingerprint.",
            rich_help_panel=_SAMPLING,
        ),
    ] = False,
    max_copy: Annotated[
        int | None, _sampling("With --novel: allow copies of so many characters; default 40.", min=0)
    ] = None,
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
    max_chars: Annotated[
        int | None, _limit("Stop after so many characters; default 500 in stream models.", min=1)
    ] = None,
    max_tokens: Annotated[int | None, _limit("Stop after so many tokens; default 1000.", min=1)] = None,
    max_lines: Annotated[int | None, _limit("Stop after so many lines.", min=1)] = None,
    stop: Annotated[list[str] | None, _limit("Stop before this string; may be repeated.")] = None,
    until_end: Annotated[
        bool, typer.Option("--until-end", help="Stop only at the end of the sequence.", rich_help_panel=_LIMITS)
    ] = False,
    length: Annotated[
        str | None,
        typer.Option(
            metavar="A..B",
            help="Redraw until a sample ends (by itself, at --stop or --max-lines) with A to B characters.",
            rich_help_panel=_LIMITS,
            show_default=False,
        ),
    ] = None,
    max_line: options.MaxLineOption = 16,
    quiet: options.QuietOption = False,
    debug: options.DebugOption = False,
) -> None:
    """Sample continuations of a prefix.

    Line models write one sample a line. Other models write a line "---" between samples.
    Samples hold only characters of the training text. With --top-k, --top-p, --min-p or a temperature below 1 a word
    model writes only words that it knows. --any-text lifts both limits.
    """
    from seqmodel.api.verbs import load, model_path
    from seqmodel.console.escapes import say_escapes
    from seqmodel.console.generate_run import BeamSearch, longest_copy, parsed_length, prefixes, run_generate

    loaded = load(model_path(model))
    settings = loaded.sampling(
        until_end=until_end,
        count=count,
        first=first,
        seed=seed,
        reproducible=reproducible,
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        min_p=min_p,
        repetition_penalty=repetition_penalty,
        any_text=any_text,
        ban=tuple(ban or ()),
        max_copy=longest_copy(novel, max_copy),
        max_chars=max_chars,
        max_tokens=max_tokens,
        max_lines=max_lines,
        stop=tuple(stop or ()),
        length=parsed_length(length),
    )
    if not quiet:
        say_escapes(loaded.tokenizer, {"--prefix": prefix or (), "--stop": stop or (), "--ban": ban or ()})
    search = BeamSearch(beam, length_normalisation) if beam is not None else None
    given = prefixes(loaded, tuple(prefix or ()), prefix_file, max_line << 20)
    run_generate(loaded, given, settings, style, show_probs, search, quiet)
