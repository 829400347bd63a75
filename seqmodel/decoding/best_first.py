"""Best-first search: whole sequences in falling order of probability.

A beginning is at least as probable as every sequence that begins with it. So a sequence that is at least as probable
as every open beginning is proved to be next in order.

An open node is a beginning that has been read, with its possible next tokens sorted. Its place in the queue is that of
the best token not yet followed; once this is followed, the node waits again with the next best. So the search keeps
one state for each beginning that it has read, and none for the many that it never reads.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from copy import copy
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

import numpy as np

from seqmodel.arrays import Ids
from seqmodel.command_settings import SearchSettings
from seqmodel.decoding.beam import Logs, Path, allowed, begin
from seqmodel.decoding.frontier import Frontier
from seqmodel.decoding.token_masks import TEXT, SequenceForm, Speller
from seqmodel.inference.blas_threads import one_thread
from seqmodel.inference.sequence_model import SequenceModel
from seqmodel.scoring.tokens import LN2
from seqmodel.tokens.characters import Characters
from seqmodel.tokens.tokenizer import END, Tokenizer

LANES = 64  # beginnings that are read side by side
NODE_BYTES = 2400  # of a node beside its arrays, about
KEPT_SHARE = 0.9  # of a full frontier: a sort frees room for many nodes, not a few


@dataclass(frozen=True)
class TopSequence:
    """A sequence and its rank.

    Given the prefix, `bits` is −log2 of its probability, end symbol included, and `cumulative` the probability of all
    sequences up to it. `proved`: no sequence left out is more probable.
    """

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
    """A beginning that has been read: its path, speller and state (one lane), and its next tokens, best first.

    `logs` are the log-probabilities of the path with each token; the first `followed` tokens have been followed.
    """

    path: Path
    speller: Speller
    state: Any
    tokens: Ids
    logs: Logs
    bytes: int
    followed: int = 0


class TopSearch:
    """Iterator over the most probable sequences that begin with a prefix (token by token), best first.

    Yields each sequence as soon as it is proved to be next. When `settings.effort` is spent, the sequences found so far
    come without proof. When the open nodes exceed `settings.frontier` or `settings.memory`, the least probable are
    dropped, and a sequence less probable than a dropped one has no proof. Unless `settings.any_text`, sequences are
    made of `characters` (default: all) and of the prefix.

    `extended` counts the beginnings read; `covered` is the probability of the sequences yielded, given the prefix;
    `proved` counts those with proof; `dropped` and `spent` tell that a limit was met.
    """

    def __init__(
        self,
        model: SequenceModel,
        tokenizer: Tokenizer,
        prefix: str,
        settings: SearchSettings,
        *,
        form: SequenceForm = TEXT,
        characters: Characters | None = None,
    ) -> None:
        """
        Raises:
            DataError: if the prefix holds a lone surrogate.
        """
        self.model, self.settings = model, settings
        self.extended, self.covered, self.proved, self.spent = 0, 0.0, 0, False
        characters = None if settings.any_text else characters
        self._start = begin(model, tokenizer, prefix, form, characters)
        self._floor = -np.inf if settings.max_bits is None else -settings.max_bits * LN2
        self._dropped = -np.inf  # log-probability of the best beginning dropped
        self._open: Frontier[_Node] = Frontier()
        self._found: Frontier[tuple[str, int]] = Frontier()  # text and number of tokens
        self._best: list[float] = []  # heap of the `count` highest log-probabilities found
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
        """Log-probability below which nothing is looked for."""
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
            log = self._found.best
            proved = not self._unproved() and log >= self._dropped
            text, tokens = self._found.pop()
            self.covered += float(np.exp(log))
            self.proved += proved
            yield TopSequence(rank, text, tokens, -log / LN2, self.covered, proved)

    def _unproved(self) -> bool:
        """True if an open beginning is more probable than every sequence found."""
        return self._open.best > self._found.best

    def _extend(self) -> None:
        """Extend the most probable open beginnings by a token each."""
        nodes: list[_Node] = []
        tokens: list[int] = []
        logs: list[float] = []
        while self._open and len(nodes) < min(LANES, self.settings.effort - self.extended):
            node = self._open.first
            nodes.append(node)
            tokens.append(int(node.tokens[node.followed]))
            logs.append(float(node.logs[node.followed]))
            node.followed += 1
            if node.followed < len(node.tokens):
                self._open.lower(float(node.logs[node.followed]))
            else:
                self._open.pop()
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
        """Add a beginning that was read: as a sequence found if it may end here, as an open node if it may go on."""
        end, totals[END] = float(totals[END]), -np.inf
        if end > -np.inf and end >= self._bar:
            text = self._start.whole(path)
            if text is not None:
                self._found.push(end, (text, len(path) + 1))
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
            self._open.push(float(node.logs[0]), node)

    def _drop(self) -> None:
        """Keep the most probable nodes within the limits. Those below the bar are no loss of proof."""
        kept = size = 0
        for node in self._open.ranked():
            size += node.bytes
            full = kept >= KEPT_SHARE * self.settings.frontier or size > KEPT_SHARE * self.settings.memory
            if full and kept:
                break
            kept += 1
        dropped = self._open.cut(kept)
        if dropped >= self._bar:
            self._dropped = max(self._dropped, dropped)
        self._bytes = sum(node.bytes for node in self._open)


def _bytes(state: Any) -> int:
    """Bytes of the arrays in a state."""
    if is_dataclass(state):
        return sum(_bytes(getattr(state, field.name)) for field in fields(state))
    if isinstance(state, tuple):
        return sum(map(_bytes, state))
    return int(getattr(state, "nbytes", 0))
