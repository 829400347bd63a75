"""Rescored n-best lists on standard output; what was read and fitted on standard error."""

from __future__ import annotations

from typing import Literal, TextIO

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
from seqmodel.scoring.nbest_rescoring import RescoredLists, WeightFit

Style = Literal["kaldi", "moses", "tsv", "csv", "jsonl"]


def show_rescored(
    rescored: RescoredLists, selection: Selection, style: Style | None, header: bool, prefix: str, quiet: bool
) -> None:
    """Write lists batch by batch, as `style` or as they were read, and a summary to standard error unless `quiet`.

    Raises:
        UsageError: if the lists cannot be written in that style.
    """
    stream = data_output("byte" if rescored.inputs.any_bytes else "char")
    output = _output(rescored, selection, style, header, prefix, stream)
    told = quiet
    for batch in rescored.batches():
        if rescored.fit is not None and not told:
            _say_fit(rescored.fit)
            told = True
        for ranked in batch:
            output.write(ranked)
        stream.flush()
    output.end()
    stream.flush()
    if not quiet:
        _say_counts(rescored)
        say_skipped(rescored.inputs.table)


def _output(
    rescored: RescoredLists, selection: Selection, style: Style | None, header: bool, prefix: str, stream: TextIO
) -> NbestOutput:
    kind, table = rescored.inputs.kind, rescored.inputs.table
    names = [f"{prefix}lm_score", f"{prefix}total"]
    if table is not None and style != "kaldi" and style != "moses":
        return TableRowsOutput(selection, TableWriter(TableColumns(table, style, names), stream, header))
    if style is None and kind != "table":
        style = kind
    if prefix and style in ("kaldi", "moses"):
        raise UsageError("--column-prefix without columns", "Give --format tsv, csv or jsonl, or leave it out.")
    if style == "kaldi":
        return KaldiOutput(stream, selection)
    if style == "moses":
        if kind != "moses":
            raise UsageError("--format moses is for lists in Moses' layout", "Choose another --format.")
        return MosesOutput(stream, selection, names[0])
    assert style is not None
    return RowsOutput(stream, selection, style, header, names)


def _say_fit(fit: WeightFit) -> None:
    """Say the word error rates before and after a fit, and the fitted weights as options."""
    rates = {"first-best": fit.first, "weights given": fit.given, "fitted": fit.fitted, "oracle": fit.oracle}
    shown = ", ".join(f"{name} {100 * errors / fit.words:.2f} %" for name, errors in rates.items())
    say(f"WER over {fit.words:,} words: {shown}")
    weights = "".join(f" --score-weight {weight!r}" for weight in fit.weights.score_weights)
    say(f"fitted: --weight {fit.weights.weight!r}{weights} --length-penalty {fit.weights.length_penalty!r}")


def _say_counts(rescored: RescoredLists) -> None:
    say(
        f"n-best lists: {rescored.lists:,}, hypotheses: {rescored.hypotheses:,}, "
        f"lists with another than the first best: {rescored.changed:,}"
    )
    if rescored.inputs.guessed and rescored.lists == rescored.hypotheses > 1:
        say("every list has one hypothesis: those of an utterance have ids that end in -1, -2 …")
