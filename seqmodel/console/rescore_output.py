"""Writers of rescored n-best lists: Kaldi's or Moses' layout, rows of scores, or the rows of their table."""

from __future__ import annotations

from typing import Literal, Protocol, TextIO

from seqmodel.console.rows import RowFormat, RowWriter
from seqmodel.console.table_columns import TableWriter
from seqmodel.console.terminal import visible_on
from seqmodel.errors import DataError
from seqmodel.scoring.nbest_rescoring import RankedList
from seqmodel.text.nbest import BAR, MosesLine, fields

Selection = Literal["best", "reranked", "scores"]


def _selected(ranked: RankedList, selection: Selection) -> list[int]:
    """Positions of the hypotheses to write, in order."""
    if selection == "scores":
        return list(range(len(ranked.totals)))
    return ranked.ranking[:1] if selection == "best" else ranked.ranking


class NbestOutput(Protocol):
    """Takes the lists in order."""

    def write(self, ranked: RankedList) -> None:
        """Write the selected hypotheses of a list."""

    def end(self) -> None:
        """Write what is due after the last list."""


class KaldiOutput:
    """Writes `id total` of each hypothesis, or `id words…`; the best one of a list has the id of its utterance."""

    def __init__(self, stream: TextIO, selection: Selection) -> None:
        self.stream, self.selection = stream, selection
        self.shown = visible_on(stream)

    def write(self, ranked: RankedList) -> None:
        for place in _selected(ranked, self.selection):
            one = ranked.hypotheses[place]
            key = one.utterance if self.selection == "best" else one.id or f"{one.utterance}-{place + 1}"
            if fields(key) != [key]:
                raise DataError(
                    f"line {one.line.number} of the n-best lists: the utterance's name is empty or holds white space",
                    "Kaldi's layout cannot hold it; choose another --format.",
                )
            cells = [f"{ranked.totals[place]:.6f}"] if self.selection == "scores" else fields(one.text)
            self.stream.write(self.shown(" ".join([key, *cells])) + "\n")

    def end(self) -> None:
        pass


class MosesOutput:
    """Writes Moses' lines with ln p as one more feature and the new total in place of the old; later fields stay."""

    def __init__(self, stream: TextIO, selection: Selection, feature: str) -> None:
        self.stream, self.selection, self.feature = stream, selection, feature
        self.shown = visible_on(stream)

    def write(self, ranked: RankedList) -> None:
        for place in _selected(ranked, self.selection):
            one = MosesLine.of(ranked.hypotheses[place].line, "")
            features = f"{one.features} {self.feature}= {ranked.lm_scores[place]:.6f}".strip()
            cells = [one.utterance, one.text, features, f"{ranked.totals[place]:.6f}", *one.rest]
            self.stream.write(self.shown(f" {BAR} ".join(cells)) + "\n")

    def end(self) -> None:
        pass


class RowsOutput:
    """Writes a row for each hypothesis of Kaldi's or Moses' layout."""

    def __init__(self, stream: TextIO, selection: Selection, style: RowFormat, header: bool, names: list[str]) -> None:
        self.selection = selection
        self.writer = RowWriter(stream, ["utterance", "hypothesis", *names, "text"], style, header)

    def write(self, ranked: RankedList) -> None:
        for place in _selected(ranked, self.selection):
            one = ranked.hypotheses[place]
            self.writer.write([[one.utterance, one.id, ranked.lm_scores[place], ranked.totals[place], one.text]])

    def end(self) -> None:
        pass


class TableRowsOutput:
    """Writes a table's own rows with the scores beside them."""

    def __init__(self, selection: Selection, writer: TableWriter) -> None:
        self.selection, self.writer = selection, writer

    def write(self, ranked: RankedList) -> None:
        for place in _selected(ranked, self.selection):
            scores = [ranked.lm_scores[place], ranked.totals[place]]
            self.writer.write(ranked.hypotheses[place].line, [scores])

    def end(self) -> None:
        self.writer.end()
