"""Validation: figures of a fixed subset of the held-out text, and the best weights so far.

It knows stores, weights and the clock; not how weights are trained.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from torch import Tensor

from seqmodel.inference.runtime import Runtime
from seqmodel.scoring.tokens import score_ranges
from seqmodel.tokens.batches import token_count
from seqmodel.training.throughput import EndReserve
from seqmodel.training.training_data import TrainingData, stretches

SUBSET_TOKENS = 1 << 14  # of a validation, at most
TRIAL_TOKENS = 1 << 10  # scored before training begins, to time the scoring
TRIAL_SHARE = 0.005  # of the budget; a slower trial is not repeated
# Validations, and share of the budget, without a gain before annealing begins. Training on gains nothing: on 4,000
# names, four times as long gave 0.04 bits per char more, and 0.02 more with the rates halved again and again.
PATIENCE, PATIENCE_SHARE = 3, 0.05


class Validation:
    """The subset of the held-out text, and the best figure and weights so far.

    `best_progress` is the share of the budget at which the best figure was found; `worse` counts the validations
    since. `seconds` is the budget of the run, if that is a time.
    """

    def __init__(self, data: TrainingData, seconds: float | None, clock: Callable[[], float]) -> None:
        self.data, self.seconds, self.clock = data, seconds, clock
        self.end_reserve = EndReserve(seconds, token_count(data.held_out))
        self.best_bits = math.inf
        self.best_progress = 0.0
        self.best: dict[str, Tensor] | None = None
        self.worse = 0
        self.choose_subset(SUBSET_TOKENS)

    def choose_subset(self, most_tokens: int) -> None:
        """Validate on an even choice of about so many tokens."""
        self.subset = stretches(self.data.held_out, most_tokens)
        self.end_reserve.validated = sum(end - begin for begin, end in self.subset)

    def figure(self, runtime: Runtime) -> float:
        """Bits per char of the subset."""
        began = self.clock()
        bits, tokens = score_ranges(runtime, self.data.valid_store.ids, self.subset, self.data.is_stream)
        self.end_reserve.scored(self.end_reserve.validated, self.clock() - began)
        return bits / max(1, tokens) / self.data.chars_per_token

    def time_scoring(self, runtime: Runtime) -> None:
        """Time the scoring of a sample of the held-out text, in one batch as in a validation, and fit the subset."""
        trial = [(begin, min(end, begin + TRIAL_TOKENS)) for begin, end in stretches(self.data.held_out, TRIAL_TOKENS)]
        for _ in range(2):  # the first warms up
            began = self.clock()
            score_ranges(runtime, self.data.valid_store.ids, trial, self.data.is_stream)
            spent = self.clock() - began
            self.end_reserve.scored(sum(end - begin for begin, end in trial), spent)
            if spent > TRIAL_SHARE * (self.seconds or math.inf):
                break
        if self.best is None:  # later figures must be of the same tokens as the best one
            self.choose_subset(self.end_reserve.validation_tokens(SUBSET_TOKENS))

    def record(self, figure: float, progress: float, weights: Mapping[str, Tensor]) -> bool:
        """Record a figure; copy the weights and return True if it is the best so far."""
        if figure < self.best_bits:
            self.best_bits, self.best_progress, self.worse = figure, progress, 0
            self.best = {name: weight.detach().clone() for name, weight in weights.items()}
            return True
        self.worse += 1
        return False

    def has_stalled(self, progress: float) -> bool:
        """True if the figure has not improved for several validations and a share of the budget."""
        return self.worse >= PATIENCE and progress - self.best_progress >= PATIENCE_SHARE

    def restore(
        self, best: Mapping[str, Tensor], bits: float | None, progress: float, worse: int, validated: int
    ) -> None:
        """Continue with the figures of a checkpoint; `validated` is the number of tokens that they are of, or 0."""
        self.best = dict(best) or None
        self.best_bits = math.inf if bits is None else bits
        self.best_progress, self.worse = progress, worse
        self.choose_subset(validated or SUBSET_TOKENS)
