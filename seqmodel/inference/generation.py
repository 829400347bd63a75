"""Continuations of a prefix: many side by side, each drawn from a random stream of its own.

Sample i of prefix j draws from Philox keyed by seed, j and i: how many others run beside it does not matter, but for
the rounding of products of another shape.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from copy import copy
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from seqmodel.config import SamplingSettings
from seqmodel.errors import UsageError
from seqmodel.inference.limits import Bans, Limiter
from seqmodel.inference.novelty import copying
from seqmodel.inference.sampling import draw, min_p, repeated_less, top_k, top_p, with_temperature
from seqmodel.inference.scoring import LN2
from seqmodel.inference.sequence_model import SequenceModel
from seqmodel.inference.spelling import Speller, Spelling
from seqmodel.model.fingerprint import Fingerprint
from seqmodel.tokens.tokenizer import END, START, Tokenizer

PARALLEL = 32
TRIES = 1000  # of a sample, until it is as asked for
REFUSED = ("length", "copy")  # why a sample is drawn again
_PREFIX_CHUNK = 512


@dataclass
class Sample:
    """A continuation, complete when `stop` says why it stopped.

    `bits`: the model's own, at temperature 1; `sampling_bits`: those of the distribution that was drawn from.
    """

    index: int
    text: str = ""
    tokens: int = 0
    bits: float = 0.0
    sampling_bits: float = 0.0
    stop: str = ""
    copied: int | None = None  # longest span, in characters, that the training text has; see inference.novelty


class Piece(NamedTuple):
    """What a sample has gained: text, and the model's bits of the tokens that it comes from; `done` with its last."""

    sample: Sample
    text: str
    bits: float
    done: bool


@dataclass
class _Lane:
    sample: Sample
    speller: Speller
    random: np.random.Generator
    limiter: Limiter
    seen: npt.NDArray[np.bool_]  # (V,) tokens so far, the prefix's included
    said: bytes  # the end of the text so far, for bans
    text: list[str] = field(default_factory=list)
    tokens: list[int] = field(default_factory=list)
    pending: float = 0.0  # bits of tokens whose text has not been shown
    tries: int = 1


def generate(
    model: SequenceModel,
    tokenizer: Tokenizer,
    prefix: str,
    settings: SamplingSettings,
    *,
    ends: bool = True,
    one_line: bool = False,
    prefix_index: int = 0,
    fingerprint: Fingerprint | None = None,
) -> Iterator[Piece]:
    """Sample continuations of a prefix; yields their text piece by piece.

    `one_line`: no newline is sampled, as a line model has none. With a `fingerprint` of the training text samples tell
    how much they have from it.

    Raises:
        UsageError: if everything is banned, or no sample is as asked for.
    """
    yield from Sampler(model, tokenizer, prefix, settings, ends, one_line, prefix_index, fingerprint).run()


class Sampler:
    """Samples continuations of one prefix."""

    def __init__(
        self,
        model: SequenceModel,
        tokenizer: Tokenizer,
        prefix: str,
        settings: SamplingSettings,
        ends: bool,
        one_line: bool,
        prefix_index: int,
        fingerprint: Fingerprint | None,
    ) -> None:
        self.model, self.tokenizer, self.settings = model, tokenizer, settings
        self.prefix_index, self.fingerprint = prefix_index, fingerprint
        self.is_choosy = settings.length is not None or settings.max_copy is not None
        ids = np.concatenate([[START], tokenizer.encode_line(prefix).astype(np.int64)])
        self.state = model.start(1)
        for at in range(0, len(ids), _PREFIX_CHUNK):
            logs, self.state = model.step(ids[at : at + _PREFIX_CHUNK, None], self.state)
        self.logs, self.prefix = logs[-1], ids
        self.at_prefix = Speller(Spelling(tokenizer, ends, one_line))
        self.at_prefix.follow(ids[1:])
        self.seen = np.bincount(ids[1:], minlength=tokenizer.size) > 0
        self.said = b"".join(tokenizer.piece_bytes[token] for token in ids[1:])
        strings = [string.encode("utf-8", "surrogateescape") for string in settings.ban]
        self.bans = Bans(tokenizer, strings) if strings else None
        self.reach = max(map(len, strings), default=1) - 1  # how far back a ban looks

    def run(self) -> Iterator[Piece]:
        """All samples, their text piece by piece."""
        settings = self.settings
        size = 1 if settings.reproducible else PARALLEL
        numbers = range(settings.first, settings.first + settings.count)
        for at in range(0, len(numbers), size):
            lanes = [self._lane(number) for number in numbers[at : at + size]]
            while lanes:  # again with those that were not as asked for
                lanes = yield from self._until_stopped(lanes)

    def _lane(self, number: int) -> _Lane:
        random = np.random.Generator(np.random.Philox(key=[self.settings.seed, self.prefix_index << 32 | number]))
        return self._begun(_Lane(Sample(number), self.at_prefix, random, Limiter(self.settings), self.seen, b""))

    def _begun(self, lane: _Lane) -> _Lane:
        """A lane at the prefix."""
        lane.speller, lane.limiter = copy(self.at_prefix), Limiter(self.settings)
        lane.seen, lane.said, lane.text = self.seen.copy(), self.said[-self.reach :] if self.reach else b"", []
        lane.sample.tokens, lane.sample.bits, lane.sample.sampling_bits, lane.sample.stop = 0, 0.0, 0.0, ""
        lane.pending, lane.tokens = 0.0, []
        return lane

    def _until_stopped(self, lanes: list[_Lane]) -> Generator[Piece, None, list[_Lane]]:
        """Draw token after token for all lanes until every one has stopped; returns those to be drawn again."""
        again: list[_Lane] = []
        shared = np.zeros(len(lanes), np.int64)
        state: Any = self.model.select(self.state, shared)
        logs = self.logs[shared]
        while lanes:
            probabilities = self._adjusted(logs, lanes)
            tokens = draw(probabilities, np.array([lane.random.random() for lane in lanes]))
            each = np.arange(len(lanes))
            bits, drawn = logs[each, tokens] / -LN2, -np.log2(probabilities[each, tokens])
            for lane, token, own, chosen in zip(lanes, tokens, bits, drawn, strict=True):
                lane.sample.sampling_bits += float(chosen)
                text = self._advance(lane, int(token), float(own))
                if not self.is_choosy:
                    yield self._piece(lane, text)
                elif lane.sample.stop in REFUSED:
                    again.append(self._retried(lane))
                elif lane.sample.stop:
                    yield self._piece(lane, lane.sample.text)
            going = np.array([i for i, lane in enumerate(lanes) if not lane.sample.stop], np.int64)
            if len(going) < len(lanes):
                lanes, tokens, state = [lanes[i] for i in going], tokens[going], self.model.select(state, going)
            if lanes:
                step, state = self.model.step(tokens[None], state)
                logs = step[0]
        return [self._begun(lane) for lane in again]

    def _adjusted(self, logs: npt.NDArray[np.float32], lanes: Sequence[_Lane]) -> npt.NDArray[np.float64]:
        """The probabilities (B, V) that are drawn from: only what may be spelled and is not banned, then what
        `distribution` does."""
        allowed = np.stack([lane.speller.mask for lane in lanes])
        if self.bans is not None:
            allowed &= ~np.stack([self.bans.after(lane.said) for lane in lanes])
            if not allowed.any(axis=-1).all():
                raise UsageError("everything that could come next is banned", "Ban less.")
        if self.settings.repetition_penalty != 1:
            logs = repeated_less(logs, np.stack([lane.seen for lane in lanes]), self.settings.repetition_penalty)
        return distribution(np.where(allowed, logs, -np.inf), self.settings)

    def _advance(self, lane: _Lane, token: int, bits: float) -> str:
        """Add a token to a lane; returns the text that may be shown now."""
        sample, limiter = lane.sample, lane.limiter
        sample.tokens += 1
        sample.bits += bits
        lane.pending += bits
        lane.tokens.append(token)
        lane.seen[token] = True
        if self.reach:
            lane.said = (lane.said + self.tokenizer.piece_bytes[token])[-self.reach :]
        text = limiter.take("" if token == END else lane.speller.push(token))
        if limiter.stop:
            sample.stop = limiter.stop
        elif token == END or sample.tokens >= self.settings.max_tokens:
            text += limiter.take(lane.speller.finish()) + limiter.finish()
            sample.stop = limiter.stop or ("end" if token == END else "max_tokens")
        lane.text.append(text)
        if self.settings.length is not None:
            self._judge(lane, self.settings.length)
        if sample.stop:
            sample.text = "".join(lane.text)
            self._compare(lane)
        return text

    def _compare(self, lane: _Lane) -> None:
        """Tell how much a complete sample has from the training text, and refuse it if that is too much."""
        if self.fingerprint is None:
            return
        found = copying(self.fingerprint, self.tokenizer, self.prefix, np.array(lane.tokens))
        lane.sample.copied = found.chars
        most = self.settings.max_copy
        if most is not None and (found.chars > most or found.is_whole):
            lane.sample.stop = "copy"

    def _judge(self, lane: _Lane, length: tuple[int, int]) -> None:
        """Stop a sample that cannot have the length asked for any more."""
        shortest, longest = length
        if lane.limiter.chars > longest or (lane.sample.stop == "end" and lane.limiter.chars < shortest):
            lane.sample.stop = "length"

    def _piece(self, lane: _Lane, text: str) -> Piece:
        bits = lane.pending
        if text or lane.sample.stop:
            lane.pending = 0.0
        return Piece(lane.sample, text, bits if text else 0.0, bool(lane.sample.stop))

    def _retried(self, lane: _Lane) -> _Lane:
        """A lane whose sample was not as asked for."""
        lane.tries += 1
        if lane.tries > TRIES:
            raise UsageError(f"none of {TRIES:,} samples was as asked for", "Widen --length, or raise --max-copy.")
        return lane


def distribution(logs: npt.NDArray[np.floating], settings: SamplingSettings) -> npt.NDArray[np.float64]:
    """Probabilities (B, V) from log-probabilities: temperature, then top-k, top-p and min-p."""
    probabilities = with_temperature(logs, settings.temperature)
    if settings.top_k is not None:
        probabilities = top_k(probabilities, settings.top_k)
    if settings.top_p is not None:
        probabilities = top_p(probabilities, settings.top_p)
    if settings.min_p is not None:
        probabilities = min_p(probabilities, settings.min_p)
    return probabilities
