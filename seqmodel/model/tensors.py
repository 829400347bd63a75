"""Named arrays in one safetensors file, with digests that detect any damage; equal content gives equal bytes.

The arrays keep the given order. The header's `__metadata__` has one key, `seqmodel`: a canonical JSON text that begins
with two SHA-256 digests. The header's digest covers the rest of that text and the entries of the arrays; the file's
covers the header's digest and the arrays' bytes. A header that differs from the bytes that would be written for its
content is refused, so that the two digests cover every byte. Nothing is unpickled, and sizes are checked against the
file's size before anything is allocated.

In files of format 1 both digests are among the metadata; they cover the header with their own digits zeroed.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from seqmodel.arrays import Array
from seqmodel.errors import ModelError, system_reason
from seqmodel.files import atomic_write

MAX_HEADER = 16 << 20
MAX_METADATA = 256 << 10  # checking takes some hundred bytes of memory per byte
_ZEROS = b"0" * 64
_DTYPES = {
    "F32": "<f4",
    "F16": "<f2",
    "F64": "<f8",
    "I64": "<i8",
    "I32": "<i4",
    "U32": "<u4",
    "U16": "<u2",
    "U8": "|u1",
    "BOOL": "|b1",
}
_NAMES = {np.dtype(code): name for name, code in _DTYPES.items()}
_METADATA = "__metadata__"
_KEY = "seqmodel"
_DIGESTS = "sha256"
_CHUNK = 1 << 20


@dataclass(frozen=True)
class TensorFile:
    """A checked header: the metadata, the place of each array, and the digest that the file should have.

    `hash` has been fed with all that the digest covers before the arrays.
    """

    path: Path
    metadata: dict[str, Any]
    layout: dict[str, tuple[np.dtype[Any], tuple[int, ...], int]]  # dtype, shape, offset in the file
    size: int
    digest: str
    hash: hashlib._Hash


def write_tensors(path: Path, tensors: Mapping[str, Array], metadata: Mapping[str, Any]) -> None:
    """Write arrays and metadata atomically.

    Raises:
        ResourceError: if the disk is full; the old file stays.
    """
    arrays = {
        name: array.astype(array.dtype.newbyteorder("<"), order="C", copy=False) for name, array in tensors.items()
    }
    entries: dict[str, Any] = {}
    offset = 0
    for name, array in arrays.items():
        offsets = [offset, offset + array.nbytes]
        entries[name] = {"dtype": _NAMES[array.dtype], "shape": list(array.shape), "data_offsets": offsets}
        offset += array.nbytes
    digest = _header_digest(metadata, entries)
    whole = hashlib.sha256(digest.encode())
    for array in arrays.values():
        whole.update(_raw(array))
    with atomic_write(path) as file:
        file.write(_head(metadata, entries, {"header": digest, "file": whole.hexdigest()}))
        for array in arrays.values():
            file.write(_raw(array))


def _head(metadata: Mapping[str, Any], entries: Mapping[str, Any], digests: Mapping[str, str]) -> bytes:
    """The bytes of the file before the arrays."""
    raw = _canonical({_METADATA: {_KEY: _canonical({_DIGESTS: digests, **metadata})}, **entries}).encode()
    raw += b" " * (-len(raw) % 8)
    return struct.pack("<Q", len(raw)) + raw


def _header_digest(metadata: Mapping[str, Any], entries: Mapping[str, Any]) -> str:
    return hashlib.sha256(_canonical({_METADATA: metadata, **entries}).encode()).hexdigest()


def _raw(array: Array) -> memoryview:
    return array.reshape(-1).view(np.uint8).data


def _canonical(value: Mapping[str, Any]) -> str:
    return json.dumps(value, ensure_ascii=True, separators=(",", ":"), allow_nan=False)


def read_header(path: Path) -> TensorFile:
    """Read and check the header alone.

    Raises:
        ModelError: if the file is missing, not a seqmodel file or damaged, or its size does not fit the header.
    """
    with _opened(path) as file:
        return _read_head(path, file)[0]


def read_tensors(path: Path) -> tuple[TensorFile, dict[str, Array]]:
    """Read a whole file and check its digest. The file is opened only once, as another may replace it meanwhile.

    Raises:
        ModelError: as `read_header`, or if any byte has changed.
    """
    with _opened(path) as file:
        found, head = _read_head(path, file)
        body = bytearray(found.size - len(head))
        complete = file.readinto(body) == len(body) and not file.read(1)  # type: ignore[attr-defined]
    whole = found.hash.copy()
    whole.update(body)
    if not complete or whole.hexdigest() != found.digest:
        raise _damaged(path)
    tensors = {
        name: np.frombuffer(body, dtype, math.prod(shape), at - len(head)).reshape(shape)
        for name, (dtype, shape, at) in found.layout.items()
    }
    return found, tensors


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    try:
        with path.open("rb") as file:
            yield file
    except FileNotFoundError:
        raise ModelError(
            f"{path}: no such file", "Train a model first, or name one with -m or SEQMODEL_MODEL."
        ) from None
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from error


def _read_head(path: Path, file: BinaryIO) -> tuple[TensorFile, bytes]:
    """Read and check the bytes before the arrays; returns the header and these bytes."""
    size = os.fstat(file.fileno()).st_size
    prefix = file.read(8)
    length = struct.unpack("<Q", prefix)[0] if len(prefix) == 8 else 0
    if not 2 <= length <= min(MAX_HEADER, size - 8):
        raise ModelError(f"{path}: not a seqmodel file, or cut short", "Make one with seqmodel train.")
    head = prefix + file.read(length)
    try:
        header = json.loads(head[8:])
        text = header.pop(_METADATA)[_KEY]
        if len(text) > MAX_METADATA:
            raise ValueError("metadata")
        metadata = json.loads(text)
        read = _digests if _DIGESTS in metadata else _digests_of_format_1
        digest, covered = read(head, metadata, header)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise ModelError(f"{path}: not a seqmodel file", "Make one with seqmodel train.") from None
    if covered is None:
        raise _damaged(path)
    try:
        layout = _layout(header, len(head), size)
    except (ValueError, KeyError, TypeError, AttributeError):
        raise _damaged(path) from None
    return TensorFile(path, metadata, layout, size, digest, covered), head


def _digests(head: bytes, metadata: dict[str, Any], entries: Mapping[str, Any]) -> tuple[str, hashlib._Hash | None]:
    """Remove the digests from the metadata; returns the file's, and a hash fed with the header's.

    The hash is None if the header is not as it was written.
    """
    digests = metadata.pop(_DIGESTS)
    digest = _header_digest(metadata, entries)
    as_written = _head(metadata, entries, {"header": digest, "file": digests["file"]}) == head
    return digests["file"], hashlib.sha256(digest.encode()) if as_written else None


def _digests_of_format_1(
    head: bytes, metadata: dict[str, Any], entries: Mapping[str, Any]
) -> tuple[str, hashlib._Hash | None]:
    """As `_digests`, for format 1, where the digests cover the header with their own digits zeroed."""
    whole, own = metadata.pop("digest"), metadata.pop("header_digest")
    if not len(whole) == len(own) == len(_ZEROS):
        raise ValueError("digests")
    covered = hashlib.sha256(head.replace(whole.encode(), _ZEROS, 1).replace(own.encode(), _ZEROS, 1))
    return whole, covered if covered.hexdigest() == own else None


def _damaged(path: Path) -> ModelError:
    return ModelError(f"{path}: the file is damaged", "Use another copy of it, or train again.")


def _unreadable(path: Path, error: Exception) -> ModelError:
    reason = system_reason(error) if isinstance(error, OSError) else "no file has such a name"  # a name with a NUL
    return ModelError(f"{path}: cannot be read: {reason}", "Name a model with -m or SEQMODEL_MODEL.")


def _layout(header: Mapping[str, Any], begin: int, size: int) -> dict[str, tuple[np.dtype[Any], tuple[int, ...], int]]:
    """The type, shape and offset of each array; they must be contiguous up to the file's end, else a ValueError."""
    layout = {}
    at = begin
    for name, entry in header.items():
        dtype = np.dtype(_DTYPES[entry["dtype"]])
        shape = tuple(entry["shape"])
        if not all(type(n) is int and 0 <= n <= size for n in shape) or len(shape) > 4:
            raise ValueError(name)
        if math.prod(n for n in shape if n) > size:  # NumPy refuses such a shape even if it is empty
            raise ValueError(name)
        count = math.prod(shape)
        first, last = entry["data_offsets"]
        if type(first) is not int or type(last) is not int:
            raise ValueError(name)
        if first + begin != at or last - first != count * dtype.itemsize or last + begin > size:
            raise ValueError(name)
        layout[name] = (dtype, shape, at)
        at = last + begin
    if at != size:
        raise ValueError("size")
    return layout
