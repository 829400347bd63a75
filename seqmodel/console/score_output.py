"""Where scores go: rows of a table, or the layouts of other tools."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import TextIO

from seqmodel.console.rows import RowWriter
from seqmodel.console.score_view import NOTHING, CorpusTotals, ScoreView, TableView, token_text
from seqmodel.console.terminal import visible
from seqmodel.inference.line_scores import LineScore
from seqmodel.inference.words import word_scores
from seqmodel.model.bundle import power
from seqmodel.tokens.tokenizer import Tokenizer

LOG10_2 = math.log10(2)


class ScoreOutput(ABC):
    """Takes the scored lines in order, and the sums of each file and of all when they are known, if it wants them."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream

    @abstractmethod
    def line(self, file: str, row: LineScore) -> None: ...

    def file(self, file: str, totals: CorpusTotals) -> None:  # noqa: B027
        """The sums of a file, after its last line."""

    def end(self, totals: CorpusTotals) -> None:  # noqa: B027
        """The sums of all, after the last file."""

    def flush(self) -> None:
        self.stream.flush()


class RowOutput(ScoreOutput):
    """Rows of the level asked for."""

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
            self.writer.write([[file, *totals.row(self.view.scale, self.view.tokenizer.closed)]])

    def end(self, totals: CorpusTotals) -> None:
        if self.view.level == "corpus":
            self.writer.write([totals.row(self.view.scale, self.view.tokenizer.closed)])


class TableOutput(ScoreOutput):
    """A table's own rows with the scores beside them. The column names are known when its header has been read."""

    def __init__(self, view: TableView, stream: TextIO, header: bool) -> None:
        super().__init__(stream)
        self.view = view
        self.header = header and view.table.reader.has_header
        self.writer: RowWriter | None = None

    def _begun(self) -> RowWriter:
        if self.writer is None:
            self.writer = RowWriter(self.stream, self.view.table.names(), self.view.table.style, self.header)
        return self.writer

    def line(self, file: str, row: LineScore) -> None:
        self._begun().write(self.view.rows(row), self.view.table.beside(row.line))

    def end(self, totals: CorpusTotals) -> None:
        if self.view.table.reader.header is not None or not self.header:
            self._begun()  # a table without rows keeps its header


class KenlmOutput(ScoreOutput):
    """What KenLM's `query` writes: `word=id length log10 p` of each word, the end symbol, the line's sum, and both
    perplexities. The id is that of the word's first token that is no white space, 0 for a word out of vocabulary; the
    length is its number of tokens."""

    def __init__(self, tokenizer: Tokenizer, stream: TextIO) -> None:
        super().__init__(stream)
        self.tokenizer = tokenizer
        self.shown = visible if stream.isatty() else str
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
            bits = float(row.scores.bits[-1]) if cells else row.bits  # with those of white space alone
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
    """What lm-zoo's `get-surprisals` writes: sentence_id, token_id (both from 1), token, surprisal in bits, as TSV. The
    tokens are the model's, or words with `--by word`; sentences are numbered on from file to file."""

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
