"""Tells lines of a running text from lines that are sequences of their own."""

from __future__ import annotations

import numpy as np

from seqmodel.tokens.store import TokenStore

LINES_LOOKED_AT = 200


def looks_like_running_text(store: TokenStore) -> bool:
    """Whether lines taken as sequences are more likely the lines of a wrapped prose text or a play.

    So it is where lines have punctuation, but many of them stop in the middle of a sentence.
    """
    if store.header.sequence != "line" or store.header.sequences < LINES_LOOKED_AT:
        return False
    middle = (store.header.sequences - LINES_LOOKED_AT) // 2
    begins = store.ends[middle : middle + LINES_LOOKED_AT]
    parts = np.split(np.asarray(store.ids[begins[0] : begins[-1]]), (begins[1:-1] - begins[0]).astype(np.int64))
    texts = [store.tokenizer.decode(part.tolist()).strip() for part in parts]
    lines = [text for text in texts if len(text.split()) >= 3]
    punctuated = sum(any(mark in text for mark in ",.;:!?") for text in lines)
    unfinished = sum(text[-1] not in ".!?…\"'”’)]" for text in lines)
    return len(lines) > len(texts) / 2 and punctuated > 0.5 * len(lines) and unfinished > 0.4 * len(lines)
