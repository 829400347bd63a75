"""Scores as rows: the columns of each level and their cells."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

from seqmodel.console.rows import RowFormat, Tenths
from seqmodel.console.table_columns import TableColumns
from seqmodel.scoring.anomaly import Span
from seqmodel.scoring.lines import LineScore
from seqmodel.scoring.totals import UNITS, Base, CorpusTotals
from seqmodel.scoring.words import WordBoundary, WordKind, word_scores
from seqmodel.text.tables import TableReader
from seqmodel.tokens.tokenizer import END, UNKNOWN, Tokenizer, is_byte

Level = Literal["line", "token", "word", "document", "corpus"]
TOKENS_AT_ONCE = 1 << 14  # of a line, converted to Python numbers together
_WORST = ("worst_start", "worst_end", "worst_bits")
_TOTALS = ("sequences", "tokens", "words", "chars", "bytes", "bits", "bits_per_char", "bits_per_byte")


@dataclass(frozen=True)
class PartialLine:
    """Sums over the parts of a line that is scored in parts; `text` is kept only if it will be shown."""

    bits: float = 0.0
    tokens: int = 0
    chars: int = 0
    text: tuple[str, ...] = ()

    def and_then(self, row: LineScore, keep: bool) -> PartialLine:
        """The sums with the next part added; `keep` says if the text is kept."""
        text = (*self.text, row.text) if keep else ()
        return PartialLine(self.bits + row.bits, self.tokens + len(row.ids), self.chars + len(row.text), text)


NOTHING = PartialLine()


@dataclass(frozen=True)
class ScoreView:
    """The rule that turns scores into rows.

    `files` adds a column with the file's name, `text` one with the text. `percentile` and `worst` compute more columns
    for a line.
    """

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
        """The size of a bit in the unit of information."""
        return UNITS[self.base].per_bit

    @property
    def columns(self) -> list[str]:
        """The column names of the level, with the unit of information."""
        unit = UNITS[self.base].name
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

    def rows(self, row: LineScore, begun: PartialLine = NOTHING) -> Iterator[list[Any]]:
        """Yield the rows of a line without its file's name; none at the levels of totals.

        `begun` holds the earlier parts of a line that is scored in parts.
        """
        if self.level == "line" and not row.line.open:
            yield self._line(row, begun)
        elif self.level == "token":
            yield from self._tokens(row, begun)
        elif self.level == "word":
            yield from self._words(row)

    def _line(self, row: LineScore, begun: PartialLine) -> list[Any]:
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

    def _tokens(self, row: LineScore, begun: PartialLine) -> Iterator[list[Any]]:
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
    """A token's characters, the byte's name if it is part of a character, or "" for the end symbol."""
    if token == END:
        return ""
    data = tokenizer.piece_bytes[token]
    if token == UNKNOWN or (is_byte(token) and data[0] >= 0x80):
        return tokenizer.piece(token)
    return text[span[0] : span[1]] or ("\n" if data == b"\n" else "")


class TableView:
    """The columns of scores that come after a table's own.

    Columns that the table already holds are left out: the line's number and, for lines, the text. Columns of tokens and
    words, and that of the file, are renamed if the table has columns of their names. `prefix` begins the names of all
    score columns, so that one table can hold the scores of several models.
    """

    def __init__(self, view: ScoreView, reader: TableReader, style: RowFormat | None, prefix: str = "") -> None:
        self.view = view
        left_out = {"line"} if view.level in ("token", "word") else {"line", "text"}
        self.kept = [i for i, name in enumerate(view.columns) if name not in left_out]
        instead = {"file": "source_file", "text": f"{view.level}_text", view.level: f"{view.level}_number"}
        new = [prefix + view.columns[i] for i in self.kept]
        self.table = TableColumns(reader, style, new, {} if prefix else instead)

    def rows(self, file: str, row: LineScore) -> Iterator[list[Any]]:
        """Yield the new cells of each row of a line of a file."""
        first = [file] if self.view.files else []
        for cells in self.view.rows(row):
            whole = [*first, *cells]
            yield [whole[i] for i in self.kept]


def total_cells(totals: CorpusTotals, scale: float, closed: bool) -> list[Any]:
    """The cells of a row of totals; `scale` is the size of a bit, `closed` True for a closed vocabulary."""
    return [
        *(totals.sequences, totals.tokens, totals.words, totals.chars, totals.bytes, totals.bits * scale),
        math.nan if closed else totals.bits_per_char * scale,
        math.nan if closed else totals.bits_per_byte * scale,
        *(totals.perplexity, totals.word_perplexity),
        *((totals.unknown, totals.known_perplexity) if closed else ()),
    ]
