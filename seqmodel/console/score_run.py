"""Carries `seqmodel score` out: from what the command line says to rows on standard output."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal, TextIO

from seqmodel.api.model import Model
from seqmodel.choices import TableFormat
from seqmodel.console.escapes import say_escapes
from seqmodel.console.rows import RowFormat, RowWriter, data_output
from seqmodel.console.score_output import KenlmOutput, LmZooOutput, RowOutput, ScoreOutput, TableOutput
from seqmodel.console.score_pictures import Pictures, picture_output
from seqmodel.console.score_view import Level, ScoreView, TableView
from seqmodel.console.table_columns import say_renamed, say_skipped
from seqmodel.console.terminal import notes, say, say_decomposed
from seqmodel.errors import UsageError
from seqmodel.scoring.anomaly import line_ends
from seqmodel.scoring.line_mixture import LineScorer
from seqmodel.scoring.lines import LineContext
from seqmodel.scoring.tokens import ScoreFields
from seqmodel.scoring.totals import Base, CorpusTotals
from seqmodel.scoring.words import WordBoundary, WordKind, boundary_tokens
from seqmodel.settings import CorpusSettings
from seqmodel.text.corpus import read_lines
from seqmodel.text.inputs import LineInputs, Shard
from seqmodel.text.sources import STDIN, find_sources
from seqmodel.text.tables import TableReader, format_of

ScoreFormat = Literal["tsv", "csv", "jsonl", "kenlm", "lmzoo"]
CARRY, NONE = "carry", "none"


@dataclass(frozen=True)
class ScoreRequest:
    """The options of `seqmodel score`."""

    inputs: tuple[str, ...] = ()
    texts: tuple[str, ...] = ()
    level: Level = "line"
    style: ScoreFormat | None = None
    base: Base = "2"
    header: bool = True
    show_text: bool = True
    end: bool = True
    words: WordKind | None = None  # space
    boundary: WordBoundary | None = None  # corrected
    context: str = CARRY  # or none, or a file's name
    column: str | None = None
    given_column: str | None = None
    separator: str | None = None  # a blank
    table: TableFormat | None = None
    skip_bad: bool = False
    prefix: str = ""
    shard: str | None = None
    percentile: bool = False
    worst: bool = False
    quiet: bool = False
    pictures: Pictures = field(default_factory=Pictures)


def run_score(model: LineScorer, request: ScoreRequest, settings: CorpusSettings) -> None:
    """Score all inputs; rows go to standard output as they come, the summary to standard error."""
    is_plain = request.style is None and request.base == "2" and request.header and request.show_text
    request.pictures.check(request.level, is_plain)
    _refuse_idle(model, request)
    inputs = line_inputs(model, request, settings)
    if not request.quiet:
        say_escapes(model.tokenizer, {"--text": request.texts, "--separator": [request.separator or ""]})
    if _in_parts(model, request):
        inputs = replace(inputs, cuts=model.tokenizer.cuts)
    output = _output(model, request, inputs, data_output(model.header.unit))
    reading = reading_of(model, request, settings)
    ends = model.header.model.ends
    totals = CorpusTotals()
    decomposed = 0
    for name, batches in inputs.streams():
        own = CorpusTotals(sequences=int(not ends))  # a stream has no end symbol to count
        for batch in model.score_lines(batches, reading):
            for row in batch:
                counted = row if request.end else row.without_end()
                own.add(counted, row.ends)
                output.line(name, counted)
                decomposed += row.is_decomposed(model.tokenizer)
            output.flush()
        output.file(name, own)
        totals.include(own)
    output.end(totals)
    output.flush()
    if request.level != "corpus" and not request.quiet:
        end = "end: none" if not ends else "end symbols counted" if request.end else "end symbols left out"
        say(totals.summary(request.base, model.header.closed, end))
    if not request.quiet:
        say_skipped(inputs.table)
        say_decomposed(decomposed)


def _refuse_idle(model: LineScorer, request: ScoreRequest) -> None:
    """
    Raises:
        UsageError: if an option would do nothing.
    """
    for name, value in (("--words", request.words), ("--word-boundary", request.boundary)):
        if value is not None and (request.level != "word" or request.style == "kenlm"):
            raise UsageError(
                f"{name} without --by word", f"Give --by word, without --format kenlm, or leave {name} out."
            )
    joins = request.context not in (CARRY, NONE) and (model.header.sequence == "line" or _alone(request))
    if request.separator is not None and request.given_column is None and not joins:
        raise UsageError("--separator without --given-column", "Name the column with what the text is given.")
    if request.prefix and (request.column is None or request.level in ("document", "corpus")):
        raise UsageError("--column-prefix without --column", "It names the scores beside the rows of a table.")


def _alone(request: ScoreRequest) -> bool:
    """True if every text stands alone: rows of a table, and texts on the command line."""
    return bool(request.texts) or request.column is not None or request.context == NONE or request.pictures.explain


def line_inputs(model: LineScorer, request: ScoreRequest, settings: CorpusSettings) -> LineInputs:
    """Find the lines to score.

    Raises:
        UsageError: if the options contradict each other.
    """
    any_bytes = model.header.unit == "byte"
    inputs = LineInputs.of(request.inputs, request.texts, settings, any_bytes, notes(request.quiet))
    if request.column is None:
        if request.given_column is not None:
            raise UsageError("--given-column needs --column", "Name the text's column, too.")
        if request.skip_bad:
            raise UsageError("--skip-bad needs --column", "Name the text's column, or leave it out.")
    else:
        kind = request.table or format_of([source.name for source in inputs.sources])
        reader = TableReader(kind, request.column, request.given_column, skip_bad=request.skip_bad)
        inputs = replace(inputs, table=reader)
    if request.shard is not None:
        if request.column is not None or request.texts or len(inputs.sources) > 1:
            raise UsageError("--shard reads one file of lines", "Name one file, and leave out --column and --text.")
        if model.header.sequence != "line" and request.context == CARRY:
            raise UsageError("--shard cuts this model's sequences, which are longer than a line", "Add --context none.")
        inputs = replace(inputs, shard=Shard.parse(request.shard))
    return inputs


def _in_parts(model: LineScorer, request: ScoreRequest) -> bool:
    """True if long lines can be scored in parts: only sums or token rows are asked for."""
    alone = request.context in (CARRY, NONE) and request.column is None and isinstance(model, Model)
    carried = request.context == CARRY and model.header.sequence == "paragraph"  # which end at a line that is blank
    odd = request.percentile or request.worst or request.pictures.wanted
    return alone and not (carried or odd or request.level == "word" or request.style in ("kenlm", "lmzoo"))


def reading_of(model: LineScorer, request: ScoreRequest, settings: CorpusSettings) -> LineContext:
    """The context in which the model reads the lines."""
    corrected = request.level == "word" and request.boundary != "naive" and model.tokenizer.has_virtual_blanks
    alternatives = request.pictures.alternatives(request.level)
    wanted = ScoreFields(
        ranks=bool(alternatives) or (request.level == "token" and request.style != "lmzoo"),
        boundary=boundary_tokens(model.tokenizer) if corrected else None,
        alternatives=alternatives,
        line_ends=line_ends(model.tokenizer) if request.percentile else (),
    )
    preamble = "" if request.context in (CARRY, NONE) else _preamble(model, request.context, settings)
    return model.reading(
        restart=_alone(request),
        preamble=preamble,
        separator=" " if request.separator is None else request.separator,
        fields=wanted,
    )


def _preamble(model: LineScorer, name: str, settings: CorpusSettings) -> str:
    """The text that stands before what is scored."""
    if name == STDIN:
        raise UsageError("--context takes carry, none or a file, not standard input", "Write the text to a file first.")
    any_bytes = model.header.unit == "byte"
    batches = (batch for source in find_sources([name]) for batch in read_lines(source, settings, any_bytes))
    lines = [line for batch in batches for line in batch]
    kind = model.header.sequence
    if kind == "paragraph":  # what stands before a blank line is another
        blank = [at for at, line in enumerate(lines, start=1) if not line.text.strip()]
        lines = lines[max(blank, default=0) :]
    texts = [line.body + "\n" * line.terminated for line in lines]
    text = "".join(texts).removesuffix("\n")
    if kind == "line" and "\n" in text:
        raise UsageError(
            "--context has more than one line, and a line model has single lines", "Give its last line only."
        )
    return text


def _output(model: LineScorer, request: ScoreRequest, inputs: LineInputs, stream: TextIO) -> ScoreOutput:
    view = ScoreView(
        tokenizer=model.tokenizer,
        level=request.level,
        base=request.base,
        files=len(inputs.sources) > 1,
        text=request.show_text,
        words=request.words or "space",
        boundary=request.boundary or "corrected",
    )
    if request.percentile or request.worst:
        view = _with_oddness(view, model, request)
    if request.pictures.wanted:
        assert isinstance(model, Model)  # of tokens in common; others have been refused
        return picture_output(model, request.pictures, view, request.end, stream)
    header = request.header and (inputs.shard is None or inputs.shard.number == 1)  # shards are put together again
    if request.style in ("kenlm", "lmzoo"):
        return _foreign(request, view, inputs, stream, header)
    style: RowFormat | None = request.style  # type: ignore[assignment]
    if inputs.table is None or request.level in ("document", "corpus"):
        return RowOutput(view, RowWriter(stream, view.columns, style or "tsv", header))
    told = None if request.quiet else say_renamed
    return TableOutput(TableView(view, inputs.table, style, request.prefix), stream, header, told)


def _with_oddness(view: ScoreView, model: LineScorer, request: ScoreRequest) -> ScoreView:
    """The view with the columns of --percentile and --worst.

    Raises:
        UsageError: if they cannot be told of what is asked for.
        ModelError: if the model cannot tell.
    """
    assert isinstance(model, Model)  # one; mixtures have been refused
    if request.level != "line" or request.style in ("kenlm", "lmzoo"):
        raise UsageError(
            "--percentile and --worst need a row for each line", "Leave out --by, and --format kenlm or lmzoo."
        )
    if request.percentile and not request.end:
        raise UsageError("--percentile counts the end symbol", "Leave out --no-eos, or --percentile.")
    _ = request.percentile and model.held_out_lines  # which raise where there are none, before anything is read
    _ = request.worst and model.mean_bits
    return replace(
        view,
        percentile=model.percentile if request.percentile else None,
        worst=model.worst_span if request.worst else None,
    )


def _foreign(request: ScoreRequest, view: ScoreView, inputs: LineInputs, stream: TextIO, header: bool) -> ScoreOutput:
    if inputs.table is not None or request.level in ("document", "corpus") or request.base != "2":
        raise UsageError(f"--format {request.style} has a layout of its own", "Leave out --column, --base and --by.")
    if request.style == "kenlm":
        return KenlmOutput(view.tokenizer, stream)
    return LmZooOutput(view, RowWriter(stream, ["sentence_id", "token_id", "token", "surprisal"], "tsv", header))
