"""The `.seqmodel` file: everything that scoring and generation need, in one valid safetensors file.

Needs no torch. Holds the weights, the SentencePiece model, the n-gram index and, as metadata, the settings,
where the model came from and how it did on held-out text. Equal runs give equal bytes: no times, no paths.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field, ValidationError

from seqmodel.config import ModelSettings, SequenceKind, Settings, Unit
from seqmodel.errors import ModelError
from seqmodel.model.ngram_index import NgramIndex
from seqmodel.model.tensors import Array, TensorFile, read_header, read_tensors, write_tensors
from seqmodel.tokens.tokenizer import Tokenizer

FORMAT = 1
DEFAULT_NAME = "model.seqmodel"
_TOKENIZER = "tokenizer"
_KEYS = "ngrams.{}.keys"
HALF_PRECISION = ("table.weight",)  # large and coarse: half precision costs nothing there


class HeldOut(Settings):
    """What the stored weights give on the held-out text; `bits` include end symbols."""

    sequences: int
    tokens: int
    chars: int
    bits: float

    @property
    def bits_per_char(self) -> float:
        return self.bits / max(1, self.chars)

    @property
    def perplexity(self) -> float:
        """Per token."""
        return float(2 ** (self.bits / max(1, self.tokens)))


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


@dataclass(frozen=True)
class Bundle:
    """An open bundle: weights as stored, by their names in the torch network."""

    header: BundleHeader
    tokenizer: Tokenizer
    index: NgramIndex
    weights: Mapping[str, Array]


def write_bundle(path: Path, bundle: Bundle) -> None:
    """Write a bundle atomically.

    Raises:
        ResourceError: if the disk is full; the old file stays.
    """
    tensors: dict[str, Array] = {_TOKENIZER: np.frombuffer(bundle.tokenizer.proto, np.uint8)}
    for order, keys in zip(bundle.index.orders, bundle.index.keys, strict=True):
        tensors[_KEYS.format(order)] = keys
    tensors |= {name: bundle.weights[name] for name in sorted(bundle.weights)}
    # Wide types first: safetensors wants every array aligned to its type.
    ordered = dict(sorted(tensors.items(), key=lambda item: -item[1].dtype.itemsize))
    write_tensors(path, ordered, bundle.header.model_dump(mode="json"))


def stored_precision(name: str, array: Array) -> Array:
    """A weight as the bundle keeps it."""
    return array.astype(np.float16 if name in HALF_PRECISION else np.float32)


def read_bundle_header(path: Path) -> tuple[BundleHeader, TensorFile]:
    """What a bundle says of itself, from its header alone.

    Raises:
        ModelError: if it is missing, damaged, of a newer format, or no bundle.
    """
    file = read_header(path)
    return _checked(file), file


def _checked(file: TensorFile) -> BundleHeader:
    metadata = {key: value for key, value in file.metadata.items() if key != "digest"}
    version = metadata.get("format")
    if isinstance(version, int) and version > FORMAT:
        raise ModelError(
            f"{file.path}: made by a newer seqmodel (format {version})", "Upgrade: pip install -U seqmodel."
        )
    if metadata.get("kind") != "bundle":
        raise ModelError(f"{file.path}: not a model bundle", "Name a .seqmodel file made by seqmodel train.")
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
    orders = tuple(order for order, _ in header.model.ngram_rows)
    index = NgramIndex(header.model.vocabulary, orders, keys)
    tokenizer = Tokenizer(proto.tobytes(), header.unit, header.closed)
    fits = tokenizer.size == header.model.vocabulary and all(
        k.dtype == np.int64 and k.shape == (rows,) for k, (_, rows) in zip(keys, header.model.ngram_rows, strict=True)
    )
    if not fits or {name: w.shape for name, w in weights.items()} != weight_shapes(header.model):
        raise misfit
    return Bundle(header, tokenizer, index, weights)


def weight_shapes(settings: ModelSettings) -> dict[str, tuple[int, ...]]:
    """The weights that a network of these settings has, by name."""
    width, vocabulary = settings.width, settings.vocabulary
    shapes: dict[str, tuple[int, ...]] = {
        "token.weight": (vocabulary, width),
        "norm.weight": (width,),
        "head.bias": (vocabulary,),
    }
    if not settings.tied:
        shapes["head.weight"] = (vocabulary, width)
    if settings.ngram_rows:
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
