"""Carries `seqmodel generate` out: prefixes in, samples out, in their order and as they are drawn."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TextIO

from seqmodel.api.model import Model
from seqmodel.console.rows import RowWriter, data_output
from seqmodel.console.terminal import say
from seqmodel.decoding.beam import LengthNormalisation
from seqmodel.decoding.generation import Piece
from seqmodel.errors import UsageError
from seqmodel.settings import CorpusSettings, SamplingSettings
from seqmodel.text.corpus import read_lines
from seqmodel.text.sources import only_source

if TYPE_CHECKING:
    from rich.console import Console

_LENGTH = re.compile(r"([0-9]{1,9})\.\.([0-9]{1,9})")
# Up to so many bits a character (a probability of 1/2, 1/8, 1/64, less) in this style.
PROBABILITY_STYLES = ((1, "green"), (3, "default"), (6, "yellow"), (math.inf, "red"))
MAX_COPY = 40
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
        raise UsageError("takes two numbers of characters, such as 5..8", setting="length")
    return int(match[1]), int(match[2])


def longest_copy(novel: bool, most: int | None) -> int | None:
    """How many characters in a row a sample may have from the training text, if that matters.

    Raises:
        UsageError: if the options contradict each other.
    """
    if most is not None and not novel:
        raise UsageError("--max-copy goes with --novel", "Give both, or neither.")
    return None if not novel else MAX_COPY if most is None else most


def prefixes(model: Model, given: tuple[str, ...], file: Path | None, max_line: int) -> Iterator[str]:
    """The prefixes of the command line, or of a file's lines as they come; one empty prefix if there are none.

    Raises:
        UsageError: if both are given.
    """
    if file is None:
        return iter(given or ("",))
    if given:
        raise UsageError("both --prefix and --prefix-file are given", "Give one of them.")
    batches = read_lines(only_source(str(file)), CorpusSettings(max_line=max_line), model.header.unit == "byte")
    return (line.body for lines in batches for line in lines)


# Settings that matter to a search: where a continuation ends, and what it may hold.
_OF_A_SEARCH = {"max_chars", "max_tokens", "max_lines", "stop", "any_text"}


@dataclass(frozen=True)
class BeamSearch:
    """Search in place of sampling."""

    width: int
    length_normalisation: LengthNormalisation

    def check(self, settings: SamplingSettings) -> None:
        """
        Raises:
            UsageError: if settings are given that are those of sampling.
        """
        given = settings.model_dump(exclude_defaults=True).keys()
        if given - {"count", "first", "seed", *_OF_A_SEARCH}:
            raise UsageError(
                "--beam draws nothing, so options of sampling do not apply",
                "Limit it by --count, --max-chars or --stop.",
            )

    def found(self, model: Model, prefix: str, settings: SamplingSettings) -> Iterator[Piece]:
        """The best continuations, as many as samples are asked for, in the form of samples."""
        limits = settings.model_dump(include=_OF_A_SEARCH)
        width = max(self.width, settings.count)
        best = model.beam(prefix, width, length_normalisation=self.length_normalisation, **limits)
        for sample in best[: settings.count]:
            sample.sampling_bits = math.nan  # nothing was drawn
            yield Piece(sample, sample.text, sample.bits, True)


def run_generate(
    model: Model,
    prefixes: Iterable[str],
    settings: SamplingSettings,
    style: Literal["text", "jsonl"],
    show_probs: bool,
    search: BeamSearch | None = None,
    quiet: bool = False,
) -> None:
    """Sample continuations of every prefix, or search for the best, and write them to standard output."""
    if search is not None:
        search.check(settings)
    out = data_output(model.header.unit)
    if show_probs and (style == "jsonl" or not out.isatty()):
        raise UsageError(
            "--show-probs needs a terminal to colour", "In a pipe use --format jsonl, or seqmodel score --by token."
        )
    columns = (*COLUMNS, *(("copied",) if model.fingerprint is not None else ()))
    rows = RowWriter(out, columns, "jsonl", header=False) if style == "jsonl" else None
    separate = model.header.sequence != "line"
    text = TextSamples(out, separate, show_probs)
    for index, prefix in enumerate(prefixes):
        if search is None:
            samples = in_order(model.stream(prefix, settings, index), settings.first)
        else:
            samples = search.found(model, prefix, settings)
        if rows is None:
            text.write(prefix, samples)
        else:
            _write_rows(rows, prefix, samples, settings.seed)
    if show_probs and not quiet:
        *limits, (_, rest) = PROBABILITY_STYLES
        say(f"bits a character: {', '.join(f'{style} up to {most}' for most, style in limits)}, {rest} above")


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
            copied = () if sample.copied is None else (sample.copied,)
            writer.write([(sample.index, prefix, *cells, *copied)])
            writer.flush()
