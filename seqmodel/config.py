"""Settings: small frozen objects that check themselves. Nothing here knows torch or NumPy."""

from __future__ import annotations

import re
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, PositiveInt, ValidationError, field_validator, model_validator

from seqmodel.errors import UsageError
from seqmodel.kinds import MAX_THREADS, CellKind, Device, Precision, SequenceKind, SubwordMethod, TextErrors, Unit

MAX_WIDTH = 8192
MAX_LAYERS = 64
MAX_NETWORKS = 16
MAX_VOCABULARY = 1 << 20
MAX_ORDER = 16
MAX_SAMPLES = 1 << 32  # of a prefix: the number of one is half of a key of 64 bits


class Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


MAX_EPOCHS = 1e6
Count = Annotated[int, Field(ge=0, lt=1 << 63)]
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
        raise usage_error(error) from None


def usage_error(error: ValidationError) -> UsageError:
    first = error.errors(include_url=False, include_input=False)[0]
    name = f"{first['loc'][0]}: ".replace("_", " ") if first["loc"] else ""
    return UsageError(f"{name}{first['msg'].removeprefix('Value error, ').rstrip('.')}", "See --help.")


class TokenizerSettings(Settings):
    """How text becomes tokens. `vocabulary_size` None lets the corpus decide."""

    unit: Unit = "char"
    vocabulary_size: int | None = Field(None, ge=1, le=MAX_VOCABULARY)
    subword: SubwordMethod = "unigram"
    closed: bool = False


class CorpusSettings(Settings):
    """How files become sequences."""

    sequence: SequenceKind = "line"
    keep_blank: bool = False
    errors: TextErrors = "strict"
    max_line: PositiveInt = 256 << 20  # bytes


class ModelSettings(Settings):
    """The shape of the network. `ngram_rows` holds (order, rows) of each n-gram table."""

    cell: CellKind = "mingru"
    width: int = Field(256, ge=1, le=MAX_WIDTH)
    layers: int = Field(2, ge=1, le=MAX_LAYERS)
    networks: int = Field(1, ge=1, le=MAX_NETWORKS)  # trained side by side, their probabilities averaged
    feed_forward: int = Field(0, ge=0, le=8 * MAX_WIDTH)
    vocabulary: int = Field(ge=4, le=MAX_VOCABULARY)
    tied: bool = False
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
    """How long and how to train; exactly one of `seconds`, `steps` and `epochs` is the budget."""

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
    """How a text is completed: how many completions are wanted, and how many beginnings are read to find them."""

    k: PositiveInt = 5
    effort: PositiveInt = 256
    any_text: bool = False  # also characters that the training text lacks


class SamplingSettings(Settings):
    """How continuations are drawn, and where they end.

    `max_chars` None: only the other limits and the end symbol stop a sample. `length`: a sample must reach the end
    symbol with so many characters; others are drawn again. `reproducible`: samples are computed one by one, so that
    the one with the number `first` comes out alike whether it is made alone or among others. `any_text`: also what the
    training text lacks.
    """

    count: PositiveInt = 1
    first: int = Field(0, ge=0)
    temperature: float = Field(1.0, ge=0, le=100)
    top_k: PositiveInt | None = None
    top_p: float | None = Field(None, gt=0, le=1)
    min_p: float | None = Field(None, gt=0, le=1)
    repetition_penalty: float = Field(1.0, ge=1, le=100)
    ban: tuple[str, ...] = ()
    stop: tuple[str, ...] = ()
    max_tokens: PositiveInt = 1000
    max_chars: PositiveInt | None = None
    max_lines: PositiveInt | None = None
    length: tuple[int, int] | None = None
    any_text: bool = False
    max_copy: int | None = Field(None, ge=0)  # characters in a row from the training text; more are drawn again
    seed: int = Field(0, ge=0, lt=1 << 63)
    reproducible: bool = False

    @field_validator("stop", "ban")
    @classmethod
    def _says_something(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if "" in value:
            raise ValueError("an empty string stands everywhere")
        return value

    @field_validator("length")
    @classmethod
    def _rises(cls, value: tuple[int, int] | None) -> tuple[int, int] | None:
        if value is not None and not 0 <= value[0] <= value[1]:
            raise ValueError("the shortest is not above the longest")
        return value

    @model_validator(mode="after")
    def _numbers_fit(self) -> SamplingSettings:
        if self.first + self.count > MAX_SAMPLES:
            raise ValueError(f"no sample has a number above {MAX_SAMPLES - 1}")
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


_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmg]?)i?b?")


def parse_size(text: str) -> int:
    """Bytes that a text such as `4MB`, `512k` or `4000000` names.

    Raises:
        UsageError: if the text is no size.
    """
    match = _SIZE.fullmatch(text.strip().lower())
    if match is None:
        raise UsageError("the size cannot be read", "Write it as 4MB.")
    return int(float(match[1]) * 1000 ** " kmg".index(match[2] or " "))


class SearchSettings(Settings):
    """How far the search for the most probable sequences goes. `max_bits` None: only `count` ends it."""

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
    if not match or seconds <= 0:
        raise UsageError("the duration cannot be read", "Write it as 90s, 10m or 1h30m.")
    return seconds
