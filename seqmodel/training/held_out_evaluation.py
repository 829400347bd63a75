"""The final figures of a run: scores of the held-out text, the mixture's weights, and a unigram baseline."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from seqmodel.arrays import Ranges
from seqmodel.inference.experts import LEAST_WEIGHT, UNFITTED_WEIGHT, fit_weights, situations, where_seen
from seqmodel.inference.runtime import Runtime
from seqmodel.model.bundle import HeldOut
from seqmodel.model.kneser_ney import CountModel
from seqmodel.scoring.anomaly import rates_by_length
from seqmodel.scoring.tokens import score_sequences
from seqmodel.tokens.batches import inputs_and_targets, token_count
from seqmodel.tokens.store import sequences_in
from seqmodel.tokens.stored_array import Stored
from seqmodel.tokens.tokenizer import END, UNKNOWN, is_byte, never_predicted
from seqmodel.training.events import Evaluated, Per
from seqmodel.training.training_data import TrainingData, stretches

_MOST_FOLDS, _FOLDED_TOKENS = 8, 1 << 16  # a long text has two folds: as exact, and faster
_BATCH_TOKENS = 1 << 16  # scored at once
_MOST_COUNTED = 1 << 25  # training tokens that the unigram model is estimated from
_COUNTED_AT_ONCE = 1 << 20

Numbers = npt.NDArray[Any]


@dataclass(frozen=True)
class ExpertScores:
    """Arrays (N,) over held-out tokens: each expert's probability, the situation (`where`) and the stretch's number."""

    recurrence: Numbers
    counts: Numbers
    where: Numbers
    stretch: Numbers


def final_figures(
    runtime: Runtime, counts: CountModel | None, data: TrainingData
) -> tuple[HeldOut | None, tuple[float, ...]]:
    """Score the held-out text and fit the mixture's weights, one per situation.

    The figures are None if there is no held-out text. The mixture's bits are cross-validated: each part of the text is
    scored with weights fitted on the others.
    """
    number = counts.situations if counts is not None else 0
    parts = list(_expert_scores(runtime, counts, data)) if len(data.held_out) else []
    if not parts:
        return None, (UNFITTED_WEIGHT,) * number
    scores = ExpertScores(*(np.concatenate([getattr(part, name) for part in parts]) for name in _COLUMNS))
    alone = -np.log2(scores.recurrence)
    weights, bits = _fitted(scores, number) if counts is not None else (np.empty(0), alone)
    common: dict[str, Any] = {
        "sequences": len(data.held_out),
        "tokens": len(scores.where),
        "chars": sum(held_out_chars(data)),
        "bits": float(bits.sum()),
        "unigram_bits": unigram_bits(data),
        "lines": rates_by_length(*held_out_lines(data, bits)),
    }
    if counts is None:
        return HeldOut(**common), ()
    held_out = HeldOut(
        **common,
        recurrence_bits=float(alone.sum()),
        counts_bits=-float(np.log2(scores.counts).sum()),
    )
    return held_out, tuple(weights.tolist())


def per_unit(data: TrainingData) -> Per:
    """The unit of the bits that are shown: tokens for a closed vocabulary, whose unknown words have no characters."""
    return "token" if data.store.header.closed else "char"


def evaluated(held_out: HeldOut, per: Per, elapsed: float) -> Evaluated:
    """The held-out figures as an event."""
    amount = max(1, held_out.chars if per == "char" else held_out.tokens)

    def rate(bits: float | None) -> float | None:
        return None if bits is None else bits / amount

    return Evaluated(
        bits_per_char=held_out.bits_per_char if per == "char" else None,
        perplexity=held_out.perplexity,
        per=per,
        recurrence=rate(held_out.recurrence_bits),
        counts=rate(held_out.counts_bits),
        unigram=rate(held_out.unigram_bits),
        tokens=held_out.tokens,
        elapsed=elapsed,
    )


def unigram_bits(data: TrainingData) -> float:
    """Bits of the held-out text by a unigram model of the training text with add-one smoothing: a baseline.

    Of a very large training text only `_MOST_COUNTED` tokens are counted.
    """
    header = data.store.header
    found = _token_counts(data.store.ids, data.train, header.vocabulary, _MOST_COUNTED) + 1
    found[never_predicted(not data.is_stream, header.closed)] = 0
    seen = _token_counts(data.valid_store.ids, data.held_out, header.vocabulary)
    possible = found > 0
    return float((seen[possible] * (np.log2(found.sum()) - np.log2(found[possible]))).sum())


def _token_counts(ids: Stored, ranges: Ranges, vocabulary: int, most: int | None = None) -> Numbers:
    """Count each id (vocabulary,) in the ranges; with `most`, in the first part of each, about `most` ids in all."""
    share = 1.0 if most is None else min(1.0, most / max(1, token_count(ranges)))
    counts = np.zeros(vocabulary, np.int64)
    pieces: list[Numbers] = []
    size = 0
    for begin, end in ranges.tolist():
        stop = begin + max(1, int((end - begin) * share))
        for at in range(begin, stop, _COUNTED_AT_ONCE):
            pieces.append(np.arange(at, min(at + _COUNTED_AT_ONCE, stop)))
            size += len(pieces[-1])
            if size >= _COUNTED_AT_ONCE:
                counts += np.bincount(ids[np.concatenate(pieces)], minlength=vocabulary)
                pieces, size = [], 0
    return counts + np.bincount(ids[np.concatenate([np.empty(0, np.int64), *pieces])], minlength=vocabulary)


_COLUMNS = ("recurrence", "counts", "where", "stretch")


def _fitted(scores: ExpertScores, number: int) -> tuple[Numbers, Numbers]:
    """Fit the mixture's weights (number,) and cross-validate its bits (N,).

    If one expert alone predicts the text better than the cross-validated mixture, it gets nearly all of the weight in
    every situation that the text has.
    """
    weights: Numbers = fit_weights(scores.recurrence, scores.counts, scores.where, number)
    bits = _cross_validated_bits(scores, number)
    for expert, share in ((scores.recurrence, 1 - LEAST_WEIGHT), (scores.counts, LEAST_WEIGHT)):
        if -np.log2(expert).sum() < bits.sum():
            weights, bits = where_seen(np.full(number, share), scores.where), _mixture_bits(scores, share)
    return weights, bits


def _cross_validated_bits(scores: ExpertScores, number: int) -> Numbers:
    """Bits (N,) of each token by a mixture whose weights were fitted on the other folds."""
    folds = max(2, min(_MOST_FOLDS, _FOLDED_TOKENS // len(scores.where)))
    weights = np.empty(len(scores.where))
    for fold in range(folds):
        test = scores.stretch % folds == fold
        fit = ~test if (~test).any() else test
        if test.any():
            fitted = fit_weights(scores.recurrence[fit], scores.counts[fit], scores.where[fit], number)
            weights[test] = fitted[scores.where[test]]
    return _mixture_bits(scores, weights)


def _mixture_bits(scores: ExpertScores, share: Numbers | float) -> Numbers:
    """Bits (N,) of each token if the recurrence has this share of the mixture, a number or (N,)."""
    bits: Numbers = -np.log2(share * scores.recurrence + (1 - share) * scores.counts)
    return bits


def _expert_scores(runtime: Runtime, counts: CountModel | None, data: TrainingData) -> Iterator[ExpertScores]:
    ids = data.valid_store.ids
    for first, sizes, positions in _batches(stretches(data.held_out)):
        inputs, targets = inputs_and_targets(ids, positions)
        ends = np.cumsum(sizes)
        scores = score_sequences(runtime, np.split(targets, ends[:-1]), inputs[ends - sizes].tolist())
        kept = targets != END if data.is_stream else np.ones(len(targets), bool)
        p = np.maximum(np.exp2(-np.concatenate([each.bits for each in scores])), 1e-300)
        stretch = np.repeat(np.arange(len(sizes)), sizes)
        own, where = p, np.zeros(len(targets), np.int64)
        if counts is not None:
            rows = _contexts(counts, inputs, stretch)
            where = situations(
                counts, rows, np.concatenate([each.highest for each in scores if each.highest is not None])
            )
            own = counts.probabilities(rows, targets).astype(np.float64)
        yield ExpertScores(p[kept], own[kept], where[kept], first + stretch[kept])


def _batches(cut: list[tuple[int, int]]) -> Iterator[tuple[int, Numbers, Numbers]]:
    """Group stretches into batches of about `_BATCH_TOKENS`, so that short ones are scored as fast as long ones.

    Yields the number of the batch's first stretch, the stretches' sizes, and the positions of their tokens.
    """
    bounds = np.array(cut)
    sizes = bounds[:, 1] - bounds[:, 0]
    batch = (np.cumsum(sizes) - sizes) // _BATCH_TOKENS
    for number in np.unique(batch):
        here = np.flatnonzero(batch == number)
        offsets = np.cumsum(sizes[here]) - sizes[here]
        positions = np.arange(int(sizes[here].sum())) + np.repeat(bounds[here, 0] - offsets, sizes[here])
        yield int(here[0]), sizes[here], positions


def _contexts(counts: CountModel, inputs: Numbers, stretch: Numbers) -> list[Numbers]:
    """Find the count model's rows (N,) of the context at each input, as `CountModel.find`.

    A context reaches back no further than to the first input of its stretch.
    """
    places = np.arange(len(inputs)) + counts.history * (1 + stretch)
    apart = np.full((places[-1] + 1, 1), UNKNOWN)
    apart[places, 0] = inputs
    return [row[places, 0] for row in counts.find(apart, np.full((counts.history, 1), UNKNOWN))]


def held_out_chars(data: TrainingData) -> Iterator[int]:
    """Characters of each held-out sequence, as `wc -m` counts them: with a newline, except for a stream."""
    tokenizer = data.valid_store.tokenizer
    for begin, end in data.held_out:
        ids = np.asarray(data.valid_store.ids[begin:end]).astype(np.int64)
        for part in sequences_in(ids):
            # A range may begin inside a character that is spelled in bytes: it counts where it begins.
            size = int(is_byte(part).sum()) if tokenizer.unit == "byte" else len(tokenizer.decode_part(part))
            yield size + (not data.is_stream and END in part[-1:])


def held_out_lines(data: TrainingData, bits: Numbers) -> tuple[Numbers, Numbers]:
    """Bits and length, both (lines,), of each whole line of the held-out text, as `score` shows them.

    `bits` (tokens,) are those of its tokens in order, without a stream's end symbols. Length is in characters, or in
    tokens if the vocabulary is closed. Empty lines are left out, and lines of a stream that are cut.
    """
    store, tokenizer = data.valid_store, data.valid_store.tokenizer
    enders = [*tokenizer.newline_ids, END]
    ids = np.concatenate([np.asarray(store.ids[begin:end]) for begin, end in data.held_out]).astype(np.int64)
    counted = ids != END if data.is_stream else np.ones(len(ids), bool)
    before = np.concatenate([[0], np.cumsum(counted)])  # entries of `bits` before each token
    ends = np.isin(ids, enders)
    sizes = data.held_out[:, 1] - data.held_out[:, 0]
    entries = np.cumsum(sizes) - sizes  # where each range begins in `ids`
    whole = np.concatenate([[True], ends[:-1]])
    whole[entries] = [begin == 0 or store.ids[begin - 1] in enders for begin in data.held_out[:, 0].tolist()]
    starts = np.union1d(entries, np.flatnonzero(ends[:-1]) + 1)
    stops = np.append(starts[1:], len(ids))
    found = []
    sums = np.concatenate([[0.0], np.cumsum(bits)])
    for start, stop in zip(starts.tolist(), stops.tolist(), strict=True):
        if not (whole[start] and ends[stop - 1]) or stop - start == 1:
            continue
        first, last = before[start], before[stop]
        length = last - first if store.header.closed else len(tokenizer.decode(ids[start : stop - 1].tolist()))
        found.append((sums[last] - sums[first], length))
    return np.array([one for one, _ in found]), np.array([length for _, length in found], np.int64)
