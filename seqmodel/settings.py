"""Settings: small frozen objects that check themselves. Nothing here knows torch or NumPy."""

from __future__ import annotations

import difflib
import inspect
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, TypeVar, get_args

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


def as_texts(value: Any) -> Any:
    """A tuple of the texts that a file or the command line gives as a list, or as a single text."""
    return (value,) if isinstance(value, str) else tuple(value) if isinstance(value, list) else value


Texts = Annotated[tuple[str, ...], BeforeValidator(as_texts)]


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
