"""Beam search: the most probable continuations of a prefix that a search of bounded width finds."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from seqmodel.arrays import Floats
from seqmodel.command_settings import SamplingSettings
from seqmodel.decoding.generation import Sample
from seqmodel.decoding.stopping import Limiter
from seqmodel.decoding.token_masks import TEXT, SequenceForm, Speller, Spelling
from seqmodel.inference.blas_threads import one_thread
from seqmodel.inference.sequence_model import SequenceModel
from seqmodel.scoring.tokens import LN2, RunningScorer
from seqmodel.tokens.characters import Characters
from seqmodel.tokens.tokenizer import END, Tokenizer

LengthNormalisation = Literal["none", "per-token"]
Logs = npt.NDArray[np.float64]
Path = tuple[int, ...]


@dataclass(frozen=True)
class Start:
    """A prefix after it was read: ids, speller, log-probabilities (1, V) of the next token, state (one lane)."""

    text: str
    ids: Path
    speller: Speller
    logs: Floats
    state: Any

    def whole(self, path: Sequence[int]) -> str | None:
        """Text of the prefix and a complete path after it; None if the tokenizer would spell that text otherwise."""
        tokenizer = self.speller.tokenizer
        text = tokenizer.decode([*self.ids, *path])
        if tokenizer.closed:  # only a prefix can hold unknown words, which decode to a symbol
            text = self.text + text[len(tokenizer.decode(self.ids)) :]
        return text if tokenizer.encode(text).tolist() == [*self.ids, *path] else None


@one_thread()
def begin(
    model: SequenceModel,
    tokenizer: Tokenizer,
    prefix: str,
    form: SequenceForm = TEXT,
    characters: Characters | None = None,
) -> Start:
    """Read a prefix; what follows is made of `characters` (default: any).

    Raises:
        DataError: if it holds a lone surrogate.
    """
    ids = tokenizer.encode_line(prefix)
    scorer = RunningScorer(model)
    scorer.score(ids)
    logs, state = model.step(np.array([[scorer.last]]), scorer.state)
    speller = Speller(Spelling(tokenizer, form).narrowed(characters))
    speller.follow(ids.tolist())
    speller.written = len(speller.pending)
    return Start(prefix, tuple(ids.tolist()), speller, logs[0], state)


def allowed(logs: Floats, spellers: Sequence[Speller], before: Sequence[float]) -> Logs:
    """Log-probability (lanes, V) of each lane and one more token; −inf for tokens that may not come.

    `before` (lanes,) are the log-probabilities of the lanes so far.
    """
    masks = np.stack([speller.mask for speller in spellers])
    # Rounding may lift a probability above one; an extension is never more probable than what it extends.
    certain = np.minimum(np.where(masks, logs, -np.inf), 0)
    totals: Logs = np.array(before)[:, None] + certain
    return totals


@dataclass(frozen=True)
class _Partial:
    """A continuation so far."""

    speller: Speller
    limiter: Limiter
    path: Path = ()
    text: str = ""
    log: float = 0.0

    def extended(self, token: int, log: float) -> _Partial:
        """A copy with one more token, cut where it reaches a limit."""
        speller, limiter, path = copy(self.speller), copy(self.limiter), (*self.path, token)
        text = "" if token == END else speller.push(token)
        text = limiter.advance(text, speller, is_end=token == END, tokens=len(path))
        return _Partial(speller, limiter, path, self.text + text, log)

    @property
    def stop(self) -> str:
        """Reason why it ended, "" while it goes on."""
        return self.limiter.stop

    @property
    def per_token(self) -> float:
        return self.log / len(self.path)


@one_thread()
def beam(
    model: SequenceModel,
    tokenizer: Tokenizer,
    prefix: str,
    width: int,
    settings: SamplingSettings,
    *,
    form: SequenceForm = TEXT,
    length_normalisation: LengthNormalisation = "none",
    characters: Characters | None = None,
) -> list[Sample]:
    """Find at most `width` probable continuations of a prefix, best first, with a beam of `width` open ones.

    Of the settings only max_chars, max_tokens, max_lines, stop and any_text apply. Without any_text continuations are
    made of `characters` (default: all).

    Each step extends every open continuation by every token and takes the extensions best first until `width` are
    open; those that end or reach a limit are put aside. A width of 1 is greedy, but may spell unknown words, which
    greedy sampling leaves out. Like sampling, the beam writes canonical spellings only; of continuations that were cut
    at a limit and read the same, it keeps the better one.

    "none" ranks by the probability of the whole, which falls with length: short continuations win. The search ends
    when no open one can be among the best any more. "per-token" ranks by the mean log-probability of a token, the end
    symbol included: long ones of few surprises win. The search ends when `width` have ended, since an open one could
    always rise with its length. In both, `bits` are the model's own.

    Raises:
        DataError: if the prefix holds a lone surrogate.
    """
    start = begin(model, tokenizer, prefix, form, None if settings.any_text else characters)
    score = attrgetter("per_token" if length_normalisation == "per-token" else "log")
    partials, logs, state = [_Partial(start.speller, Limiter(settings))], start.logs, start.state
    done: dict[tuple[str, str], _Partial] = {}  # by text and reason to stop
    while True:
        totals = allowed(logs, [partial.speller for partial in partials], [partial.log for partial in partials])
        parents, following = [], []
        for lane, token in _best(totals, 2 * width):  # as many may end as are open
            partial = partials[lane].extended(token, float(totals[lane, token]))
            if not partial.stop:
                parents.append(lane)
                following.append(partial)
            elif partial.stop != "end" or start.whole(partial.path[:-1]) is not None:
                key = partial.text, partial.stop
                done[key] = max(partial, done.get(key, partial), key=score)
            if len(following) == width:
                break
        partials = following
        ranked = sorted(done.values(), key=score, reverse=True)[:width]
        full = len(ranked) == width
        if not partials or (full and (length_normalisation == "per-token" or partials[0].log <= ranked[-1].log)):
            return [
                Sample(index=index, text=one.text, tokens=len(one.path), bits=-one.log / LN2, stop=one.stop)
                for index, one in enumerate(ranked)
            ]
        step, state = model.step(
            np.array([[partial.path[-1] for partial in partials]]), model.select(state, np.array(parents))
        )
        logs = step[0]


def _best(totals: Logs, number: int) -> list[tuple[int, int]]:
    """Places (lane, token) of the `number` highest entries above −inf, best first; of equal ones, the first."""
    flat = totals.ravel()
    edge = np.partition(flat, -number)[-number] if number < len(flat) else -np.inf
    places = np.flatnonzero((flat >= edge) & (flat > -np.inf))
    places = places[np.argsort(-flat[places], kind="stable")][:number]
    return [divmod(int(place), totals.shape[1]) for place in places]
