"""The types of NumPy arrays, by what they hold; shapes are given where they are used."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Ids = npt.NDArray[np.int64]  # token ids, or other integers of their kind: keys, rows, positions
EncodedIds = npt.NDArray[np.int32]  # token ids as a tokenizer gives them
Ranges = npt.NDArray[np.int64]  # (count, 2): begin and end positions in the ids of a store
Floats = npt.NDArray[np.float32]
Probabilities = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]
