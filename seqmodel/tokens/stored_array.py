"""An array that stays in its file; indexing reads the elements that are asked for.

The file is not memory-mapped: if it were cut short, access beyond the end would kill the process.
"""

from __future__ import annotations

import os
import weakref
from itertools import pairwise
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from seqmodel.errors import ModelError

GAP = 512  # unwanted elements that one read may include to save another
PLACES = 1 << 12  # elements in a read with such gaps, at most
_MOST = 1 << 30  # bytes that a system returns per read


class StoredArray:
    """`count` elements of a file from byte `at` on, indexed like a NumPy array, but without steps and masks."""

    def __init__(self, path: Path, file: BinaryIO, dtype: npt.DTypeLike, at: int, count: int) -> None:
        self.path, self.at, self.count = path, at, count
        self.dtype: np.dtype[Any] = np.dtype(dtype)
        self.descriptor = os.dup(file.fileno())
        weakref.finalize(self, os.close, self.descriptor)

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, where: Any) -> Any:
        """Read the elements at a position, a slice, or an array of positions (its shape is kept).

        Raises:
            IndexError: if a position is out of range.
            ModelError: if the file has become shorter.
        """
        if isinstance(where, slice):
            begin, end, _ = where.indices(self.count)
            return self._read(begin, max(0, end - begin))
        places = np.asarray(where)
        places = np.where(places < 0, places + self.count, places)
        if places.size and not (places.min() >= 0 and places.max() < self.count):
            raise IndexError("a position outside the array")
        # Positions (T, B) are consecutive along time.
        found = self._gathered(places.T.ravel()).reshape(places.T.shape).T
        return found if found.ndim else found[()]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> npt.NDArray[Any]:
        return np.array(self[:], dtype)

    def _gathered(self, places: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
        """The elements at `places` (N,), one read per stretch of neighbours."""
        step = np.diff(places)
        apart = (step < 0) | (step > GAP)
        apart |= (step > 1) & (np.arange(1, len(places)) % PLACES == 0)[: len(step)]
        bounds = [0, *(np.flatnonzero(apart) + 1).tolist(), len(places)] if len(places) else []
        out = np.empty(len(places), self.dtype)
        for begin, end in pairwise(bounds):
            first = int(places[begin])
            out[begin:end] = self._read(first, int(places[end - 1]) + 1 - first)[places[begin:end] - first]
        return out

    def _read(self, begin: int, count: int) -> npt.NDArray[Any]:
        at, left = self.at + begin * self.dtype.itemsize, count * self.dtype.itemsize
        parts = []
        while left:
            data = os.pread(self.descriptor, min(left, _MOST), at)
            if not data:
                raise ModelError(
                    f"{self.path}: the token store has been cut short", "Make it again with seqmodel tokenize."
                )
            parts.append(data)
            at, left = at + len(data), left - len(data)
        return np.frombuffer(parts[0] if len(parts) == 1 else b"".join(parts), self.dtype)


Stored = StoredArray | npt.NDArray[Any]
