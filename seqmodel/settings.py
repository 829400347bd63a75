"""Settings: small frozen objects that check themselves. Nothing here knows torch or NumPy."""

from __future__ import annotations

import difflib
import inspect
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, TypeVar, get_args

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PositiveInt,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic.fields import FieldInfo

from seqmodel.choices import (
    MAX_THREADS,
    CellKind,
    Device,
    Precision,
    SequenceKind,
    SubwordMethod,
    TableFormat,
    TextErrors,
    Unit,
    allowed,
)
from seqmodel.errors import UsageError

MAX_WIDTH = 8192
MAX_LAYERS = 64
MAX_NETWORKS = 16
MAX_VOCABULARY = 1 << 20
MAX_ORDER = 16
MAX_SAMPLES = 1 << 32  # of a prefix: the number of one is half of a key of 64 bits


@dataclass(frozen=True)
class Option:
    """Marks a field of settings as an option: its help; its names if they are not `--field-name`; the metavar of a
    value that is written as a text of its own kind, such as `5..95`; the panel of its help if not the settings'; and
    whether the help shows the default."""

    help: str
    names: tuple[str, ...] = ()
    metavar: str | None = None
    panel: str | None = None
    show_default: bool = True


class Settings(BaseModel):
    """Values that belong together, checked once. Fields that carry an `Option` are options of the commands that take
    the settings, and keywords of the Python functions that do."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False, defer_build=True)
    panel: ClassVar[str | None] = None

    @classmethod
    def options(cls) -> dict[str, Option]:
        """The fields that are options."""
        marks = ((name, mark) for name, field in cls.model_fields.items() for mark in field.metadata)
        return {name: mark for name, mark in marks if isinstance(mark, Option)}


def settings_of(function: Callable[..., Any]) -> dict[str, type[Settings]]:
    """The parameters of a function that are settings, and their types; their annotations are plain names."""
    parameters = inspect.signature(function).parameters.values()
    named = {parameter.name: parameter.annotation for parameter in parameters}
    kinds = {name: function.__globals__.get(kind) if isinstance(kind, str) else kind for name, kind in named.items()}
    return {name: kind for name, kind in kinds.items() if isinstance(kind, type) and issubclass(kind, Settings)}


MAX_EPOCHS = 1e6
Count = Annotated[int, Field(ge=0, lt=1 << 63)]
# The names of options that are not those of their fields.
SHORTER = {"vocabulary_size": "vocab_size", "closed": "closed_vocab", "seconds": "time", "table": "input"}
Digest = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
Checked = TypeVar("Checked", bound=Settings)


def checked(kind: type[Checked], **values: Any) -> Checked:
    """Settings from what a user gave.

    Raises:
        UsageError: if a value cannot be.
    """
    try:
        return kind(**values)
    except ValidationError as error:
        raise usage_error(error, kind) from None


def usage_error(error: ValidationError, *kinds: type[Settings]) -> UsageError:
    """The first fault of settings of one of these kinds: the setting's name, and what it takes."""
    first = error.errors(include_url=False)[0]
    field = str(first["loc"][0]) if first["loc"] else ""
    name = SHORTER.get(field, field)
    fields = next((kind.model_fields for kind in kinds if field in kind.model_fields), {})
    if first["type"] == "extra_forbidden":
        known = [known for kind in kinds for known in kind.model_fields]
        close = difflib.get_close_matches(name, known, 1)
        hint = f"Did you mean {close[0]}?" if close else f"There are: {', '.join(known)}."
        return UsageError("is no setting", hint, setting=name)
    if first["type"] == "value_error":
        return UsageError(str(first["ctx"]["error"]), setting=name)
    if field not in fields:
        return UsageError("settings do not fit each other", "See seqmodel.settings.")
    return UsageError(refusal(fields[field], first["input"]), setting=name)


def refusal(field: FieldInfo, value: Any) -> str:
    """Example: "takes a whole number of 1 or more, not 0". Only a number is repeated: a text may be the user's."""
    given = ""
    if isinstance(value, float) or (isinstance(value, int) and abs(value) < 1 << 63):
        given = f", not {value:g}" if isinstance(value, float) else f", not {value}"
    return f"takes {allowed(field.annotation, **bounds(field.annotation, field.metadata))}{given}"


_BOUNDS = {"gt": "above", "ge": "least", "lt": "below", "le": "most"}


def bounds(kind: Any, metadata: Sequence[Any]) -> dict[str, Any]:
    """The bounds of a type, also of one inside an optional type."""
    found: dict[str, Any] = {}
    for item in metadata:
        items = item.metadata if isinstance(item, FieldInfo) else [item]
        found |= {_BOUNDS[key]: getattr(one, key) for one in items for key in _BOUNDS if hasattr(one, key)}
    for inner in get_args(kind):
        found |= bounds(inner, getattr(inner, "__metadata__", ()))
    return found


class TokenizerSettings(Settings):
    """The unit and vocabulary of a tokenizer. `vocabulary_size` None lets the corpus decide."""

    unit: Unit = "char"
    vocabulary_size: int | None = Field(None, ge=1, le=MAX_VOCABULARY)
    subword: SubwordMethod = "unigram"
    closed: bool = False


def _texts(value: Any) -> Any:
    """A tuple of the texts that a file or the command line gives as a list, or as a single text."""
    return (value,) if isinstance(value, str) else tuple(value) if isinstance(value, list) else value


Texts = Annotated[tuple[str, ...], BeforeValidator(_texts)]


class CorpusSettings(Settings):
    """The way from files to sequences.

    `include` and `exclude` are patterns of names in folders; `column` is that of tables, in the format `table`;
    `record_separator` stands between documents in one file. What is None was not asked for, and stays out of a token
    store's header.
    """

    sequence: SequenceKind = "line"
    keep_blank: bool = False
    errors: TextErrors = "strict"
    max_line: PositiveInt = 256 << 20  # bytes
    include: Texts | None = None
    exclude: Texts | None = None
    column: str | None = None
    table: TableFormat | None = None
    record_separator: str | None = Field(None, min_length=1)

    @model_validator(mode="before")
    @classmethod
    def _records_are_documents(cls, values: Any) -> Any:
        if isinstance(values, dict) and values.get("record_separator") is not None:
            return {"sequence": "document"} | values
        return values

    @model_validator(mode="after")
    def _go_together(self) -> CorpusSettings:
        if self.record_separator is not None and self.sequence != "document":
            raise ValueError(f"--record-separator makes documents: leave out --sequence {self.sequence}")
        if self.record_separator is not None and self.column is not None:
            raise ValueError("--record-separator and --column are both given: a row of a table is one sequence")
        return self


class NetworkSettings(Settings):
    """The shape of the network, as far as the user chooses it."""

    cell: CellKind = "mingru"
    width: int = Field(256, ge=1, le=MAX_WIDTH)
    layers: int = Field(2, ge=1, le=MAX_LAYERS)
    networks: int = Field(1, ge=1, le=MAX_NETWORKS)  # trained side by side, their probabilities averaged
    feed_forward: int = Field(0, ge=0, le=8 * MAX_WIDTH)
    tied: bool = False


class ModelSettings(NetworkSettings):
    """The shape of the network for a corpus. `ngram_rows` holds (order, rows) of each n-gram table."""

    vocabulary: int = Field(ge=4, le=MAX_VOCABULARY)
    ends: bool = True  # False: a stream, which has no end symbol
    ngram_rows: tuple[tuple[int, int], ...] = ()

    @field_validator("ngram_rows")
    @classmethod
    def _orders_rise(cls, value: tuple[tuple[int, int], ...]) -> tuple[tuple[int, int], ...]:
        orders = [order for order, _ in value]
        rises = orders == sorted(set(orders)) and all(2 <= order <= MAX_ORDER for order in orders)
        if not rises or not all(0 <= rows < 1 << 63 for _, rows in value):
            raise ValueError("orders rise from 2, rows are counts")
        return value

    @model_validator(mode="after")
    def _keys_fit(self) -> ModelSettings:
        if self.ngram_rows and self.vocabulary ** self.ngram_rows[-1][0] >= 1 << 63:
            raise ValueError("the keys of an order do not fit into 63 bits")
        return self


class TrainingSettings(Settings):
    """Settings of the optimizer and the budget; exactly one of `seconds`, `steps` and `epochs` is given."""

    seconds: float | None = Field(None, gt=0)
    steps: int | None = Field(None, gt=0, lt=1 << 63)
    epochs: float | None = Field(None, gt=0, le=MAX_EPOCHS)
    lanes: int = Field(32, gt=0, le=1 << 16)
    segment: int = Field(64, gt=0, le=1 << 16)  # time steps per truncated back-propagation
    learning_rate: float = Field(4e-3, gt=0)
    table_learning_rate: float = Field(4e-2, gt=0)
    warmup_steps: int = Field(30, ge=0, lt=1 << 63)
    weight_decay: float = Field(0.01, ge=0)
    clip: float = Field(1.0, gt=0)
    dropout: float = Field(0.1, ge=0, lt=1)
    ngram_dropout: float = Field(0.25, ge=0, lt=1)
    unseen_rate: float = Field(0.0, ge=0, le=0.1)
    # Rare tokens that the loss of a step looks at; None for all.
    negatives: int | None = Field(None, gt=0, le=MAX_VOCABULARY)
    precision: Precision = "fp32"  # of the products in training; all else is fp32
    seed: int = Field(0, ge=0, lt=1 << 63)
    threads: int | None = Field(None, gt=0, le=MAX_THREADS)
    fingerprint: int | None = Field(None, ge=1 << 10, le=1 << 32)  # bytes, of the filter of the training text's n-grams
    device: Device | None = None  # None: the CPU


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


_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*(?:([kmg])(i?))?b?")


def parse_size(text: str) -> int:
    """Bytes that a text such as `4MB` (4,000,000), `4MiB` (4,194,304), `512k` or `4000000` names.

    Raises:
        UsageError: if the text is no size.
    """
    match = _SIZE.fullmatch(text.strip().lower())
    number = float(match[1]) if match is not None else math.inf
    if match is None or math.isinf(number):
        raise UsageError("takes a size such as 4MB, 4MiB or 4000000")
    return int(number * (1024 if match[3] else 1000) ** " kmg".index(match[2] or " "))


class SearchSettings(Settings):
    """Limits of the search for the most probable sequences. `max_bits` None: only `count` ends it."""

    count: PositiveInt = 10
    max_bits: float | None = Field(None, ge=0)
    effort: PositiveInt = 200_000  # beginnings that are extended
    frontier: PositiveInt = 100_000  # beginnings that are kept to be extended further
    memory: PositiveInt = 1 << 30  # bytes that these may take
    any_text: bool = False  # also characters that the training text lacks


_DURATION = re.compile(r"(?:(\d+(?:\.\d+)?)d)?(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m)?(?:(\d+(?:\.\d+)?)s?)?")


def parse_duration(text: str) -> float:
    """Seconds that a text such as `90`, `90s`, `10m` or `1h30m` names.

    Raises:
        UsageError: if the text is no duration, or not above zero.
    """
    match = _DURATION.fullmatch(text.strip().lower())
    parts = [float(part or 0) for part in match.groups()] if match and text.strip() else [0.0]
    seconds = sum(part * scale for part, scale in zip(parts, (86400, 3600, 60, 1), strict=False))
    if not match or not 0 < seconds < math.inf:
        raise UsageError("takes a duration above zero, such as 90s, 10m or 1h30m")
    return seconds


_ESCAPED = re.compile(r"\\([tnr\\])")
_MEANT = {"t": "\t", "n": "\n", "r": "\r", "\\": "\\"}


def unescaped(text: str) -> str:
    """A text in which a backslash before t, n, r or a backslash stood for a tab, a line end or itself."""
    return _ESCAPED.sub(lambda match: _MEANT[match.group(1)], text)


# Options that commands share, and those of one command


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
        BeforeValidator(_texts),
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
