"""The chain rule on one text, step by step: log p(x) = Σ log p(x_t | x_<t), with each expert's probability."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate

import numpy as np

from seqmodel.errors import UsageError
from seqmodel.inference.experts import Mixture
from seqmodel.inference.sequence_model import SequenceModel
from seqmodel.reports.highlight import Marking
from seqmodel.scoring.lines import LineScore
from seqmodel.scoring.tokens import RunningScorer
from seqmodel.tokens.tokenizer import END, START, Tokenizer

MOST_TOKENS = 200


@dataclass(frozen=True)
class Experts:
    """A token's probabilities by the experts of a mixture: p = share · recurrence + (1 − share) · counts."""

    recurrence: float
    counts: float
    share: float


@dataclass(frozen=True)
class Step:
    """One factor: the token, the text before it, its probability and bits, and the sum of all bits up to it."""

    before: str
    token: str
    p: float
    bits: float
    sum: float
    experts: Experts | None = None


def chain(model: SequenceModel, tokenizer: Tokenizer, row: LineScore, context: int) -> list[Step]:
    """The factors of a line's probability, each with the last `context` characters before it.

    Raises:
        UsageError: if the line has more than MOST_TOKENS tokens.
    """
    if len(row.ids) > MOST_TOKENS:
        raise UsageError(
            f"line {row.line.number} has {len(row.ids):,} tokens, and {MOST_TOKENS} can be explained",
            "Give a shorter text, or use --by token.",
        )
    marking = Marking(tokenizer)
    names = [tokenizer.piece(token) if token == END else marking.label(token) for token in row.ids.tolist()]
    before = tokenizer.piece(START) + "".join(map(marking.label, row.before.tolist()))
    contexts = list(accumulate(names, initial=before))
    bits = row.scores.bits.tolist()
    experts = _experts(model, row) if isinstance(model, Mixture) and names else [None] * len(names)
    return [
        Step(_end_of(text, context), name, 2**-own, own, total, each)
        for text, name, own, total, each in zip(contexts[:-1], names, bits, accumulate(bits), experts, strict=True)
    ]


def _end_of(text: str, size: int) -> str:
    return text if len(text) <= size else "…" + text[1 - size :]


def _experts(model: Mixture, row: LineScore) -> list[Experts]:
    scorer = RunningScorer(model)
    scorer.score(row.before)
    inputs = np.concatenate([[scorer.last], row.ids[:-1]]).astype(np.int64)
    logs, counts, shares, _ = model.experts(inputs[:, None], scorer.state)
    places = np.arange(len(inputs)), row.ids
    recurrence = np.exp(logs[:, 0][places])
    columns = zip(recurrence.tolist(), counts[places].tolist(), shares.tolist(), strict=True)
    return [Experts(*each) for each in columns]
