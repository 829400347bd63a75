"""Token healing: continuations of a text that may end inside a token.

"the qui" may go on as the word "quick", which is one token " quick", or as anything whose spelling begins with those
bytes. All of the text but its last segment is surely tokenised (see `Tokenizer.encode_open`); the bytes after that are
the open part. A node is a sequence of tokens whose bytes are a proper beginning of the open part; the next token covers
the remaining bytes, or more. The probability that a text begins with the prefix is the sum over all nodes:

    P(open part | sure part) = Σ_nodes p(node) Σ_covering p(token | node)

A word model has one or two nodes with covering tokens (the word from its vocabulary, or spelled in bytes); characters
and bytes have one, which every token covers. Subwords have one for each way to cut: the search looks at the most
probable and returns a bound of what is missing. After "token healing" and its exact form (Vieira et al. 2024).
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from copy import copy
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from seqmodel.arrays import Floats, Ids, Mask
from seqmodel.decoding.frontier import Frontier
from seqmodel.decoding.token_masks import Speller, Spelling
from seqmodel.inference.blas_threads import one_thread
from seqmodel.inference.sequence_model import SequenceModel
from seqmodel.tokens.tokenizer import FIRST_PIECE, START, UNKNOWN, Tokenizer

NODES = 64  # most nodes looked at
NEGLIGIBLE = 1e-3  # share of the probability that may stay unexplored
LANES = 16  # nodes read side by side
REOPENED = 4  # last tokens of a long run of subwords that may be cut otherwise
_CHUNK = 128  # tokens read at once
_FINE = 8  # last tokens of a new text, read one by one
_KEPT = 512  # most states kept
_KEPT_FLOATS = 1 << 22  # most log-probabilities kept


@dataclass(frozen=True)
class Node:
    """A place in a text from which it goes on.

    `log_p` (nats) is that of the tokens since the sure part; `state` (one lane) and `logs` (V,) are the model's here;
    `covers` (V,) marks the tokens that cover the `remaining` bytes.
    """

    log_p: float
    state: Any
    logs: Floats
    covers: Mask
    speller: Speller
    remaining: bytes = b""

    def take(self, token: int) -> tuple[Speller, str]:
        """Speller after a covering token, and the text that the token adds."""
        speller = copy(self.speller)
        text = speller.push(token)
        if self.remaining:
            text = self._added(token)
        return speller, text

    def narrowed(self, spelling: Spelling) -> Node:
        """A copy with a narrower spelling, and only the covering tokens that this may write."""
        speller = self.speller.narrowed(spelling)
        if not self.remaining:
            return replace(self, speller=speller, covers=self.covers & speller.mask)
        covers = self.covers.copy()
        if spelling.characters is not None:
            tokens = np.flatnonzero(covers)
            covers[tokens] = spelling.characters.has_all_of([self._added(token) for token in tokens.tolist()])
        return replace(self, speller=speller, covers=covers)

    def _added(self, token: int) -> str:
        """Text that a covering token adds to the prefix."""
        return self.speller.tokenizer.piece_bytes[token][len(self.remaining) :].decode()


@dataclass(frozen=True)
class Opening:
    """The nodes found, and the share of the probability that others may have, at most."""

    nodes: tuple[Node, ...]
    missing: float = 0.0

    @cached_property
    def joint(self) -> npt.NDArray[np.float64]:
        """log p (nodes, V) of each node and covering token, given the sure part; −inf for other tokens."""
        return np.stack(
            [np.where(node.covers, node.log_p + node.logs.astype(np.float64), -np.inf) for node in self.nodes]
        )

    @cached_property
    def log_p(self) -> float:
        """log p (nats) of the whole prefix, given the sure part, as far as found."""
        return float(np.logaddexp.reduce(self.joint, axis=None))

    def narrowed(self, spelling: Spelling) -> Opening:
        """The nodes with a narrower spelling; with the wider one if that leaves nothing.

        With `known_words` a word that the prefix begins becomes a known word if one fits.
        """
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
        """Probabilities (nodes, V) as in `joint`, given the whole prefix; sum 1 − missing, or 0 if it is impossible."""
        if self.log_p == -np.inf:
            return np.zeros_like(self.joint)
        out: npt.NDArray[np.float64] = np.exp(self.joint - self.log_p) * (1 - self.missing)
        return out


# Sure part


@dataclass(frozen=True)
class Mark:
    """The model after the first `length` tokens of a text: log-probabilities (V,), state (one lane), speller."""

    length: int
    logs: Floats
    state: Any
    speller: Speller


class Trail:
    """Reads texts and keeps the states along the last one, so that of the next only new tokens are read."""

    @one_thread()
    def __init__(self, model: SequenceModel, spelling: Spelling) -> None:
        self.model = model
        self.kept = max(_FINE, min(_KEPT, _KEPT_FLOATS // model.vocabulary))
        self.ids: Ids = np.empty(0, np.int64)
        logs, state = model.step(np.array([[START]]), model.start(1))
        self.marks = [Mark(0, logs[0, 0], state, Speller(spelling))]

    def after(self, ids: Ids) -> Mark:
        """Read the tokens of a text, without a start symbol; returns the mark after them."""
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


# Open part


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
            # A piece that begins `data` and has at most `size` bytes is the last piece not after it, or begins that.
            at = bisect_right(self.pieces, data[:size])
            piece = self.pieces[at - 1] if at else b""
            size = _shared(piece, data[:size])
            if size and size == len(piece):
                yield from self.ids[bisect_left(self.pieces, piece) : at].tolist()
                size -= 1


def _shared(one: bytes, other: bytes) -> int:
    """Length of the common beginning of two byte strings."""
    return next((n for n, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


class PrefixReader:
    """Reads prefixes one after another; a beginning shared with the last one is not read again."""

    def __init__(self, model: SequenceModel, spelling: Spelling) -> None:
        self.model, self.tokenizer = model, spelling.tokenizer
        self.trail = Trail(model, spelling)

    @cached_property
    def _index(self) -> PieceIndex:
        return PieceIndex(self.tokenizer)

    @one_thread()
    def open(self, prefix: str) -> Opening:
        """Find the nodes from which a text that begins with `prefix` goes on.

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
        if self.tokenizer.unit == "subword" and mark.speller.at_line_start:  # where a word may stand without its blank
            search.begin(mark, 1)
        search.run()
        if not search.nodes:  # only in a closed vocabulary
            return Opening((self._unknown(mark),))
        return Opening(tuple(search.nodes), search.missing)

    def _cut(self, prefix: str) -> tuple[Ids, bytes]:
        """Ids of the sure part, and the bytes of the open part.

        Of a long run of subwords (a sentence without blanks, a long number) only the last few tokens are open.
        """
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
        """The node after a word that a closed vocabulary lacks."""
        logs, state = self.model.step(np.array([[UNKNOWN]]), mark.state)
        speller = copy(mark.speller)
        speller.push(UNKNOWN)
        return Node(float(mark.logs[UNKNOWN]), state, logs[0, 0], speller.mask, speller)


@dataclass(frozen=True)
class _Place:
    """A place in the open part, at byte `at`: the tokens that cover all of the rest, and those that lie inside it."""

    at: int
    speller: Speller
    covering: Ids
    inside: tuple[int, ...]


@dataclass(frozen=True)
class _Way:
    """Tokens from a state to a place: the first, which `log_p` includes, and all after it that leave no choice."""

    log_p: float
    state: Any
    tokens: tuple[int, ...]
    place: _Place


class _Search:
    """Best-first search for nodes. `ahead` holds the ways not taken yet."""

    def __init__(self, model: SequenceModel, index: PieceIndex, rest: bytes) -> None:
        self.model, self.index, self.rest = model, index, rest
        self.nodes: list[Node] = []
        self.found = -np.inf  # log of the nodes' probability
        self.ahead: Frontier[_Way] = Frontier()

    @property
    def missing(self) -> float:
        """Share of the probability that ways not taken may have, at most."""
        ways = np.logaddexp.reduce([way.log_p for way in self.ahead], initial=-np.inf)
        return float(np.exp(ways - np.logaddexp(ways, self.found))) if ways > -np.inf else 0.0

    def begin(self, mark: Mark, at: int) -> None:
        self._look(mark.state, mark.logs, 0.0, self._place(mark.speller, at))

    def run(self) -> None:
        """Search until little is missing or the limit of nodes is reached, but on until a first node is found."""
        read = 0
        while self.ahead and (not self.nodes or (read < NODES and self.missing > NEGLIGIBLE)):
            ways = [self.ahead.pop() for _ in range(min(LANES, len(self.ahead)))]
            self._read(ways)
            read += len(ways)

    def _read(self, ways: list[_Way]) -> None:
        """Read several ways side by side, and look on from their places."""
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
        """Add a node if tokens cover the rest, and queue the ways that lead on."""
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
                self.ahead.push(way.log_p, way)

    def _after(self, place: _Place, token: int) -> _Place:
        speller = copy(place.speller)
        speller.push(token)
        return self._place(speller, place.at + len(speller.tokenizer.piece_bytes[token]))

    def _place(self, speller: Speller, at: int) -> _Place:
        mask, reach = speller.mask, self.rest[at : at + self.index.longest + 1]
        covering = self.index.beginning_with(reach) if len(reach) <= self.index.longest else np.empty(0, np.int64)
        inside = tuple(token for token in self.index.inside(reach) if mask[token])
        return _Place(at, speller, covering[mask[covering]], inside)
