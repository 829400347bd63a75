"""The bundle: valid safetensors, the same bytes for the same content, and nothing that does not fit together."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file

import seqmodel
from seqmodel.arrays import Array
from seqmodel.errors import ModelError
from seqmodel.model.bundle import (
    FORMAT,
    BundleHeader,
    HeldOut,
    read_bundle,
    read_bundle_header,
    weight_shapes,
    write_bundle,
)
from seqmodel.model.tensors import read_tensors, write_tensors
from seqmodel.tokens.fitting import vocabulary_proto
from seqmodel.tokens.sentencepiece_proto import field
from seqmodel.tokens.tokenizer import FIRST_PIECE
from tests.model.golden import RECIPES, golden

Train = Callable[..., Path]


@pytest.fixture(scope="module")
def path(train_little: Train) -> Path:
    return train_little(steps=2, width=8, layers=1)


def parts(path: Path) -> tuple[dict[str, Array], dict[str, Any]]:
    """The tensors and the metadata of a bundle, free to be changed."""
    file, tensors = read_tensors(path)
    metadata = {key: value for key, value in file.metadata.items() if key != "digest"}
    return {name: array.copy() for name, array in tensors.items()}, json.loads(json.dumps(metadata))


# What is written


def test_a_bundle_is_valid_safetensors(path: Path) -> None:
    theirs = load_file(path)
    bundle = read_bundle(path)
    assert bytes(theirs.pop("tokenizer")) == bundle.tokenizer.proto
    for name, array in bundle.weights.items():
        np.testing.assert_array_equal(theirs.pop(name), array)
    assert bundle.characters is not None
    np.testing.assert_array_equal(theirs.pop("characters"), bundle.characters.runs)
    assert all(name.startswith(("ngrams.", "counts.")) for name in theirs)
    assert theirs["ngrams.2.keys"].dtype == np.int64


def test_every_array_lies_aligned_to_its_type(path: Path) -> None:
    _, file = read_bundle_header(path)
    assert all(offset % dtype.itemsize == 0 for dtype, _, offset in file.layout.values())


def test_the_weights_are_those_of_the_settings(path: Path) -> None:
    bundle = read_bundle(path)
    assert {name: w.shape for name, w in bundle.weights.items()} == weight_shapes(bundle.header.model)
    assert (bundle.weights["networks.0.table.weight"][0] == 0).all()
    assert all(w.dtype == (np.float16 if w.ndim > 1 else np.float32) for w in bundle.weights.values())


def test_reading_and_writing_again_gives_the_same_bytes(path: Path, tmp_path: Path) -> None:
    bundle = read_bundle(path)
    again = tmp_path / "again.seqmodel"
    write_bundle(again, bundle)
    assert again.read_bytes() == path.read_bytes()
    backwards = dict(reversed(list(bundle.weights.items())))
    write_bundle(again, replace(bundle, weights=backwards))
    assert again.read_bytes() == path.read_bytes()


def test_the_header_alone_tells_what_the_whole_tells(path: Path) -> None:
    header, _ = read_bundle_header(path)
    assert header == read_bundle(path).header
    assert header.format == FORMAT and header.unit == "char" and header.sequence == "line"
    assert header.model.width == 8 and header.training.steps == 2


def test_no_path_and_no_time_is_in_the_bundle(path: Path) -> None:
    data = path.read_bytes()
    assert str(path.parent).encode() not in data
    text = json.dumps(parts(path)[1])
    assert not any(word in text for word in ("elapsed", 'seconds": 1', "tokens_per_second", "threads"))


def test_figures_are_ratios_of_the_header() -> None:
    held_out = HeldOut(sequences=2, tokens=8, chars=16, bits=24.0)
    assert held_out.bits_per_char == 1.5
    assert held_out.perplexity == 8.0


# Damage


@pytest.fixture(scope="module")
def original(path: Path) -> bytes:
    return path.read_bytes()


GOLDEN = [golden(name) for name in RECIPES]


def regions(path: Path) -> list[tuple[int, int]]:
    """Length field, header, and every array."""
    _, file = read_bundle_header(path)
    begins = sorted({0, 8, file.size, *(at for _, _, at in file.layout.values())})
    return [(a, b) for a, b in pairwise(begins) if b > a]


@pytest.mark.parametrize("of", GOLDEN, ids=lambda path: path.stem)
def test_a_flipped_bit_in_any_region_is_noticed(of: Path, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.seqmodel"
    original = of.read_bytes()
    for begin, end in regions(of):
        for position in {begin, (begin + end) // 2, end - 1}:
            changed = bytearray(original)
            changed[position] ^= 1
            damaged.write_bytes(changed)
            with pytest.raises(ModelError):
                read_bundle(damaged)


@given(st.data())
@settings(max_examples=80, deadline=None)
def test_any_changed_byte_is_noticed(
    original: bytes, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    damaged = tmp_path_factory.getbasetemp() / "changed.seqmodel"
    changed = bytearray(original)
    changed[data.draw(st.integers(0, len(original) - 1))] ^= data.draw(st.integers(1, 255))
    damaged.write_bytes(changed)
    with pytest.raises(ModelError):
        read_bundle(damaged)


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_any_truncation_is_noticed_by_the_header_alone(
    original: bytes, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    damaged = tmp_path_factory.getbasetemp() / "cut.seqmodel"
    damaged.write_bytes(original[: data.draw(st.integers(0, len(original) - 1))])
    with pytest.raises(ModelError):
        read_bundle_header(damaged)


# What does not fit together, though every digest is right


def change_weight(name: str, change: Callable[[Array], Array]) -> Callable[[dict[str, Array], dict[str, Any]], None]:
    def apply(tensors: dict[str, Array], metadata: dict[str, Any]) -> None:
        tensors[name] = change(tensors[name])

    return apply


def change_header(*keys: str, to: Any) -> Callable[[dict[str, Array], dict[str, Any]], None]:
    def apply(tensors: dict[str, Array], metadata: dict[str, Any]) -> None:
        inner = metadata
        for key in keys[:-1]:
            inner = inner[key]
        inner[keys[-1]] = to

    return apply


def with_order(order: int) -> Callable[[dict[str, Array], dict[str, Any]], None]:
    """An n-gram order that no index has, with no rows."""

    def apply(tensors: dict[str, Array], metadata: dict[str, Any]) -> None:
        metadata["model"]["ngram_rows"].append([order, 0])
        tensors[f"ngrams.{order}.keys"] = np.empty(0, np.int64)

    return apply


def with_orders_reversed(tensors: dict[str, Array], metadata: dict[str, Any]) -> None:
    metadata["model"]["ngram_rows"].reverse()


def with_first(name: str, value: float) -> Callable[[dict[str, Array], dict[str, Any]], None]:
    """Another first number in an array."""

    def change(array: Array) -> Array:
        array.reshape(-1)[0] = value
        return array

    return change_weight(name, change)


def closed_subwords(tensors: dict[str, Array], metadata: dict[str, Any]) -> None:
    metadata |= {"unit": "subword", "closed": True}


def with_tokenizer(proto: bytes) -> Callable[[dict[str, Array], dict[str, Any]], None]:
    return change_weight("tokenizer", lambda _: np.frombuffer(proto, np.uint8))


def without(prefix: str) -> Callable[[dict[str, Array], dict[str, Any]], None]:
    def apply(tensors: dict[str, Array], metadata: dict[str, Any]) -> None:
        for name in [name for name in tensors if name.startswith(prefix)]:
            del tensors[name]

    return apply


def add_tensor(name: str) -> Callable[[dict[str, Array], dict[str, Any]], None]:
    def apply(tensors: dict[str, Array], metadata: dict[str, Any]) -> None:
        tensors[name] = np.zeros(3, np.float32)

    return apply


INVALID_UTF8_PIECE = vocabulary_proto(["a"], word=False) + field(
    1, field(1, b"\xff\xfe") + field(2, -9.0) + field(3, 1)
)

MISFITS: dict[str, Callable[[dict[str, Array], dict[str, Any]], None]] = {
    "a weight with a row too many": change_weight("networks.0.head.weight", lambda w: np.concatenate([w, w[:1]])),
    "a weight turned": change_weight("networks.0.blocks.0.cell.gates.weight", lambda w: np.ascontiguousarray(w.T)),
    "a flat weight": change_weight("networks.0.token.weight", lambda w: w.ravel()),
    "a weight of integers": change_weight("networks.0.token.weight", lambda w: w.astype(np.int64)),
    "a weight of bytes": change_weight("networks.0.head.bias", lambda w: w.astype(np.uint8)),
    "a weight of flags": change_weight("networks.0.norm.weight", lambda w: w.astype(bool)),
    "a missing weight": without("networks.0.norm.weight"),
    "a weight too many": add_tensor("extra.weight"),
    "no tokenizer": without("tokenizer"),
    "an empty tokenizer": with_tokenizer(b""),
    "a tokenizer that is noise": with_tokenizer(bytes(range(1, 200))),
    "another tokenizer": with_tokenizer(vocabulary_proto(["a", "b"], word=False)),
    "a tokenizer of numbers": change_weight("tokenizer", lambda w: w.astype(np.float64)),
    "a tokenizer with a piece that is no UTF-8": with_tokenizer(INVALID_UTF8_PIECE),
    "no n-gram keys": without("ngrams.3"),
    "n-gram keys of another type": change_weight("ngrams.2.keys", lambda k: k.astype(np.float64)),
    "too few n-gram keys": change_weight("ngrams.2.keys", lambda k: k[:-1]),
    "n-gram keys that fall": change_weight("ngrams.2.keys", lambda k: k[::-1].copy()),
    "an n-gram key twice": change_weight("ngrams.3.keys", lambda k: np.sort(np.append(k[:-1], k[0]))),
    "a negative n-gram key": with_first("ngrams.2.keys", -1),
    "an n-gram key beyond the vocabulary": change_weight("ngrams.2.keys", lambda k: np.append(k[:-1], 1 << 40)),
    "an n-gram order whose keys are too long": with_order(16),
    "a weight that is no number": with_first("networks.0.token.weight", np.nan),
    "a bias that is infinite": with_first("networks.0.head.bias", -np.inf),
    "a weight that products overflow with": with_first("networks.0.norm.weight", 3e38),
    "a weight with a path for its name": add_tensor("../../../tmp/x"),
    "a tokenizer with other symbols": change_weight(
        "tokenizer", lambda w: np.frombuffer(w.tobytes().replace(b"</s>", b"<XX>"), np.uint8)
    ),
    "an n-gram order of a billion": with_order(1_000_000_000),
    "an n-gram order of one": with_order(1),
    "a negative n-gram order": with_order(-3),
    "n-gram orders in another order": with_orders_reversed,
    "no vocabulary": change_header("model", "vocabulary", to=0),
    "another vocabulary": change_header("model", "vocabulary", to=400),
    "a huge vocabulary": change_header("model", "vocabulary", to=1 << 40),
    "another width": change_header("model", "width", to=16),
    "a huge width": change_header("model", "width", to=1 << 30),
    "another depth": change_header("model", "layers", to=3),
    "a huge depth": change_header("model", "layers", to=1 << 40),
    "another cell": change_header("model", "cell", to="lstm"),
    "an unknown cell": change_header("model", "cell", to="transformer"),
    "an unknown unit": change_header("unit", to="phoneme"),
    "an unknown sequence": change_header("sequence", to="page"),
    "a setting too many": change_header("model", "heads", to=4),
    "a field too many": change_header("surprise", to=1),
    "settings that are a list": change_header("model", to=[1, 2]),
    "an end in a stream": change_header("sequence", to="stream"),
    "a closed vocabulary of subwords": closed_subwords,
    "a negative number of characters": change_header("provenance", "corpus_chars", to=-1),
    "a number of tokens beyond all floats": change_header("held_out", "tokens", to=10**400),
    "bits beyond what tokens can have": change_header("held_out", "bits", to=1e300),
    "negative bits": change_header("held_out", "unigram_bits", to=-1.0),
    "a digest that steers a terminal": change_header("provenance", "corpus_digest", to="\x1b[31m" + 60 * "0"),
    "a budget of words": change_header("training", "budget", to="a\nlot"),
    "settings in settings": change_header("training", "settings", to={"lanes": [[[[1]]]]}),
    "a percentage above a hundred": change_header("held_out", "lines", to={"percents": [0, 101], "bins": []}),
    "bins out of order": change_header(
        *("held_out", "lines"),
        to={"percents": [0], "bins": [{"upto": upto, "lines": 50, "quantiles": [1.0]} for upto in (9, 5)]},
    ),
    "provenance that is null": change_header("provenance", to=None),
    "a distribution that falls": change_header("held_out", "lines", to={"percents": [100, 0], "bins": []}),
    "a quantile too few": change_header(
        "held_out", "lines", to={"percents": [0, 100], "bins": [{"upto": 9, "lines": 50, "quantiles": [1.0]}]}
    ),
    "a fingerprint without its settings": add_tensor("fingerprint"),
    "settings of a fingerprint without one": change_header("fingerprint", to={"window": 16, "hashes": 4}),
    "a format that is text": change_header("format", to="one"),
    "a format of zero": change_header("format", to=0),
    "a kind of its own": change_header("kind", to="picture"),
}


@pytest.mark.parametrize("name", MISFITS)
def test_parts_that_do_not_fit_together_are_refused(name: str, path: Path, tmp_path: Path) -> None:
    tensors, metadata = parts(path)
    MISFITS[name](tensors, metadata)
    forged = tmp_path / "forged.seqmodel"
    write_tensors(forged, dict(sorted(tensors.items(), key=lambda i: -i[1].dtype.itemsize)), metadata)
    with pytest.raises(ModelError):
        read_bundle(forged)


def test_the_forging_itself_is_not_what_is_refused(path: Path, tmp_path: Path) -> None:
    tensors, metadata = parts(path)
    forged = tmp_path / "forged.seqmodel"
    write_tensors(forged, tensors, metadata)
    assert read_bundle(forged).header == read_bundle(path).header


COUNT_MISFITS: dict[str, Callable[[dict[str, Array], dict[str, Any]], None]] = {
    "a missing level": without("counts.1."),
    "no counts at all": without("counts."),
    "two rows without context": change_weight("counts.0.keys", lambda k: np.append(k, 1)),
    "no row without context": change_weight("counts.0.keys", lambda k: k[:0]),
    "keys of no dimension": change_weight("counts.0.keys", lambda k: k.reshape(())),
    "too few offsets": change_weight("counts.1.offsets", lambda a: a[:-1]),
    "offsets beyond the end": change_weight("counts.1.offsets", lambda a: np.append(a[:-1], a[-1] + 7).astype(a.dtype)),
    "offsets that go back": change_weight("counts.1.offsets", lambda a: np.append(a[-1:], a[1:]).astype(a.dtype)),
    "tokens beyond the vocabulary": change_weight("counts.0.tokens", lambda a: np.full_like(a, 60_000)),
    "fewer counts than tokens": change_weight("counts.0.counts", lambda a: a[:-1]),
    "counts of zero": change_weight("counts.0.counts", lambda a: np.zeros_like(a)),
    "counts that are no integers": change_weight("counts.1.counts", lambda a: a.astype(np.float32)),
    "keys of another type": change_weight("counts.1.keys", lambda a: a.astype(np.float64)),
    "keys that fall": change_weight("counts.1.keys", lambda a: a[::-1].copy()),
    "keys of contexts that are not there": change_weight("counts.2.keys", lambda a: np.append(a[:-1], 1 << 50)),
    "tokens that fall within a row": change_weight("counts.0.tokens", lambda a: a[::-1].copy()),
    "a token twice in a row": change_weight("counts.0.tokens", lambda a: np.append(a[:-1], a[-2])),
    "a token that never comes": with_first("counts.0.tokens", 1),
    "counts that no sum holds": change_weight("counts.4.counts", lambda a: np.full(a.shape, (1 << 32) - 1, np.uint32)),
    "offsets of another type": change_weight("counts.1.offsets", lambda a: a.astype(np.int32)),
    "fewer discounts than levels": change_header("discounts", to=[[0.5, 1.0, 1.5]]),
    "discounts above what they are taken from": change_header("discounts", to=[[5.0, 6.0, 7.0]] * 7),
    "negative discounts": change_header("discounts", to=[[-1.0, -1.0, -1.0]] * 7),
    "too few weights of the mixture": change_header("mixture", to=[0.5, 0.5]),
    "no weights of the mixture": change_header("mixture", to=[]),
    "weights of the mixture above one": change_header("mixture", to=[1.5] * 112),
    "negative weights of the mixture": change_header("mixture", to=[-0.5] * 112),
}


@pytest.mark.parametrize("name", COUNT_MISFITS)
def test_a_count_model_that_does_not_fit_is_refused(name: str, path: Path, tmp_path: Path) -> None:
    """A model that is loaded gives probabilities: it neither fails later nor sums to something else than one."""
    tensors, metadata = parts(path)
    assert len(metadata["discounts"]) == 7 and len(metadata["mixture"]) == 112, "the little model has a count model"
    COUNT_MISFITS[name](tensors, metadata)
    forged = tmp_path / "forged.seqmodel"
    write_tensors(forged, dict(sorted(tensors.items(), key=lambda i: -i[1].dtype.itemsize)), metadata)
    with pytest.raises(ModelError):
        seqmodel.load(forged)


CHARACTER_MISFITS: dict[str, Array] = {
    "none": np.empty((0, 2), np.uint32),
    "of another type": np.array([[97, 99]], np.int64),
    "of another shape": np.array([97, 99], np.uint32),
    "runs that overlap": np.array([[97, 99], [98, 100]], np.uint32),
    "runs that touch": np.array([[97, 99], [99, 100]], np.uint32),
    "runs that fall": np.array([[99, 97]], np.uint32),
    "beyond Unicode": np.array([[97, 0x110001]], np.uint32),
    "a surrogate": np.array([[0xD800, 0xD801]], np.uint32),
    "surrogates among others": np.array([[97, 0xFFFF]], np.uint32),
    "a byte, in a model of characters": np.array([[97, 98], [0xDC80, 0xDC81]], np.uint32),
}


@pytest.mark.parametrize("name", CHARACTER_MISFITS)
def test_characters_that_cannot_be_are_refused(name: str, path: Path, tmp_path: Path) -> None:
    tensors, metadata = parts(path)
    tensors["characters"] = CHARACTER_MISFITS[name]
    forged = tmp_path / "forged.seqmodel"
    write_tensors(forged, dict(sorted(tensors.items(), key=lambda i: -i[1].dtype.itemsize)), metadata)
    with pytest.raises(ModelError, match="characters"):
        seqmodel.load(forged)


def test_a_newer_format_says_to_upgrade(path: Path, tmp_path: Path) -> None:
    tensors, metadata = parts(path)
    metadata["format"] = FORMAT + 1
    metadata["something new"] = {"of": "tomorrow"}
    forged = tmp_path / "forged.seqmodel"
    write_tensors(forged, tensors, metadata)
    with pytest.raises(ModelError, match="newer") as caught:
        read_bundle_header(forged)
    assert "upgrade" in caught.value.hint.lower()
    assert caught.value.exit_code == 4


def test_a_bundle_from_before_a_field_was_there_is_read(path: Path, tmp_path: Path) -> None:
    tensors, metadata = parts(path)
    for name in ("tokenizer", "corpus"):
        del metadata[name]
    del metadata["provenance"]["began_from"]
    del metadata["held_out"]["lines"]
    del tensors["characters"]
    old = tmp_path / "old.seqmodel"
    write_tensors(old, tensors, metadata)
    model = seqmodel.load(old)
    assert model.characters is not None and len(model.characters) == len(model.tokenizer.piece_bytes) - FIRST_PIECE
    header = model.header
    assert (header.tokenizer, header.corpus, header.provenance.began_from) == (None, None, None)
    assert header.held_out is not None and header.held_out.lines is None


def test_a_checkpoint_is_no_bundle(tmp_path: Path) -> None:
    from seqmodel.training.run.checkpoints import Checkpoint, write_checkpoint
    from tests.training.test_resume import progress

    checkpoint = tmp_path / "x.checkpoint"
    write_checkpoint(checkpoint, Checkpoint({}, progress(3)))
    for read in (read_bundle, read_bundle_header, seqmodel.load):
        with pytest.raises(ModelError, match="not a model bundle"):
            read(checkpoint)


def test_a_bundle_is_no_checkpoint(path: Path) -> None:
    from seqmodel.training.run.checkpoints import read_checkpoint

    with pytest.raises(ModelError, match="not a checkpoint"):
        read_checkpoint(path)


def test_another_safetensors_file_is_told_from_ours(tmp_path: Path) -> None:
    from safetensors.numpy import save_file

    save_file({"a": np.zeros(3, np.float32)}, tmp_path / "theirs.safetensors", {"format": "pt"})
    with pytest.raises(ModelError, match="not a seqmodel file"):
        read_bundle(tmp_path / "theirs.safetensors")


def test_messages_name_the_file(path: Path, original: bytes, tmp_path: Path) -> None:
    for name, content in {"cut": original[:-1], "text": b"hello, this is text\n", "empty": b""}.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ModelError, match=name) as caught:
            read_bundle(tmp_path / name)
        assert caught.value.hint


def test_the_header_begins_with_its_length(path: Path, original: bytes) -> None:
    (length,) = struct.unpack_from("<Q", original)
    assert length % 8 == 0 and json.loads(original[8 : 8 + length])["__metadata__"].keys() == {"seqmodel"}
    assert BundleHeader.model_validate(dict(parts(path)[1].items()), strict=False) == read_bundle(path).header
