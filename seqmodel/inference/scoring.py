"""The probability of sequences: one way to compute it, for `score`, for validation and for Python users.

Works on ids and a `SequenceModel`. Bits are −log2 p. A token's bits are float32 at the source and are summed
in float64. Nothing that is scored beside a sequence changes its score: lanes share only the matrix products.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from seqmodel.inference.sequence_model import Ids, SequenceModel
from seqmodel.tokens.tokenizer import END, START

CHUNK_FLOATS = 1 << 20  # log-probabilities held at once, about
LANES = 64
LN2 = float(np.log(2))


@dataclass(frozen=True)
class TokenScores:
    """Per predicted token: −log2 p and the highest log-probability (nats) of what might have come; where asked its
    entropy (bits), and the token's rank (1 = most probable)."""

    bits: npt.NDArray[np.float64]
    entropy: npt.NDArray[np.float64] | None = None
    rank: npt.NDArray[np.int64] | None = None
    highest: npt.NDArray[np.float32] | None = None

    @property
    def total(self) -> float:
        return float(self.bits.sum())


def score_sequences(
    model: SequenceModel,
    sequences: Sequence[npt.NDArray[Any]],
    firsts: Sequence[int] | None = None,
    details: bool = False,
) -> list[TokenScores]:
    """Score sequences, each given as the ids to be predicted (the end symbol among them, if it counts).

    Sequences of like length run side by side; the results come in the order given. `firsts` are the tokens
    before each, for those that begin inside a text; else the start symbol. After an end symbol inside the
    ids the model starts anew.
    """
    results: list[TokenScores | None] = [None] * len(sequences)
    order = sorted(range(len(sequences)), key=lambda i: len(sequences[i]))
    for begin in range(0, len(order), LANES):
        group = order[begin : begin + LANES]
        before = np.array([START if firsts is None else firsts[i] for i in group])
        for i, scores in zip(group, _score_group(model, [sequences[i] for i in group], before, details), strict=True):
            results[i] = scores
    return [result for result in results if result is not None]


def _score_group(
    model: SequenceModel, group: list[npt.NDArray[Any]], before: Ids, details: bool
) -> Iterator[TokenScores]:
    """Sequences side by side, sorted by length and padded; what is padding is not returned."""
    lengths = np.array([len(ids) for ids in group])
    longest = int(lengths[-1])
    targets = np.full((longest, len(group)), END, np.int64)
    for lane, ids in enumerate(group):
        targets[: len(ids), lane] = ids
    inputs = _after_end(np.concatenate([before[None], targets[:-1]])[:longest])
    state = model.start(len(group))
    parts: list[list[_Part]] = [[] for _ in group]
    first, at = 0, 0  # lanes before `first` have ended
    while at < longest:
        ended = int(np.searchsorted(lengths, at, side="right"))
        if ended > first:
            state = model.select(state, np.arange(ended - first, len(group) - first))
            first = ended
        size = _chunk(model, len(group) - first)
        chunk, state = _score_chunk(
            model, inputs[at : at + size, first:], targets[at : at + size, first:], state, details
        )
        for lane in range(first, len(group)):
            parts[lane].append(tuple(a if a is None else a[: lengths[lane] - at, lane - first] for a in chunk))
        at += size
    for found in parts:
        yield _joined(found)


_Part = tuple[npt.NDArray[Any] | None, ...]


def _joined(parts: list[_Part]) -> TokenScores:
    if not parts:
        return TokenScores(np.empty(0), np.empty(0), np.empty(0, np.int64), np.empty(0, np.float32))
    columns = [None if column[0] is None else np.concatenate(column) for column in zip(*parts, strict=True)]
    assert columns[0] is not None
    return TokenScores(columns[0], columns[1], columns[2], columns[3])


def _chunk(model: SequenceModel, lanes: int) -> int:
    """Time steps that are computed at once."""
    return max(1, min(512, CHUNK_FLOATS // (model.vocabulary * lanes)))


def _score_chunk(model: SequenceModel, inputs: Ids, targets: Ids, state: Any, details: bool) -> tuple[_Part, Any]:
    """Bits, entropy, rank and highest log-probability (T, B) at the targets (entropy and rank if `details`), and the
    state after."""
    logs, state = model.step(inputs, state)
    picked = np.take_along_axis(logs, targets[..., None], axis=-1)
    bits = picked[..., 0].astype(np.float64) / -LN2
    highest = logs.max(axis=-1)
    if not details:
        return (bits, None, None, highest), state
    rank = 1 + (logs > picked).sum(axis=-1)
    finite = np.maximum(logs, np.float32(-1e4))
    entropy = -(np.exp(logs) * finite).sum(axis=-1, dtype=np.float64) / LN2
    return (bits, entropy, rank, highest), state


class RunningScorer:
    """Scores one text that comes in parts, its state carried from part to part.

    An end symbol among the ids ends a sequence: what follows starts anew. `skip_ends` is for streams, where
    the end symbol only marks a place to start anew and has no probability.
    """

    def __init__(self, model: SequenceModel, skip_ends: bool = False) -> None:
        self.model = model
        self.skip_ends = skip_ends
        self.state = model.start(1)
        self.last = START

    def score(self, ids: npt.NDArray[Any], details: bool = False) -> TokenScores:
        """Scores of the next ids."""
        size = _chunk(self.model, 1)
        parts = [self._score(ids[at : at + size].astype(np.int64), details) for at in range(0, len(ids), size)]
        return _joined(parts)

    def _score(self, ids: Ids, details: bool) -> _Part:
        inputs = _after_end(np.concatenate([[self.last], ids[:-1]]))
        self.last = int(ids[-1])
        chunk, self.state = _score_chunk(self.model, inputs[:, None], ids[:, None], self.state, details)
        kept = ids != END if self.skip_ends else np.ones(len(ids), bool)
        return tuple(None if column is None else column[kept, 0] for column in chunk)


def _after_end(inputs: Ids) -> Ids:
    """What follows an end begins with the start symbol."""
    return np.where(inputs == END, START, inputs)


def score_ranges(
    model: SequenceModel, ids: npt.NDArray[Any], ranges: Iterable[tuple[int, int]], is_stream: bool
) -> tuple[float, int]:
    """Bits and number of the tokens that ranges of a store hold; a range may begin inside a sequence.

    A range that begins inside a sequence is read from an empty state, given only the token before it.
    """
    bits, tokens = 0.0, 0
    for batch in _batches(list(ranges), 1024):
        parts = [np.asarray(ids[begin:end]) for begin, end in batch]
        firsts = [START if begin == 0 else int(ids[begin - 1]) for begin, _ in batch]
        for part, scores in zip(parts, score_sequences(model, parts, firsts), strict=True):
            counted = scores.bits[part != END] if is_stream else scores.bits
            bits += float(counted.sum())
            tokens += len(counted)
    return bits, tokens


def _batches(ranges: list[tuple[int, int]], size: int) -> Iterator[list[tuple[int, int]]]:
    for at in range(0, len(ranges), size):
        yield ranges[at : at + size]
