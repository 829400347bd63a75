"""Where the continuations of a text begin, when the text may end inside a token.

"the qui" may go on as the word "quick", which is one token " quick", or as anything whose spelling begins with those
bytes. Of the text, all but its last segment is surely tokenised (see `Tokenizer.encode_open`); the bytes after that are
the open part. A node is a sequence of tokens whose bytes are a proper beginning of the open part; the tokens that cover
what then remains of it, or more, lead on. The probability that the text goes on as begun is the sum over all nodes:

    P(open part | sure part) = Σ_nodes p(node) Σ_covering p(token | node)

A word model has one or two nodes with covering tokens (the word from its vocabulary, or spelled in bytes), characters
and bytes have one, which everything covers. Subwords have as many as there are ways to cut: the most probable are
looked at, and how much may be missing is told. After "token healing" and its exact form (Vieira et al. 2024).
"""

from __future__ import annotations

import heapq
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from copy import copy
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import count as counting
from typing import Any

import numpy as np
import numpy.typing as npt

from seqmodel.arrays import Floats, Ids, Mask
from seqmodel.decoding.token_masks import Speller, Spelling
from seqmodel.inference.blas_threads import one_thread
from seqmodel.inference.sequence_model import SequenceModel
from seqmodel.tokens.tokenizer import FIRST_PIECE, START, UNKNOWN, Tokenizer

NODES = 64  # that are looked at
NEGLIGIBLE = 1e-3  # share of the probability that may be left unexplored
LANES = 16  # nodes that are read side by side
REOPENED = 4  # tokens of a long run of subwords that may be cut otherwise
_CHUNK = 128  # tokens that are read at once
_FINE = 8  # last tokens of a new text that are read one by one
_KEPT = 512  # states kept, at most
_KEPT_FLOATS = 1 << 22  # of log-probabilities kept, at most


@dataclass(frozen=True)
class Node:
    """A place in a text from which it goes on: log p (nats) of the tokens since the sure part, the model's state of one
    lane and its log-probabilities (V,) there, the tokens (V,) that cover what remains, and these bytes."""

    log_p: float
    state: Any
    logs: Floats
    covers: Mask
    speller: Speller
    remaining: bytes = b""

    def take(self, token: int) -> tuple[Speller, str]:
        """The speller after a covering token, and what that token adds to the text."""
        speller = copy(self.speller)
        text = speller.push(token)
        if self.remaining:
            text = self._added(token)
        return speller, text

    def narrowed(self, spelling: Spelling) -> Node:
        """This where it goes on by a narrower spelling, with the tokens that add to the prefix what that may write."""
        speller = self.speller.narrowed(spelling)
        if not self.remaining:
            return replace(self, speller=speller, covers=self.covers & speller.mask)
        covers = self.covers.copy()
        if spelling.characters is not None:
            tokens = np.flatnonzero(covers)
            covers[tokens] = spelling.characters.has_all_of([self._added(token) for token in tokens.tolist()])
        return replace(self, speller=speller, covers=covers)

    def _added(self, token: int) -> str:
        """What a covering token adds to the prefix."""
        return self.speller.tokenizer.piece_bytes[token][len(self.remaining) :].decode()


@dataclass(frozen=True)
class Opening:
    """All nodes that were found, and the share of the probability that may lie on others."""

    nodes: tuple[Node, ...]
    missing: float = 0.0

    @cached_property
    def joint(self) -> npt.NDArray[np.float64]:
        """log p (nodes, V) of a node and the covering token after it, given the sure part; −inf for other tokens."""
        return np.stack(
            [np.where(node.covers, node.log_p + node.logs.astype(np.float64), -np.inf) for node in self.nodes]
        )

    @cached_property
    def log_p(self) -> float:
        """log p (nats), as far as found, that a text which begins with the sure part begins with all of the prefix."""
        return float(np.logaddexp.reduce(self.joint, axis=None))

    def narrowed(self, spelling: Spelling) -> Opening:
        """What goes on by a narrower spelling; all of this where nothing does. To known words a word that the prefix
        begins is one of them if it can be."""
        nodes = tuple(node.narrowed(spelling) for node in self.nodes)
        if spelling.known_words and any(node.remaining and node.covers[FIRST_PIECE:].any() for node in nodes):
            is_piece = np.arange(len(nodes[0].covers)) >= FIRST_PIECE
            nodes = tuple(replace(node, covers=node.covers & is_piece) for node in nodes)
        narrow = Opening(nodes, self.missing)
        if narrow.log_p > -np.inf:
            return narrow
        return Opening(
            tuple(replace(node, covers=own.covers) for node, own in zip(nodes, self.nodes, strict=True)), self.missing
        )

    def probabilities(self) -> npt.NDArray[np.float64]:
        """As `joint`, given the whole prefix: they sum to 1 − missing, or to 0 if the prefix cannot be."""
        if self.log_p == -np.inf:
            return np.zeros_like(self.joint)
        out: npt.NDArray[np.float64] = np.exp(self.joint - self.log_p) * (1 - self.missing)
        return out


# The surely tokenised part


@dataclass(frozen=True)
class Mark:
    """The model after the first `length` tokens of a text: log-probabilities (V,), the state of one lane, spelling."""

    length: int
    logs: Floats
    state: Any
    speller: Speller


class Trail:
    """Reads texts, keeping the states along the last one: of the next, only what is new has to be read."""

    @one_thread()
    def __init__(self, model: SequenceModel, spelling: Spelling) -> None:
        self.model = model
        self.kept = max(_FINE, min(_KEPT, _KEPT_FLOATS // model.vocabulary))
        self.ids: Ids = np.empty(0, np.int64)
        logs, state = model.step(np.array([[START]]), model.start(1))
        self.marks = [Mark(0, logs[0, 0], state, Speller(spelling))]

    def after(self, ids: Ids) -> Mark:
        """The model after these tokens of a text, start symbol left out."""
        shared = min(len(ids), len(self.ids))
        differs = np.flatnonzero(ids[:shared] != self.ids[:shared])
        same = int(differs[0]) if len(differs) else shared
        while self.marks[-1].length > same:
            self.marks.pop()
        self.ids = ids[: self.marks[-1].length]
        while (at := self.marks[-1].length) < len(ids):
            coarse = len(ids) - _FINE - at
            self.marks.append(self._read(ids[at : at + max(1, min(_CHUNK, coarse))]))
            del self.marks[1 : -self.kept]
        self.ids = ids
        return self.marks[-1]

    def _read(self, ids: Ids) -> Mark:
        last = self.marks[-1]
        logs, state = self.model.step(ids[:, None], last.state)
        speller = copy(last.speller)
        speller.follow(ids.tolist())
        return Mark(last.length + len(ids), logs[-1, 0].copy(), state, speller)


# The open part


class PieceIndex:
    """Finds tokens by how their bytes begin."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        order = sorted((data, token) for token, data in enumerate(tokenizer.piece_bytes) if data)
        self.pieces = [data for data, _ in order]
        self.ids = np.array([token for _, token in order], np.int64)
        self.longest = max(map(len, self.pieces))

    def beginning_with(self, data: bytes) -> Ids:
        """The tokens whose bytes begin with `data`, which is UTF-8 and not empty."""
        after = data[:-1] + bytes([data[-1] + 1])
        return self.ids[bisect_left(self.pieces, data) : bisect_left(self.pieces, after)]

    def inside(self, data: bytes) -> Iterator[int]:
        """The tokens whose bytes are a proper beginning of `data`, longest first."""
        size = len(data) - 1
        while size > 0:
            # What begins `data` and is no longer than this stands before, or begins, the last piece not after it.
            at = bisect_right(self.pieces, data[:size])
            piece = self.pieces[at - 1] if at else b""
            size = _shared(piece, data[:size])
            if size and size == len(piece):
                yield from self.ids[bisect_left(self.pieces, piece) : at].tolist()
                size -= 1


def _shared(one: bytes, other: bytes) -> int:
    """How many bytes two begin with alike."""
    return next((n for n, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


class Opener:
    """Opens prefixes, one after another; what they share with the one before is not read again."""

    def __init__(self, model: SequenceModel, spelling: Spelling) -> None:
        self.model, self.tokenizer = model, spelling.tokenizer
        self.trail = Trail(model, spelling)

    @cached_property
    def _index(self) -> PieceIndex:
        return PieceIndex(self.tokenizer)

    @one_thread()
    def open(self, prefix: str) -> Opening:
        """Where a text that begins with `prefix` goes on.

        Raises:
            DataError: if the prefix holds a lone surrogate.
        """
        ids, rest = self._cut(prefix)
        mark = self.trail.after(ids)
        if not rest:
            speller = copy(mark.speller)
            speller.written = len(speller.pending)
            return Opening((Node(0.0, mark.state, mark.logs, speller.mask, speller),))
        search = _Search(self.model, self._index, rest)
        search.begin(mark, 0)
        if self.tokenizer.unit == "subword" and mark.speller.at_line_start:  # a word stands there without its blank too
            search.begin(mark, 1)
        search.run()
        if not search.nodes:  # only in a closed vocabulary
            return Opening((self._unknown(mark),))
        return Opening(tuple(search.nodes), search.missing)

    def _cut(self, prefix: str) -> tuple[Ids, bytes]:
        """The ids of what is surely tokenised, and the open part. Of a long run of subwords (a sentence without
        blanks, a long number) the last few tokens alone are open."""
        ids, rest = self.tokenizer.encode_open(prefix)
        if self.tokenizer.unit == "subword":
            pieces = self.tokenizer.piece_bytes
            whole = self.tokenizer.encode_line(prefix)
            at = len(whole) - REOPENED
            while at > len(ids) and 0x80 <= pieces[whole[at]][0] < 0xC0:  # inside a character
                at -= 1
            if at > len(ids):
                rest = rest[sum(len(pieces[token]) for token in whole[len(ids) : at]) :]
                ids = whole[:at]
        return ids.astype(np.int64), rest

    def _unknown(self, mark: Mark) -> Node:
        """After a word that a closed vocabulary lacks."""
        logs, state = self.model.step(np.array([[UNKNOWN]]), mark.state)
        speller = copy(mark.speller)
        speller.push(UNKNOWN)
        return Node(float(mark.logs[UNKNOWN]), state, logs[0, 0], speller.mask, speller)


@dataclass(frozen=True)
class _Place:
    """A place in the open part, from byte `at` on: the tokens that cover all of the rest, and those that are inside."""

    at: int
    speller: Speller
    covering: Ids
    inside: tuple[int, ...]


@dataclass(frozen=True)
class _Way:
    """Tokens from a state to a place: more than one where there is no choice after the first. `log_p` includes that."""

    log_p: float
    state: Any
    tokens: tuple[int, ...]
    place: _Place


class _Search:
    """Looks for nodes, best first. `ahead` is a heap of ways, the most probable first."""

    def __init__(self, model: SequenceModel, index: PieceIndex, rest: bytes) -> None:
        self.model, self.index, self.rest = model, index, rest
        self.nodes: list[Node] = []
        self.found = -np.inf  # log of the nodes' probability
        self.ahead: list[tuple[float, int, _Way]] = []
        self.serial = counting()

    @property
    def missing(self) -> float:
        """The share of the probability that ways not taken may have, at most."""
        ways = np.logaddexp.reduce([way.log_p for _, _, way in self.ahead], initial=-np.inf)
        return float(np.exp(ways - np.logaddexp(ways, self.found))) if ways > -np.inf else 0.0

    def begin(self, mark: Mark, at: int) -> None:
        self._look(mark.state, mark.logs, 0.0, self._place(mark.speller, at))

    def run(self) -> None:
        """Until little is missing, or many nodes have been looked at; something is found if there is anything."""
        read = 0
        while self.ahead and (not self.nodes or (read < NODES and self.missing > NEGLIGIBLE)):
            ways = [heapq.heappop(self.ahead)[2] for _ in range(min(LANES, len(self.ahead)))]
            self._read(ways)
            read += len(ways)

    def _read(self, ways: list[_Way]) -> None:
        """Step along several ways side by side, and look from where they lead."""
        logs, states = self.model.step(
            np.array([[way.tokens[0] for way in ways]]), self.model.join([way.state for way in ways])
        )
        for lane, way in enumerate(ways):
            here, log_p, state = logs[0, lane], way.log_p, self.model.select(states, np.array([lane]))
            for at in range(1, len(way.tokens), _CHUNK):
                ids = np.array(way.tokens[at : at + _CHUNK])
                rows, state = self.model.step(ids[:, None], state)
                before = np.concatenate([here[None], rows[:-1, 0]])
                log_p += float(before[np.arange(len(ids)), ids].sum(dtype=np.float64))
                here = rows[-1, 0].copy()
            self._look(state, here, log_p, way.place)

    def _look(self, state: Any, logs: Floats, log_p: float, place: _Place) -> None:
        """Keep a node where tokens cover the rest, and note the ways that lead on."""
        if len(place.covering):
            covers = np.zeros(len(logs), bool)
            covers[place.covering] = True
            self.nodes.append(Node(log_p, state, logs, covers, place.speller, self.rest[place.at :]))
            self.found = np.logaddexp(self.found, log_p + np.logaddexp.reduce(logs[covers].astype(np.float64)))
        for first in place.inside:
            tokens, there = [first], self._after(place, first)
            while not len(there.covering) and len(there.inside) == 1:
                tokens.append(there.inside[0])
                there = self._after(there, tokens[-1])
            if len(there.covering) or there.inside:
                way = _Way(log_p + float(logs[first]), state, tuple(tokens), there)
                heapq.heappush(self.ahead, (-way.log_p, next(self.serial), way))

    def _after(self, place: _Place, token: int) -> _Place:
        speller = copy(place.speller)
        speller.push(token)
        return self._place(speller, place.at + len(speller.tokenizer.piece_bytes[token]))

    def _place(self, speller: Speller, at: int) -> _Place:
        mask, reach = speller.mask, self.rest[at : at + self.index.longest + 1]
        covering = self.index.beginning_with(reach) if len(reach) <= self.index.longest else np.empty(0, np.int64)
        inside = tuple(token for token in self.index.inside(reach) if mask[token])
        return _Place(at, speller, covering[mask[covering]], inside)
