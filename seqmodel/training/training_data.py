"""The tokens of a run: ranges to train on, held-out ranges, and their stretches."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from seqmodel.arrays import Ranges
from seqmodel.tokens.characters import Characters, training_characters
from seqmodel.tokens.store import TokenStore

STRETCH = 1 << 11  # tokens; held-out text is cut into stretches of this length, which are scored side by side


@dataclass(frozen=True)
class TrainingData:
    """The training ranges and the held-out ranges; the latter may lie in another store."""

    store: TokenStore
    train: Ranges
    valid_store: TokenStore
    held_out: Ranges

    @property
    def is_stream(self) -> bool:
        """True if the text is one stream, without ends of sequences."""
        return self.store.header.sequence == "stream"

    @cached_property
    def characters(self) -> Characters:
        """The characters of the training text."""
        return training_characters(self.store.tokenizer, self.store.ids, self.train)

    @property
    def chars_per_token(self) -> float:
        """The mean number of characters of a token."""
        return max(1, self.store.header.corpus_chars) / max(1, self.store.header.tokens)


def stretches(ranges: Ranges, most_tokens: int | None = None) -> list[tuple[int, int]]:
    """Cut held-out ranges into stretches of at most `STRETCH` tokens.

    With `most_tokens`, returns every k-th of them, so that they hold about that many tokens.
    """
    cut = [(at, min(at + STRETCH, int(end))) for begin, end in ranges for at in range(int(begin), int(end), STRETCH)]
    total = sum(end - begin for begin, end in cut)
    if most_tokens is None or total <= most_tokens:
        return cut
    stride = -(-total // most_tokens)
    return cut[::stride]
