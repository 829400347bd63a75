"""Scores as rows: which columns each level has, and what stands in them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

from seqmodel.console.rows import RowFormat, Tenths
from seqmodel.console.table_columns import TableColumns
from seqmodel.model.bundle import power, ratio
from seqmodel.scoring.anomaly import Span
from seqmodel.scoring.lines import LineScore
from seqmodel.scoring.words import WordBoundary, WordKind, word_scores
from seqmodel.text.long_lines import word_count
from seqmodel.text.tables import TableReader
from seqmodel.tokens.tokenizer import END, UNKNOWN, Tokenizer, is_byte

Level = Literal["line", "token", "word", "document", "corpus"]
Base = Literal["2", "e", "10"]

UNITS: dict[str, tuple[str, float]] = {
    "2": ("bits", 1.0),
    "e": ("nats", math.log(2)),
    "10": ("bans", math.log10(2)),
}
TOKENS_AT_ONCE = 1 << 14  # of a line, as Python's own numbers
_WORST = ("worst_start", "worst_end", "worst_bits")
_TOTALS = ("sequences", "tokens", "words", "chars", "bytes", "bits", "bits_per_char", "bits_per_byte")


@dataclass(frozen=True)
class Begun:
    """What has come of a line that is scored in parts; `text` is kept where it will be shown."""

    bits: float = 0.0
    tokens: int = 0
    chars: int = 0
    text: tuple[str, ...] = ()

    def and_then(self, row: LineScore, keep: bool) -> Begun:
        text = (*self.text, row.text) if keep else ()
        return Begun(self.bits + row.bits, self.tokens + len(row.ids), self.chars + len(row.text), text)


NOTHING = Begun()


@dataclass(frozen=True)
class ScoreView:
    """How scores are shown. `files`: a column names the file; `text`: the text stands beside its score; `percentile`
    and `worst` give what more is told of a line."""

    tokenizer: Tokenizer
    level: Level = "line"
    base: Base = "2"
    files: bool = False
    text: bool = True
    words: WordKind = "space"
    boundary: WordBoundary = "corrected"
    percentile: Callable[[LineScore], float] | None = None
    worst: Callable[[LineScore], Span | None] | None = None

    @property
    def scale(self) -> float:
        """What a bit is in the unit of information."""
        return UNITS[self.base][1]

    @property
    def columns(self) -> list[str]:
        """The column names of the level, the unit of information in them."""
        unit = UNITS[self.base][0]
        oov = ["oov"] if self.tokenizer.unit != "byte" else []
        closed = ["unknown", "known_perplexity"] if self.tokenizer.closed else []
        totals = [*_TOTALS, "perplexity", "word_perplexity", *closed]
        odd = [*(["percentile"] if self.percentile else []), *(_WORST if self.worst else [])]
        names = {
            "line": ["line", "bits", "tokens", "chars", "bits_per_char", *odd, "text"],
            "token": [*_place("token"), "surprisal_bits", "entropy_bits", "rank", *oov],
            "word": [*_place("word"), "surprisal_bits", "tokens", *oov],
            "document": ["file", *totals],
            "corpus": totals,
        }[self.level]
        kept = [name.replace("bits", unit) for name in names if self.text or name != "text"]
        return (["file"] if self.files and self.level in ("line", "token", "word") else []) + kept

    def rows(self, row: LineScore, begun: Begun = NOTHING) -> Iterator[list[Any]]:
        """The rows of a line, or of what one that has begun goes on with, without its file; none at the levels that are
        sums."""
        if self.level == "line" and not row.line.open:
            yield self._line(row, begun)
        elif self.level == "token":
            yield from self._tokens(row, begun)
        elif self.level == "word":
            yield from self._words(row)

    def _line(self, row: LineScore, begun: Begun) -> list[Any]:
        whole = begun.and_then(row, keep=self.text)
        amount = whole.bits * self.scale
        per_char = amount / whole.chars if whole.chars and not self.tokenizer.closed else math.nan
        cells: list[Any] = [row.line.number, amount, whole.tokens, whole.chars, per_char]
        if self.percentile is not None:
            cells.append(Tenths(self.percentile(row)))
        if self.worst is not None:
            span = self.worst(row)
            cells += [None] * len(_WORST) if span is None else [span.start, span.end, span.bits * self.scale]
        return [*cells, "".join(whole.text)] if self.text else cells

    def _tokens(self, row: LineScore, begun: Begun) -> Iterator[list[Any]]:
        spans = row.spans(self.tokenizer)
        scores = row.scores
        assert scores.entropy is not None and scores.rank is not None
        columns = (row.ids, spans, scores.bits * self.scale, scores.entropy * self.scale, scores.rank)
        unknown = row.out_of_vocabulary(self.tokenizer)
        for at in range(0, len(row.ids), TOKENS_AT_ONCE):
            part = slice(at, at + TOKENS_AT_ONCE)
            cells = zip(*(column[part].tolist() for column in (*columns, unknown)), strict=True)
            for number, (token, span, bits, entropy, rank, oov) in enumerate(cells, start=begun.tokens + at + 1):
                yield [
                    *(row.line.number, number, span[0] + begun.chars, span[1] + begun.chars),
                    *([token_text(self.tokenizer, token, row.text, span)] if self.text else []),
                    *(bits, entropy, rank),
                    *([int(oov)] if self.tokenizer.unit != "byte" else []),
                ]

    def _words(self, row: LineScore) -> Iterator[list[Any]]:
        for number, word in enumerate(word_scores(row, self.tokenizer, self.words, self.boundary), start=1):
            yield [
                *(row.line.number, number, word.start, word.end),
                *([row.text[word.start : word.end]] if self.text else []),
                *(word.bits * self.scale, word.last - word.first),
                *([int(word.is_oov)] if self.tokenizer.unit != "byte" else []),
            ]


def _place(part: str) -> list[str]:
    return ["line", part, "char_start", "char_end", "text"]


def token_text(tokenizer: Tokenizer, token: int, text: str, span: list[int]) -> str:
    """The characters of a token; the byte's name where it is part of a character; nothing for the end."""
    if token == END:
        return ""
    data = tokenizer.piece_bytes[token]
    if token == UNKNOWN or (is_byte(token) and data[0] >= 0x80):
        return tokenizer.piece(token)
    return text[span[0] : span[1]] or ("\n" if data == b"\n" else "")


class TableView:
    """The scores of a table's rows: its own columns pass through, those of the score come after them.

    The line's number, and for lines the text, which the table has, are left out. Of tokens and words the number and the
    text get other names where the table has columns of those names, and so does the file. `prefix` stands before the
    names of the score columns, so that the scores of several models fit into one table.
    """

    def __init__(self, view: ScoreView, reader: TableReader, style: RowFormat | None, prefix: str = "") -> None:
        self.view = view
        left_out = {"line"} if view.level in ("token", "word") else {"line", "text"}
        self.kept = [i for i, name in enumerate(view.columns) if name not in left_out]
        instead = {"file": "source_file", "text": f"{view.level}_text", view.level: f"{view.level}_number"}
        new = [prefix + view.columns[i] for i in self.kept]
        self.table = TableColumns(reader, style, new, {} if prefix else instead)

    def rows(self, file: str, row: LineScore) -> Iterator[list[Any]]:
        passed = self.table.cells(row.line)
        first = [file] if self.view.files else []
        for cells in self.view.rows(row):
            yield [*passed, *(([*first, *cells])[i] for i in self.kept)]


@dataclass
class CorpusTotals:
    """Sums over all that was scored. A line end counts as one character and one byte, a carriage return in it or not;
    characters are then those that `wc -m` counts."""

    sequences: int = 0
    tokens: int = 0
    words: int = 0
    chars: int = 0
    bytes: int = 0
    bits: float = 0.0
    lines: int = 0
    unknown: int = 0
    unknown_bits: float = 0.0
    in_word: bool = False  # the last part of a line ended inside a word

    def add(self, row: LineScore, ends: bool) -> None:
        """Add a line, or a part of one; `ends` tells whether a sequence ends with it."""
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

    def row(self, scale: float, closed: bool) -> list[Any]:
        amount = self.bits * scale
        per_char, per_byte = (math.nan, math.nan) if closed else (ratio(amount, self.chars), ratio(amount, self.bytes))
        known = ratio(self.bits - self.unknown_bits, self.tokens - self.unknown)
        return [
            *(self.sequences, self.tokens, self.words, self.chars, self.bytes),
            *(
                amount,
                per_char,
                per_byte,
                power(ratio(self.bits, self.tokens)),
                power(ratio(self.bits, self.words)),
            ),
            *((self.unknown, power(known)) if closed else ()),
        ]

    def summary(self, base: Base, closed: bool, end: str) -> str:
        """One line; `end` says how the end symbol is treated."""
        unit, scale = UNITS[base]
        row = self.row(scale, closed)
        per_char = "" if math.isnan(row[6]) else f", {row[6]:.4f} {unit} per char"
        known = f", {row[11]:.3f} without the {self.unknown:,} unknown" if closed else ""
        per_token = "" if math.isnan(row[8]) else f", perplexity {row[8]:.3f} per token{known}"
        per_word = "" if math.isnan(row[9]) else f", {row[9]:.2f} per word"
        return (
            f"{self.lines:,} line{'s' * (self.lines != 1)}, {self.tokens:,} tokens, {row[5]:,.2f} {unit}"
            f"{per_char}{per_token}{per_word} ({end})"
        )
