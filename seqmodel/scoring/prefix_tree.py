"""The probability of many sequences that begin alike, each distinct prefix computed once.

In lexical order, sequences with a common prefix are neighbours: a lane is a run of them, and where they part each part
gets a copy of its state.

Example: a b END, a c END, a c d END are read in the lanes (a) (b, c) (d) after the start, and not a b, a c, a c d.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from seqmodel.arrays import Ids
from seqmodel.inference.sequence_model import SequenceModel
from seqmodel.scoring.tokens import CHUNK_FLOATS, LANES, LN2
from seqmodel.tokens.tokenizer import START

STEPS = 512  # most time steps computed at once


def tree_bits(model: SequenceModel, sequences: Sequence[npt.NDArray[Any]]) -> npt.NDArray[np.float64]:
    """−log2 p of each sequence, (N,); each is given as the ids to be predicted, an end symbol last if it counts.

    Every distinct prefix is read by the model once. Equal sequences have equal bits.
    """
    order = sorted(range(len(sequences)), key=lambda i: sequences[i].astype(">i4").tobytes())
    bits = np.zeros(len(sequences))
    bits[order] = _Tree(model, [sequences[i] for i in order]).bits()
    return bits


@dataclass(frozen=True)
class _Branch:
    """Sequences (places in lexical order) to be read on from `depth`, and the state there, a lane per distinct prefix.

    `heads` (members,) marks the first sequence of each lane.
    """

    members: Ids
    heads: npt.NDArray[np.bool_]
    depth: int
    state: Any


class _Tree:
    def __init__(self, model: SequenceModel, sequences: Sequence[npt.NDArray[Any]]) -> None:
        """Prepare sequences in lexical order; `shared` is the length of the prefix that each shares with the last."""
        self.model, self.sequences = model, sequences
        self.lengths = np.array([len(ids) for ids in sequences], np.int64)
        self.shared = np.array(
            [_common(sequences[i - 1], ids) if i else 0 for i, ids in enumerate(sequences)], np.int64
        )
        self.widest = max(LANES, CHUNK_FLOATS // model.vocabulary)
        self.total = np.zeros(len(sequences))

    def bits(self) -> npt.NDArray[np.float64]:
        members = np.flatnonzero(self.lengths)
        waiting = [_Branch(members, np.arange(len(members)) == 0, 0, self.model.start(1))] if len(members) else []
        while waiting:
            waiting += self._read(waiting.pop())
        return self.total

    def _read(self, branch: _Branch) -> Iterator[_Branch]:
        """Read on until a lane parts or ends; yields the branches that go on from there."""
        members, heads, depth = branch.members, branch.heads, branch.depth
        lanes = np.cumsum(heads) - 1
        end = depth + self._steps(members, heads, depth)
        leaders = [self.sequences[i] for i in members[heads]]
        before = [ids[depth - 1 : end - 1] if depth else np.append(START, ids[: end - 1]) for ids in leaders]
        logs, state = self.model.step(np.stack(before, axis=1).astype(np.int64), branch.state)
        targets = np.stack([self.sequences[i][depth:end] for i in members], axis=1)
        picked = logs[np.arange(end - depth)[:, None], lanes, targets]  # (T, members)
        self.total[members] += picked.sum(axis=0, dtype=np.float64) / -LN2

        on = self.lengths[members] > end
        members, lanes = members[on], lanes[on]
        # Two sequences that go on with one prefix are neighbours: all between them share it and go on, too.
        heads = (np.diff(members, prepend=-2) > 1) | (self.shared[members] < end)
        starts = np.flatnonzero(heads)
        for at in range(0, len(starts), self.widest):
            first, last = starts[at], starts[at + self.widest] if at + self.widest < len(starts) else len(members)
            part = slice(first, last)
            yield _Branch(members[part], heads[part], end, self.model.select(state, lanes[part][heads[part]]))

    def _steps(self, members: Ids, heads: npt.NDArray[np.bool_], depth: int) -> int:
        """Number of tokens that can be predicted before a sequence ends or leaves its lane."""
        ending = int(self.lengths[members].min()) - depth
        together = self.shared[members[~heads]]
        parting = int(together.min()) - depth + 1 if len(together) else STEPS
        return max(1, min(ending, parting, STEPS, CHUNK_FLOATS // (self.model.vocabulary * int(heads.sum()))))


def _common(a: npt.NDArray[Any], b: npt.NDArray[Any]) -> int:
    """Length of the common prefix of two sequences."""
    size = min(len(a), len(b))
    differ = np.flatnonzero(a[:size] != b[:size])
    return int(differ[0]) if len(differ) else size
