"""Carries out `seqmodel generate`: writes samples in order, as they are drawn."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TextIO

from seqmodel.api.model import Model
from seqmodel.command_settings import SamplingSettings
from seqmodel.console.rows import RowWriter, data_output
from seqmodel.console.terminal import say, visible_on
from seqmodel.decoding.beam import LengthNormalisation
from seqmodel.decoding.generation import Piece
from seqmodel.errors import UsageError
from seqmodel.settings import CorpusSettings
from seqmodel.text.corpus import read_lines
from seqmodel.text.sources import only_source

if TYPE_CHECKING:
    from rich.console import Console

# Upper bounds in bits a character (probabilities of 1/2, 1/8, 1/64, 0) and their styles.
PROBABILITY_STYLES = ((1, "green"), (3, "default"), (6, "yellow"), (math.inf, "red"))
MAX_COPY = 40
COLUMNS = ("index", "prefix", "text", "bits", "sampling_bits", "tokens", "stop", "seed")


def with_longest_copy(settings: SamplingSettings, novel: bool) -> SamplingSettings:
    """The settings, where `novel` with a limit on what a sample may copy from the training text.

    Raises:
        UsageError: if a limit is given without `novel`.
    """
    if settings.max_copy is not None and not novel:
        raise UsageError("--max-copy goes with --novel", "Give both, or neither.")
    if not novel or settings.max_copy is not None:
        return settings
    return settings.model_copy(update={"max_copy": MAX_COPY})


def prefixes(model: Model, given: tuple[str, ...], file: Path | None, max_line: int) -> Iterator[str]:
    """The prefixes of the command line, or the lines of a file as they are read; else one empty prefix.

    Raises:
        UsageError: if both are given.
    """
    if file is None:
        return iter(given or ("",))
    if given:
        raise UsageError("both --prefix and --prefix-file are given", "Give one of them.")
    batches = read_lines(only_source(str(file)), CorpusSettings(max_line=max_line), model.header.unit == "byte")
    return (line.body for lines in batches for line in lines)


# Settings that a search takes: limits of a continuation and its characters.
_OF_A_SEARCH = {"max_chars", "max_tokens", "max_lines", "stop", "any_text"}


@dataclass(frozen=True)
class BeamSearch:
    """Beam search in place of sampling."""

    width: int
    length_normalisation: LengthNormalisation

    def check(self, settings: SamplingSettings) -> None:
        """Check that no setting of sampling is given.

        Raises:
            UsageError: if one is.
        """
        given = settings.model_dump(exclude_defaults=True).keys()
        if given - {"count", "first", "seed", *_OF_A_SEARCH}:
            raise UsageError(
                "--beam draws nothing, so options of sampling do not apply",
                "Limit it by --count, --max-chars or --stop.",
            )

    def found(self, model: Model, prefix: str, settings: SamplingSettings) -> Iterator[Piece]:
        """Yield the best continuations as samples, `settings.count` of them."""
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
    """Yield pieces sample by sample; those of later samples wait for their turn."""
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
    """Writes samples as text: one a line, or separated by `---` lines if samples may hold newlines."""

    def __init__(self, out: TextIO, separate: bool, show_probs: bool) -> None:
        self.out, self.separate, self.show_probs = out, separate, show_probs
        self.show = visible_on(out)
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
        """Write text in the style of `bits` a character; rich honours NO_COLOR and dumb terminals."""
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
