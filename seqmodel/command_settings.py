"""Settings of the commands that use a model: reading, tables, filters, sampling, search, n-best lists.

Each option is written once, here: `Option` gives its help, the type and `Field` what it takes. Nothing here knows torch
or NumPy.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, PositiveInt, field_validator, model_validator

from seqmodel.choices import TableFormat, TextErrors
from seqmodel.settings import CorpusSettings, Option, Settings, Texts, as_texts

MAX_SAMPLES = 1 << 32  # of a prefix: the number of one is half of a key of 64 bits


class ReadingSettings(Settings):
    """Reading files of text: errors and limits."""

    panel = "Text"
    errors: Annotated[TextErrors, Option("Invalid UTF-8: strict stops, replace puts U+FFFD.")] = "strict"
    max_line: Annotated[PositiveInt, Option("Longest line that is read, in MiB.")] = 256

    @property
    def corpus(self) -> CorpusSettings:
        return CorpusSettings(errors=self.errors, max_line=self.max_line << 20)


class TableSettings(Settings):
    """The column of a table that holds the text."""

    panel = "Tables"
    column: Annotated[
        str | None,
        Option(
            "Read a table: the text's column, by name, or by number from 1 if there is no header; =7 is the name 7.",
        ),
    ] = None
    input: Annotated[
        TableFormat | None,
        Option("The table's format; else by the file's name, or tsv. raw-tsv: TSV without quoting."),
    ] = None
    skip_bad: Annotated[
        bool,
        Option("Leave out rows that cannot be read, and count them; the exit code is still 0.", ("--skip-bad",)),
    ] = False

    @model_validator(mode="after")
    def _goes_with_a_table(self) -> TableSettings:
        if self.skip_bad and self.column is None:
            raise ValueError("--skip-bad needs --column: name the text's column, or leave it out")
        return self


_RANGE = re.compile(r"(\d+(?:\.\d+)?)?\.\.(\d+(?:\.\d+)?)?")


def parse_percentiles(value: Any) -> Any:
    """The ends of a range that is written as `5..95`, `..95` or `95..`; what is no text stays as it is."""
    match = _RANGE.fullmatch(value) if isinstance(value, str) else None
    ends = (float(match[1] or 0), float(match[2] or 100)) if match else value
    if isinstance(ends, str) or not (ends is None or 0 <= ends[0] <= ends[1] <= 100):
        raise ValueError("takes a range within 0..100, such as 95.., ..95 or 5..95")
    return ends


class FilterSettings(Settings):
    """The rule of a filter. A line's score is in bits `per` char, token or line."""

    panel = "Which lines pass"
    below: Annotated[float | None, Option("Print lines with a score below this.")] = None
    above: Annotated[float | None, Option("Print lines with a score above this.")] = None
    percentiles: Annotated[
        tuple[float, float] | None,
        BeforeValidator(parse_percentiles),
        Option("Print lines of these percentiles (see score --percentile); 95.. for the oddest.", metavar="A..B"),
    ] = None
    per: Annotated[
        Literal["char", "token", "line"] | None,
        Option("Score in bits per char, per token or of the whole line; default char (closed vocabulary: token)."),
    ] = None
    invert: Annotated[bool, Option("Print the other lines instead.", ("--invert", "-v"))] = False
    keep_blank: Annotated[bool, Option("Print blank lines, too; they have no score.", ("--keep-blank",))] = False
    context: Annotated[
        Literal["carry", "none"], Option("none: score every line by itself. carry: as the model was trained.")
    ] = "carry"


Finite = Annotated[float, Field(allow_inf_nan=True)]  # checked with all weights together


class NbestSettings(Settings):
    """The layout of n-best lists, and the other scores of each hypothesis."""

    input: Annotated[
        Literal["kaldi", "moses", "tsv", "csv", "jsonl", "raw-tsv"] | None,
        Option(
            "kaldi: lines of an id and words. moses: 0 ||| words ||| features ||| total. Or a table (raw-tsv: TSV "
            "without quoting). Default: by the first line; with --hypothesis by the file's name, else tsv."
        ),
    ] = None
    scores: Annotated[
        Texts,
        Option(
            "Another score of each hypothesis: lines of id and number, same order; may be repeated.",
            metavar="FILE",
            panel="Kaldi's layout",
        ),
    ] = ()
    whole_ids: Annotated[
        bool,
        Option(
            "Read ids as they are: utt-1 is an utterance, not hypothesis 1 of utt.",
            ("--whole-ids",),
            panel="Kaldi's layout",
        ),
    ] = False
    utterance: Annotated[
        str | None,
        Option(
            "Column with the utterance's id, by name, or by number from 1 if there is no header; =7 is the name 7.",
            panel="Tables",
        ),
    ] = None
    hypothesis: Annotated[str | None, Option("Column with the text of the hypothesis.", panel="Tables")] = None
    score: Annotated[
        Texts,
        Option(
            "Column, or Moses feature (TM0.2: its second number), with another score; may be repeated. Default: Moses' "
            "total.",
            metavar="COLUMN",
            panel="Tables",
        ),
    ] = ()
    skip_bad: Annotated[
        bool,
        Option(
            "Leave out rows that cannot be read, and count them; the exit code is still 0.",
            ("--skip-bad",),
            panel="Tables",
        ),
    ] = False


class WeightSettings(Settings):
    """The weights by which scores are added up, given or fitted."""

    panel = "Weights"
    weight: Annotated[Finite | None, Option("Weight of ln p; default 1, or 0.5 beside other scores.")] = None
    score_weight: Annotated[
        tuple[Finite, ...],
        BeforeValidator(as_texts),
        Option("Weight of each other score, in their order; default 1. Costs need a negative one."),
    ] = ()
    length_penalty: Annotated[Finite, Option("Added for every word.")] = 0.0
    tune: Annotated[
        str | None,
        Option(
            "Fit the weights to the word error rate against these lines of utterance and words, starting from the "
            "given weights.",
            metavar="REFERENCE",
        ),
    ] = None


class CompletionSettings(Settings):
    """The number of completions, and of partial completions that are read to find them."""

    k: PositiveInt = 5
    effort: PositiveInt = 256
    any_text: bool = False  # also characters that the training text lacks


_LENGTH = re.compile(r"([0-9]{1,9})\.\.([0-9]{1,9})")
_PLAIN, _LIMITS = "Options", "Limits"


def parse_length(value: Any) -> Any:
    """The two numbers that `5..8` names; what is no text stays as it is."""
    if not isinstance(value, str):
        return value
    match = _LENGTH.fullmatch(value)
    if match is None:
        raise ValueError("takes two numbers of characters, such as 5..8")
    return int(match[1]), int(match[2])


class SamplingSettings(Settings):
    """Settings of sampling: the distribution that is drawn from, and where a sample ends.

    `max_chars` None: only the other limits and the end symbol stop a sample. `length`: a sample must end with so many
    characters, at the end symbol, before a `stop` string or after `max_lines`; others are drawn again. `reproducible`:
    samples are computed one by one, so that the one with the number `first` comes out alike whether it is made alone or
    among others. `any_text`: also what the training text lacks.
    """

    panel = "Sampling"
    count: Annotated[
        int, Field(ge=1, le=MAX_SAMPLES), Option("Number of samples for each prefix.", ("--count", "-n"), panel=_PLAIN)
    ] = 1
    first: Annotated[
        int, Field(ge=0, lt=MAX_SAMPLES), Option("Number of the first sample, to make it again.", panel=_PLAIN)
    ] = 0
    seed: Annotated[
        int,
        Field(ge=0, lt=1 << 63),
        Option("Seed, for repeatable samples; default: random.", panel=_PLAIN, show_default=False),
    ] = 0
    reproducible: Annotated[
        bool,
        Option(
            "Compute samples one by one, so that each can be made again exactly.", ("--reproducible",), panel=_PLAIN
        ),
    ] = False
    temperature: Annotated[
        float, Field(ge=0, le=100), Option("Below 1: safer; above 1: wilder; 0: always the most probable token.")
    ] = 1.0
    top_k: Annotated[PositiveInt | None, Option("Draw from the k most probable tokens.")] = None
    top_p: Annotated[
        float | None,
        Field(gt=0, le=1),
        Option("Draw from the most probable tokens that together reach probability p (0 < p <= 1)."),
    ] = None
    min_p: Annotated[
        float | None,
        Field(gt=0, le=1),
        Option("Draw from the tokens at least p times as probable as the best one (0 < p <= 1)."),
    ] = None
    repetition_penalty: Annotated[
        float, Field(ge=1, le=100), Option("Raise the probability of tokens already used to this power; 1: off.")
    ] = 1.0
    any_text: Annotated[
        bool,
        Option(
            "Also write characters that the training text lacks and, where sampling is narrowed, unknown words.",
            ("--any-text",),
        ),
    ] = False
    ban: Annotated[tuple[str, ...], Option("Never write this string; may be repeated.")] = ()
    # Characters in a row from the training text; more are drawn again.
    max_copy: Annotated[
        int | None, Field(ge=0), Option("With --novel: allow copies of so many characters; default 40.")
    ] = None
    max_chars: Annotated[
        PositiveInt | None, Option("Stop after so many characters; default 500 in stream models.", panel=_LIMITS)
    ] = None
    max_tokens: Annotated[
        PositiveInt, Option("Stop after so many tokens; default 1000.", panel=_LIMITS, show_default=False)
    ] = 1000
    max_lines: Annotated[PositiveInt | None, Option("Stop after so many lines.", panel=_LIMITS)] = None
    stop: Annotated[tuple[str, ...], Option("Stop before this string; may be repeated.", panel=_LIMITS)] = ()
    length: Annotated[
        tuple[int, int] | None,
        BeforeValidator(parse_length),
        Option(
            "Redraw until a sample ends (by itself, at --stop or --max-lines) with A to B characters.",
            metavar="A..B",
            panel=_LIMITS,
        ),
    ] = None

    @field_validator("stop", "ban")
    @classmethod
    def _says_something(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if "" in value:
            raise ValueError("needs at least one character")
        return value

    @field_validator("length")
    @classmethod
    def _rises(cls, value: tuple[int, int] | None) -> tuple[int, int] | None:
        if value is not None and value[0] < 0:
            raise ValueError(f"{value[0]}..{value[1]}: a length is 0 or more")
        if value is not None and value[0] > value[1]:
            raise ValueError(f"{value[0]}..{value[1]}: the minimum exceeds the maximum")
        return value

    @model_validator(mode="after")
    def _numbers_fit(self) -> SamplingSettings:
        if self.first + self.count > MAX_SAMPLES:
            raise ValueError(f"first + count exceeds {MAX_SAMPLES:,}")
        return self

    @property
    def truncates(self) -> bool:
        """True if only the more probable choices are drawn from."""
        return self.top_k is not None or self.top_p is not None or self.min_p is not None

    @property
    def prefers_known_words(self) -> bool:
        """True if a word model keeps to its vocabulary: where probable tokens gain, the few bytes with which all
        unknown words begin would gain more than any word."""
        return not self.any_text and (self.truncates or self.temperature < 1)


class SearchSettings(Settings):
    """Limits of the search for the most probable sequences. `max_bits` None: only `count` ends it."""

    count: PositiveInt = 10
    max_bits: float | None = Field(None, ge=0)
    effort: PositiveInt = 200_000  # beginnings that are extended
    frontier: PositiveInt = 100_000  # beginnings that are kept to be extended further
    memory: PositiveInt = 1 << 30  # bytes that these may take
    any_text: bool = False  # also characters that the training text lacks
