"""A scored line as marks: pieces of its text, each with the surprisal that it is coloured by, in visible characters.

What cannot be seen, or would steer a terminal or a page, is shown by a sign: ⟨TAB⟩, ⟨ESC⟩, ⟨U+200B⟩, or ⟨xFF⟩ for a
byte that belongs to no character.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass

from seqmodel.choices import Unit
from seqmodel.reports.palette import STEPS, step
from seqmodel.scoring.lines import LineScore
from seqmodel.scoring.words import WordBoundary, WordKind, word_scores
from seqmodel.tokens.tokenizer import END, START, UNKNOWN, Tokenizer, is_byte

END_SIGN, NEWLINE_SIGN, BLANK_SIGN = "∎", "⏎", "␣"
TOPS: dict[Unit, float] = {"char": 8.0, "byte": 8.0, "subword": 16.0, "word": 20.0}  # bits of the deepest shade

_CONTROLS = {0: "NUL", 9: "TAB", 13: "CR", 27: "ESC"}
_JOINERS = "\u200c\u200d"  # they shape the characters beside them


@dataclass(frozen=True)
class Mark:
    """A piece of a line: its visible text, and its bits if it has any of its own; tokens from `first` to `last`
    belong to it."""

    text: str
    bits: float | None = None
    first: int = 0
    last: int = 0


@dataclass(frozen=True)
class Marking:
    """How lines are cut into marks: by token, or by word."""

    tokenizer: Tokenizer
    by_word: bool = False
    words: WordKind = "space"
    boundary: WordBoundary = "corrected"

    @property
    def top(self) -> float:
        """The bits from which on a mark has the deepest shade."""
        return TOPS["word" if self.by_word else self.tokenizer.unit]

    @property
    def ticks(self) -> dict[int, str]:
        """The bits that stand at some shades of the legend."""
        ticks = {number: f"{self.top * number / STEPS:g}" for number in range(0, STEPS + 1, STEPS // 4)}
        return ticks | {STEPS: f"{self.top:g}+"}

    def shade(self, bits: float) -> int:
        """The number of the shade, from 0 to STEPS."""
        return step(bits, self.top)

    def marks(self, row: LineScore, most: int = sys.maxsize) -> Iterator[Mark]:
        """The marks of a line, which show all of its text; then, by token, what ends it. Of a line of more than `most`
        tokens only those are shown."""
        at = 0
        for begin, end, mark in self._words(row) if self.by_word else self._tokens(row, most):
            if mark.last > most:
                return
            if begin > at:
                yield Mark(visible(row.text[at:begin]))
            yield mark
            at = max(at, end)
        if at < len(row.text) and len(row.ids) <= most:
            yield Mark(visible(row.text[at:]))

    def _tokens(self, row: LineScore, most: int) -> Iterator[tuple[int, int, Mark]]:
        """Tokens with their places. Those that spell one character in bytes are one mark, and a virtual blank is one
        with what follows it."""
        spans = row.spans(self.tokenizer)[:most].tolist()
        bits = row.scores.bits[:most].tolist()
        ids = row.ids[:most].tolist()
        last = 0
        while last < len(ids):
            first = last
            begin, end = spans[first]
            last += 1
            if not self._is_end(ids[first], spans[first]):
                while last < len(ids) and (begin == end or spans[last] == [begin, end]) and ids[last] != END:
                    end = spans[last][1]
                    last += 1
            text = visible(row.text[begin:end]) if begin < end else self.label(ids[first])
            yield begin, end, Mark(text, sum(bits[first:last]), first, last)

    def _is_end(self, token: int, span: list[int]) -> bool:
        """Whether a token ends the line and is no part of its text."""
        return token == END or (span[0] == span[1] and token in self.tokenizer.newline_ids)

    def _words(self, row: LineScore) -> Iterator[tuple[int, int, Mark]]:
        for word in word_scores(row, self.tokenizer, self.words, self.boundary) if len(row.ids) else []:
            shown = row.text[word.start : word.end]
            text = visible(shown) if shown else self.label(int(row.ids[-1]))
            yield word.start, word.end, Mark(text, word.bits, word.first, word.last)

    def label(self, token: int) -> str:
        """How a token is named where it stands alone; no white space is in it."""
        data = self.tokenizer.piece_bytes[token]
        if token == END:
            return END_SIGN
        if token in (UNKNOWN, START) or (is_byte(token) and data[0] >= 0x80):
            return self.tokenizer.piece(token)
        return visible(data.decode()).replace(" ", BLANK_SIGN)


def visible(text: str) -> str:
    """A text in characters that can all be seen; blanks stay, and so do joiners between other characters."""
    if text.isprintable():
        return text
    inside = _JOINERS if len(text) > 1 else ""
    return "".join(char if char.isprintable() or char in inside else _sign(ord(char)) for char in text)


def _sign(code: int) -> str:
    if code == ord("\n"):
        return NEWLINE_SIGN
    if 0xDC80 <= code < 0xDD00:  # a byte that Python holds as a lone surrogate
        return f"⟨x{code - 0xDC00:02X}⟩"
    return f"⟨{_CONTROLS.get(code, f'U+{code:04X}')}⟩"
