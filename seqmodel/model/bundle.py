"""The bundle, a `.seqmodel` file: everything that scoring and generation need, in one valid safetensors file.

Needs no torch. Contains the weights, the SentencePiece model, the n-gram index, the count model and, as metadata, the
settings, the provenance and the held-out results. Equal runs give equal bytes: no times, no paths.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import numpy.typing as npt
from pydantic import Field, ValidationError, model_validator

from seqmodel.arrays import Array
from seqmodel.choices import HeldOutFrom, SequenceKind, Unit
from seqmodel.errors import ModelError
from seqmodel.model.fingerprint import Fingerprint
from seqmodel.model.kneser_ney import CountModel, Level
from seqmodel.model.ngram_embeddings import NgramIndex
from seqmodel.model.tensors import TensorFile, read_header, read_tensors, write_tensors
from seqmodel.settings import CorpusSettings, Count, Digest, ModelSettings, Settings, TokenizerSettings
from seqmodel.tokens.characters import Characters, are_characters, vocabulary_characters
from seqmodel.tokens.tokenizer import Tokenizer, never_predicted

FORMAT = 2
DEFAULT_NAME = "model.seqmodel"
_TOKENIZER = "tokenizer"
_KEYS = "ngrams.{}.keys"
_COUNTS = "counts."
_FINGERPRINT = "fingerprint"
_CHARACTERS = "characters"
_LEVEL_PARTS = ("keys", "offsets", "tokens", "counts")


Bits = Annotated[float, Field(ge=0)]
_MOST_COUNTED = 1 << 40  # the largest total of counts: sums over rows stay exact
_LARGEST_WEIGHT = 1e4  # weights of trained models are below 10
_MOST_BITS = 1000  # per token: more than any model gives

Scalar = bool | int | float | str


def ratio(amount: float, count: float) -> float:
    """`amount / count`, or NaN if `count` is 0."""
    return float(amount / count) if count else math.nan


def power(bits: float) -> float:
    """2^bits, or infinity if that is too large for a float."""
    return math.inf if bits >= 1000 else 2**bits


class LengthBin(Settings):
    """The number of held-out lines of at most `upto` characters, beyond the bin before, and quantiles of bits per char.

    In a closed vocabulary, tokens take the place of characters.
    """

    upto: Count
    lines: Count
    quantiles: tuple[Bits, ...]


class HeldOutLines(Settings):
    """Quantiles of the held-out lines' scores by length, for `score --percentile`; no bins if lines were too few."""

    percents: tuple[Annotated[float, Field(ge=0, le=100)], ...]
    bins: tuple[LengthBin, ...]

    @model_validator(mode="after")
    def _fits_together(self) -> HeldOutLines:
        rising = [self.percents, [one.upto for one in self.bins], *(one.quantiles for one in self.bins)]
        if any(list(values) != sorted(values) for values in rising):
            raise ValueError("a distribution rises")
        if not self.percents or any(len(one.quantiles) != len(self.percents) for one in self.bins):
            raise ValueError("there is a quantile for every percentage")
        return self


class HeldOut(Settings):
    """The result of the stored weights on the held-out text, and of simpler models of the same training text.

    Bits are totals over the text, end symbols included.
    """

    sequences: Count
    tokens: Count
    chars: Count
    bits: Bits
    recurrence_bits: Bits | None = None  # of the recurrence alone, if there is a count model
    counts_bits: Bits | None = None  # of the count model alone
    unigram_bits: Bits | None = None  # of the tokens' relative frequencies in the training text
    lines: HeldOutLines | None = None  # None in earlier bundles

    @model_validator(mode="after")
    def _can_be(self) -> HeldOut:
        bits = (self.bits, self.recurrence_bits, self.counts_bits, self.unigram_bits)
        if any(some is not None and some > _MOST_BITS * max(1, self.tokens) for some in bits):
            raise ValueError("a token has few bits")
        return self

    @property
    def bits_per_char(self) -> float:
        return self.bits / max(1, self.chars)

    @property
    def perplexity(self) -> float:
        """The perplexity per token."""
        return power(self.bits / max(1, self.tokens))


class Provenance(Settings):
    """The training text: its digest, its size, and the source of the held-out text."""

    corpus_digest: Digest
    corpus_bytes: Count
    corpus_chars: Count
    corpus_lines: Count
    sequences: Count
    tokens: Count
    train_tokens: Count
    held_out_from: HeldOutFrom
    began_from: Digest | None = None  # the digest of the bundle given by --init


class TrainingSummary(Settings):
    """The training run: its seed, length, budget and settings."""

    seed: Count
    steps: Count
    tokens: Count
    epochs: float = Field(ge=0)
    budget: str = Field(pattern="^[0-9.e+-]+ (s|steps|epochs)$")
    annealed: bool
    settings: dict[str, Scalar]


class FingerprintSettings(Settings):
    """The settings of the filter of the training text's n-grams; see model.fingerprint.

    `longest` is the longest n-gram in characters. Earlier bundles have a filter of token n-grams instead, of length
    `window`, which is not read.
    """

    hashes: int = Field(ge=1, le=64)
    longest: int | None = Field(None, ge=1, le=64)
    window: int | None = Field(None, ge=1, le=64)

    @model_validator(mode="after")
    def _of_one_kind(self) -> FingerprintSettings:
        if (self.longest is None) == (self.window is None):
            raise ValueError("a filter has n-grams of characters or of tokens")
        return self

    @classmethod
    def of(cls, fingerprint: Fingerprint) -> FingerprintSettings:
        return cls(longest=fingerprint.longest, hashes=fingerprint.hashes)


class BundleHeader(Settings):
    """The metadata of a bundle."""

    format: int = Field(FORMAT, ge=1)
    kind: str = "bundle"
    model: ModelSettings
    unit: Unit
    closed: bool
    sequence: SequenceKind
    provenance: Provenance
    training: TrainingSummary
    held_out: HeldOut | None = None
    discounts: tuple[
        tuple[float, float, float], ...
    ] = ()  # D1, D2, D3+ of each level of the count model; empty without one
    mixture: tuple[float, ...] = ()  # the recurrence's weight in each situation; see inference.experts
    tokenizer: TokenizerSettings | None = None  # settings with which the vocabulary was learned, if known
    corpus: CorpusSettings | None = None
    fingerprint: FingerprintSettings | None = None

    @model_validator(mode="after")
    def _goes_together(self) -> BundleHeader:
        if self.model.ends != (self.sequence != "stream"):
            raise ValueError("a stream alone has no end")
        if self.closed and self.unit not in ("char", "word"):
            raise ValueError("characters and words have a closed vocabulary")
        return self


@dataclass(frozen=True)
class Bundle:
    """A bundle in memory; `weights` as stored, by their names in the torch network."""

    header: BundleHeader
    tokenizer: Tokenizer
    index: NgramIndex
    weights: Mapping[str, Array]
    counts: CountModel | None = None
    fingerprint: Fingerprint | None = None
    characters: Characters | None = None  # of the training text; None in earlier bundles
    digest: str = ""  # of the file that it was read from

    @property
    def written_characters(self) -> Characters | None:
        """The characters that sampling may use: those of the training text, or of the vocabulary in earlier bundles."""
        return self.characters if self.characters is not None else vocabulary_characters(self.tokenizer)


def write_bundle(path: Path, bundle: Bundle) -> None:
    """Write a bundle atomically, without the settings of a fingerprint that was not read.

    Raises:
        ResourceError: if the disk is full; the old file stays.
    """
    tensors: dict[str, Array] = {_TOKENIZER: np.frombuffer(bundle.tokenizer.proto, np.uint8)}
    for order, keys in zip(bundle.index.orders, bundle.index.keys, strict=True):
        tensors[_KEYS.format(order)] = keys
    if bundle.counts is not None:
        for number, level in enumerate(bundle.counts.levels):
            tensors |= {f"{_COUNTS}{number}.{part}": getattr(level, part) for part in _LEVEL_PARTS}
    if bundle.fingerprint is not None:
        tensors[_FINGERPRINT] = bundle.fingerprint.bits
    if bundle.characters is not None:
        tensors[_CHARACTERS] = bundle.characters.runs
    tensors |= {name: bundle.weights[name] for name in sorted(bundle.weights)}
    # Wide types first: safetensors wants every array aligned to its type.
    ordered = dict(sorted(tensors.items(), key=lambda item: -item[1].dtype.itemsize))
    header = bundle.header if bundle.fingerprint is not None else bundle.header.model_copy(update={"fingerprint": None})
    write_tensors(path, ordered, header.model_dump(mode="json"))


def in_range(weights: Mapping[str, Array]) -> bool:
    """True if no weight (float16 or float32) is NaN or so large that products may overflow."""
    return all(_largest(weight) <= _largest(np.array(_LARGEST_WEIGHT, weight.dtype)) for weight in weights.values())


def _largest(values: Array) -> int:
    """The bit pattern of the largest magnitude; patterns are in the order of magnitudes, and NaN's are the highest."""
    bits: npt.NDArray[np.unsignedinteger] = values.view(np.uint16 if values.dtype == np.float16 else np.uint32)
    return int((bits & (np.iinfo(bits.dtype).max >> 1)).max(initial=0))


def stored_precision(array: Array) -> Array:
    """Convert a weight as the bundle stores it: matrices to float16, which loses no accuracy, vectors to float32."""
    with np.errstate(over="ignore"):  # see `in_range`
        return array.astype(np.float16 if array.ndim > 1 else np.float32)


def read_bundle_header(path: Path) -> tuple[BundleHeader, TensorFile]:
    """Read and check a bundle's header alone.

    Raises:
        ModelError: if the file is missing, damaged, of a newer format, or not a bundle.
    """
    file = read_header(path)
    return _checked(file), file


def _checked(file: TensorFile) -> BundleHeader:
    if file.metadata.get("kind") != "bundle":
        raise ModelError(f"{file.path}: not a model bundle", "Name a .seqmodel file made by seqmodel train.")
    version = file.metadata.get("format")
    if isinstance(version, int) and version > FORMAT:
        raise ModelError(
            f"{file.path}: made by a newer seqmodel (format {version})", "Upgrade: pip install -U seqmodel."
        )
    try:
        return BundleHeader.model_validate(file.metadata, strict=False)
    except ValidationError as error:
        where = ".".join(str(part) for part in error.errors()[0]["loc"])
        raise ModelError(
            f"{file.path}: the header's {where} is not valid", "Use another copy, or train again."
        ) from None


def read_bundle(path: Path) -> Bundle:
    """Read and check a whole bundle.

    Raises:
        ModelError: if the file is missing, damaged or of a newer format, or its parts do not fit together.
    """
    file, tensors = read_tensors(path)
    header = _checked(file)
    try:
        return _bundle(header, dict(tensors), file.digest)
    except ModelError as error:
        raise ModelError(f"{path}: {error.message}", error.hint) from None


def _bundle(header: BundleHeader, weights: dict[str, Array], digest: str) -> Bundle:
    """Make a bundle from its header and its tensors by name.

    Raises:
        ModelError: if they do not fit together.
    """
    settings = header.model
    misfit = ModelError("the parts of the bundle do not fit together", "Use another copy, or train again.")
    try:
        proto = weights.pop(_TOKENIZER)
        keys = tuple(weights.pop(_KEYS.format(order)) for order, _ in settings.ngram_rows)
    except KeyError:
        raise misfit from None
    fingerprint = _fingerprint(header, weights.pop(_FINGERPRINT, None))
    characters = _characters(header, weights.pop(_CHARACTERS, None))
    tokenizer = Tokenizer(proto.tobytes(), header.unit, header.closed)
    index = NgramIndex(settings.vocabulary, tuple(order for order, _ in settings.ngram_rows), keys)
    if tokenizer.size != settings.vocabulary or not index_fits(index, settings.ngram_rows):
        raise misfit
    counts = _count_model(header, {name: weights.pop(name) for name in list(weights) if name.startswith(_COUNTS)})
    if {name: w.shape for name, w in weights.items()} != weight_shapes(settings) or any(
        weight.dtype not in (np.float16, np.float32) for weight in weights.values()
    ):
        raise misfit
    if not in_range(weights):
        raise ModelError("a weight of the bundle is out of range", "Use another copy, or train again.")
    return Bundle(header, tokenizer, index, weights, counts, fingerprint, characters, digest)


def index_fits(index: NgramIndex, rows: tuple[tuple[int, int], ...]) -> bool:
    """True if the n-gram keys are sorted, within the vocabulary, and as many as `rows` (order, number) says."""
    return all(
        keys.dtype == np.int64 and keys.shape == (number,) and _is_sorted_set(keys, index.vocabulary**order)
        for keys, (order, number) in zip(index.keys, rows, strict=True)
    )


def _is_sorted_set(keys: Array, limit: int) -> bool:
    """True if keys increase strictly, from at least 0 to below a limit."""
    return not len(keys) or bool(keys[0] >= 0 and keys[-1] < limit and (keys[1:] > keys[:-1]).all())


def _fingerprint(header: BundleHeader, bits: Array | None) -> Fingerprint | None:
    """The fingerprint of a bundle; None if it has none, or one of token n-grams.

    Raises:
        ModelError: if it does not fit the header.
    """
    settings = header.fingerprint
    if settings is None and bits is None:
        return None
    if settings is None or bits is None or bits.dtype != np.uint8 or bits.ndim != 1 or not len(bits):
        raise ModelError("the bundle's fingerprint does not fit together", "Use another copy, or train again.")
    return None if settings.longest is None else Fingerprint(bits, settings.longest, settings.hashes)


def _characters(header: BundleHeader, runs: Array | None) -> Characters | None:
    """The characters of a bundle; None if it has none.

    Raises:
        ModelError: if they are not a valid set.
    """
    if runs is None:
        return None
    if not are_characters(runs, with_strays=header.unit == "byte"):
        raise ModelError("the bundle's characters do not fit together", "Use another copy, or train again.")
    return Characters(runs)


def _count_model(header: BundleHeader, tensors: Mapping[str, Array]) -> CountModel | None:
    """The count model of a bundle; None if it has none.

    Raises:
        ModelError: if its arrays do not fit together.
    """
    misfit = ModelError("the bundle's count model does not fit together", "Use another copy, or train again.")
    if len(tensors) != len(_LEVEL_PARTS) * len(header.discounts):
        raise misfit
    if not header.discounts:
        return None
    levels = []
    try:
        for number, discounts in enumerate(header.discounts):
            parts = [tensors[f"{_COUNTS}{number}.{part}"] for part in _LEVEL_PARTS]
            levels.append(Level(parts[0], parts[1], parts[2], parts[3], discounts))
    except KeyError:
        raise misfit from None
    vocabulary = header.model.vocabulary
    predicted = np.ones(vocabulary, bool)
    predicted[never_predicted(header.model.ends, header.closed)] = False
    model = CountModel(vocabulary, tuple(levels), predicted)
    weights_fit = len(header.mixture) == model.situations and all(0 <= weight <= 1 for weight in header.mixture)
    contexts = 1
    for level in levels:
        if not _level_fits(level, contexts, predicted):
            raise misfit
        contexts = len(level.keys)
    if not (weights_fit and len(levels[0].keys) == 1):
        raise misfit
    return model


def _level_fits(level: Level, contexts: int, predicted: npt.NDArray[np.bool_]) -> bool:
    """True if a level is valid, so that the probabilities of `CountModel` sum to 1.

    `contexts` is the number of rows of the level before.
    """
    keys, offsets, tokens, counts = (getattr(level, part) for part in _LEVEL_PARTS)
    kinds = keys.dtype == np.int64 and all(a.dtype in (np.uint8, np.uint16, np.uint32) for a in (tokens, counts))
    shapes = all(a.ndim == 1 for a in (keys, offsets, tokens, counts))
    if not (kinds and shapes and offsets.dtype == np.uint32):
        return False
    if len(tokens) != len(counts) or len(offsets) != len(keys) + 1:
        return False
    offsets = offsets.astype(np.int64)
    if offsets[0] != 0 or offsets[-1] != len(tokens) or (np.diff(offsets) < 0).any():
        return False
    if tokens.max(initial=0) >= len(predicted) or not predicted[tokens].all():
        return False
    rises = np.concatenate([[True], tokens[1:] > tokens[:-1], [True]])
    rises[offsets] = True  # the first follower of each row
    proper = all(0 <= discount <= most for most, discount in enumerate(level.discounts, start=1))
    counted = counts.min(initial=1) > 0 and counts.sum(dtype=np.uint64) < _MOST_COUNTED
    return bool(proper and counted and rises.all() and _is_sorted_set(keys, contexts * len(predicted)))


def weight_shapes(settings: ModelSettings) -> dict[str, tuple[int, ...]]:
    """The shapes of the weights of a model with these settings, by name."""
    own = _network_shapes(settings)
    return {f"networks.{number}.{name}": own[name] for number in range(settings.networks) for name in own}


def _network_shapes(settings: ModelSettings) -> dict[str, tuple[int, ...]]:
    width, vocabulary = settings.width, settings.vocabulary
    shapes: dict[str, tuple[int, ...]] = {
        "token.weight": (vocabulary, width),
        "norm.weight": (width,),
        "head.bias": (vocabulary,),
    }
    if not settings.tied:
        shapes["head.weight"] = (vocabulary, width)
    if any(rows for _, rows in settings.ngram_rows):
        shapes["table.weight"] = (1 + sum(rows for _, rows in settings.ngram_rows), width)
    for layer in range(settings.layers):
        block = f"blocks.{layer}."
        shapes |= {block + "norm.weight": (width,), block + "out.weight": (width, width)}
        if settings.cell == "mingru":
            shapes |= {
                block + "cell.gates.weight": (3 * width, width),
                block + "cell.gates.bias": (3 * width,),
            }
        else:
            gates = {"rnn": 1, "gru": 3, "lstm": 4}[settings.cell] * width
            for name in ("ih", "hh"):
                shapes[f"{block}cell.recurrence.weight_{name}_l0"] = (gates, width)
                shapes[f"{block}cell.recurrence.bias_{name}_l0"] = (gates,)
        if settings.feed_forward:
            shapes[block + "feed_norm.weight"] = (width,)
            shapes[block + "up.weight"] = (settings.feed_forward, width)
            shapes[block + "down.weight"] = (width, settings.feed_forward)
    return shapes
