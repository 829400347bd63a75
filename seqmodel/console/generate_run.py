"""Carries `seqmodel generate` out: prefixes in, samples out, in their order and as they are drawn."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TextIO

from seqmodel.api import Model
from seqmodel.config import CorpusSettings, SamplingSettings
from seqmodel.console.rows import RowWriter, data_output
from seqmodel.errors import UsageError
from seqmodel.inference.generation import Piece
from seqmodel.text.corpus import only_source, read_lines

if TYPE_CHECKING:
    from rich.console import Console

_LENGTH = re.compile(r"([0-9]{1,9})\.\.([0-9]{1,9})")
# Up to so many bits a character (a probability of 1/2, 1/8, 1/64, less) in this style.
PROBABILITY_STYLES = ((1, "green"), (3, "default"), (6, "yellow"), (math.inf, "red"))
COLUMNS = ("index", "prefix", "text", "bits", "sampling_bits", "tokens", "stop", "seed")


def parsed_length(text: str | None) -> tuple[int, int] | None:
    """The range that `5..8` names.

    Raises:
        UsageError: if it names none.
    """
    if text is None:
        return None
    match = _LENGTH.fullmatch(text)
    if match is None:
        raise UsageError("the length cannot be read", "Write --length 5..8.")
    return int(match[1]), int(match[2])


def prefixes(model: Model, given: tuple[str, ...], file: Path | None) -> Iterator[str]:
    """The prefixes of the command line, or of a file's lines as they come; one empty prefix if there are none.

    Raises:
        UsageError: if both are given.
    """
    if file is None:
        return iter(given or ("",))
    if given:
        raise UsageError("both --prefix and --prefix-file are given", "Give one of them.")
    batches = read_lines(only_source(str(file)), CorpusSettings(), model.header.unit == "byte")
    return (line.text.removesuffix("\r") if line.terminated else line.text for lines in batches for line in lines)


def run_generate(
    model: Model,
    prefixes: Iterable[str],
    settings: SamplingSettings,
    style: Literal["text", "jsonl"],
    show_probs: bool,
) -> None:
    """Sample continuations of every prefix and write them to standard output."""
    out = data_output(model.header.unit)
    if show_probs and (style == "jsonl" or not out.isatty()):
        raise UsageError(
            "--show-probs colours a terminal", "In a pipe use --format jsonl, or seqmodel score --by token."
        )
    rows = RowWriter(out, COLUMNS, "jsonl", header=False) if style == "jsonl" else None
    separate = model.header.sequence != "line"
    text = TextSamples(out, separate, show_probs)
    for index, prefix in enumerate(prefixes):
        samples = in_order(model.stream(prefix, settings, index), settings.first)
        if rows is None:
            text.write(prefix, samples)
        else:
            _write_rows(rows, prefix, samples, settings.seed)


def in_order(samples: Iterator[Piece], first: int = 0) -> Iterator[Piece]:
    """The pieces sorted by sample: those of the sample whose turn it is as they come, the others wait."""
    turn = first
    waiting: dict[int, list[Piece]] = {}
    for piece in samples:
        waiting.setdefault(piece.sample.index, []).append(piece)
        while turn in waiting:
            pieces = waiting.pop(turn)
            yield from pieces
            if not pieces[-1].done:
                break
            turn += 1


class TextSamples:
    """Samples as text: one a line, or with a line "---" between them where they may hold lines themselves."""

    def __init__(self, out: TextIO, separate: bool, show_probs: bool) -> None:
        from seqmodel.console.terminal import visible

        self.out, self.separate, self.show_probs = out, separate, show_probs
        self.show = visible if out.isatty() else str
        self.written = 0

    def write(self, prefix: str, samples: Iterator[Piece]) -> None:
        """Write the samples of a prefix, piece by piece."""
        begun = False
        for _, text, bits, done in samples:
            if not begun:
                self.out.write("---\n" if self.written and self.separate else "")
                self.out.write(self.show(prefix))
                begun = True
            if self.show_probs and text:
                self._coloured(self.show(text), bits / len(text))
            else:
                self.out.write(self.show(text))
            if done:
                self.out.write("\n")
                self.written += 1
                begun = False
            self.out.flush()

    @cached_property
    def _console(self) -> Console:
        from rich.console import Console

        return Console(file=self.out, highlight=False, soft_wrap=True)

    def _coloured(self, text: str, bits: float) -> None:
        """Write text whose characters have so many bits each; rich honours NO_COLOR and dumb terminals."""
        from rich.text import Text

        style = next(style for most, style in PROBABILITY_STYLES if bits <= most)
        self._console.print(Text(text, style=style), end="")


def _write_rows(writer: RowWriter, prefix: str, samples: Iterator[Piece], seed: int) -> None:
    for sample, _, _, done in samples:
        if done:
            cells = (sample.text, sample.bits, sample.sampling_bits, sample.tokens, sample.stop, seed)
            writer.write([(sample.index, prefix, *cells)])
            writer.flush()
