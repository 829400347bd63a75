"""Whole sequences in falling order of probability: best-first search over their beginnings.

A beginning is at least as probable as every sequence that begins with it. So when no beginning that is still open is
more probable than a sequence which has been found, none that comes later can be: it is next in order, proved.

An open node is a beginning that has been read, with its possible next tokens sorted. In the queue it stands for the
best of those not yet followed; that one is followed, and the node waits again with its next best. What is kept is thus
one state per beginning that has been read, and none for the many that never will be.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from copy import copy
from dataclasses import dataclass, fields, is_dataclass
from itertools import count as counting
from typing import Any

import numpy as np

from seqmodel.arrays import Ids
from seqmodel.decoding.beam import Logs, Path, allowed, begin
from seqmodel.decoding.token_masks import Speller
from seqmodel.inference.blas_threads import one_thread
from seqmodel.inference.sequence_model import SequenceModel
from seqmodel.scoring.tokens import LN2
from seqmodel.settings import SearchSettings
from seqmodel.tokens.characters import Characters
from seqmodel.tokens.tokenizer import END, Tokenizer

LANES = 64  # beginnings that are read side by side
NODE_BYTES = 2400  # what a node takes beside its numbers, about
KEPT_SHARE = 0.9  # of a full frontier: sorting it is not for a few nodes only


@dataclass(frozen=True)
class TopSequence:
    """A sequence by its rank. Given the prefix: `bits` is −log2 of its probability, end symbol included, and
    `cumulative` the probability of all up to it. `proved`: no sequence left out is more probable."""

    rank: int
    text: str
    tokens: int
    bits: float
    cumulative: float
    proved: bool

    @property
    def probability(self) -> float:
        return float(2.0**-self.bits)


@dataclass
class _Node:
    """A beginning: its path, what may follow it, the state after it; its next tokens, best first, with the
    log-probabilities that they lead to, and how many of them have been followed."""

    path: Path
    speller: Speller
    state: Any
    tokens: Ids
    logs: Logs
    bytes: int
    followed: int = 0


class TopSearch:
    """An iterator over the most probable sequences that begin with a prefix (token by token), best first.

    Each comes as soon as it is proved to be next. When `settings.effort` is spent, those that have been found come
    without proof. Where the open nodes exceed `settings.frontier` or `settings.memory` the least probable are dropped:
    a sequence less probable than what was dropped has no proof. Unless `settings.any_text` only sequences made of
    `characters` (all if None) and what the prefix holds are looked for.

    `extended` counts the beginnings that have been read; `covered` is the probability of what has come, given the
    prefix; `proved` counts what came with proof; `dropped` and `spent` tell of the limits.
    """

    def __init__(
        self,
        model: SequenceModel,
        tokenizer: Tokenizer,
        prefix: str,
        settings: SearchSettings,
        *,
        one_line: bool = False,
        characters: Characters | None = None,
    ) -> None:
        """
        Raises:
            DataError: if the prefix holds a lone surrogate.
        """
        self.model, self.settings = model, settings
        self.extended, self.covered, self.proved, self.spent = 0, 0.0, 0, False
        characters = None if settings.any_text else characters
        self._start = begin(model, tokenizer, prefix, one_line=one_line, characters=characters)
        self._floor = -np.inf if settings.max_bits is None else -settings.max_bits * LN2
        self._dropped = -np.inf  # the most probable beginning that was dropped
        self._serial = counting()
        self._open: list[tuple[float, int, _Node]] = []
        self._found: list[tuple[float, int, str, int]] = []
        self._best: list[float] = []  # of the sequences found, the `count` most probable
        self._bytes = 0  # of the open nodes
        self._node_bytes = NODE_BYTES + _bytes(self._start.state)
        totals = allowed(self._start.logs, [self._start.speller], [0.0])
        self._add((), self._start.speller, totals[0], self._start.state, 0)
        self._rows = self._run()

    def __iter__(self) -> Iterator[TopSequence]:
        return self

    def __next__(self) -> TopSequence:
        with one_thread():
            return next(self._rows)

    @property
    def dropped(self) -> bool:
        return self._dropped > -np.inf

    @property
    def _bar(self) -> float:
        """What is less probable is not looked for."""
        return max(self._floor, self._best[0]) if len(self._best) == self.settings.count else self._floor

    def _run(self) -> Iterator[TopSequence]:
        for rank in range(1, self.settings.count + 1):
            while self._unproved() and not self.spent:
                if self.extended < self.settings.effort:
                    self._extend()
                else:
                    self.spent = True
            if not self._found:
                return
            proved = not self._unproved() and -self._found[0][0] >= self._dropped
            minus_log, _, text, tokens = heapq.heappop(self._found)
            self.covered += float(np.exp(-minus_log))
            self.proved += proved
            yield TopSequence(rank, text, tokens, minus_log / LN2, self.covered, proved)

    def _unproved(self) -> bool:
        """Whether an open beginning is more probable than all that has been found."""
        return bool(self._open) and (not self._found or self._open[0][0] < self._found[0][0])

    def _extend(self) -> None:
        """Follow the most probable open beginnings by a token each."""
        nodes: list[_Node] = []
        tokens: list[int] = []
        logs: list[float] = []
        while self._open and len(nodes) < min(LANES, self.settings.effort - self.extended):
            _, serial, node = self._open[0]
            nodes.append(node)
            tokens.append(int(node.tokens[node.followed]))
            logs.append(float(node.logs[node.followed]))
            node.followed += 1
            if node.followed < len(node.tokens):
                heapq.heapreplace(self._open, (-float(node.logs[node.followed]), serial, node))
            else:
                heapq.heappop(self._open)
                self._bytes -= node.bytes
        self.extended += len(nodes)
        step, state = self.model.step(np.array([tokens]), self.model.join([node.state for node in nodes]))
        spellers = [copy(node.speller) for node in nodes]
        for speller, token in zip(spellers, tokens, strict=True):
            speller.push(token)
        totals = allowed(step[0], spellers, logs)
        for lane, (node, token, speller) in enumerate(zip(nodes, tokens, spellers, strict=True)):
            self._add((*node.path, token), speller, totals[lane], state, lane)
        if len(self._open) > self.settings.frontier or self._bytes > self.settings.memory:
            self._drop()

    def _add(self, path: Path, speller: Speller, totals: Logs, state: Any, lane: int) -> None:
        """A beginning has been read: it may be a whole sequence, and it may go on."""
        end, totals[END] = float(totals[END]), -np.inf
        if end > -np.inf and end >= self._bar:
            text = self._start.whole(path)
            if text is not None:
                heapq.heappush(self._found, (-end, next(self._serial), text, len(path) + 1))
                heapq.heappush(self._best, end)
                if len(self._best) > self.settings.count:
                    heapq.heappop(self._best)
        tokens = np.flatnonzero((totals >= self._bar) & (totals > -np.inf))
        if len(tokens):
            tokens = tokens[np.argsort(-totals[tokens], kind="stable")]
            logs = totals[tokens]
            own = self.model.select(state, np.array([lane]))
            size = self._node_bytes + 8 * len(path) + tokens.nbytes + logs.nbytes
            node = _Node(path, speller, own, tokens, logs, size)
            self._bytes += size
            heapq.heappush(self._open, (-float(node.logs[0]), next(self._serial), node))

    def _drop(self) -> None:
        """Keep the most probable nodes that the limits leave room for; those below the bar are no loss."""
        self._open.sort()
        kept = size = 0
        for _, _, node in self._open:
            size += node.bytes
            full = kept >= KEPT_SHARE * self.settings.frontier or size > KEPT_SHARE * self.settings.memory
            if full and kept:
                break
            kept += 1
        rest = self._open[kept:]
        if rest and -rest[0][0] >= self._bar:
            self._dropped = max(self._dropped, -rest[0][0])
        del self._open[kept:]
        self._bytes = sum(node.bytes for _, _, node in self._open)


def _bytes(state: Any) -> int:
    """Bytes of the arrays that a state is made of."""
    if is_dataclass(state):
        return sum(_bytes(getattr(state, field.name)) for field in fields(state))
    if isinstance(state, tuple):
        return sum(map(_bytes, state))
    return int(getattr(state, "nbytes", 0))
