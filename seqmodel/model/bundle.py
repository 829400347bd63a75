"""The `.seqmodel` file: everything that scoring and generation need, in one valid safetensors file.

Needs no torch. Holds the weights, the SentencePiece model, the n-gram index and, as metadata, the settings,
where the model came from and how it did on held-out text. Equal runs give equal bytes: no times, no paths.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field, ValidationError, model_validator

from seqmodel.config import CorpusSettings, ModelSettings, Settings, TokenizerSettings
from seqmodel.errors import ModelError
from seqmodel.kinds import SequenceKind, Unit
from seqmodel.model.ngram import CountModel, Level
from seqmodel.model.ngram_index import NgramIndex
from seqmodel.model.tensors import Array, TensorFile, read_header, read_tensors, write_tensors
from seqmodel.tokens.tokenizer import Tokenizer, never_predicted

FORMAT = 1
DEFAULT_NAME = "model.seqmodel"
_TOKENIZER = "tokenizer"
_KEYS = "ngrams.{}.keys"
_COUNTS = "counts."
_LEVEL_PARTS = ("keys", "offsets", "tokens", "counts")


def power(bits: float) -> float:
    """2^bits, infinite where no number holds it."""
    return math.inf if bits >= 1000 else 2**bits


class LengthBin(Settings):
    """Held-out lines of at most `upto` characters, more than the bin before has: their number, and quantiles of their
    bits per char. In a closed vocabulary both are counted in tokens."""

    upto: int
    lines: int
    quantiles: tuple[float, ...]


class HeldOutLines(Settings):
    """How held-out lines scored, by their length: what `score --percentile` ranks others among. Without bins if there
    were too few."""

    percents: tuple[float, ...]
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
    """What the stored weights give on the held-out text; `bits` include end symbols. Beside them what simpler
    models of the same training text give."""

    sequences: int
    tokens: int
    chars: int
    bits: float
    recurrence_bits: float | None = None  # of each expert alone, where there are two
    counts_bits: float | None = None
    unigram_bits: float | None = None  # of the tokens' shares of the training text
    lines: HeldOutLines | None = None  # none in bundles that were made before lines were counted

    @property
    def bits_per_char(self) -> float:
        return self.bits / max(1, self.chars)

    @property
    def perplexity(self) -> float:
        """Per token."""
        return power(self.bits / max(1, self.tokens))


class Provenance(Settings):
    """What the model was trained on."""

    corpus_digest: str
    corpus_bytes: int
    corpus_chars: int
    corpus_lines: int
    sequences: int
    tokens: int
    train_tokens: int
    held_out_from: str  # "split" or "file", "" for none
    began_from: str | None = None  # the digest of the bundle whose weights training began with


class TrainingSummary(Settings):
    """How the weights came about."""

    seed: int
    steps: int
    tokens: int
    epochs: float
    budget: str
    annealed: bool
    settings: dict[str, Any]


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
    discounts: tuple[tuple[float, float, float], ...] = ()  # of the count model, by level; none if there is none
    mixture: tuple[float, ...] = ()  # the recurrence's weight by situation; see inference.mixture
    tokenizer: TokenizerSettings | None = None  # how the vocabulary was learned, where that is known
    corpus: CorpusSettings | None = None


@dataclass(frozen=True)
class Bundle:
    """An open bundle: weights as stored, by their names in the torch network."""

    header: BundleHeader
    tokenizer: Tokenizer
    index: NgramIndex
    weights: Mapping[str, Array]
    counts: CountModel | None = None
    digest: str = ""  # of the file it was read from


def write_bundle(path: Path, bundle: Bundle) -> None:
    """Write a bundle atomically.

    Raises:
        ResourceError: if the disk is full; the old file stays.
    """
    tensors: dict[str, Array] = {_TOKENIZER: np.frombuffer(bundle.tokenizer.proto, np.uint8)}
    for order, keys in zip(bundle.index.orders, bundle.index.keys, strict=True):
        tensors[_KEYS.format(order)] = keys
    if bundle.counts is not None:
        for number, level in enumerate(bundle.counts.levels):
            tensors |= {f"{_COUNTS}{number}.{part}": getattr(level, part) for part in _LEVEL_PARTS}
    tensors |= {name: bundle.weights[name] for name in sorted(bundle.weights)}
    # Wide types first: safetensors wants every array aligned to its type.
    ordered = dict(sorted(tensors.items(), key=lambda item: -item[1].dtype.itemsize))
    write_tensors(path, ordered, bundle.header.model_dump(mode="json"))


def stored_precision(array: Array) -> Array:
    """A weight as the bundle keeps it: matrices in half precision, which costs nothing there; vectors are small."""
    return array.astype(np.float16 if array.ndim > 1 else np.float32)


def read_bundle_header(path: Path) -> tuple[BundleHeader, TensorFile]:
    """What a bundle says of itself, from its header alone.

    Raises:
        ModelError: if it is missing, damaged, of a newer format, or no bundle.
    """
    file = read_header(path)
    return _checked(file), file


def _checked(file: TensorFile) -> BundleHeader:
    metadata = {key: value for key, value in file.metadata.items() if key != "digest"}
    if metadata.get("kind") != "bundle":
        raise ModelError(f"{file.path}: not a model bundle", "Name a .seqmodel file made by seqmodel train.")
    version = metadata.get("format")
    if isinstance(version, int) and version > FORMAT:
        raise ModelError(
            f"{file.path}: made by a newer seqmodel (format {version})", "Upgrade: pip install -U seqmodel."
        )
    try:
        return BundleHeader.model_validate(metadata, strict=False)
    except ValidationError as error:
        where = ".".join(str(part) for part in error.errors()[0]["loc"])
        raise ModelError(
            f"{file.path}: the header's {where} is not valid", "Use another copy, or train again."
        ) from None


def read_bundle(path: Path) -> Bundle:
    """Read a bundle and check all of it.

    Raises:
        ModelError: if it is missing, damaged, of a newer format, or its parts do not fit together.
    """
    file, tensors = read_tensors(path)
    header = _checked(file)
    weights = dict(tensors)
    misfit = ModelError(f"{path}: the parts of the bundle do not fit together", "Use another copy, or train again.")
    try:
        proto = weights.pop(_TOKENIZER)
        keys = tuple(weights.pop(_KEYS.format(order)) for order, _ in header.model.ngram_rows)
    except KeyError:
        raise misfit from None
    counts = _count_model(header, {name: weights.pop(name) for name in list(weights) if name.startswith(_COUNTS)})
    orders = tuple(order for order, _ in header.model.ngram_rows)
    index = NgramIndex(header.model.vocabulary, orders, keys)
    tokenizer = Tokenizer(proto.tobytes(), header.unit, header.closed)
    fits = tokenizer.size == header.model.vocabulary and all(
        k.dtype == np.int64 and k.shape == (rows,) for k, (_, rows) in zip(keys, header.model.ngram_rows, strict=True)
    )
    fits = fits and all(weight.dtype in (np.float16, np.float32) for weight in weights.values())
    if not fits or {name: w.shape for name, w in weights.items()} != weight_shapes(header.model):
        raise misfit
    return Bundle(header, tokenizer, index, weights, counts, file.metadata["digest"])


def _count_model(header: BundleHeader, tensors: Mapping[str, Array]) -> CountModel | None:
    """The count model of a bundle.

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
    if not (weights_fit and all(_level_fits(level, vocabulary) for level in levels) and len(levels[0].keys) == 1):
        raise misfit
    return model


def _level_fits(level: Level, vocabulary: int) -> bool:
    kinds = level.keys.dtype == np.int64 and all(
        a.dtype.kind == "u" for a in (level.offsets, level.tokens, level.counts)
    )
    shapes = all(a.ndim == 1 for a in (level.keys, level.offsets, level.tokens, level.counts))
    if not (kinds and shapes and len(level.tokens) == len(level.counts) and len(level.offsets) == len(level.keys) + 1):
        return False
    offsets = level.offsets.astype(np.int64)
    in_order = offsets[0] == 0 and offsets[-1] == len(level.tokens) and (np.diff(offsets) >= 0).all()
    proper = all(0 <= discount <= most for most, discount in enumerate(level.discounts, start=1))
    return bool(proper and in_order and level.tokens.max(initial=0) < vocabulary and level.counts.min(initial=1) > 0)


def weight_shapes(settings: ModelSettings) -> dict[str, tuple[int, ...]]:
    """The weights that a model of these settings has, by name."""
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
