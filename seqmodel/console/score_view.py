"""Scores as rows: which columns each level has, and what stands in them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from seqmodel.inference.line_scores import LineScore
from seqmodel.kinds import Unit
from seqmodel.tokens.tokenizer import END, FIRST_BYTE, FIRST_PIECE, UNKNOWN, Tokenizer

Level = Literal["line", "token", "corpus"]
Base = Literal["2", "e", "10"]

UNITS: dict[str, tuple[str, float]] = {
    "2": ("bits", 1.0),
    "e": ("nats", math.log(2)),
    "10": ("bans", math.log10(2)),
}


def columns(level: Level, base: Base, several_files: bool, text: bool) -> list[str]:
    """The column names of a level, the unit of information in them."""
    unit = UNITS[base][0]
    names = {
        "line": ["line", unit, "tokens", "chars", f"{unit}_per_char", "text"],
        "token": [
            "line",
            "token",
            "char_start",
            "char_end",
            "text",
            f"surprisal_{unit}",
            f"entropy_{unit}",
            "rank",
        ],
        "corpus": [
            *("sequences", "tokens", "words", "chars", "bytes", unit, f"{unit}_per_char", f"{unit}_per_byte"),
            *("perplexity", "word_perplexity"),
        ],
    }[level]
    kept = names if text else [name for name in names if name != "text"]
    return (["file"] if several_files and level != "corpus" else []) + kept


def line_row(row: LineScore, scale: float, closed: bool, text: bool) -> list[Any]:
    chars = len(row.text)
    per_char = row.bits * scale / chars if chars and not closed else math.nan
    cells: list[Any] = [row.line.number, row.bits * scale, len(row.ids), chars, per_char]
    return [*cells, row.text] if text else cells


def token_rows(row: LineScore, tokenizer: Tokenizer, scale: float, text: bool) -> Iterator[list[Any]]:
    spans = tokenizer.spans(row.ids.tolist())
    scores = row.scores
    assert scores.entropy is not None and scores.rank is not None
    for number, (token, span) in enumerate(zip(row.ids.tolist(), spans.tolist(), strict=True)):
        shown = [_token_text(tokenizer, token, row.text, span)] if text else []
        yield [
            *(row.line.number, number + 1, *span, *shown),
            *(
                float(scores.bits[number]) * scale,
                float(scores.entropy[number]) * scale,
                int(scores.rank[number]),
            ),
        ]


def _token_text(tokenizer: Tokenizer, token: int, text: str, span: list[int]) -> str:
    """The characters of a token; the byte's name where it is part of a character; nothing for the end."""
    if token == END:
        return ""
    data = tokenizer.piece_bytes[token]
    if token == UNKNOWN or (FIRST_BYTE <= token < FIRST_PIECE and data[0] >= 0x80):
        return tokenizer.piece(token)
    return text[span[0] : span[1]] or ("\n" if data == b"\n" else "")


@dataclass
class CorpusTotals:
    """Sums over all that was scored; characters count newlines, as `wc -m` does."""

    sequences: int = 0
    tokens: int = 0
    words: int = 0
    chars: int = 0
    bytes: int = 0
    bits: float = 0.0
    lines: int = 0
    unknown: int = 0

    def add(self, row: LineScore, unit: Unit) -> None:
        newline = row.line.terminated
        text = row.line.text
        self.lines += 1
        self.sequences += int(bool(len(row.ids)) and int(row.ids[-1]) == END)
        self.unknown += int((row.ids == UNKNOWN).sum())
        self.tokens += len(row.ids)
        self.words += len(text.split())
        self.chars += len(text) + newline
        self.bytes += len(text.encode("utf-8", "surrogateescape" if unit == "byte" else "strict")) + newline
        self.bits += row.bits

    def row(self, scale: float, closed: bool) -> list[Any]:
        amount = self.bits * scale
        per_char, per_byte = (
            (math.nan, math.nan) if closed else (_ratio(amount, self.chars), _ratio(amount, self.bytes))
        )
        perplexities = (_power(_ratio(self.bits, self.tokens)), _power(_ratio(self.bits, self.words)))
        return [
            *(self.sequences, self.tokens, self.words, self.chars, self.bytes),
            *(amount, per_char, per_byte, *perplexities),
        ]

    def summary(self, base: Base, closed: bool, ends: bool) -> str:
        unit, scale = UNITS[base]
        end = "end symbols counted" if ends else "end: none"
        row = self.row(scale, closed)
        per_char = "" if math.isnan(row[6]) else f", {row[6]:.4f} {unit} per char"
        unknown = f", {self.unknown:,} unknown" if closed else ""
        return (
            f"{self.lines:,} line{'s' * (self.lines != 1)}, "
            f"{self.tokens:,} tokens{unknown}, {row[5]:,.2f} {unit}{per_char}, "
            f"perplexity {row[8]:.3f} per token ({end})"
        )


def _ratio(amount: float, count: int) -> float:
    return amount / count if count else math.nan


def _power(bits: float) -> float:
    return math.inf if bits >= 1000 else 2**bits
