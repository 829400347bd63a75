"""Places of keys in a sorted array: how n-gram contexts and n-gram embeddings are found."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Keys = npt.NDArray[np.int64]

ABSENT = -1


def find_keys(keys: Keys, wanted: Keys) -> Keys:
    """The place of each wanted key among sorted keys, ABSENT where it is not.

    Example: [10, 20, 30] and wanted [20, 25] give [1, -1].
    """
    if not len(keys):
        return np.full_like(wanted, ABSENT)
    at = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return np.where(keys[at] == wanted, at, ABSENT)


def find_key(keys: Keys, wanted: int) -> int:
    """As `find_keys`, for one key: several times faster, and sampling comes here for every token."""
    at = int(keys.searchsorted(wanted))
    return at if at < len(keys) and keys[at] == wanted else ABSENT
