"""A file of n-best lists opened in its layout: Kaldi's, Moses' or a table, as the settings or its first line say."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

from seqmodel.choices import TableFormat
from seqmodel.command_settings import NbestSettings
from seqmodel.errors import UsageError
from seqmodel.settings import CorpusSettings
from seqmodel.text.corpus import Line
from seqmodel.text.inputs import LineInputs
from seqmodel.text.nbest import (
    NbestList,
    ScoreFile,
    kaldi_hypotheses,
    layout_of,
    moses_hypotheses,
    nbest_lists,
    table_hypotheses,
    with_scores,
)
from seqmodel.text.tables import TableReader, format_of

_TABLES = (".tsv", ".csv", ".jsonl", ".ndjson")


@dataclass(frozen=True)
class NbestInputs:
    """Lines or rows of n-best lists, and their layout; `guessed` is True if the first line decided on that."""

    settings: NbestSettings
    corpus: CorpusSettings
    any_bytes: bool
    kind: Literal["kaldi", "moses", "table"]
    name: str
    lines: Iterator[list[Line]]
    table: TableReader | None = None
    guessed: bool = False

    @classmethod
    def of(cls, nbest: str, settings: NbestSettings, corpus: CorpusSettings, any_bytes: bool) -> NbestInputs:
        """Open the n-best lists of a file, or of standard input for `-`.

        Raises:
            UsageError: if the settings contradict each other.
            DataError: if the file cannot be read.
        """
        inputs = LineInputs.of([nbest], (), corpus, any_bytes)
        if len(inputs.sources) > 1:
            raise UsageError(f"{nbest}: a folder with several files", "Name one of them.")
        columns = (settings.utterance, settings.hypothesis)
        by_name = nbest.lower().endswith(_TABLES)
        kind = settings.input or (format_of([nbest]) if columns != (None, None) or by_name else None)
        if kind is not None and kind != "kaldi" and kind != "moses":
            reader = _table(kind, settings)
            ((name, lines),) = replace(inputs, table=reader).streams()
            return cls(settings, corpus, any_bytes, "table", name, lines, reader)
        if columns != (None, None):
            raise UsageError(
                "n-best lists of this layout have no columns",
                "Leave out --utterance and --hypothesis, or give --input tsv, csv or jsonl.",
            )
        if settings.skip_bad:
            raise UsageError("--skip-bad is for tables", "Leave it out.")
        ((name, lines),) = inputs.streams()
        guessed = kind is None and not settings.whole_ids and not settings.scores
        found, lines = layout_of(lines) if guessed else (kind or "kaldi", lines)
        if found == "kaldi" and settings.score:
            raise UsageError(
                "Kaldi's layout has no columns",
                "Give --input tsv, csv or jsonl, or leave out --utterance and --score.",
            )
        if found == "moses" and (settings.scores or settings.whole_ids):
            raise UsageError("--scores and --whole-ids are for Kaldi's layout", "Name Moses' features with --score.")
        return cls(settings, corpus, any_bytes, found, name, lines, guessed=guessed)

    @property
    def score_count(self) -> int:
        """The number of other scores of each hypothesis."""
        given = len(self.settings.score) + len(self.settings.scores)
        return given + (self.kind == "moses" and not self.settings.score)  # Moses' own total

    def lists(self) -> Iterator[list[NbestList]]:
        """Yield complete lists, in batches as they are read.

        Raises:
            DataError: if a line or a score cannot be read, or lists are not grouped by utterance.
        """
        if self.table is not None:
            hypotheses = table_hypotheses(self.lines, self.name, self.table.skip)
        elif self.kind == "moses":
            hypotheses = moses_hypotheses(self.lines, self.name, self.settings.score)
        else:
            hypotheses = kaldi_hypotheses(self.lines, self.name, self.settings.whole_ids, self.guessed)
            files = [ScoreFile(name, self.corpus, self.any_bytes) for name in self.settings.scores]
            hypotheses = with_scores(hypotheses, files) if files else hypotheses
        yield from nbest_lists(hypotheses, self.name)


def _table(kind: TableFormat, settings: NbestSettings) -> TableReader:
    if settings.utterance is None or settings.hypothesis is None:
        raise UsageError(
            "a table needs --utterance and --hypothesis", "Name both columns; by number if there is no header."
        )
    if settings.scores or settings.whole_ids:
        raise UsageError("--scores and --whole-ids are for Kaldi's layout", "Name the columns with --score.")
    others = (settings.utterance, *settings.score)
    return TableReader(kind, settings.hypothesis, others=others, skip_bad=settings.skip_bad)
