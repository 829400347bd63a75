"""Carries `seqmodel rescore` out: from what the command line says to the lists on standard output."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal, TextIO

import numpy as np
import numpy.typing as npt

from seqmodel.api.model import Model
from seqmodel.console.rescore_output import (
    KaldiOutput,
    MosesOutput,
    NbestOutput,
    RankedList,
    RowsOutput,
    TableRowsOutput,
    What,
)
from seqmodel.console.rows import data_output
from seqmodel.console.table_columns import TableColumns, say_skipped
from seqmodel.console.terminal import say
from seqmodel.errors import UsageError
from seqmodel.scoring.error_rate_tuning import JudgedLists, tuned
from seqmodel.scoring.rescoring import Combination, features
from seqmodel.settings import CorpusSettings
from seqmodel.text.corpus import Line
from seqmodel.text.inputs import LineInputs
from seqmodel.text.nbest import (
    NbestList,
    References,
    ScoreFile,
    kaldi_hypotheses,
    layout_of,
    moses_hypotheses,
    nbest_lists,
    table_hypotheses,
    with_scores,
)
from seqmodel.text.sources import STDIN
from seqmodel.text.tables import TableFormat, TableReader, format_of

NbestFormat = Literal["kaldi", "moses", "tsv", "csv", "jsonl", "raw-tsv"]
TABLES = (".tsv", ".csv", ".jsonl", ".ndjson")
HYPOTHESES_AT_ONCE = 1024


@dataclass(frozen=True)
class RescoreRequest:
    """What the command line says."""

    nbest: str = STDIN
    kind: NbestFormat | None = None
    whole_ids: bool = False
    utterance: str | None = None
    hypothesis: str | None = None
    score_columns: tuple[str, ...] = ()
    score_files: tuple[str, ...] = ()
    weight: float | None = None
    score_weights: tuple[float, ...] = ()
    length_penalty: float = 0.0
    tune: str | None = None
    what: What = "best"
    skip_bad: bool = False
    style: Literal["kaldi", "moses", "tsv", "csv", "jsonl"] | None = None
    header: bool = True
    prefix: str = ""
    quiet: bool = False


@dataclass(frozen=True)
class _ScoredList:
    hypotheses: NbestList
    features: npt.NDArray[np.float64]

    def ranked(self, combination: Combination) -> RankedList:
        return RankedList(self.hypotheses, self.features[:, 0].tolist(), combination.totals(self.features).tolist())


@dataclass(frozen=True)
class _Nbest:
    """The lists as lines or rows, and how they are to be read. `guessed`: the layout is that of the first line."""

    kind: Literal["kaldi", "moses", "table"]
    name: str
    lines: Iterator[list[Line]]
    table: TableReader | None = None
    guessed: bool = False


def run_rescore(model: Model, request: RescoreRequest, settings: CorpusSettings) -> None:
    """Rescore all lists; each is written when it is complete, with `tune` when all have been read."""
    nbest = _opened(model, request, settings)
    default = nbest.kind == "moses" and not request.score_columns  # Moses' own total
    others = len(request.score_columns) + len(request.score_files) + default
    combination = Combination.of(others, request.weight, request.score_weights, request.length_penalty)
    stream = data_output(model.header.unit)
    output = _output(request, nbest, stream)
    batches = _lists(model, request, nbest, settings)
    if request.tune is None:
        scored = _scored(model, batches)
    else:
        references = References.read(request.tune, settings, model.header.unit == "byte")
        lists = [one for batch in batches for one in batch]
        said = references.of(lists)
        everything = [one for batch in _scored(model, iter([lists])) for one in batch]
        combination = _fitted(everything, said, combination, request.quiet)
        scored = iter([everything])
    number, hypotheses, changed = _written(scored, combination, output, stream)
    if not request.quiet:
        say(
            f"n-best lists: {number:,}, hypotheses: {hypotheses:,}, lists with another than the first best: {changed:,}"
        )
        if nbest.guessed and number == hypotheses > 1:
            say("every list has one hypothesis: those of an utterance have ids that end in -1, -2 …")
        say_skipped(nbest.table)


def _written(
    batches: Iterator[list[_ScoredList]], combination: Combination, output: NbestOutput, stream: TextIO
) -> tuple[int, int, int]:
    """Write all lists; how many there were, of how many hypotheses, and in how many the first is not the best."""
    lists = hypotheses = changed = 0
    for batch in batches:
        for one in batch:
            ranked = one.ranked(combination)
            output.write(ranked)
            lists += 1
            hypotheses += len(one.hypotheses)
            changed += ranked.ranking[0] > 0
        stream.flush()
    output.end()
    stream.flush()
    return lists, hypotheses, changed


def _opened(model: Model, request: RescoreRequest, settings: CorpusSettings) -> _Nbest:
    """What is to be read.

    Raises:
        UsageError: if the options contradict each other.
    """
    if [request.nbest, *request.score_files, request.tune].count(STDIN) > 1:
        raise UsageError("standard input is named twice", "Give - once.")
    inputs = LineInputs.of([request.nbest], (), settings, model.header.unit == "byte")
    if len(inputs.sources) > 1:
        raise UsageError(f"{request.nbest}: a folder with several files", "Name one of them.")
    columns = (request.utterance, request.hypothesis)
    by_name = request.nbest.lower().endswith(TABLES)
    kind = request.kind or (format_of([request.nbest]) if columns != (None, None) or by_name else None)
    if kind not in (None, "kaldi", "moses"):
        return _table(kind, request, inputs)  # type: ignore[arg-type]
    if columns != (None, None):
        raise UsageError("such n-best lists have no columns", "Leave them out, or give --input tsv, csv or jsonl.")
    if request.skip_bad:
        raise UsageError("--skip-bad is for tables", "Leave it out.")
    ((name, lines),) = inputs.streams()
    guessed = kind is None and not request.whole_ids and not request.score_files
    found, lines = layout_of(lines) if guessed else (kind or "kaldi", lines)
    if found == "kaldi" and request.score_columns:
        raise UsageError(
            "Kaldi's layout has no columns", "Give --input tsv, csv or jsonl, or leave out --utterance and --score."
        )
    if found == "moses" and (request.score_files or request.whole_ids):
        raise UsageError("--scores and --whole-ids are for Kaldi's layout", "Name Moses' features with --score.")
    return _Nbest("moses" if found == "moses" else "kaldi", name, lines, guessed=guessed)


def _table(kind: TableFormat, request: RescoreRequest, inputs: LineInputs) -> _Nbest:
    if request.utterance is None or request.hypothesis is None:
        raise UsageError(
            "a table needs --utterance and --hypothesis", "Name both columns; by number if there is no header."
        )
    if request.score_files or request.whole_ids:
        raise UsageError("--scores and --whole-ids are for Kaldi's layout", "Name the columns with --score.")
    others = (request.utterance, *request.score_columns)
    reader = TableReader(kind, request.hypothesis, others=others, skip_bad=request.skip_bad)
    ((name, lines),) = replace(inputs, table=reader).streams()
    return _Nbest("table", name, lines, reader)


def _lists(model: Model, request: RescoreRequest, nbest: _Nbest, settings: CorpusSettings) -> Iterator[list[NbestList]]:
    if nbest.table is not None:
        hypotheses = table_hypotheses(nbest.lines, nbest.name, nbest.table.skip)
    elif nbest.kind == "moses":
        hypotheses = moses_hypotheses(nbest.lines, nbest.name, request.score_columns)
    else:
        hypotheses = kaldi_hypotheses(nbest.lines, nbest.name, request.whole_ids, nbest.guessed)
        files = [ScoreFile(name, settings, model.header.unit == "byte") for name in request.score_files]
        hypotheses = with_scores(hypotheses, files) if files else hypotheses
    yield from nbest_lists(hypotheses, nbest.name)


def _output(request: RescoreRequest, nbest: _Nbest, stream: TextIO) -> NbestOutput:
    style = request.style or (nbest.kind if nbest.kind != "table" else None)
    names = [f"{request.prefix}lm_score", f"{request.prefix}total"]
    if style == "kaldi":
        return KaldiOutput(stream, request.what)
    if style == "moses":
        if nbest.kind != "moses":
            raise UsageError("--format moses is for lists in Moses' layout", "Choose another --format.")
        return MosesOutput(stream, request.what, names[0])
    if nbest.table is None:
        assert style is not None
        return RowsOutput(stream, request.what, style, request.header, names)
    return TableRowsOutput(stream, request.what, TableColumns(nbest.table, style, names), request.header)


def _scored(model: Model, batches: Iterator[list[NbestList]]) -> Iterator[list[_ScoredList]]:
    """Lists with the model's scores. Those that are complete are scored together, and share prefixes too."""
    for batch in batches:
        waiting: list[NbestList] = []
        size = 0
        for one in batch:
            waiting.append(one)
            size += len(one)
            if size >= HYPOTHESES_AT_ONCE:
                yield _scored_together(model, waiting)
                waiting, size = [], 0
        yield _scored_together(model, waiting)


def _scored_together(model: Model, lists: list[NbestList]) -> list[_ScoredList]:
    texts = [[one.text for one in hypotheses] for hypotheses in lists]
    scores = iter(model.log_probabilities([text for those in texts for text in those]))
    return [
        _ScoredList(
            hypotheses,
            features([next(scores) for _ in those], those, list(zip(*(one.scores for one in hypotheses), strict=True))),
        )
        for hypotheses, those in zip(lists, texts, strict=True)
    ]


def _fitted(lists: list[_ScoredList], references: list[str], given: Combination, quiet: bool) -> Combination:
    """Weights fitted to the references; says what they change."""
    texts = [[hypothesis.text for hypothesis in one.hypotheses] for one in lists]
    judged = JudgedLists.of([one.features for one in lists], texts, references)
    found = tuned(judged, given)
    if not quiet:
        rates = {
            "first-best": judged.first,
            "weights given": judged.with_weights(given),
            "fitted": judged.with_weights(found),
            "oracle": judged.oracle,
        }
        shown = ", ".join(f"{name} {100 * errors / judged.words:.2f} %" for name, errors in rates.items())
        say(f"WER over {judged.words:,} words: {shown}")
        weights = "".join(f" --score-weight {weight!r}" for weight in found.score_weights)
        say(f"fitted: --weight {found.weight!r}{weights} --length-penalty {found.length_penalty!r}")
    return found
