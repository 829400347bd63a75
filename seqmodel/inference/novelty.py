"""How much of a sample stands in the training text, by the model's fingerprint of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from seqmodel.model.fingerprint import Fingerprint
from seqmodel.tokens.tokenizer import END, Tokenizer


@dataclass(frozen=True)
class Copying:
    """`chars`: the longest span of a continuation that the training text has; an upper bound, since windows that
    overlap may stem from different places, and the filter may err. Spans shorter than a window are seen only where a
    sequence begins with them. `is_whole`: the sequence as a whole is one of the training text's."""

    chars: int
    is_whole: bool


def copying(
    fingerprint: Fingerprint,
    tokenizer: Tokenizer,
    before: npt.NDArray[np.int64],
    ids: npt.NDArray[np.int64],
    prefix: int,
) -> Copying:
    """What the text of `ids` after `before`, which begins with the start symbol, has from the training text; its first
    `prefix` characters were given and do not count."""
    whole = np.concatenate([before[1:], ids])
    known = fingerprint.has(whole)
    ends = tokenizer.spans(whole)[:, 1]
    begins = np.concatenate([[0], ends])
    longest, run = 0, 0  # tokens in a row whose windows are known
    for at in range(len(before) - 1, len(whole)):
        run = run + 1 if known[at] else 0
        if run:
            first = max(0, at - run - fingerprint.window + 2)
            longest = max(longest, int(ends[at] - max(begins[first], prefix)))
    return Copying(longest, int(whole[-1]) == END and bool(known.all()))
