"""Where rescored n-best lists go: Kaldi's or Moses' layout, rows of scores, or the rows of their table."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol, TextIO

from seqmodel.console.rows import RowFormat, RowWriter
from seqmodel.console.table_columns import TableColumns
from seqmodel.console.terminal import visible
from seqmodel.errors import DataError
from seqmodel.text.corpus import Line
from seqmodel.text.nbest import BAR, MosesLine, NbestList, fields

What = Literal["best", "reranked", "scores"]


@dataclass(frozen=True)
class RankedList:
    """An utterance's hypotheses in the order given, their scores, and their places from the best to the worst."""

    hypotheses: NbestList
    lm_scores: list[float]
    totals: list[float]

    @property
    def ranking(self) -> list[int]:
        return sorted(range(len(self.totals)), key=lambda i: -self.totals[i])

    def places(self, what: What) -> list[int]:
        """Which hypotheses are written, in order."""
        if what == "scores":
            return list(range(len(self.totals)))
        return self.ranking[:1] if what == "best" else self.ranking


class NbestOutput(Protocol):
    """Takes the lists in order."""

    def write(self, ranked: RankedList) -> None: ...

    def end(self) -> None: ...


class KaldiOutput:
    """`id total` of each hypothesis, or `id words…`; the best one of a list has the id of its utterance."""

    def __init__(self, stream: TextIO, what: What) -> None:
        self.stream, self.what = stream, what
        self.shown: Callable[[str], str] = visible if stream.isatty() else str

    def write(self, ranked: RankedList) -> None:
        for place in ranked.places(self.what):
            one = ranked.hypotheses[place]
            key = one.utterance if self.what == "best" else one.id or f"{one.utterance}-{place + 1}"
            if fields(key) != [key]:
                raise DataError(
                    f"line {one.line.number} of the n-best lists: the utterance's name is empty or holds white space",
                    "Kaldi's layout cannot hold it; choose another --format.",
                )
            cells = [f"{ranked.totals[place]:.6f}"] if self.what == "scores" else fields(one.text)
            self.stream.write(self.shown(" ".join([key, *cells])) + "\n")

    def end(self) -> None:
        pass


class MosesOutput:
    """Moses' lines with ln p among the features and the new total in its place; what stands after it stays."""

    def __init__(self, stream: TextIO, what: What, feature: str) -> None:
        self.stream, self.what, self.feature = stream, what, feature
        self.shown: Callable[[str], str] = visible if stream.isatty() else str

    def write(self, ranked: RankedList) -> None:
        for place in ranked.places(self.what):
            one = MosesLine.of(ranked.hypotheses[place].line, "")
            features = f"{one.features} {self.feature}= {ranked.lm_scores[place]:.6f}".strip()
            cells = [one.utterance, one.text, features, f"{ranked.totals[place]:.6f}", *one.rest]
            self.stream.write(self.shown(f" {BAR} ".join(cells)) + "\n")

    def end(self) -> None:
        pass


class RowsOutput:
    """A row for each hypothesis of Kaldi's or Moses' layout."""

    def __init__(self, stream: TextIO, what: What, style: RowFormat, header: bool, names: list[str]) -> None:
        self.what = what
        self.writer = RowWriter(stream, ["utterance", "hypothesis", *names, "text"], style, header)

    def write(self, ranked: RankedList) -> None:
        for place in ranked.places(self.what):
            one = ranked.hypotheses[place]
            self.writer.write([[one.utterance, one.id, ranked.lm_scores[place], ranked.totals[place], one.text]])

    def end(self) -> None:
        pass


class TableRowsOutput:
    """A table's own rows with the scores beside them. The column names are known when its header has been read."""

    def __init__(self, stream: TextIO, what: What, table: TableColumns, header: bool) -> None:
        self.stream, self.what, self.table, self.header = stream, what, table, header
        self.writer: RowWriter | None = None

    def _begun(self, first: Line | None = None) -> RowWriter:
        if self.writer is None:
            self.writer = self.table.writer(self.stream, self.header, first)
        return self.writer

    def write(self, ranked: RankedList) -> None:
        for place in ranked.places(self.what):
            line = ranked.hypotheses[place].line
            cells = [*self.table.cells(line), ranked.lm_scores[place], ranked.totals[place]]
            self._begun(line).write([cells], self.table.beside(line))

    def end(self) -> None:
        if self.table.reader.header is not None:
            self._begun()  # a table without rows keeps its header
