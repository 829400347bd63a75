"""Writers of scores: rows of a table, or the layouts of other tools."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, TextIO

from seqmodel.console.rows import RowWriter
from seqmodel.console.score_view import NOTHING, ScoreView, TableView, token_text, total_cells
from seqmodel.console.table_columns import TableWriter
from seqmodel.console.terminal import visible_on
from seqmodel.model.bundle import power
from seqmodel.scoring.lines import LineScore
from seqmodel.scoring.totals import CorpusTotals
from seqmodel.scoring.words import word_scores
from seqmodel.tokens.tokenizer import Tokenizer

LOG10_2 = math.log10(2)


class ScoreOutput(ABC):
    """Takes the scored lines in order, the totals after each file, and the totals of all files at the end."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream

    @abstractmethod
    def line(self, file: str, row: LineScore) -> None: ...

    def file(self, file: str, totals: CorpusTotals) -> None:  # noqa: B027
        """Take the totals of a file, after its last line."""

    def end(self, totals: CorpusTotals) -> None:  # noqa: B027
        """Take the totals of all files, after the last one."""

    def flush(self) -> None:
        self.stream.flush()


class RowOutput(ScoreOutput):
    """Writes the rows of one level."""

    def __init__(self, view: ScoreView, writer: RowWriter) -> None:
        super().__init__(writer.stream)
        self.view, self.writer = view, writer
        self.begun = NOTHING

    def line(self, file: str, row: LineScore) -> None:
        prefix = [file] if self.view.files else []
        self.writer.write([*prefix, *cells] for cells in self.view.rows(row, self.begun))
        keep = self.view.level == "line" and self.view.text
        self.begun = self.begun.and_then(row, keep) if row.line.open else NOTHING

    def file(self, file: str, totals: CorpusTotals) -> None:
        if self.view.level == "document":
            self.writer.write([[file, *self._cells(totals)]])

    def end(self, totals: CorpusTotals) -> None:
        if self.view.level == "corpus":
            self.writer.write([self._cells(totals)])

    def _cells(self, totals: CorpusTotals) -> list[Any]:
        return total_cells(totals, self.view.scale, self.view.tokenizer.closed)


class TableOutput(ScoreOutput):
    """Writes a table's own rows with the scores beside them. `renamed` is called with the new columns that have other
    names than usual."""

    def __init__(
        self, view: TableView, stream: TextIO, header: bool, renamed: Callable[[Mapping[str, str]], None] | None
    ) -> None:
        super().__init__(stream)
        self.view = view
        self.writer = TableWriter(view.table, stream, header, renamed or (lambda renamed: None))

    def line(self, file: str, row: LineScore) -> None:
        self.writer.write(row.line, self.view.rows(file, row))

    def end(self, totals: CorpusTotals) -> None:
        self.writer.end()


class KenlmOutput(ScoreOutput):
    """Writes as KenLM's `query` does: `word=id length log10 p` of each word, the end symbol and the line's sum; at the
    end both perplexities.

    The id is that of the word's first token that is no white space, 0 for a word out of vocabulary; the length is its
    number of tokens.
    """

    def __init__(self, tokenizer: Tokenizer, stream: TextIO) -> None:
        super().__init__(stream)
        self.tokenizer = tokenizer
        self.shown = visible_on(stream)
        self.words, self.oov = 0, 0
        self.bits, self.oov_bits = 0.0, 0.0

    def line(self, file: str, row: LineScore) -> None:
        body = row.without_end()
        cells, oov = [], 0
        for word in word_scores(body, self.tokenizer, boundary="naive") if body.text.strip() else []:
            token = 0 if word.is_oov else int(row.ids[word.head])
            cells.append((row.text[word.start : word.end], token, word.last - word.first, word.bits))
            oov += word.is_oov
            self.oov_bits += word.bits if word.is_oov else 0.0
        if body is not row:
            bits = float(row.scores.bits[-1]) if cells else row.bits  # a blank line has no word to take its bits
            cells.append(("</s>", int(row.ids[-1]), 1, bits))
        self.words += len(cells)
        self.oov += oov
        self.bits += row.bits
        shown = [f"{self.shown(word)}={token} {length} {_log10(bits)}" for word, token, length, bits in cells]
        self.stream.write("\t".join([*shown, f"Total: {_log10(row.bits)} OOV: {oov}"]) + "\n")

    def end(self, totals: CorpusTotals) -> None:
        known = self.words - self.oov
        without = power((self.bits - self.oov_bits) / known) if known else math.nan
        self.stream.write(
            f"Perplexity including OOVs:\t{power(self.bits / max(1, self.words)):.6g}\n"
            f"Perplexity excluding OOVs:\t{without:.6g}\nOOVs:\t{self.oov}\nTokens:\t{self.words}\n"
        )


def _log10(bits: float) -> str:
    return f"{-bits * LOG10_2 + 0.0:.6g}"


class LmZooOutput(ScoreOutput):
    """Writes as lm-zoo's `get-surprisals` does: sentence_id, token_id (both from 1), token, surprisal in bits, as TSV.

    The tokens are the model's, or words with `--by word`. Sentences are numbered on from file to file.
    """

    def __init__(self, view: ScoreView, writer: RowWriter) -> None:
        super().__init__(writer.stream)
        self.view, self.writer = view, writer
        self.earlier, self.last = 0, 0  # sentences in earlier files, and so far

    def line(self, file: str, row: LineScore) -> None:
        self.last = self.earlier + row.line.number
        tokenizer = self.view.tokenizer
        if self.view.level == "word":
            words = word_scores(row, tokenizer, self.view.words, self.view.boundary)
            cells = [(row.text[word.start : word.end], word.bits) for word in words]
        else:
            spans = row.spans(tokenizer).tolist()
            shown = [token_text(tokenizer, int(i), row.text, at) for i, at in zip(row.ids, spans, strict=True)]
            shown = [text or tokenizer.piece(int(i)) for text, i in zip(shown, row.ids, strict=True)]
            cells = list(zip(shown, row.scores.bits.tolist(), strict=True))
        self.writer.write([self.last, i, *pair] for i, pair in enumerate(cells, start=1))

    def file(self, file: str, totals: CorpusTotals) -> None:
        self.earlier = self.last
