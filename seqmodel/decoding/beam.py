"""Beam search: the most probable continuations of a prefix that a bounded search finds; and where searches begin."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from seqmodel.arrays import Floats
from seqmodel.decoding.generation import Sample
from seqmodel.decoding.stopping import Limiter
from seqmodel.decoding.token_masks import Speller, Spelling
from seqmodel.inference.blas_threads import one_thread
from seqmodel.inference.sequence_model import SequenceModel
from seqmodel.scoring.tokens import LN2, RunningScorer
from seqmodel.settings import SamplingSettings
from seqmodel.tokens.characters import Characters
from seqmodel.tokens.tokenizer import END, Tokenizer

LengthNormalisation = Literal["none", "per-token"]
Logs = npt.NDArray[np.float64]
Path = tuple[int, ...]


@dataclass(frozen=True)
class Start:
    """A prefix that has been read: its ids, what may come next, its log-probabilities (1, V), and the state."""

    text: str
    ids: Path
    speller: Speller
    logs: Floats
    state: Any

    def whole(self, path: Sequence[int]) -> str | None:
        """The text of the prefix and a complete path after it; None if that is not how the text is spelled."""
        tokenizer = self.speller.tokenizer
        text = tokenizer.decode([*self.ids, *path])
        if tokenizer.closed:  # decoding has a symbol for what the vocabulary lacks; only a prefix can hold it
            text = self.text + text[len(tokenizer.decode(self.ids)) :]
        return text if tokenizer.encode(text).tolist() == [*self.ids, *path] else None


@one_thread()
def begin(
    model: SequenceModel,
    tokenizer: Tokenizer,
    prefix: str,
    ends: bool = True,
    one_line: bool = False,
    characters: Characters | None = None,
) -> Start:
    """Read a prefix; only `characters` follow it, any if None.

    Raises:
        DataError: if it holds a lone surrogate.
    """
    ids = tokenizer.encode_line(prefix)
    scorer = RunningScorer(model)
    scorer.score(ids)
    logs, state = model.step(np.array([[scorer.last]]), scorer.state)
    speller = Speller(Spelling(tokenizer, ends, one_line).narrowed(characters))
    speller.follow(ids.tolist())
    speller.written = len(speller.pending)
    return Start(prefix, tuple(ids.tolist()), speller, logs[0], state)


def allowed(logs: Floats, spellers: Sequence[Speller], before: Sequence[float]) -> Logs:
    """Log-probability (lanes, V) of each lane with one more token, given that before it; −inf where none may come."""
    masks = np.stack([speller.mask for speller in spellers])
    # Rounding may lift a certain token above one: extending never makes a sequence more probable.
    certain = np.minimum(np.where(masks, logs, -np.inf), 0)
    totals: Logs = np.array(before)[:, None] + certain
    return totals


@dataclass(frozen=True)
class _Partial:
    """A continuation on its way; `stop` says why it goes no further."""

    speller: Speller
    limiter: Limiter
    path: Path = ()
    text: str = ""
    log: float = 0.0
    stop: str = ""

    def extended(self, token: int, log: float) -> _Partial:
        """This with one more token, cut where a limit is reached."""
        speller, limiter, path = copy(self.speller), copy(self.limiter), (*self.path, token)
        text = "" if token == END else limiter.take(speller.push(token))
        stop = limiter.stop
        if not stop and (token == END or len(path) >= limiter.settings.max_tokens):
            text += limiter.take_last(speller.finish())
            stop = limiter.stop or ("end" if token == END else "max_tokens")
        return _Partial(speller, limiter, path, self.text + text, log, stop)

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
    ends: bool = True,
    one_line: bool = False,
    length_normalisation: LengthNormalisation = "none",
    characters: Characters | None = None,
) -> list[Sample]:
    """The most probable continuations of a prefix that a beam of `width` open ones finds: at most `width`, best first.

    Of the settings only max_chars, max_tokens, max_lines, stop and any_text count. Without any_text continuations are
    made of `characters` (all if None).

    At each step every open continuation is extended by every token, and the extensions are taken best first until
    `width` are open; what ends (or reaches a limit) on the way there is put aside. So a width of 1 is greedy, but for
    the unknown words that greedy sampling leaves out. Like sampling it writes canonical spellings only; of those cut at
    a limit that read the same the better one counts.

    "none" ranks by the probability of the whole, of which a longer continuation has ever less: short ones win. The
    search ends when no open one can come among the best any more. "per-token" ranks by the mean log-probability of a
    token, the end symbol counted: long ones of few surprises win. The search ends when `width` have ended, since
    length alone could lift any open one further. `bits` are the model's own in both.

    Raises:
        DataError: if the prefix holds a lone surrogate.
    """
    start = begin(model, tokenizer, prefix, ends, one_line, None if settings.any_text else characters)
    score = attrgetter("per_token" if length_normalisation == "per-token" else "log")
    partials, logs, state = [_Partial(start.speller, Limiter(settings))], start.logs, start.state
    done: dict[tuple[str, str], _Partial] = {}  # by what they read and why they stopped
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
    """The (lane, token) of the most probable entries, best first, of equal ones the first; none that cannot be."""
    flat = totals.ravel()
    edge = np.partition(flat, -number)[-number] if number < len(flat) else -np.inf
    places = np.flatnonzero((flat >= edge) & (flat > -np.inf))
    places = places[np.argsort(-flat[places], kind="stable")][:number]
    return [divmod(int(place), totals.shape[1]) for place in places]
