"""The end of a run: what the stored weights give on the held-out text, and how the two experts are mixed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from seqmodel.inference.mixture import fit_weights, situations
from seqmodel.inference.runtime import Runtime
from seqmodel.inference.scoring import score_sequences
from seqmodel.model.bundle import HeldOut
from seqmodel.model.ngram import CountModel
from seqmodel.tokens.batches import inputs_and_targets
from seqmodel.tokens.tokenizer import END, START, UNKNOWN
from seqmodel.training.loop import TrainingData, stretches

UNFITTED_WEIGHT = 0.65  # the recurrence's share where there is nothing to fit it on
_BATCH = 256

Numbers = npt.NDArray[Any]


@dataclass(frozen=True)
class ExpertScores:
    """Per held-out token: each expert's probability, the situation, and the stretch that it lies in."""

    recurrence: Numbers
    counts: Numbers
    where: Numbers
    stretch: Numbers


def final_figures(
    runtime: Runtime, counts: CountModel | None, data: TrainingData
) -> tuple[HeldOut | None, tuple[float, ...]]:
    """Held-out figures on all of the held-out text, and the mixture's weights.

    The mixture's own figure is two-fold: each half of the text is scored with weights fitted on the other.
    """
    number = counts.situations if counts is not None else 0
    parts = list(_expert_scores(runtime, counts, data)) if len(data.held_out) else []
    if not parts:
        return None, (UNFITTED_WEIGHT,) * number
    scores = ExpertScores(*(np.concatenate([getattr(part, name) for part in parts]) for name in _COLUMNS))
    alone = -float(np.log2(scores.recurrence).sum())
    common = {"sequences": len(data.held_out), "tokens": len(scores.where), "chars": sum(held_out_chars(data))}
    if counts is None:
        return HeldOut(**common, bits=alone), ()
    weights = fit_weights(scores.recurrence, scores.counts, scores.where, number)
    held_out = HeldOut(
        **common,
        bits=_two_fold_bits(scores, number),
        recurrence_bits=alone,
        counts_bits=-float(np.log2(scores.counts).sum()),
    )
    return held_out, tuple(weights.tolist())


_COLUMNS = ("recurrence", "counts", "where", "stretch")


def _two_fold_bits(scores: ExpertScores, number: int) -> float:
    bits = 0.0
    for fold in (0, 1):
        test = scores.stretch % 2 == fold
        fit = ~test if (~test).any() else test
        weights = fit_weights(scores.recurrence[fit], scores.counts[fit], scores.where[fit], number)
        share = weights[scores.where[test]]
        bits -= float(np.log2(share * scores.recurrence[test] + (1 - share) * scores.counts[test]).sum())
    return bits


def _expert_scores(runtime: Runtime, counts: CountModel | None, data: TrainingData) -> Iterator[ExpertScores]:
    ids = data.valid_store.ids
    cut = stretches(data.held_out)
    for at in range(0, len(cut), _BATCH):
        batch = cut[at : at + _BATCH]
        parts = [np.asarray(ids[begin:end]).astype(np.int64) for begin, end in batch]
        firsts = [START if begin == 0 else int(ids[begin - 1]) for begin, _ in batch]
        all_scores = score_sequences(runtime, parts, firsts, details=counts is not None)
        for number, ((begin, end), part, scores) in enumerate(zip(batch, parts, all_scores, strict=True), start=at):
            kept = part != END if data.is_stream else np.ones(len(part), bool)
            p = np.maximum(np.exp2(-scores.bits), 1e-300)
            if counts is None:
                yield ExpertScores(p[kept], p[kept], np.zeros(kept.sum(), np.int64), np.full(kept.sum(), number))
                continue
            inputs, _ = inputs_and_targets(ids, np.arange(begin, end))
            rows = [row[:, 0] for row in counts.find(inputs[:, None], np.full((counts.history, 1), UNKNOWN))]
            assert scores.highest is not None
            where = situations(counts, rows, scores.highest)
            own = counts.probabilities(rows, part).astype(np.float64)
            yield ExpertScores(p[kept], own[kept], where[kept], np.full(kept.sum(), number))


def held_out_chars(data: TrainingData) -> Iterator[int]:
    """Characters of the held-out text, as `wc -m` counts them: a newline after every sequence but a stream."""
    tokenizer = data.valid_store.tokenizer
    for begin, end in data.held_out:
        ids = np.asarray(data.valid_store.ids[begin:end]).astype(np.int64)
        for part in np.split(ids, np.flatnonzero(ids == END) + 1):
            # A range may begin inside a character that is spelled in bytes: it counts where it begins.
            data_bytes = b"".join(tokenizer.piece_bytes[token] for token in part)
            text = tokenizer.without_virtual_blanks(data_bytes.decode("utf-8", "ignore"))
            yield len(data_bytes if tokenizer.unit == "byte" else text) + (not data.is_stream and END in part[-1:])
