"""Totals of scored lines: sums over a file or a corpus, and the rates and perplexities that follow from them.

Knows lines and their scores; not tables, nor the vocabulary. With a closed vocabulary bits per char and per byte mean
nothing, since the characters of unknown words are lost: whoever shows totals leaves them out.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple

from seqmodel.model.bundle import power, ratio
from seqmodel.scoring.lines import LineScore
from seqmodel.text.long_lines import word_count
from seqmodel.tokens.tokenizer import UNKNOWN

Base = Literal["2", "e", "10"]


class InformationUnit(NamedTuple):
    """A unit of information: its name, and the size of a bit in it."""

    name: str
    per_bit: float


UNITS: dict[Base, InformationUnit] = {
    "2": InformationUnit("bits", 1.0),
    "e": InformationUnit("nats", math.log(2)),
    "10": InformationUnit("bans", math.log10(2)),
}


@dataclass
class CorpusTotals:
    """Sums over scored lines; every rate is NaN if nothing was counted.

    A line end counts as one character and one byte, with or without a carriage return, so that characters agree with
    `wc -m`. `unknown` and `unknown_bits` are those of tokens that stand for unknown words.
    """

    sequences: int = 0
    tokens: int = 0
    words: int = 0
    chars: int = 0
    bytes: int = 0
    bits: float = 0.0
    lines: int = 0
    unknown: int = 0
    unknown_bits: float = 0.0
    in_word: bool = False  # True if the last part of a line ended inside a word

    def add(self, row: LineScore, ends: bool) -> None:
        """Add a line, or a part of one; `ends` is True if a sequence ends with it."""
        newline = row.line.is_ended or row.end_newline
        text = row.text
        self.lines += not row.line.open
        self.sequences += ends
        if row.unknown:
            self.unknown += row.unknown
            self.unknown_bits += float(row.scores.bits[row.ids == UNKNOWN].sum())
        self.tokens += len(row.ids)
        self.words += word_count(text) - (self.in_word and row.inside and not text[:1].isspace() and text != "")
        self.in_word = row.line.open and not text[-1].isspace()
        self.chars += len(text) + newline
        raw = row.line.raw
        raw = text.encode("utf-8", "surrogateescape") if raw is None else raw.removesuffix(b"\r" * newline)
        self.bytes += len(raw) + newline
        self.bits += row.bits

    def include(self, other: CorpusTotals) -> None:
        """Add another's sums."""
        for name, value in vars(other).items():
            setattr(self, name, getattr(self, name) + value)

    @property
    def bits_per_char(self) -> float:
        """Bits per character, line ends included."""
        return ratio(self.bits, self.chars)

    @property
    def bits_per_byte(self) -> float:
        """Bits per byte, line ends included."""
        return ratio(self.bits, self.bytes)

    @property
    def perplexity(self) -> float:
        """Perplexity per token."""
        return power(ratio(self.bits, self.tokens))

    @property
    def word_perplexity(self) -> float:
        """Perplexity per word: all bits, those of end symbols included, over the words between white space."""
        return power(ratio(self.bits, self.words))

    @property
    def known_perplexity(self) -> float:
        """Perplexity per token without unknown words."""
        return power(ratio(self.bits - self.unknown_bits, self.tokens - self.unknown))

    def summary(self, base: Base, closed: bool, end: str) -> str:
        """The totals in one line. `closed` is True for a closed vocabulary; `end` says how end symbols are counted."""
        unit, scale = UNITS[base]
        no_chars = closed or math.isnan(self.bits_per_char)
        per_char = "" if no_chars else f", {self.bits_per_char * scale:.4f} {unit} per char"
        known = f", {self.known_perplexity:.3f} without the {self.unknown:,} unknown" if closed else ""
        per_token = "" if math.isnan(self.perplexity) else f", perplexity {self.perplexity:.3f} per token{known}"
        per_word = "" if math.isnan(self.word_perplexity) else f", {self.word_perplexity:.2f} per word"
        return (
            f"{self.lines:,} line{'s' * (self.lines != 1)}, {self.tokens:,} tokens, {self.bits * scale:,.2f} {unit}"
            f"{per_char}{per_token}{per_word} ({end})"
        )
