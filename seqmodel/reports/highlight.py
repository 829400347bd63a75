"""A scored line as marks: pieces of its text in visible characters, each with the surprisal that colours it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass

from seqmodel.choices import Unit
from seqmodel.reports.palette import STEPS, step
from seqmodel.scoring.lines import LineScore
from seqmodel.scoring.words import WordBoundary, WordKind, word_scores
from seqmodel.text.visible import with_signs
from seqmodel.tokens.tokenizer import END, START, UNKNOWN, Tokenizer, is_byte

END_SIGN, BLANK_SIGN = "∎", "␣"
TOPS: dict[Unit, float] = {"char": 8.0, "byte": 8.0, "subword": 16.0, "word": 20.0}  # bits of the deepest shade


@dataclass(frozen=True)
class Mark:
    """A piece of a line: its visible text, its bits (None for text between words), and its tokens `first` to `last`."""

    text: str
    bits: float | None = None
    first: int = 0
    last: int = 0


@dataclass(frozen=True)
class Marking:
    """The rule that cuts lines into marks, by token or by word, and shades them."""

    tokenizer: Tokenizer
    by_word: bool = False
    words: WordKind = "space"
    boundary: WordBoundary = "corrected"

    @property
    def top(self) -> float:
        """The bits at which the deepest shade begins."""
        return TOPS["word" if self.by_word else self.tokenizer.unit]

    @property
    def ticks(self) -> dict[int, str]:
        """The legend's labels, in bits, by the number of their shade."""
        ticks = {number: f"{self.top * number / STEPS:g}" for number in range(0, STEPS + 1, STEPS // 4)}
        return ticks | {STEPS: f"{self.top:g}+"}

    def shade(self, bits: float) -> int:
        """The number of the shade, from 0 to STEPS."""
        return step(bits, self.top)

    def marks(self, row: LineScore, most: int = sys.maxsize) -> Iterator[Mark]:
        """Yield the marks of a line, which show all of its text and, by token, its end. A line is cut after `most`
        tokens."""
        at = 0
        for begin, end, mark in self._words(row) if self.by_word else self._tokens(row, most):
            if mark.last > most:
                return
            if begin > at:
                yield Mark(with_signs(row.text[at:begin]))
            yield mark
            at = max(at, end)
        if at < len(row.text) and len(row.ids) <= most:
            yield Mark(with_signs(row.text[at:]))

    def _tokens(self, row: LineScore, most: int) -> Iterator[tuple[int, int, Mark]]:
        """Yield marks by token with begin and end in the text. The bytes of one character share a mark, and so do a
        virtual blank and the token after it."""
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
            text = with_signs(row.text[begin:end]) if begin < end else self.label(ids[first])
            yield begin, end, Mark(text, sum(bits[first:last]), first, last)

    def _is_end(self, token: int, span: list[int]) -> bool:
        """True if a token ends the line and is no part of its text."""
        return token == END or (span[0] == span[1] and token in self.tokenizer.newline_ids)

    def _words(self, row: LineScore) -> Iterator[tuple[int, int, Mark]]:
        for word in word_scores(row, self.tokenizer, self.words, self.boundary) if len(row.ids) else []:
            shown = row.text[word.start : word.end]
            text = with_signs(shown) if shown else self.label(int(row.ids[-1]))
            yield word.start, word.end, Mark(text, word.bits, word.first, word.last)

    def label(self, token: int) -> str:
        """A token's name without white space, for places where it stands alone."""
        data = self.tokenizer.piece_bytes[token]
        if token == END:
            return END_SIGN
        if token in (UNKNOWN, START) or (is_byte(token) and data[0] >= 0x80):
            return self.tokenizer.piece(token)
        return with_signs(data.decode()).replace(" ", BLANK_SIGN)
