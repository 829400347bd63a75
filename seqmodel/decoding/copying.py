"""Comparison of samples with the training text, by the model's fingerprint of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from seqmodel.model.fingerprint import BEGIN, FINISH, Fingerprint, codes_of


@dataclass(frozen=True)
class Copying:
    """Copied text in a continuation.

    `chars` is the longest span that the training text holds, never too small (see `Fingerprint.spans`). `is_whole`:
    prefix and continuation together are a sequence of the training text.
    """

    chars: int
    is_whole: bool


def copying(fingerprint: Fingerprint, prefix: str, text: str, ends: bool) -> Copying:
    """Compare a continuation of a prefix with the training text; `ends` if the sequence ends with it."""
    codes = codes_of(text)
    chars = int(fingerprint.spans(codes).max(initial=0))
    if not ends or chars < len(codes):
        return Copying(chars, False)
    whole = np.array([BEGIN, *codes_of(prefix), *codes, FINISH], np.uint32)
    return Copying(chars, int(fingerprint.spans(whole)[-1]) == len(whole))
