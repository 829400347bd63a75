"""Completion: the most probable ways to finish the last word of a text, or to say the next word.

A completion is the text added until a word ends: before white space, or at the end of the sequence. Together with the
empty one (the word, or the sequence, ends with the text) all completions have probability one. The search follows
paths of tokens best first, from every node where the text may go on (`Opening`), and adds up paths that spell the same
text. It follows canonical spellings only, so its probabilities are those of sampling at temperature 1.

A path is at least as probable as every completion that begins with it. So when no open path is more probable than the
k-th completion found, the k best are found (where a text has several spellings: each taken by itself).
"""

from __future__ import annotations

import heapq
import re
from copy import copy
from dataclasses import dataclass
from typing import Any

import numpy as np

from seqmodel.arrays import Ids, Probabilities
from seqmodel.command_settings import CompletionSettings
from seqmodel.decoding.frontier import Frontier
from seqmodel.decoding.token_healing import Node, Opening, PrefixReader
from seqmodel.decoding.token_masks import TEXT, SequenceForm, Speller, Spelling
from seqmodel.inference.blas_threads import one_thread
from seqmodel.inference.sequence_model import SequenceModel
from seqmodel.scoring.words import word_ends
from seqmodel.tokens.characters import Characters
from seqmodel.tokens.tokenizer import END, Tokenizer

LANES = 8  # beginnings that are read side by side


@dataclass(frozen=True)
class Completion:
    """Text to be added, and the probability that it comes next and is followed by the end of the word."""

    text: str
    probability: float


@dataclass(frozen=True)
class Completions:
    """The best completions of a text, best first.

    `missing` is the probability of all that was not looked at. `settled`: no single path of it is more probable than
    the last completion here.
    """

    prefix: str
    best: tuple[Completion, ...]
    missing: float
    settled: bool


@dataclass(frozen=True)
class NextToken:
    """A token that comes next or covers the end of the text, shown as the tokenizer shows it."""

    token: str
    probability: float


@dataclass(frozen=True)
class NextTokens:
    """The most probable next tokens of a text; `missing` is the probability of the ways not looked at."""

    prefix: str
    best: tuple[NextToken, ...]
    missing: float


class Completer:
    """Completes texts one after another; a beginning shared with the last text is not read again."""

    def __init__(
        self,
        model: SequenceModel,
        tokenizer: Tokenizer,
        *,
        form: SequenceForm = TEXT,
        characters: Characters | None = None,
    ) -> None:
        """Prepare completion; without any_text, completions are made of `characters` (default: all)."""
        self.model, self.tokenizer = model, tokenizer
        self.spelling = Spelling(tokenizer, form)
        self.narrow = self.spelling.narrowed(characters)
        self.reader = PrefixReader(model, self.spelling)
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
        """The nodes from which a prefix goes on; without `any_text`, narrowed to the characters."""
        return self.reader.open(prefix).narrowed(self.spelling if any_text else self.narrow)

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
        """True if only the end of a word may come next."""
        mask = speller.mask
        if id(mask) not in self._ends_words:  # the spelling keeps its masks
            self._ends_words[id(mask)] = not (mask & ~self.boundary).any()
        return self._ends_words[id(mask)]


@dataclass(frozen=True)
class _Branch:
    """A beginning that has been read: the text it adds, its state (one lane), and its next tokens, best first.

    `probabilities` are those of the beginning with each token. `node` is set while nothing has been added: the place
    in the prefix.
    """

    added: str
    state: Any
    speller: Speller
    tokens: Ids
    probabilities: Probabilities
    node: Node | None = None

    def take(self, rank: int) -> tuple[Speller, str]:
        """Speller and whole added text after the token of that rank."""
        token = int(self.tokens[rank])
        if self.node is not None:
            return self.node.take(token)
        speller = copy(self.speller)
        return speller, self.added + speller.push(token)


@dataclass(frozen=True)
class _Step:
    """A token to be read after a branch, with the speller and the added text after it."""

    branch: _Branch
    token: int
    probability: float
    speller: Speller
    added: str


class _Search:
    """Best-first search from a prefix. A branch is queued by the probability of its best token not taken yet."""

    def __init__(self, completer: Completer, prefix: str, settings: CompletionSettings) -> None:
        self.completer, self.model = completer, completer.model
        self.k, self.effort = settings.k, settings.effort
        self.inside = bool(prefix) and not prefix[-1].isspace()  # a word
        self.word = re.compile(r"\S*" if self.inside else r"\s*\S*")
        self.found: dict[str, float] = {}
        self.enough = 0.0  # the probability that a completion must exceed to be among the best k
        self.queue: Frontier[tuple[_Branch, int]] = Frontier()
        opening = completer.open(prefix, settings.any_text)
        for node, row in zip(opening.nodes, opening.probabilities(), strict=True):
            self._branch("", node.state, node.speller, row, node)

    @property
    def settled(self) -> bool:
        return self.queue.best <= self.enough

    def run(self) -> None:
        while steps := self._best_steps(min(LANES, self.effort)):
            self.effort -= len(steps)
            self._read(steps)

    def _best_steps(self, number: int) -> list[_Step]:
        """Take the most probable tokens to be read; those that complete a word are added without reading."""
        steps: list[_Step] = []
        while len(steps) < number and not self.settled:
            probability = self.queue.best
            branch, rank = self.queue.pop()
            self._wait(branch, rank + 1)
            speller, added = branch.take(rank)
            match = self.word.match(added)
            assert match is not None
            if match.end() < len(added) or (self._in_word(added) and self.completer.ends_word(speller)):
                self._add(added[: match.end()], probability)
            else:
                steps.append(_Step(branch, int(branch.tokens[rank]), probability, speller, added))
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
        """Add the completion that ends here, and queue the tokens that follow; p (V,) is overwritten."""
        if node is None or not node.remaining:
            ending = self.completer.boundary if self._in_word(added) else np.array([END])
            total = float(p[ending].sum())
            if total:
                self._add(added + copy(speller).finish(), total)
                p[ending] = 0
        tokens = np.flatnonzero(p > self.enough)
        if len(tokens) > self.effort + self.k:  # more can never be taken
            tokens = tokens[np.argpartition(-p[tokens], self.effort + self.k)[: self.effort + self.k]]
        tokens = tokens[np.argsort(-p[tokens], kind="stable")]
        self._wait(_Branch(added, state, speller, tokens, p[tokens], node), 0)

    def _wait(self, branch: _Branch, rank: int) -> None:
        if rank < len(branch.tokens):
            self.queue.push(float(branch.probabilities[rank]), (branch, rank))

    def _add(self, text: str, probability: float) -> None:
        self.found[text] = self.found.get(text, 0.0) + probability
        if len(self.found) >= self.k and self.found[text] > self.enough:
            self.enough = heapq.nlargest(self.k, self.found.values())[-1]
