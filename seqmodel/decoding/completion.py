"""The most probable ways to finish the word at the end of a text, or to say the next one.

A completion is what is added until a word ends: before white space, or where the sequence ends. With the empty one (the
word, or the sequence, ends where the text does) all completions together have probability one. Paths of tokens are
followed best first, from wherever the text may go on (`Opening`); what several paths spell alike adds up. Only what is
spelled as the tokenizer would is followed, so that probabilities are those of sampling at temperature 1.

A path is at least as probable as every completion that begins with it: when none that is open is more probable than the
k-th of the completions found, those are the k best (where a text has several spellings: as far as each of them goes).
"""

from __future__ import annotations

import heapq
import re
from copy import copy
from dataclasses import dataclass
from itertools import count as counting
from typing import Any

import numpy as np

from seqmodel.arrays import Ids, Probabilities
from seqmodel.decoding.token_healing import Node, Opener, Opening
from seqmodel.decoding.token_masks import Speller, Spelling
from seqmodel.inference.blas_threads import one_thread
from seqmodel.inference.sequence_model import SequenceModel
from seqmodel.scoring.words import word_ends
from seqmodel.settings import CompletionSettings
from seqmodel.tokens.characters import Characters
from seqmodel.tokens.tokenizer import END, Tokenizer

LANES = 8  # beginnings that are read side by side


@dataclass(frozen=True)
class Completion:
    """What is added to a text, and the probability that this, and then a word's end, comes next."""

    text: str
    probability: float


@dataclass(frozen=True)
class Completions:
    """The best completions of a text, best first, and the probability of all that was not looked at. `settled`: none of
    that is as probable as the last of these, by itself."""

    prefix: str
    best: tuple[Completion, ...]
    missing: float
    settled: bool


@dataclass(frozen=True)
class NextToken:
    """A token that may come next, or that covers the end of the text, as the tokenizer shows it."""

    token: str
    probability: float


@dataclass(frozen=True)
class NextTokens:
    """The most probable next tokens of a text, and the probability of those ways to go on that were not looked at."""

    prefix: str
    best: tuple[NextToken, ...]
    missing: float


class Completer:
    """Completes texts, one after another; what they share with the one before is not read again."""

    def __init__(
        self,
        model: SequenceModel,
        tokenizer: Tokenizer,
        *,
        ends: bool = True,
        one_line: bool = False,
        characters: Characters | None = None,
    ) -> None:
        """Unless any text is asked for, completions are made of `characters` (all if None)."""
        self.model, self.tokenizer = model, tokenizer
        self.spelling = Spelling(tokenizer, ends, one_line)
        self.narrow = self.spelling.narrowed(characters)
        self.opener = Opener(model, self.spelling)
        self.boundary = word_ends(tokenizer)
        self._ends_words: dict[int, bool] = {}

    def complete(self, prefix: str, settings: CompletionSettings) -> Completions:
        """The most probable completions that are found.

        Raises:
            DataError: if the prefix holds a lone surrogate.
        """
        with one_thread():
            search = _Search(self, prefix, settings)
            search.run()
        best = heapq.nsmallest(settings.k, search.found.items(), key=lambda item: (-item[1], item[0]))
        missing = max(0.0, 1 - sum(search.found.values()))
        return Completions(prefix, tuple(Completion(*item) for item in best), missing, search.settled)

    def open(self, prefix: str, any_text: bool) -> Opening:
        """Where a prefix goes on, with what may follow it."""
        return self.opener.open(prefix).narrowed(self.spelling if any_text else self.narrow)

    def next_tokens(self, prefix: str, settings: CompletionSettings) -> NextTokens:
        """The k most probable tokens that come next, or that cover the end of the text.

        Raises:
            DataError: if the prefix holds a lone surrogate.
        """
        opening = self.open(prefix, settings.any_text)
        p = opening.probabilities().sum(axis=0)
        best = [token for token in np.argsort(-p, kind="stable")[: settings.k].tolist() if p[token]]
        return NextTokens(prefix, tuple(NextToken(self.tokenizer.piece(t), float(p[t])) for t in best), opening.missing)

    def ends_word(self, speller: Speller) -> bool:
        """Whether nothing but a word's end may come."""
        mask = speller.mask
        if id(mask) not in self._ends_words:  # the spelling keeps its masks
            self._ends_words[id(mask)] = not (mask & ~self.boundary).any()
        return self._ends_words[id(mask)]


@dataclass(frozen=True)
class _Branch:
    """A beginning that has been read: what it adds to the text, and the tokens that may follow, most probable first,
    with the probabilities that they lead to. `node`: the place in the prefix, where the beginning is that alone."""

    added: str
    state: Any
    speller: Speller
    tokens: Ids
    probabilities: Probabilities
    node: Node | None = None

    def take(self, rank: int) -> tuple[Speller, str]:
        """The speller, and all that has been added to the text, after one of the tokens."""
        token = int(self.tokens[rank])
        if self.node is not None:
            return self.node.take(token)
        speller = copy(self.speller)
        return speller, self.added + speller.push(token)


@dataclass(frozen=True)
class _Step:
    """A token to be read after a branch."""

    branch: _Branch
    token: int
    probability: float
    speller: Speller
    added: str


class _Search:
    """Follows paths from a prefix, best first. In the queue a branch stands for its best token not taken yet."""

    def __init__(self, completer: Completer, prefix: str, settings: CompletionSettings) -> None:
        self.completer, self.model = completer, completer.model
        self.k, self.effort = settings.k, settings.effort
        self.inside = bool(prefix) and not prefix[-1].isspace()  # a word
        self.word = re.compile(r"\S*" if self.inside else r"\s*\S*")
        self.found: dict[str, float] = {}
        self.enough = 0.0  # what a completion must have to be among the best k
        self.queue: list[tuple[float, int, _Branch, int]] = []
        self.serial = counting()
        opening = completer.open(prefix, settings.any_text)
        for node, row in zip(opening.nodes, opening.probabilities(), strict=True):
            self._branch("", node.state, node.speller, row, node)

    @property
    def settled(self) -> bool:
        return not self.queue or -self.queue[0][0] <= self.enough

    def run(self) -> None:
        while steps := self._best_steps(min(LANES, self.effort)):
            self.effort -= len(steps)
            self._read(steps)

    def _best_steps(self, number: int) -> list[_Step]:
        """The most probable tokens to be read; words that end with their token are complete without."""
        steps: list[_Step] = []
        while len(steps) < number and not self.settled:
            negative, _, branch, rank = heapq.heappop(self.queue)
            self._wait(branch, rank + 1)
            speller, added = branch.take(rank)
            match = self.word.match(added)
            assert match is not None
            if match.end() < len(added) or (self._in_word(added) and self.completer.ends_word(speller)):
                self._add(added[: match.end()], -negative)
            else:
                steps.append(_Step(branch, int(branch.tokens[rank]), -negative, speller, added))
        return steps

    def _in_word(self, added: str) -> bool:
        return self.inside or not (added.isspace() or not added)

    def _read(self, steps: list[_Step]) -> None:
        ids = np.array([[step.token for step in steps]])
        logs, states = self.model.step(ids, self.model.join([step.branch.state for step in steps]))
        p = np.where(np.stack([step.speller.mask for step in steps]), np.exp(logs[0]), 0).astype(np.float64)
        totals = p.sum(axis=-1, keepdims=True)
        p *= np.array([[step.probability] for step in steps]) / np.where(totals > 0, totals, 1)
        for lane, step in enumerate(steps):
            self._branch(step.added, self.model.select(states, np.array([lane])), step.speller, p[lane])

    def _branch(self, added: str, state: Any, speller: Speller, p: Probabilities, node: Node | None = None) -> None:
        """Note the completion that may end here, and queue what may follow; p (V,) is used up."""
        if node is None or not node.remaining:
            ending = self.completer.boundary if self._in_word(added) else np.array([END])
            total = float(p[ending].sum())
            if total:
                self._add(added + copy(speller).finish(), total)
                p[ending] = 0
        tokens = np.flatnonzero(p > self.enough)
        if len(tokens) > self.effort + self.k:  # no more can ever be taken
            tokens = tokens[np.argpartition(-p[tokens], self.effort + self.k)[: self.effort + self.k]]
        tokens = tokens[np.argsort(-p[tokens], kind="stable")]
        self._wait(_Branch(added, state, speller, tokens, p[tokens], node), 0)

    def _wait(self, branch: _Branch, rank: int) -> None:
        if rank < len(branch.tokens):
            heapq.heappush(self.queue, (-float(branch.probabilities[rank]), next(self.serial), branch, rank))

    def _add(self, text: str, probability: float) -> None:
        self.found[text] = self.found.get(text, 0.0) + probability
        if len(self.found) >= self.k and self.found[text] > self.enough:
            self.enough = heapq.nlargest(self.k, self.found.values())[-1]
