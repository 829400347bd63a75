"""A model that learns while it reads: any `SequenceModel`, mixed with the document cache of what it has read.

    p(w) = (1 − λ) p_model(w) + λ p_cache(w)

There is a λ for every situation: the length of the longest context that the document has, how often it came, and how
many different tokens followed it. The λ learn online, by the credit that the cache earns with each token. So p is a
proper distribution at every step, and what was read changes only what comes after it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from seqmodel.arrays import Floats as Logs
from seqmodel.arrays import Ids
from seqmodel.inference.document_cache import NO_TOKEN, Counts, Flags, Floats, Lists, Numbers, order_of
from seqmodel.inference.sequence_model import SequenceModel
from seqmodel.model.sorted_keys import ABSENT, find_key
from seqmodel.tokens.tokenizer import END, START

FIRST_SHARE = 0.2  # λ before anything was learned; 0.05 costs 0.009 nats per character, 0.1 to 0.5 at most 0.003
PRIOR = 10.0  # tokens that weigh as much as this first share; 3 to 100 alike
TIMES, FOLLOWERS = 8, 4  # classes: how often a context came, by powers of two, and what followed it: 0, 1, 2, more


@dataclass(frozen=True)
class Waiting:
    """A prediction whose token has not been read: its situation, and the probabilities of sorted tokens (N,)."""

    situation: int
    tokens: Numbers
    model: Floats
    cache: Floats

    def of(self, token: int) -> tuple[float, float] | None:
        """Probabilities of a token by model and cache; None if they are not known."""
        at = find_key(self.tokens, token)
        return None if at == ABSENT else (float(self.model[at]), float(self.cache[at]))


@dataclass(frozen=True)
class Document:
    """A sequence so far: its counts, the credits and tokens seen in each situation (for λ), and the last prediction.

    A value: reading on gives another document.
    """

    counts: Counts
    credits: Floats
    seen: Floats
    waiting: Waiting | None = None

    @classmethod
    def none(cls, vocabulary: int) -> Document:
        number = (1 + order_of(vocabulary)) * TIMES * FOLLOWERS
        return cls(Counts.none(vocabulary), np.full(number, PRIOR * FIRST_SHARE), np.full(number, PRIOR))

    @property
    def is_new(self) -> bool:
        """True if nothing has been read."""
        return not len(self.counts.tokens) and bool((self.counts.context == NO_TOKEN).all())


class Shares:
    """The λ of a document while it is read. A token's credit is the cache's posterior share in it."""

    def __init__(self, document: Document) -> None:
        self.credits: list[float] = document.credits.tolist()
        self.seen: list[float] = document.seen.tolist()

    def of(self, situation: int) -> float:
        return self.credits[situation] / self.seen[situation]

    def learn(self, situation: int, model: float, cache: float) -> None:
        """Credit a token to which model and cache gave these probabilities."""
        own = self.of(situation) * cache
        whole = own + (1 - self.of(situation)) * model
        self.credits[situation] += own / whole if whole > 0 else 0.0
        self.seen[situation] += 1

    def into(self, document: Document) -> Document:
        return replace(document, credits=np.array(self.credits), seen=np.array(self.seen))


@dataclass(frozen=True)
class AdaptiveState:
    model: Any
    documents: tuple[Document, ...]


class Adaptive:
    """A model with a document cache; implements `SequenceModel`.

    `predicted` (V,) marks the tokens that may come. With `across` a start symbol does not begin a new document: the
    sequences of a file are one. Without `learns` new tokens are context alone: they change no count and no λ.
    """

    def __init__(self, model: SequenceModel, predicted: Flags, *, across: bool = False, learns: bool = True) -> None:
        self.model, self.across, self.learns = model, across, learns
        self.predicted = predicted
        self.uniform: Floats = predicted / predicted.sum()

    @property
    def vocabulary(self) -> int:
        return self.model.vocabulary

    def without_learning(self) -> Adaptive:
        """A copy that learns no more, for samples after a prefix."""
        return Adaptive(self.model, self.predicted, across=self.across, learns=False)

    def start(self, lanes: int) -> AdaptiveState:
        return AdaptiveState(self.model.start(lanes), (Document.none(self.vocabulary),) * lanes)

    def select(self, state: AdaptiveState, lanes: Ids) -> AdaptiveState:
        return AdaptiveState(self.model.select(state.model, lanes), tuple(state.documents[lane] for lane in lanes))

    def join(self, states: Sequence[AdaptiveState]) -> AdaptiveState:
        documents = (document for state in states for document in state.documents)
        return AdaptiveState(self.model.join([state.model for state in states]), tuple(documents))

    def step(self, ids: Ids, state: AdaptiveState) -> tuple[Logs, AdaptiveState]:
        logs, model = self.model.step(ids, state.model)
        p = np.exp(logs, dtype=np.float64)
        documents = list(state.documents)
        for lane in range(ids.shape[1]):
            for at, begins in self._pieces(ids[:, lane], documents, lane):
                documents[lane] = self._mix_distributions(documents[lane], ids[at, lane], begins, p[at, lane])
        with np.errstate(divide="ignore"):
            return np.log(p).astype(np.float32), AdaptiveState(model, tuple(documents))

    def step_targets(self, ids: Ids, targets: Ids, state: AdaptiveState) -> tuple[Logs, AdaptiveState]:
        """As `step`, but returns log-probabilities (T, B) of the targets alone, many times faster.

        The next input must be the last target, or begin a sequence.
        """
        logs, model = self.model.step(ids, state.model)
        p = np.exp(np.take_along_axis(logs, targets[..., None], axis=-1)[..., 0], dtype=np.float64)
        documents = list(state.documents)
        for lane in range(ids.shape[1]):
            for at, begins in self._pieces(ids[:, lane], documents, lane):
                inputs, wanted = ids[at, lane], targets[at, lane]
                documents[lane] = self._mix_targets(documents[lane], inputs, begins, wanted, p[at, lane])
        with np.errstate(divide="ignore"):
            return np.log(p).astype(np.float32), AdaptiveState(model, tuple(documents))

    def _pieces(self, ids: Numbers, documents: list[Document], lane: int) -> Iterator[tuple[slice, bool]]:
        """Split a lane's inputs into parts of one document that fit its window.

        Yields each part and True if it begins with a start symbol that is context alone; there the lane gets a new
        document.
        """
        begin = 0
        while begin < len(ids):
            begins = ids[begin] == START and (documents[lane].is_new or not self.across)
            if begins:
                documents[lane] = Document.none(self.vocabulary)
            starts = np.flatnonzero(ids[begin + 1 :] == START)[: None if not self.across else 0]
            end = begin + 1 + int(starts[0]) if len(starts) else len(ids)
            end = min(end, begin + begins + documents[lane].counts.room)
            yield slice(begin, end), bool(begins)
            begin = end

    def _read(self, document: Document, inputs: Numbers, begins: bool) -> tuple[Document, Numbers]:
        """Document after a start symbol, and the inputs to be counted; a later start stands for the end before it."""
        if begins:
            document = replace(document, counts=document.counts.after(inputs[:1]))
        tokens = inputs[int(begins) :]
        return document, np.where(tokens == START, END, tokens)

    def _mix_targets(self, document: Document, inputs: Numbers, begins: bool, targets: Numbers, p: Floats) -> Document:
        """Mix the cache's probabilities of the targets into the model's, in place; returns the document after."""
        document, tokens = self._read(document, inputs, begins)
        known, counts = document.counts.and_then(np.append(tokens, targets[-1]), len(tokens))
        known = known.since(0 if begins else 1)
        places = situations(known.matched, known.at_longest(known.times), known.at_longest(known.followers))
        cache = known.probabilities(float(self.uniform.max()))
        shares = Shares(document)
        if not begins:
            self._learn_waiting(document, int(tokens[0]), shares)
        mixed = []
        last = len(p) - 1
        for at, (place, own, other) in enumerate(zip(places.tolist(), cache.tolist(), p.tolist(), strict=True)):
            share = shares.of(place)
            mixed.append(share * own + (1 - share) * other)
            if at < last:
                shares.learn(place, other, own)
        waiting = Waiting(int(places[-1]), targets[-1:], p[-1:].copy(), cache[-1:])
        p[:] = mixed
        return replace(shares.into(document), counts=counts, waiting=waiting)

    def _mix_distributions(self, document: Document, inputs: Numbers, begins: bool, p: Floats) -> Document:
        """Mix the cache's distributions into the model's (T, V), in place; returns the document after."""
        document, tokens = self._read(document, inputs, begins)
        lists, shares, waiting = Lists(document.counts), Shares(document), document.waiting
        every = np.arange(self.vocabulary)
        for at, token in enumerate([None, *tokens.tolist()] if begins else tokens.tolist()):
            if token is not None:
                if self.learns and waiting is not None and (known := waiting.of(token)) is not None:
                    shares.learn(waiting.situation, *known)
                lists.read(token, self.learns)
            cache, known_by = lists.distribution(self.uniform)
            place = int(situations(*(np.array([number]) for number in known_by))[0])
            waiting = Waiting(place, every, p[at].copy(), cache)
            share = shares.of(place)
            p[at] = share * cache + (1 - share) * p[at]
        counts = document.counts.and_then(tokens)[1] if self.learns else document.counts.after(tokens)
        return replace(shares.into(document), counts=counts, waiting=waiting)

    def _learn_waiting(self, document: Document, token: int, shares: Shares) -> None:
        if document.waiting is not None and (known := document.waiting.of(token)) is not None:
            shares.learn(document.waiting.situation, *known)


def situations(matched: Numbers, times: Numbers, followers: Numbers) -> Numbers:
    """Situation (N,) of each position, by the longest context known there.

    `matched` is its level from 1 (0: none), `times` its count, `followers` the number of different tokens after it.
    """
    seldom = np.minimum(np.log2(np.maximum(times, 1)).astype(np.int64), TIMES - 1)
    return (matched * TIMES + seldom) * FOLLOWERS + np.minimum(followers, FOLLOWERS - 1)
