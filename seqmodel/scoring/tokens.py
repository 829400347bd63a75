"""Scores of tokens: the one computation of probabilities, for scoring, validation and Python users.

Knows ids and a `SequenceModel`, no text. Bits are −log2 p; a token's are computed in float32 and summed in float64.
Sequences scored side by side do not affect each other: they share only the matrix products.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from seqmodel.arrays import Ids, Mask
from seqmodel.inference.blas_threads import side_by_side
from seqmodel.inference.sequence_model import SequenceModel
from seqmodel.tokens.stored_array import Stored
from seqmodel.tokens.tokenizer import END, START

CHUNK_FLOATS = 1 << 19  # log-probabilities held at once, about: as many as fit a cache
LANES = 64
GROUP_CELLS = 1 << 22  # most tokens, padding included, of the sequences that run side by side
LN2 = float(np.log(2))


@dataclass(frozen=True)
class ScoreFields:
    """Scores that are computed for every token beside its bits."""

    ranks: bool = False  # entropy and rank
    boundary: Mask | None = None  # (V,) tokens before which a word may end: the probability that one of them comes
    alternatives: int = 0  # number of most probable tokens listed
    line_ends: tuple[int, ...] = ()  # tokens that end a line: the probability that one of them comes


PLAIN = ScoreFields()


@dataclass(frozen=True)
class TokenScores:
    """Scores per predicted token, along the first axes: −log2 p, and the highest log-probability (nats) of any token.

    On request: entropy (bits); rank (1 = most probable); `boundary`, −log2 of the probability of a boundary token at
    this place; the most probable tokens and their bits (last axis, best first); `line_end`, −log2 of the probability
    that the line ends here.
    """

    bits: npt.NDArray[np.float64]
    highest: npt.NDArray[np.float32] | None = None
    entropy: npt.NDArray[np.float64] | None = None
    rank: npt.NDArray[np.int64] | None = None
    boundary: npt.NDArray[np.float64] | None = None
    best: npt.NDArray[np.int64] | None = None
    best_bits: npt.NDArray[np.float64] | None = None
    line_end: npt.NDArray[np.float64] | None = None

    @property
    def total(self) -> float:
        return float(self.bits.sum())

    @property
    def columns(self) -> tuple[npt.NDArray[Any] | None, ...]:
        best = (self.best, self.best_bits)
        return (self.bits, self.highest, self.entropy, self.rank, self.boundary, *best, self.line_end)

    def at(self, where: Any) -> TokenScores:
        """Scores at `where`, any NumPy index over the first axes."""
        return TokenScores(*(None if column is None else column[where] for column in self.columns))  # type: ignore[arg-type]


def score_sequences(
    model: SequenceModel,
    sequences: Sequence[npt.NDArray[Any]],
    firsts: Sequence[int] | None = None,
    fields: ScoreFields = PLAIN,
    given: Any = None,
) -> list[TokenScores]:
    """Score sequences, each given as the ids to be predicted (the end symbol among them, if it counts).

    Sequences of like length run side by side; results come in the order given. `firsts` are the tokens before each
    (default: the start symbol), and `given` is the state of one lane before those. After an end symbol inside the ids
    the model starts anew.
    """
    results: dict[int, TokenScores] = {}
    order = sorted(range(len(sequences)), key=lambda i: len(sequences[i]))
    groups = list(_groups(order, [len(sequence) for sequence in sequences]))

    def score(group: list[int]) -> list[TokenScores]:
        before = np.array([START if firsts is None else firsts[i] for i in group])
        state = model.start(len(group)) if given is None else model.select(given, np.zeros(len(group), np.int64))
        return list(_score_group(model, [sequences[i] for i in group], before, state, fields))

    for group, scores in zip(groups, side_by_side(score, groups), strict=True):
        results.update(zip(group, scores, strict=True))
    return [results[i] for i in range(len(sequences))]


def _groups(order: list[int], lengths: list[int]) -> Iterator[list[int]]:
    """Group sequences of rising length, as many as the limits on lanes and padding allow."""
    group: list[int] = []
    for i in order:
        if group and (len(group) == LANES or lengths[i] * (len(group) + 1) > GROUP_CELLS):
            yield group
            group = []
        group.append(i)
    if group:
        yield group


def _score_group(
    model: SequenceModel, group: list[npt.NDArray[Any]], before: Ids, state: Any, fields: ScoreFields
) -> Iterator[TokenScores]:
    """Score sequences, sorted by length, side by side; padding is not returned."""
    lengths = np.array([len(ids) for ids in group])
    longest = int(lengths[-1])
    targets = np.full((longest, len(group)), END, np.int64)
    for lane, ids in enumerate(group):
        targets[: len(ids), lane] = ids
    inputs = _after_end(np.concatenate([before[None], targets[:-1]])[:longest])
    parts: list[list[TokenScores]] = [[] for _ in group]
    first, at = 0, 0  # lanes before `first` have ended
    while at < longest:
        ended = int(np.searchsorted(lengths, at, side="right"))
        if ended > first:
            state = model.select(state, np.arange(ended - first, len(group) - first))
            first = ended
        size = _chunk(model, len(group) - first)
        chunk, state = _score_chunk(
            model, inputs[at : at + size, first:], targets[at : at + size, first:], state, fields
        )
        for lane in range(first, len(group)):
            parts[lane].append(chunk.at((slice(0, lengths[lane] - at), lane - first)))
        at += size
    for found in parts:
        yield joined(found, fields)


def joined(parts: list[TokenScores], fields: ScoreFields) -> TokenScores:
    """Concatenate the scores of parts of a text."""
    if not parts:
        return nothing(fields)
    if len(parts) == 1:
        return parts[0]
    columns = zip(*(part.columns for part in parts), strict=True)
    return TokenScores(*(None if column[0] is None else np.concatenate(column) for column in columns))  # type: ignore[arg-type]


def nothing(fields: ScoreFields) -> TokenScores:
    """The scores of no tokens."""
    many = fields.alternatives
    return TokenScores(
        np.empty(0),
        np.empty(0, np.float32),
        np.empty(0) if fields.ranks else None,
        np.empty(0, np.int64) if fields.ranks else None,
        np.empty(0) if fields.boundary is not None else None,
        np.empty((0, many), np.int64) if many else None,
        np.empty((0, many)) if many else None,
        np.empty(0) if fields.line_ends else None,
    )


def _chunk(model: SequenceModel, lanes: int) -> int:
    """Number of time steps computed at once."""
    return max(1, min(512, CHUNK_FLOATS // (model.vocabulary * lanes)))


def _score_chunk(
    model: SequenceModel, inputs: Ids, targets: Ids, state: Any, fields: ScoreFields
) -> tuple[TokenScores, Any]:
    """Scores (T, B) of the targets, and the state after."""
    logs, state = model.step(inputs, state)
    picked = np.take_along_axis(logs, targets[..., None], axis=-1)
    bits = picked[..., 0].astype(np.float64) / -LN2
    entropy = rank = boundary = best = best_bits = line_end = None
    if fields.ranks:
        rank = 1 + (logs > picked).sum(axis=-1)
        finite = np.maximum(logs, np.float32(-1e4))
        entropy = -(np.exp(logs) * finite).sum(axis=-1, dtype=np.float64) / LN2
    if fields.boundary is not None:
        boundary = _bits_of_any(logs[..., fields.boundary])
        # Sums in single precision may fall below one of their terms, or to zero.
        boundary = np.where(fields.boundary[targets], np.minimum(boundary, bits), boundary)
    if many := min(fields.alternatives, logs.shape[-1]):
        best = np.argpartition(-logs, many - 1, axis=-1)[..., :many]
        best = np.take_along_axis(best, np.argsort(-np.take_along_axis(logs, best, -1), axis=-1, kind="stable"), -1)
        best_bits = np.take_along_axis(logs, best, axis=-1).astype(np.float64) / -LN2
    if fields.line_ends:
        line_end = _bits_of_any(logs[..., list(fields.line_ends)])
    return TokenScores(bits, logs.max(axis=-1), entropy, rank, boundary, best, best_bits, line_end), state


def _bits_of_any(logs: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """−log2 of the probability that one of some tokens (last axis) comes."""
    p = np.exp(logs).sum(axis=-1, dtype=np.float64)
    bits: npt.NDArray[np.float64] = -np.log2(np.clip(p, np.finfo(np.float64).tiny, 1))
    return bits


class RunningScorer:
    """Scores one text that comes in parts, its state carried from part to part.

    After an end symbol among the ids the model starts anew. With `skip_ends` (streams) the end symbol is not scored.
    """

    def __init__(self, model: SequenceModel, skip_ends: bool = False) -> None:
        self.model = model
        self.skip_ends = skip_ends
        self.state = model.start(1)
        self.last = START

    def score(self, ids: npt.NDArray[Any], fields: ScoreFields = PLAIN) -> TokenScores:
        """Score the next ids."""
        size = _chunk(self.model, 1)
        parts = [self._score(ids[at : at + size].astype(np.int64), fields) for at in range(0, len(ids), size)]
        return joined(parts, fields)

    def _score(self, ids: Ids, fields: ScoreFields) -> TokenScores:
        inputs = _after_end(np.concatenate([[self.last], ids[:-1]]))
        self.last = int(ids[-1])
        chunk, self.state = _score_chunk(self.model, inputs[:, None], ids[:, None], self.state, fields)
        kept = ids != END if self.skip_ends else np.ones(len(ids), bool)
        return chunk.at((kept, 0))


def _after_end(inputs: Ids) -> Ids:
    """Replace end symbols among inputs by start symbols."""
    return np.where(inputs == END, START, inputs)


def score_ranges(
    model: SequenceModel, ids: Stored, ranges: Iterable[tuple[int, int]], is_stream: bool
) -> tuple[float, int]:
    """Total bits and number of the tokens in ranges of a store.

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
