"""Sampling of continuations of a prefix: many side by side, each from a random stream of its own.

Sample i of prefix j draws from Philox keyed by seed, j and i. So a sample does not depend on how many others run beside
it, but for the rounding of matrix products of another shape.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from copy import copy
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from seqmodel.command_settings import SamplingSettings
from seqmodel.decoding.copying import copying
from seqmodel.decoding.sampling import as_one_choice, draw, min_p, repeated_less, top_k, top_p, with_temperature
from seqmodel.decoding.stopping import Bans, Limiter
from seqmodel.decoding.token_healing import Node, PrefixReader
from seqmodel.decoding.token_masks import TEXT, SequenceForm, Speller, Spelling
from seqmodel.errors import UsageError
from seqmodel.inference.blas_threads import one_thread
from seqmodel.inference.sequence_model import SequenceModel
from seqmodel.model.fingerprint import Fingerprint
from seqmodel.scoring.tokens import LN2
from seqmodel.tokens.characters import Characters
from seqmodel.tokens.tokenizer import END, FIRST_BYTE, FIRST_PIECE, Tokenizer

PARALLEL = 32
TRIES = 1000  # draws of one sample until it fits the limits
REFUSED = ("length", "copy")  # reasons to draw a sample again


@dataclass
class Sample:
    """A continuation, complete once `stop` gives the reason why it ended.

    `bits` are the model's own, at temperature 1; `sampling_bits` are those of the distribution drawn from.
    """

    index: int
    text: str = ""
    tokens: int = 0
    bits: float = 0.0
    sampling_bits: float = 0.0
    stop: str = ""
    copied: int | None = None  # characters of the longest span that the training text holds; see `Copying`


class _Drawn(NamedTuple):
    """A drawn token, its bits by the model and by the distribution drawn from, and the text that it completes."""

    token: int
    bits: float
    sampling_bits: float
    text: str
    is_new: bool = True  # False for a token that only spells the end of the prefix


class Piece(NamedTuple):
    """New text of a sample, with the model's bits of its tokens; `done` with the last piece."""

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
    pending: float = 0.0  # bits of tokens whose text is still held back
    tries: int = 1


def generate(
    model: SequenceModel,
    tokenizer: Tokenizer,
    prefix: str,
    settings: SamplingSettings,
    *,
    form: SequenceForm = TEXT,
    prefix_index: int = 0,
    fingerprint: Fingerprint | None = None,
    characters: Characters | None = None,
) -> Iterator[Piece]:
    """Sample continuations of a prefix; yields their text piece by piece.

    Unless the settings allow any text, samples are made of `characters` (default: all), and those of a word model of
    known words if the settings favour the probable. With a `fingerprint` of the training text, samples tell how much
    they copy from it.

    Raises:
        UsageError: if everything is banned, or no sample fits the limits.
    """
    yield from Sampler(model, Spelling(tokenizer, form), prefix, settings, prefix_index, fingerprint, characters).run()


class Sampler:
    """Samples continuations of one prefix."""

    def __init__(
        self,
        model: SequenceModel,
        spelling: Spelling,
        prefix: str,
        settings: SamplingSettings,
        prefix_index: int,
        fingerprint: Fingerprint | None,
        characters: Characters | None,
    ) -> None:
        self.model, self.tokenizer, self.settings = model, spelling.tokenizer, settings
        tokenizer = spelling.tokenizer
        self.prefix_index, self.fingerprint = prefix_index, fingerprint
        self.is_choosy = settings.length is not None or settings.max_copy is not None
        reader = PrefixReader(model, spelling)
        opening = reader.open(prefix)
        self.opening_log_p = opening.log_p
        allowed = spelling.narrowed(None if settings.any_text else characters, settings.prefers_known_words)
        self.opening = opening.narrowed(allowed)
        # Bytes that spell what has no token are one choice to top-k and the like: a single byte means little.
        self.spelled = np.arange(FIRST_BYTE, FIRST_PIECE if tokenizer.unit != "byte" else FIRST_BYTE)
        self.prefix = prefix
        self.seen = np.bincount(reader.trail.ids, minlength=tokenizer.size) > 0
        self.said = prefix.encode("utf-8", "surrogateescape")
        strings = [string.encode("utf-8", "surrogateescape") for string in settings.ban]
        self.bans = Bans(tokenizer, strings) if strings else None

    def run(self) -> Iterator[Piece]:
        """Draw all samples; yields their text piece by piece."""
        settings = self.settings
        size = 1 if settings.reproducible else PARALLEL
        numbers = range(settings.first, settings.first + settings.count)
        for at in range(0, len(numbers), size):
            lanes = [self._lane(number) for number in numbers[at : at + size]]
            while lanes:  # again with those that were refused
                lanes = yield from self._until_stopped(lanes)

    def _lane(self, number: int) -> _Lane:
        random = np.random.Generator(np.random.Philox(key=[self.settings.seed, self.prefix_index << 32 | number]))
        speller = self.opening.nodes[0].speller
        return self._at_prefix(_Lane(Sample(number), speller, random, Limiter(self.settings), self.seen, b""))

    def _at_prefix(self, lane: _Lane) -> _Lane:
        """Put a lane back to the prefix."""
        lane.limiter = Limiter(self.settings)
        lane.seen, lane.said, lane.text = self.seen.copy(), b"", []
        lane.sample.tokens, lane.sample.bits, lane.sample.sampling_bits, lane.sample.stop = 0, 0.0, 0.0, ""
        lane.pending = 0.0
        return lane

    def _until_stopped(self, lanes: list[_Lane]) -> Generator[Piece, None, list[_Lane]]:
        """Draw tokens for all lanes until every one has stopped; returns the lanes to be drawn again."""
        again: list[_Lane] = []
        drawn, state = self._opened(lanes)
        while True:
            for lane, each in zip(lanes, drawn, strict=True):
                self._advance(lane, each)
                if not self.is_choosy:
                    yield self._piece(lane, lane.text[-1])
                elif lane.sample.stop in REFUSED:
                    again.append(self._retried(lane))
                elif lane.sample.stop:
                    yield self._piece(lane, lane.sample.text)
            going = np.array([i for i, lane in enumerate(lanes) if not lane.sample.stop], np.int64)
            if not len(going):
                return [self._at_prefix(lane) for lane in again]
            if len(going) < len(lanes):
                lanes, state = [lanes[i] for i in going], self.model.select(state, going)
            with one_thread():
                logs, state = self.model.step(np.array([[drawn[i].token for i in going]]), state)
            drawn = self._drawn(logs[0], lanes)

    def _opened(self, lanes: Sequence[_Lane]) -> tuple[list[_Drawn], Any]:
        """Draw each lane's first token, jointly with the spelling of the prefix; returns them and the state."""
        nodes, size = self.opening.nodes, self.model.vocabulary
        joint = self.opening.joint
        allowed = np.isfinite(joint)
        if self.bans is not None:
            allowed &= ~np.stack([self._banned(node) for node in nodes])
        if not allowed.any():
            raise UsageError("--ban leaves nothing that can follow the prefix", "Ban less, or choose another prefix.")
        logs = joint
        if (penalty := self.settings.repetition_penalty) != 1:  # for what comes, not for the spelling of the prefix
            logs = np.stack(
                [node.log_p + repeated_less(node.logs.astype(np.float64), self.seen, penalty) for node in nodes]
            )
        spelled = (self.spelled + size * np.arange(len(nodes))[:, None]).ravel()
        probabilities = distribution(np.where(allowed, logs, -np.inf).reshape(1, -1), self.settings, spelled)
        places = draw(np.repeat(probabilities, len(lanes), axis=0), np.array([lane.random.random() for lane in lanes]))
        # A single node at the end of the prefix needs no renormalisation: bits are the model's own.
        given = 0.0 if len(nodes) == 1 and not nodes[0].remaining else self.opening_log_p
        drawn = []
        for lane, place in zip(lanes, places.tolist(), strict=True):
            node, token = nodes[place // size], place % size
            lane.speller, text = (copy(node.speller), "") if token == END else node.take(token)
            self._say(lane, self._said_at(node), token, node.speller.at_line_start)
            bits = (given - float(joint[place // size, token])) / LN2
            is_new = token == END or len(self.tokenizer.piece_bytes[token]) > len(node.remaining)
            drawn.append(_Drawn(token, bits, -float(np.log2(probabilities[0, place])), text, is_new))
        return drawn, self.model.join([nodes[place // size].state for place in places.tolist()])

    def _said_at(self, node: Node) -> bytes:
        """Bytes of the prefix up to a node."""
        virtual = self.tokenizer.has_virtual_blanks and node.speller.at_line_start and node.remaining.startswith(b" ")
        return self.said[: len(self.said) - len(node.remaining) + virtual]

    def _say(self, lane: _Lane, before: bytes, token: int, at_line_start: bool) -> None:
        """Record the end of a lane's text after a token, for the bans."""
        if self.bans is not None:
            said = before + self.bans.said(token, at_line_start)
            lane.said = said[max(0, len(said) - self.bans.reach) :]

    def _banned(self, node: Node) -> npt.NDArray[np.bool_]:
        """Mask (V,) of the tokens after a node that would complete a banned string in new text."""
        assert self.bans is not None
        before, old = self._said_at(node), len(self.said)
        mask = np.zeros(self.model.vocabulary, bool)
        for token in np.flatnonzero(node.covers).tolist():
            text = before + self.bans.implied(token, node.speller.at_line_start)
            mask[token] = any(text.find(string, max(0, old - len(string) + 1)) >= 0 for string in self.bans.strings)
        return mask

    def _drawn(self, logs: npt.NDArray[np.float32], lanes: Sequence[_Lane]) -> list[_Drawn]:
        """Draw a token for each lane."""
        probabilities = self._adjusted(logs, lanes)
        tokens = draw(probabilities, np.array([lane.random.random() for lane in lanes]))
        each = np.arange(len(lanes))
        bits, chosen = logs[each, tokens] / -LN2, -np.log2(probabilities[each, tokens])
        for lane, token in zip(lanes, tokens.tolist(), strict=True):
            self._say(lane, lane.said, token, lane.speller.at_line_start)
        texts = ["" if t == END else lane.speller.push(int(t)) for lane, t in zip(lanes, tokens, strict=True)]
        return [_Drawn(*row) for row in zip(tokens.tolist(), bits.tolist(), chosen.tolist(), texts, strict=True)]

    def _adjusted(self, logs: npt.NDArray[np.float32], lanes: Sequence[_Lane]) -> npt.NDArray[np.float64]:
        """Probabilities (B, V) to draw from: of tokens allowed and not banned, adjusted by the settings."""
        allowed = np.stack([lane.speller.mask for lane in lanes])
        if self.bans is not None:
            allowed &= ~np.stack([self.bans.after(lane.said, lane.speller.at_line_start) for lane in lanes])
            if not allowed.any(axis=-1).all():
                raise UsageError("--ban leaves nothing that can come next", "Ban less.")
        if self.settings.repetition_penalty != 1:
            logs = repeated_less(logs, np.stack([lane.seen for lane in lanes]), self.settings.repetition_penalty)
        return distribution(np.where(allowed, logs, -np.inf), self.settings, self.spelled)

    def _advance(self, lane: _Lane, drawn: _Drawn) -> None:
        """Add a token to a lane, and the text that may be shown now."""
        sample, limiter = lane.sample, lane.limiter
        sample.tokens += drawn.is_new
        sample.bits += drawn.bits
        sample.sampling_bits += drawn.sampling_bits
        lane.pending += drawn.bits
        lane.seen[drawn.token] = True
        is_end = drawn.token == END
        lane.text.append(limiter.advance(drawn.text, lane.speller, is_end=is_end, tokens=sample.tokens))
        sample.stop = limiter.stop
        if self.settings.length is not None:
            self._judge(lane, self.settings.length)
        if sample.stop:
            sample.text = "".join(lane.text)
            self._compare(lane)

    def _compare(self, lane: _Lane) -> None:
        """Measure how much a complete sample copies from the training text; refuse it if that is too much."""
        if self.fingerprint is None:
            return
        found = copying(self.fingerprint, self.prefix, lane.sample.text, ends=lane.sample.stop == "end")
        lane.sample.copied = found.chars
        most = self.settings.max_copy
        if most is not None and (found.chars > most or found.is_whole):
            lane.sample.stop = "copy"

    def _judge(self, lane: _Lane, length: tuple[int, int]) -> None:
        """Refuse a sample that is too long, or has ended too short."""
        shortest, longest = length
        if lane.limiter.chars > longest or (lane.sample.stop and lane.limiter.chars < shortest):
            lane.sample.stop = "length"

    def _piece(self, lane: _Lane, text: str) -> Piece:
        bits = lane.pending
        if text or lane.sample.stop:
            lane.pending = 0.0
        return Piece(lane.sample, text, bits if text else 0.0, bool(lane.sample.stop))

    def _retried(self, lane: _Lane) -> _Lane:
        """The lane for another try, if any is left."""
        lane.tries += 1
        if lane.tries > TRIES:
            raise UsageError(f"no sample in {TRIES:,} fits the limits", "Widen --length, or raise --max-copy.")
        return lane


def distribution(
    logs: npt.NDArray[np.floating], settings: SamplingSettings, spelled: npt.NDArray[np.int64]
) -> npt.NDArray[np.float64]:
    """Probabilities (B, V) from log-probabilities: temperature, then top-k, top-p and min-p.

    To the latter three the tokens `spelled` are one choice.
    """
    probabilities = with_temperature(logs, settings.temperature)
    if settings.truncates and len(spelled):
        return as_one_choice(probabilities, spelled, lambda choices: truncated(choices, settings))
    return truncated(probabilities, settings)


def truncated(probabilities: npt.NDArray[np.float64], settings: SamplingSettings) -> npt.NDArray[np.float64]:
    """Top-k, top-p and min-p, in this order."""
    if settings.top_k is not None:
        probabilities = top_k(probabilities, settings.top_k)
    if settings.top_p is not None:
        probabilities = top_p(probabilities, settings.top_p)
    if settings.min_p is not None:
        probabilities = min_p(probabilities, settings.min_p)
    return probabilities
