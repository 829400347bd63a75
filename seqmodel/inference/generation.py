"""Continuations of a prefix: many side by side, each drawn from a random stream of its own.

Sample i of prefix j draws from Philox keyed by seed, j and i: how many others run beside it does not matter.
"""

from __future__ import annotations

from collections.abc import Iterator
from copy import copy
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from seqmodel.config import SamplingSettings
from seqmodel.inference.sampling import draw, top_k, top_p, with_temperature
from seqmodel.inference.scoring import LN2
from seqmodel.inference.sequence_model import SequenceModel
from seqmodel.inference.spelling import Speller, Spelling
from seqmodel.tokens.tokenizer import END, START, Tokenizer

PARALLEL = 32
_PREFIX_CHUNK = 512


@dataclass
class Sample:
    """A continuation, complete when `stop` says why it stopped. `bits`: the model's own, at temperature 1."""

    index: int
    text: str = ""
    tokens: int = 0
    bits: float = 0.0
    stop: str = ""


class Piece(NamedTuple):
    """What a sample has gained; `done` with its last piece."""

    sample: Sample
    text: str
    done: bool


@dataclass
class _Lane:
    sample: Sample
    speller: Speller
    random: np.random.Generator
    text: list[str] = field(default_factory=list)
    chars: int = 0


def generate(
    model: SequenceModel,
    tokenizer: Tokenizer,
    prefix: str,
    settings: SamplingSettings,
    *,
    ends: bool = True,
    one_line: bool = False,
    prefix_index: int = 0,
) -> Iterator[Piece]:
    """Sample `settings.count` continuations; yields their text piece by piece.

    `one_line`: no newline is sampled, as a line model has none.
    """
    spelling = Spelling(tokenizer, ends, one_line)
    ids = np.concatenate([[START], tokenizer.encode_line(prefix).astype(np.int64)])
    state = model.start(1)
    for at in range(0, len(ids), _PREFIX_CHUNK):
        first_logs, state = model.step(ids[at : at + _PREFIX_CHUNK, None], state)
    at_prefix = Speller(spelling)
    at_prefix.follow(ids[1:])
    for begin in range(0, settings.count, PARALLEL):
        numbers = range(begin, min(begin + PARALLEL, settings.count))
        lanes = []
        for number in numbers:
            key = [settings.seed, prefix_index << 32 | number]
            lanes.append(_Lane(Sample(number), copy(at_prefix), np.random.Generator(np.random.Philox(key=key))))
        shared = np.zeros(len(lanes), np.int64)
        logs = np.repeat(first_logs[-1], len(lanes), axis=0)
        yield from _run(model, settings, lanes, logs, model.select(state, shared))


def _run(
    model: SequenceModel,
    settings: SamplingSettings,
    lanes: list[_Lane],
    logs: npt.NDArray[np.float32],
    state: object,
) -> Iterator[Piece]:
    """Draw token after token for all lanes until every one has stopped."""
    while lanes:
        uniforms = np.array([lane.random.random() for lane in lanes])
        tokens = draw(adjusted(logs, [lane.speller for lane in lanes], settings), uniforms)
        picked = logs[np.arange(len(lanes)), tokens]
        for lane, token, log in zip(lanes, tokens, picked, strict=True):
            text = _advance(lane, int(token), float(log), settings)
            yield Piece(lane.sample, text, bool(lane.sample.stop))
        going = np.array([i for i, lane in enumerate(lanes) if not lane.sample.stop], np.int64)
        if len(going) < len(lanes):
            lanes, tokens, state = [lanes[i] for i in going], tokens[going], model.select(state, going)
        if lanes:
            step, state = model.step(tokens[None], state)
            logs = step[0]


def adjusted(
    logs: npt.NDArray[np.float32], spellers: list[Speller], settings: SamplingSettings
) -> npt.NDArray[np.float64]:
    """The probabilities that are drawn from: only what may be spelled, then temperature, top-k and top-p."""
    masks = np.stack([speller.mask for speller in spellers])
    probabilities = with_temperature(np.where(masks, logs, -np.inf), settings.temperature)
    if settings.top_k is not None:
        probabilities = top_k(probabilities, settings.top_k)
    if settings.top_p is not None:
        probabilities = top_p(probabilities, settings.top_p)
    return probabilities


def _advance(lane: _Lane, token: int, log: float, settings: SamplingSettings) -> str:
    """Add a token to a lane; returns the text that it completed."""
    sample = lane.sample
    sample.tokens += 1
    sample.bits -= log / LN2
    text = "" if token == END else lane.speller.push(token)
    if token == END:
        sample.stop = "end"
    elif settings.max_chars is not None and lane.chars + len(text) >= settings.max_chars:
        text = text[: settings.max_chars - lane.chars]
        sample.stop = "max_chars"
    elif sample.tokens >= settings.max_tokens:
        sample.stop = "max_tokens"
    if sample.stop in ("end", "max_tokens"):
        text += lane.speller.finish()
        if settings.max_chars is not None and lane.chars + len(text) > settings.max_chars:
            text, sample.stop = text[: settings.max_chars - lane.chars], "max_chars"
    lane.chars += len(text)
    lane.text.append(text)
    if sample.stop:
        sample.text = "".join(lane.text)
    return text
