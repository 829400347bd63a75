"""Notes for the user on a vocabulary that does not fit the text, or was learned on held-out text."""

from __future__ import annotations

import numpy as np

from seqmodel.arrays import Ranges
from seqmodel.tokens.store import TokenStore
from seqmodel.tokens.tokenizer import FIRST_PIECE

MOST_UNKNOWN = 0.5  # prose has 0.05 to 0.25, lines of text without blanks 0.9 and more
_MOST_LOOKED_AT = 1 << 20  # tokens

LEARNED_ON_ALL = (
    "this token store holds nothing out: its vocabulary was learned on all of its text, so that held-out figures will "
    "look better than they are; make it again with seqmodel tokenize"
)


def vocabulary_notes(store: TokenStore, held_out: Ranges, own: TokenStore | None = None) -> list[str]:
    """Notes on the vocabulary, from held-out ranges of `store`.

    `own` is the training store, if the held-out text is part of its text; its vocabulary should not have seen them.
    """
    notes = []
    if own is not None and own.held_out is None and len(held_out) and _learned_here(own):
        notes.append(LEARNED_ON_ALL)
    share = unknown_share(store, held_out) if store.header.unit == "word" else 0.0
    if share > MOST_UNKNOWN:
        notes.append(
            f"{share:.0%} of the held-out text is words that the vocabulary lacks: words hardly recur here, or stand "
            "without blanks between them; --unit char or --unit subword suits such text"
        )
    return notes


def _learned_here(store: TokenStore) -> bool:
    """True if the vocabulary was learned from the store's own text, as far as the store records it."""
    header = store.header
    return header.unit != "byte" and (header.tokenizer is not None or header.corpus is None)


def unknown_share(store: TokenStore, ranges: Ranges) -> float:
    """The share of the ranges' characters (in a closed vocabulary, of their tokens) that the vocabulary lacks.

    White space and ends of sequences do not count.
    """
    sizes = np.array([len(piece.strip()) for piece in store.tokenizer.piece_bytes])
    if store.header.closed:
        sizes = np.minimum(sizes, 1)
    known = unknown = read = 0
    for begin, end in ranges.tolist():
        ids = np.asarray(store.ids[begin : min(end, begin + _MOST_LOOKED_AT - read)])
        outside = ids < FIRST_PIECE
        unknown += int(sizes[ids[outside]].sum())
        known += int(sizes[ids[~outside]].sum())
        read += len(ids)
        if read >= _MOST_LOOKED_AT:
            break
    return unknown / max(1, known + unknown)
