"""`seqmodel generate`: sample continuations, streamed as they are drawn."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Literal, TextIO

import typer

from seqmodel.cli import options
from seqmodel.console.failures import guarded

if TYPE_CHECKING:
    from seqmodel.inference.generation import Piece


@guarded
def command(
    prefix: Annotated[str, typer.Option("--prefix", "-p", help="What the samples continue.")] = "",
    model: options.ModelOption = None,
    count: Annotated[int, typer.Option("--count", "-n", min=1, help="How many samples.")] = 1,
    max_tokens: Annotated[
        int | None,
        typer.Option(min=1, help="Longest continuation, in tokens; default 1000.", show_default=False),
    ] = None,
    max_chars: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Longest continuation, in characters; default 500 for stream models.",
            show_default=False,
        ),
    ] = None,
    temperature: Annotated[float, typer.Option(min=0, help="Below 1 safer, above 1 wilder, 0 greedy.")] = 1.0,
    top_k: Annotated[
        int | None, typer.Option(min=1, help="Draw from the k most probable tokens.", show_default=False)
    ] = None,
    top_p: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="Draw from the most probable tokens whose mass reaches p.", show_default=False),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(min=0, help="Makes the samples repeatable; default: random.", show_default=False),
    ] = None,
    style: Annotated[
        Literal["text", "jsonl"],
        typer.Option("--format", help="text: prefix and continuation; jsonl: one object per sample."),
    ] = "text",
    quiet: options.QuietOption = False,
    debug: options.DebugOption = False,
) -> None:
    """Sample continuations of a prefix.

    A line model's samples are written one a line; several samples of other models are separated by a line "---".
    """
    from seqmodel.api import load, model_path
    from seqmodel.console.rows import data_output
    from seqmodel.errors import UsageError

    if top_p == 0:
        raise UsageError(
            "--top-p 0 leaves nothing to draw from", "Give a number above 0, or --temperature 0 for greedy."
        )
    loaded = load(model_path(model))
    seed = secrets.randbelow(1 << 32) if seed is None else seed
    limits = {"count": count, "max_tokens": max_tokens, "max_chars": max_chars}
    settings = loaded.sampling(**limits, temperature=temperature, top_k=top_k, top_p=top_p, seed=seed)
    out = data_output(loaded.header.unit)
    samples = loaded.stream(prefix, settings)
    if style == "jsonl":
        _as_rows(out, samples, prefix, seed)
    else:
        _as_text(out, samples, prefix, separate=loaded.header.sequence != "line" and count > 1)


def _in_order(samples: Iterator[Piece]) -> Iterator[Piece]:
    """The pieces sorted by sample: those of the sample whose turn it is as they come, the others wait."""
    turn = 0
    waiting: dict[int, list[Piece]] = {}
    for piece in samples:
        waiting.setdefault(piece.sample.index, []).append(piece)
        while turn in waiting:
            pieces = waiting.pop(turn)
            yield from pieces
            if not pieces[-1].done:
                break
            turn += 1


def _as_text(out: TextIO, samples: Iterator[Piece], prefix: str, separate: bool) -> None:
    from seqmodel.console.terminal import visible

    show = visible if out.isatty() else str
    begun: set[int] = set()
    for sample, text, done in _in_order(samples):
        if sample.index not in begun:
            out.write("---\n" if begun and separate else "")
            out.write(show(prefix))
            begun.add(sample.index)
        out.write(show(text))
        if done:
            out.write("\n")
        out.flush()


def _as_rows(out: TextIO, samples: Iterator[Piece], prefix: str, seed: int) -> None:
    from seqmodel.console.rows import RowWriter

    names = ("index", "prefix", "text", "bits", "tokens", "stop", "seed")
    writer = RowWriter(out, names, "jsonl", header=False)
    for sample, _, done in _in_order(samples):
        if done:
            writer.write([(sample.index, prefix, sample.text, sample.bits, sample.tokens, sample.stop, seed)])
            writer.flush()
