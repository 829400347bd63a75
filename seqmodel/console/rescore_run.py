"""Carries out `seqmodel rescore`: reads n-best lists and writes them with scores to standard output."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal, TextIO

from seqmodel.api.model import Model
from seqmodel.console.rescore_output import (
    KaldiOutput,
    MosesOutput,
    NbestOutput,
    RowsOutput,
    Selection,
    TableRowsOutput,
)
from seqmodel.console.rows import data_output
from seqmodel.console.table_columns import TableColumns, TableWriter, say_skipped
from seqmodel.console.terminal import say
from seqmodel.errors import UsageError
from seqmodel.scoring.nbest_rescoring import ScoredList, WeightFit, fit_weights, score_lists
from seqmodel.scoring.rescoring import Combination
from seqmodel.settings import CorpusSettings
from seqmodel.text.corpus import STDIN, Line
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
from seqmodel.text.tables import TableFormat, TableReader, format_of

NbestFormat = Literal["kaldi", "moses", "tsv", "csv", "jsonl", "raw-tsv"]
TABLES = (".tsv", ".csv", ".jsonl", ".ndjson")


@dataclass(frozen=True)
class RescoreRequest:
    """The options of the command."""

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
    output: Selection = "best"
    skip_bad: bool = False
    style: Literal["kaldi", "moses", "tsv", "csv", "jsonl"] | None = None
    header: bool = True
    prefix: str = ""
    quiet: bool = False


@dataclass(frozen=True)
class _Nbest:
    """Lines or rows of n-best lists, and their layout; `guessed` is True if the first line decided on that."""

    kind: Literal["kaldi", "moses", "table"]
    name: str
    lines: Iterator[list[Line]]
    table: TableReader | None = None
    guessed: bool = False


def run_rescore(model: Model, request: RescoreRequest, settings: CorpusSettings) -> None:
    """Rescore all lists and write each when it is complete; with `tune`, when all have been read.

    Raises:
        UsageError: if the options contradict each other.
        DataError: if the lists, their scores or the references cannot be read.
    """
    nbest = _opened(model, request, settings)
    others = len(request.score_columns) + len(request.score_files)
    others += nbest.kind == "moses" and not request.score_columns  # Moses' own total
    combination = Combination.of(others, request.weight, request.score_weights, request.length_penalty)
    stream = data_output(model.header.unit)
    output = _output(request, nbest, stream)
    batches = _lists(model, request, nbest, settings)
    if request.tune is None:
        scored = score_lists(model.log_probabilities, batches)
    else:
        references = References.read(request.tune, settings, model.header.unit == "byte")
        lists = [one for batch in batches for one in batch]
        said = references.of(lists)
        everything = [one for batch in score_lists(model.log_probabilities, [lists]) for one in batch]
        fit = fit_weights(everything, said, combination)
        if not request.quiet:
            _say_fit(fit)
        combination, scored = fit.weights, iter([everything])
    number, hypotheses, changed = _written(scored, combination, output, stream)
    if not request.quiet:
        say(
            f"n-best lists: {number:,}, hypotheses: {hypotheses:,}, lists with another than the first best: {changed:,}"
        )
        if nbest.guessed and number == hypotheses > 1:
            say("every list has one hypothesis: those of an utterance have ids that end in -1, -2 …")
        say_skipped(nbest.table)


def _written(
    batches: Iterator[list[ScoredList]], combination: Combination, output: NbestOutput, stream: TextIO
) -> tuple[int, int, int]:
    """Write all lists. Returns the numbers of lists, of hypotheses, and of lists whose first hypothesis is not best."""
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
    """Open the n-best lists in the layout that the options name, or else the first line shows.

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
        return KaldiOutput(stream, request.output)
    if style == "moses":
        if nbest.kind != "moses":
            raise UsageError("--format moses is for lists in Moses' layout", "Choose another --format.")
        return MosesOutput(stream, request.output, names[0])
    if nbest.table is None:
        assert style is not None
        return RowsOutput(stream, request.output, style, request.header, names)
    return TableRowsOutput(request.output, TableWriter(TableColumns(nbest.table, style, names), stream, request.header))


def _say_fit(fit: WeightFit) -> None:
    """Say the word error rates before and after a fit, and the fitted weights as options."""
    rates = {"first-best": fit.first, "weights given": fit.given, "fitted": fit.fitted, "oracle": fit.oracle}
    shown = ", ".join(f"{name} {100 * errors / fit.words:.2f} %" for name, errors in rates.items())
    say(f"WER over {fit.words:,} words: {shown}")
    weights = "".join(f" --score-weight {weight!r}" for weight in fit.weights.score_weights)
    say(f"fitted: --weight {fit.weights.weight!r}{weights} --length-penalty {fit.weights.length_penalty!r}")
