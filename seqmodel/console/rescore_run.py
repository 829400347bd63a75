"""Carries `seqmodel rescore` out: from what the command line says to the lists on standard output."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal, TextIO

import numpy as np
import numpy.typing as npt

from seqmodel.config import CorpusSettings
from seqmodel.console.rescore_output import (
    KaldiOutput,
    NbestOutput,
    RankedList,
    RowsOutput,
    TableRowsOutput,
    What,
)
from seqmodel.console.rows import data_output
from seqmodel.console.table_columns import TableColumns
from seqmodel.console.terminal import say
from seqmodel.errors import UsageError
from seqmodel.inference.loaded import Model
from seqmodel.inference.rescoring import Combination, features
from seqmodel.inference.weight_tuning import JudgedLists, tuned
from seqmodel.text.corpus import STDIN
from seqmodel.text.inputs import LineInputs
from seqmodel.text.nbest import (
    NbestList,
    References,
    ScoreFile,
    kaldi_hypotheses,
    nbest_lists,
    table_hypotheses,
    with_scores,
)
from seqmodel.text.tables import TableReader, format_of

NbestFormat = Literal["kaldi", "tsv", "csv", "jsonl"]
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
    style: NbestFormat | None = None
    header: bool = True
    prefix: str = ""
    quiet: bool = False


@dataclass(frozen=True)
class _ScoredList:
    hypotheses: NbestList
    features: npt.NDArray[np.float64]

    def ranked(self, combination: Combination) -> RankedList:
        return RankedList(self.hypotheses, self.features[:, 0].tolist(), combination.totals(self.features).tolist())


def run_rescore(model: Model, request: RescoreRequest, settings: CorpusSettings) -> None:
    """Rescore all lists; each is written when it is complete, with `tune` when all have been read."""
    inputs = _inputs(model, request, settings)
    others = (*request.score_columns, *request.score_files)
    combination = Combination.of(len(others), request.weight, request.score_weights, request.length_penalty)
    stream = data_output(model.header.unit)
    output = _output(request, inputs, stream)
    batches = _lists(model, request, inputs, settings)
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


def _inputs(model: Model, request: RescoreRequest, settings: CorpusSettings) -> LineInputs:
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
    kind = request.kind or ("kaldi" if columns == (None, None) else format_of([request.nbest]))
    if kind == "kaldi":
        if columns != (None, None) or request.score_columns:
            raise UsageError("Kaldi's layout has no columns", "Leave them out, or give --input tsv, csv or jsonl.")
        return inputs
    if request.utterance is None or request.hypothesis is None:
        raise UsageError(
            "a table needs --utterance and --hypothesis", "Name both columns; by number if there is no header."
        )
    if request.score_files or request.whole_ids:
        raise UsageError("--scores and --whole-ids are for Kaldi's layout", "Name the columns with --score.")
    reader = TableReader(kind, request.hypothesis, others=(request.utterance, *request.score_columns))
    return replace(inputs, table=reader)


def _lists(
    model: Model, request: RescoreRequest, inputs: LineInputs, settings: CorpusSettings
) -> Iterator[list[NbestList]]:
    files = [ScoreFile(name, settings, model.header.unit == "byte") for name in request.score_files]
    for name, lines in inputs.streams():
        if inputs.table is None:
            hypotheses = with_scores(kaldi_hypotheses(lines, name, request.whole_ids), files)
        else:
            hypotheses = table_hypotheses(lines, name)
        yield from nbest_lists(hypotheses, name)


def _output(request: RescoreRequest, inputs: LineInputs, stream: TextIO) -> NbestOutput:
    style = request.style or ("kaldi" if inputs.table is None else inputs.table.kind)
    if style == "kaldi":
        if request.prefix:
            raise UsageError("--column-prefix without columns", "Give --format tsv, csv or jsonl, or leave it out.")
        return KaldiOutput(stream, request.what)
    names = [f"{request.prefix}lm_score", f"{request.prefix}total"]
    if inputs.table is None:
        return RowsOutput(stream, request.what, style, request.header, names)
    return TableRowsOutput(stream, request.what, TableColumns(inputs.table, style, names), request.header)


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
