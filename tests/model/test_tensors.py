"""The array file: valid safetensors, equal bytes for equal content, and no damage or hostile header goes unseen."""

from __future__ import annotations

import hashlib
import json
import struct
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file

from seqmodel.arrays import Array
from seqmodel.errors import ModelError
from seqmodel.model.tensors import read_header, read_tensors, write_tensors

ZEROS = "0" * 64
METADATA = {"kind": "test", "note": 'quotes " and "digest":" inside', "numbers": [1, 2.5]}


def some_arrays() -> dict[str, Array]:
    random = np.random.default_rng(0)
    return {
        "f64": random.normal(size=(3,)),
        "i64": random.integers(-9, 9, (2, 3)),
        "f32": random.normal(size=(2, 2, 2)).astype(np.float32),
        "i32": np.arange(4, dtype=np.int32),
        "u32": np.arange(3, dtype=np.uint32),
        "scalar": np.array(7, np.float32),
        "f16": random.normal(size=(5,)).astype(np.float16),
        "u16": np.arange(3, dtype=np.uint16),
        "u8": np.arange(11, dtype=np.uint8),
        "flags": np.array([True, False]),
        "empty": np.empty((0, 3), np.float32),
    }


@pytest.fixture
def written(tmp_path: Path) -> Path:
    path = tmp_path / "some.seqmodel"
    write_tensors(path, some_arrays(), METADATA)
    return path


def forge(path: Path, entries: Any, data: bytes, metadata: Any = None) -> Path:
    """A file whose digests are right, whatever its header says."""
    metadata = {"kind": "test"} if metadata is None else metadata
    own = hashlib.sha256(compact({"__metadata__": metadata, **entries})).hexdigest()
    whole = hashlib.sha256(own.encode() + data).hexdigest()
    text = compact({"sha256": {"header": own, "file": whole}, **metadata}).decode()
    return packed(path, compact({"__metadata__": {"seqmodel": text}, **entries}), data)


def compact(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def packed(path: Path, header: bytes, data: bytes) -> Path:
    header += b" " * (-len(header) % 8)
    path.write_bytes(struct.pack("<Q", len(header)) + header + data)
    return path


def of_format_1(path: Path, entries: Any, data: bytes) -> Path:
    """A file as the first format had it: both digests over everything, their own digits as zeros."""
    text = compact({"digest": ZEROS, "header_digest": ZEROS, "kind": "test"}).decode()
    head = packed(path, compact({"__metadata__": {"seqmodel": text}, **entries}), b"").read_bytes()
    whole, own = hashlib.sha256(head + data).hexdigest(), hashlib.sha256(head).hexdigest()
    for digits in (whole, own):
        head = head.replace(ZEROS.encode(), digits.encode(), 1)
    path.write_bytes(head + data)
    return path


def entry(dtype: Any = "F32", shape: Any = (2,), offsets: Any = (0, 8)) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


def test_what_is_written_is_read_back_and_is_valid_safetensors(written: Path) -> None:
    file, read = read_tensors(written)
    theirs = load_file(written)
    assert list(read) == list(some_arrays())
    assert set(theirs) == set(read)
    for name, array in some_arrays().items():
        for found in (read[name], theirs[name]):
            assert found.dtype == array.dtype and found.shape == array.shape
            np.testing.assert_array_equal(found, array)
    assert file.metadata == METADATA


def test_a_forged_file_with_a_fitting_layout_is_accepted(tmp_path: Path) -> None:
    """So that the refusals below are for what each says, not for the forging."""
    path = forge(tmp_path / "x", {"a": entry(), "b": entry("U8", [3], [8, 11])}, bytes(11))
    _, read = read_tensors(path)
    np.testing.assert_array_equal(read["a"], [0, 0])
    assert load_file(path)["b"].shape == (3,)


def test_no_arrays_at_all_make_a_file_too(tmp_path: Path) -> None:
    write_tensors(tmp_path / "x", {}, {"kind": "test"})
    assert read_tensors(tmp_path / "x")[1] == {}


def test_equal_content_gives_equal_bytes(written: Path, tmp_path: Path) -> None:
    again = tmp_path / "again"
    views = {name: np.array(array, order="F") for name, array in some_arrays().items()}
    write_tensors(again, views, METADATA)
    assert again.read_bytes() == written.read_bytes()
    big_endian = {name: array.astype(array.dtype.newbyteorder(">")) for name, array in some_arrays().items()}
    write_tensors(again, big_endian, METADATA)
    assert again.read_bytes() == written.read_bytes()


def test_one_changed_element_changes_the_digest(written: Path, tmp_path: Path) -> None:
    arrays = some_arrays()
    arrays["f32"][1, 1, 1] += 1
    write_tensors(tmp_path / "other", arrays, METADATA)
    assert read_header(tmp_path / "other").digest != read_header(written).digest


@pytest.fixture(params=["today", "format 1"])
def either(request: pytest.FixtureRequest, written: Path, tmp_path: Path) -> Path:
    """A file of today's layout, or of the first one."""
    if request.param == "today":
        return written
    return of_format_1(tmp_path / "old.seqmodel", {"a": entry(), "b": entry("U8", [3], [8, 11])}, bytes(range(11)))


def test_every_changed_byte_is_noticed(either: Path, tmp_path: Path) -> None:
    data = either.read_bytes()
    header_size = 8 + struct.unpack_from("<Q", data)[0]
    digest_at = data.index(read_header(either).digest.encode())
    damaged = tmp_path / "damaged"
    for position in range(len(data)):
        changed = bytearray(data)
        changed[position] ^= (0x01, 0x20, 0x80)[position % 3]
        damaged.write_bytes(changed)
        with pytest.raises(ModelError):
            read_tensors(damaged)
        # The header alone vouches for all of itself but the digest of the whole file.
        if position < header_size and not digest_at <= position < digest_at + 64:
            with pytest.raises(ModelError):
                read_header(damaged)


def test_a_file_of_format_1_is_read(tmp_path: Path) -> None:
    path = of_format_1(tmp_path / "x", {"a": entry("U8", [3], [0, 3])}, bytes([1, 2, 3]))
    file, read = read_tensors(path)
    assert file.metadata == {"kind": "test"} and read["a"].tolist() == [1, 2, 3]


def test_every_truncation_and_every_addition_is_noticed(written: Path, tmp_path: Path) -> None:
    data = written.read_bytes()
    damaged = tmp_path / "damaged"
    for size in range(len(data)):
        damaged.write_bytes(data[:size])
        with pytest.raises(ModelError):
            read_header(damaged)
    for more in (b"\0", b" ", data):
        damaged.write_bytes(data + more)
        with pytest.raises(ModelError):
            read_header(damaged)


def test_a_missing_file_is_told_as_such(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no such file"):
        read_header(tmp_path / "nothing")


HOSTILE_LAYOUTS: dict[str, tuple[dict[str, Any], bytes]] = {
    "negative offsets": ({"a": entry(offsets=[-8, 0])}, bytes(8)),
    "overlapping": ({"a": entry(), "b": entry(offsets=[4, 12])}, bytes(12)),
    "the same bytes twice": ({"a": entry(), "b": entry()}, bytes(8)),
    "a gap": ({"a": entry(), "b": entry(offsets=[12, 20])}, bytes(20)),
    "bytes that belong to nothing": ({"a": entry()}, bytes(16)),
    "beyond the end": ({"a": entry(offsets=[0, 16], shape=[4])}, bytes(8)),
    "backwards": ({"a": entry(offsets=[8, 0])}, bytes(8)),
    "a shape that does not fit": ({"a": entry(shape=[3])}, bytes(8)),
    "a negative shape": ({"a": entry(shape=[-1, -2])}, bytes(8)),
    "a shape whose product overflows 64 bits": ({"a": entry(shape=[1 << 32, 1 << 32], offsets=[0, 0])}, b""),
    "a huge shape beside a zero": ({"a": entry(shape=[0, 1 << 62], offsets=[0, 0])}, b""),
    "large dimensions beside a zero": (
        {"a": entry(shape=[0, 1000, 1000], offsets=[0, 0]), "b": entry(offsets=[0, 8])},
        bytes(8),
    ),
    "too many dimensions": ({"a": entry(shape=[1] * 40 + [2])}, bytes(8)),
    "a shape of floats": ({"a": entry(shape=[2.0])}, bytes(8)),
    "a shape of booleans": ({"a": entry(shape=[True, 2])}, bytes(8)),
    "a shape that is a number": ({"a": entry(shape=2)}, bytes(8)),
    "a shape that is text": ({"a": entry(shape="2")}, bytes(8)),
    "an unknown type": ({"a": entry("BF16", [4])}, bytes(8)),
    "an object type": ({"a": entry("O", [1])}, bytes(8)),
    "a type that is a list": ({"a": entry(["F32"])}, bytes(8)),
    "no type": ({"a": {"shape": [2], "data_offsets": [0, 8]}}, bytes(8)),
    "an entry that is a number": ({"a": 3}, bytes(8)),
    "an entry that is null": ({"a": None}, bytes(8)),
    "three offsets": ({"a": entry(offsets=[0, 8, 8])}, bytes(8)),
    "offsets that are text": ({"a": entry(offsets=["0", "8"])}, bytes(8)),
    "offsets that are no numbers": ({"a": entry(offsets=[float("nan"), float("inf")])}, bytes(8)),
    "offsets that are floats": ({"a": entry(offsets=[0.0, 8.0]), "b": entry("U8", [3], [8, 11])}, bytes(11)),
}


@pytest.mark.parametrize("name", HOSTILE_LAYOUTS)
def test_a_layout_that_does_not_hold_together_is_refused(name: str, tmp_path: Path) -> None:
    entries, data = HOSTILE_LAYOUTS[name]
    path = forge(tmp_path / "x", entries, data)
    with pytest.raises(ModelError):
        read_tensors(path)


HEADERS: dict[str, bytes] = {
    "empty": b"  ",
    "no JSON": b"hello world",
    "no UTF-8": b'{"\xff\xfe": 1}',
    "a list": b"[1, 2]",
    "a number": b"17",
    "no metadata": b'{"a":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}}',
    "metadata of another maker": b'{"__metadata__":{"format":"pt"}}',
    "metadata that is a list": b'{"__metadata__":[]}',
    "metadata that is null": b'{"__metadata__":null}',
    "metadata that is no JSON": b'{"__metadata__":{"seqmodel":"nope"}}',
    "metadata that is a number": b'{"__metadata__":{"seqmodel":3}}',
    "metadata that holds a list": b'{"__metadata__":{"seqmodel":"[]"}}',
    "metadata without digests": b'{"__metadata__":{"seqmodel":"{}"}}',
    "a digest record that is a number": b'{"__metadata__":{"seqmodel":"{\\"sha256\\":1}"}}',
    "digests that are numbers": b'{"__metadata__":{"seqmodel":"{\\"digest\\":1,\\"header_digest\\":2}"}}',
    "digests that are short": b'{"__metadata__":{"seqmodel":"{\\"digest\\":\\"\\",\\"header_digest\\":\\"\\"}"}}',
    "deep": b"[" * 100_000,
    "deep and closed": b"[" * 100_000 + b"]" * 100_000,
    "deep objects": b'{"a":' * 100_000,
    "deep metadata": b'{"__metadata__":{"seqmodel":"' + b"[" * 100_000 + b'"}}',
    "a number of many digits": b'{"a":' + b"9" * 100_000 + b"}",
}


@pytest.mark.parametrize("name", HEADERS)
def test_a_header_that_is_not_ours_is_refused(name: str, tmp_path: Path) -> None:
    raw = HEADERS[name]
    path = tmp_path / "x"
    path.write_bytes(struct.pack("<Q", len(raw)) + raw + bytes(64))
    with pytest.raises(ModelError):
        read_header(path)


@pytest.mark.parametrize("length", [0, 1, 9, 1 << 20, (16 << 20) + 1, 1 << 31, 1 << 62, (1 << 64) - 1])
def test_an_absurd_header_length_is_refused(length: int, tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(struct.pack("<Q", length) + b"{}      ")
    with pytest.raises(ModelError):
        read_header(path)


@given(st.binary(max_size=300))
@settings(max_examples=150, deadline=None)
def test_arbitrary_bytes_are_a_model_error(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "arbitrary"
    for content in (data, struct.pack("<Q", len(data)) + data):
        path.write_bytes(content)
        with pytest.raises(ModelError):
            read_tensors(path)


def test_nothing_is_allocated_for_what_a_hostile_header_claims(tmp_path: Path) -> None:
    claims = [
        forge(tmp_path / "a", {"a": entry(shape=[1 << 34], offsets=[0, 1 << 36])}, bytes(8)),
        forge(tmp_path / "b", {"a": entry(shape=[1 << 62, 4], offsets=[0, 1 << 64])}, bytes(8)),
        forge(tmp_path / "c", {"a": entry("U8", [1 << 40], [0, 1 << 40])}, bytes(8)),
    ]
    long = tmp_path / "d"
    long.write_bytes(struct.pack("<Q", 1 << 40) + bytes(8))
    tracemalloc.start()
    try:
        for path in [*claims, long]:
            with pytest.raises(ModelError):
                read_tensors(path)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 1 << 20


def test_metadata_that_would_take_long_to_check_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x"
    write_tensors(path, {}, {"mixture": [[]] * 100_000})
    with pytest.raises(ModelError, match="not a seqmodel file"):
        read_header(path)
