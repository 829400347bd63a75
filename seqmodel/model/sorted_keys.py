"""Lookup in sorted arrays of keys, for n-gram contexts and n-gram embeddings."""

from __future__ import annotations

import numpy as np

from seqmodel.arrays import Ids

ABSENT = -1


def find_keys(keys: Ids, wanted: Ids) -> Ids:
    """The index of each wanted key in the sorted `keys`, ABSENT if it is not there; same shape as `wanted`.

    Example: [10, 20, 30] and wanted [20, 25] give [1, -1].
    """
    if not len(keys):
        return np.full_like(wanted, ABSENT)
    at = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return np.where(keys[at] == wanted, at, ABSENT)


def find_key(keys: Ids, wanted: int) -> int:
    """The index of one key, or ABSENT: several times faster than `find_keys`, for sampling token by token."""
    at = int(keys.searchsorted(wanted))
    return at if at < len(keys) and keys[at] == wanted else ABSENT
