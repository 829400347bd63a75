"""The training loop: truncated back-propagation through time over lanes, told as a series of events.

It knows ids, batches and the network; not text files, not the screen. Time is read from a clock that counts
the whole command, so that a run of `--time 60s` ends, saved, after 60 seconds.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from seqmodel.arrays import Array, Ranges
from seqmodel.decoding.generation import generate
from seqmodel.errors import ModelError, SeqmodelError
from seqmodel.inference.runtime import Runtime
from seqmodel.model.language_model import LanguageModel
from seqmodel.model.ngram_embeddings import NgramIndex, next_history
from seqmodel.scoring.tokens import LN2, score_ranges
from seqmodel.settings import ModelSettings, SamplingSettings, TrainingSettings
from seqmodel.tokens.batches import Batch, LaneBatches, PaddedBatches, UnseenSpellings, token_count
from seqmodel.tokens.characters import Characters, training_characters
from seqmodel.tokens.store import TokenStore
from seqmodel.tokens.tokenizer import UNKNOWN, Tokenizer
from seqmodel.training.devices import CPU
from seqmodel.training.distributed import Group, LossFunction
from seqmodel.training.events import (
    Annealing,
    CheckpointSaved,
    Event,
    Finished,
    Noted,
    RolledBack,
    Sampled,
    StepDone,
    Validated,
)
from seqmodel.training.memory import refuse_what_does_not_fit
from seqmodel.training.optimization import Optimizers, Schedule, choose_threads
from seqmodel.training.recovery import Recovery
from seqmodel.training.run.checkpoints import Checkpoint, write_checkpoint
from seqmodel.training.throughput import Cadence, Ending, Pace

VALIDATION_SHARE = 0.05  # of the time, at most
CHECKPOINT_SHARE = 0.03
CHECKPOINT_SECONDS = 30.0
SUBSET_TOKENS = 1 << 14  # of a validation, at most
TRIAL_TOKENS = 1 << 10  # scored before training begins, to learn how long that takes
TRIAL_SHARE = 0.005  # of the budget, beyond which a trial is not repeated
ROWS_TIMED = 1 << 13  # at most, where the threads are chosen
STRETCH = 1 << 11  # held-out text is read in stretches of this many tokens, side by side
# So many validations, and so much of the budget, without a gain before the learning rate goes down for good. Going on
# gains nothing: 4,000 names read four times as long were 0.04 bits per char worse, and 0.02 with the rates halved again
# and again.
PATIENCE, PATIENCE_SHARE = 3, 0.05
VALIDATIONS = 20  # in a run that is counted in steps
SAMPLE_SECONDS = 15.0
SAMPLE_CHARS = 120


@dataclass(frozen=True)
class TrainingData:
    """What is trained on and what is held out; the held-out ranges may lie in another store."""

    store: TokenStore
    train: Ranges
    valid_store: TokenStore
    held_out: Ranges

    @property
    def is_stream(self) -> bool:
        return self.store.header.sequence == "stream"

    @cached_property
    def characters(self) -> Characters:
        """The characters of the text that is trained on."""
        return training_characters(self.store.tokenizer, self.store.ids, self.train)

    @property
    def chars_per_token(self) -> float:
        return max(1, self.store.header.corpus_chars) / max(1, self.store.header.tokens)


def stretches(ranges: Ranges, most_tokens: int | None = None) -> list[tuple[int, int]]:
    """Held-out ranges cut into stretches; with `most_tokens` an even choice of them."""
    cut = [(at, min(at + STRETCH, int(end))) for begin, end in ranges for at in range(int(begin), int(end), STRETCH)]
    total = sum(end - begin for begin, end in cut)
    if most_tokens is None or total <= most_tokens:
        return cut
    stride = -(-total // most_tokens)
    return cut[::stride]


class Trainer:
    """A run: `events` drives it; `weights` are those to keep."""

    def __init__(
        self,
        data: TrainingData,
        model_settings: ModelSettings,
        settings: TrainingSettings,
        index: NgramIndex,
        clock: Callable[[], float] = time.monotonic,
        group: Group | None = None,
        device: torch.device = CPU,
    ) -> None:
        self.data, self.settings, self.index, self.clock = data, settings, index, clock
        self.group, self.device = group or Group(), device
        if device == CPU:
            refuse_what_does_not_fit(model_settings, settings, token_count(data.train))
        if device.type == "cuda":
            torch.cuda.set_device(device)  # where NCCL keeps its own memory
        self.tokenizer: Tokenizer = data.store.tokenizer
        self._set_threads(model_settings.width)
        torch.manual_seed(settings.seed)
        self.model = LanguageModel(
            model_settings,
            closed=self.tokenizer.closed,
            dropout=settings.dropout,
            ngram_dropout=settings.ngram_dropout,
            negatives=settings.negatives,
            half=settings.precision == "bf16",
        ).to(device)
        self.loss: LossFunction = self.model.loss
        self.optimizers = Optimizers(self.model, settings)
        self.schedule = Schedule(settings.warmup_steps)
        batches = LaneBatches if model_settings.cell == "mingru" else PaddedBatches
        self.batches = batches(
            data.store, data.train, lanes=settings.lanes, segment=settings.segment, seed=settings.seed
        )
        self.unseen = UnseenSpellings(self.tokenizer, settings.unseen_rate, settings.seed)
        self.ending = Ending(settings.seconds, token_count(data.held_out))
        self._validate_on(SUBSET_TOKENS)
        self.step = 0
        self.tokens = 0
        self.epoch = 0.0
        self.best_bits = math.inf
        self.best_progress = 0.0  # where that was
        self.best: dict[str, Tensor] | None = None
        self.worse = 0
        self.bits_per_char = math.nan
        self.recovery = Recovery()
        # Where the number of steps is given, equal runs give equal bundles: the threads stay as they are.
        may_change = settings.threads is None and settings.seconds is not None and self.group.size == 1
        self.pace = Pace() if may_change and device == CPU else None
        self.batch_tokens = settings.lanes * settings.segment
        self.lanes: list[Tensor] = []
        self.history = np.empty((0, 0), np.int64)

    def _set_threads(self, width: int) -> None:
        if self.settings.threads is not None:
            torch.set_num_threads(self.settings.threads)
        elif self.device == CPU:
            rows = min(self.settings.lanes * self.settings.segment, token_count(self.data.train))
            rows = max(1, min(rows // self.group.size, ROWS_TIMED))
            torch.set_num_threads(choose_threads(width, rows, self.group.place.local_size))

    def begin_from(self, weights: Mapping[str, Array]) -> None:
        """Start with a bundle's weights instead of random ones."""
        with torch.no_grad():
            for name, parameter in self._weights().items():
                parameter.copy_(torch.from_numpy(weights[name].astype(np.float32)))

    # Progress

    def total_steps(self) -> int | None:
        """How many steps the budget allows, where it is counted in steps or epochs."""
        if self.settings.steps is not None:
            return self.settings.steps
        if self.settings.epochs is not None:
            return max(1, round(self.settings.epochs * len(self.batches)))
        return None

    def _progress(self, began: float, deadline: float) -> float:
        total = self.total_steps()
        if total is not None:
            return self.step / total
        return min(1.0, max(0.0, self.clock() - began) / max(1e-9, deadline - self.ending.seconds - began))

    # The loop

    def events(
        self,
        deadline: float = math.inf,
        *,
        began: float | None = None,
        checkpoint: Path | None = None,
        should_stop: Callable[[], bool] = lambda: False,
        notes: dict[str, Any] | None = None,
    ) -> Iterator[Event]:
        """Train until the budget is spent, or `should_stop` says so; `deadline` and `began` are clock readings.

        Of a budget of time as much is left, at the deadline, as `ending` keeps for the final figures.

        Raises:
            SeqmodelError: if the loss is no number, and again after each of a few tries with a lower rate.
        """
        start, first_tokens = self.clock(), self.tokens
        began = start if began is None else began
        validation = Cadence(1.0, VALIDATION_SHARE, start)
        if self.subset and self.settings.seconds is not None and self.group.leads:
            self._time_scoring()
            validation.done(start - self.ending.validation_seconds, start)
        sample = Cadence(SAMPLE_SECONDS, VALIDATION_SHARE, start)
        saving = Cadence(CHECKPOINT_SECONDS, CHECKPOINT_SHARE, start)
        reading = self.batches.read(self.step)
        total = self.total_steps()
        every = max(1, total // VALIDATIONS) if total is not None else None
        self.loss = self.group.loss_of(self.model)
        while True:
            progress, stop = self.group.broadcast(self._progress(began, deadline), should_stop())
            if self.schedule.is_over(self.step, progress):
                break
            if stop:
                if checkpoint is not None:
                    yield self._save(checkpoint, began, notes)
                break
            if self.recovery.is_due(self.step):
                self.recovery.good = self._snapshot()
            scale = self.schedule.scale(self.step, progress) * self.recovery.factor
            before = self.clock()
            bits = self._train(self.unseen.apply(next(reading), self.step), scale)
            now = self.clock()
            if reason := self.recovery.trouble(bits):
                yield self._roll_back(reason)
                reading = self.batches.read(self.step)
                continue
            speed = (self.tokens - first_tokens) / max(1e-9, now - start)
            yield self._step_done(bits, speed, progress, now - start, scale)
            if self.pace is not None and self.pace.has_collapsed(now - before, self.batch_tokens):
                yield self._choose_threads_again()
            due = self.step % every == 0 if every else validation.is_due(now)
            due, save = map(bool, self.group.broadcast(due, checkpoint is not None and saving.is_due(self.clock())))
            if self.subset and due and self.schedule.anneal_from is None:
                yield from self._validate(progress, start)
                validation.done(now, self.clock())
            if self.group.leads and sample.is_due(now := self.clock()):
                yield Sampled(self.step, self._sample())
                sample.done(now, self.clock())
            if checkpoint is not None and save:
                now = self.clock()
                yield self._save(checkpoint, began, notes)
                saving.done(now, self.clock())
        (progress,) = self.group.broadcast(self._progress(began, deadline))
        annealed = self.schedule.is_over(self.step, progress)
        if self.subset and self.step:
            yield from self._validate(1.0, start)
        elapsed = self.clock() - start
        speed = (self.tokens - first_tokens) / max(1e-9, elapsed)
        yield Finished(self.step, self.tokens, self.epoch, elapsed, speed, annealed)

    def _step_done(self, bits: float, speed: float, progress: float, elapsed: float, scale: float) -> StepDone:
        smooth = bits / self.data.chars_per_token
        self.bits_per_char = smooth if math.isnan(self.bits_per_char) else 0.95 * self.bits_per_char + 0.05 * smooth
        rate = scale * self.settings.learning_rate
        return StepDone(self.step, self.tokens, self.epoch, self.bits_per_char, speed, progress, elapsed, rate)

    def _roll_back(self, reason: str) -> RolledBack:
        failed = self.step
        try:
            self._take(self.recovery.roll_back(reason, failed))
        except SeqmodelError as error:
            raise self.group.common(error) from None
        return RolledBack(failed, self.step, reason, self.recovery.factor)

    def _choose_threads_again(self) -> Noted:
        before = torch.get_num_threads()
        self._set_threads(self.model.settings.width)
        after = torch.get_num_threads()
        return Noted(f"training became slow: the threads were timed again, {before} before, {after} now")

    def _train(self, batch: Batch, scale: float) -> float:
        """One step; returns the batch's bits per token. One whose loss is no number changes no weight."""
        begins = batch.fresh.all() or not self.lanes
        if begins:
            self.history = np.full((self.index.history, batch.inputs.shape[1]), UNKNOWN, np.int64)
        elif self.history.shape[1] != batch.inputs.shape[1]:
            raise ModelError("the lanes of the checkpoint are not those of the corpus", "Start anew with --force.")
        rows = self.index.find(batch.inputs, self.history)
        self.history = next_history(batch.inputs, self.history)
        self.model.train()
        arrays = (batch.inputs, batch.targets, batch.weights, rows)
        inputs, targets, weights, table_rows = (self._tensor(self.group.share(array)) for array in arrays)
        if begins:
            self.lanes = self.model.start(inputs.shape[1])
        self._seed_noise()
        loss, self.lanes = self.loss(inputs, targets, weights, table_rows, self.lanes)
        nats = self.group.backward(loss, batch.weights) / self.model.settings.networks
        if not math.isfinite(nats):
            self.optimizers.drop_gradients()  # the weights stay as they are
            return nats
        self.group.exchange(self.model)
        self.optimizers.step(scale)
        self.step += 1
        self.tokens += batch.tokens
        self.epoch = batch.epoch
        return nats / LN2

    def _seed_noise(self) -> None:
        """Other dropout masks in each process; on a GPU the generator's state is not kept in the checkpoint."""
        if self.group.size > 1 or self.device != CPU:
            entropy = [self.settings.seed, self.step, self.group.place.rank]
            torch.manual_seed(int(np.random.SeedSequence(entropy).generate_state(1, np.uint64)[0]))

    def _tensor(self, array: Array) -> Tensor:
        return torch.from_numpy(array).to(self.device)

    # Held-out text and samples

    def runtime(self, weights: dict[str, Tensor] | None = None) -> Runtime:
        """The present (or given) weights behind the interface that scoring and sampling use; no copy on a CPU."""
        arrays = {name: tensor.detach().cpu().numpy() for name, tensor in (weights or self._weights()).items()}
        return Runtime(self.model.settings, arrays, self.index, self.tokenizer.closed)

    def _weights(self) -> dict[str, Tensor]:
        return dict(self.model.named_parameters())  # a tied weight stands there once

    def _validate(self, progress: float, start: float) -> Iterator[Event]:
        (figure,) = self.group.broadcast(self._subset_figure() if self.group.leads else 0.0)
        best = figure < self.best_bits
        if best:
            self.best_bits, self.best_progress, self.worse = figure, progress, 0
            self.best = {name: p.detach().clone() for name, p in self._weights().items()}
        else:
            self.worse += 1
        yield Validated(self.step, figure, best, self.clock() - start, self.tokens)
        waited = self.worse >= PATIENCE and progress - self.best_progress >= PATIENCE_SHARE
        if waited and self.schedule.anneal_from is None and progress < 0.8:
            self.schedule.anneal(self.step, max(20, self.step // 8), progress)
            with torch.no_grad():  # from where it was best, not from where it has over-fitted
                for name, parameter in self._weights().items():
                    parameter.copy_((self.best or {}).get(name, parameter))
            yield Annealing(self.step, "held-out text no longer gains")

    def _subset_figure(self) -> float:
        began = self.clock()
        bits, tokens = score_ranges(self.runtime(), self.data.valid_store.ids, self.subset, self.data.is_stream)
        self.ending.scored(self.ending.validated, self.clock() - began)
        return bits / max(1, tokens) / self.data.chars_per_token

    def _validate_on(self, most_tokens: int) -> None:
        self.subset = stretches(self.data.held_out, most_tokens)
        self.ending.validated = sum(end - begin for begin, end in self.subset)

    def _time_scoring(self) -> None:
        """Learn how fast held-out text is scored from an even choice of it, all at once, as validations do it."""
        trial = [(begin, min(end, begin + TRIAL_TOKENS)) for begin, end in stretches(self.data.held_out, TRIAL_TOKENS)]
        for _ in range(2):  # the first warms up
            began = self.clock()
            score_ranges(self.runtime(), self.data.valid_store.ids, trial, self.data.is_stream)
            spent = self.clock() - began
            self.ending.scored(sum(end - begin for begin, end in trial), spent)
            if spent > TRIAL_SHARE * (self.settings.seconds or math.inf):
                break
        if self.best is None:  # else figures are compared with that of the best
            self._validate_on(self.ending.validation_tokens(SUBSET_TOKENS))

    def _sample(self) -> str:
        settings = SamplingSettings(max_tokens=SAMPLE_CHARS, max_chars=SAMPLE_CHARS, seed=self.step)
        kind = self.data.store.header.sequence
        pieces = generate(
            *(self.runtime(), self.tokenizer, "", settings),
            ends=kind != "stream",
            one_line=kind == "line",
            characters=self.data.characters,
        )
        return "".join(piece.text for piece in pieces)

    def kept_weights(self) -> dict[str, Array]:
        """The best weights so far, as arrays."""
        weights = self.best if self.best is not None else self._weights()
        return {name: tensor.detach().cpu().numpy() for name, tensor in weights.items()}

    # Checkpoints

    def _save(self, path: Path, began: float, notes: dict[str, Any] | None) -> CheckpointSaved:
        start = time.monotonic()
        state = self._state()
        lanes = self.history.shape[1]
        keys = zip(self.index.orders, self.index.keys, strict=True)
        groups = {
            **state.groups,
            "lanes": {name: self.group.gather(lane)[:lanes] for name, lane in state.groups["lanes"].items()},
            "best": self.best or {},
            "ngrams": {str(order): torch.from_numpy(each) for order, each in keys},
        }
        progress = {
            **state.progress,
            "elapsed": self.clock() - began,
            "best_bits": None if math.isinf(self.best_bits) else self.best_bits,
            "best_progress": self.best_progress,
            "worse": self.worse,
            "validated": self.ending.validated,
            "anneal": [self.schedule.anneal_from, self.schedule.anneal_steps, self.schedule.anneal_scale],
            "recovery": [self.recovery.factor, self.recovery.tries],
            "settings": self.settings.model_dump(mode="json"),
            "model": self.model.settings.model_dump(mode="json"),
            "threads": torch.get_num_threads(),
            "corpus_digest": self.data.store.header.corpus_digest,
            "notes": notes or {},
        }
        if self.group.leads:
            write_checkpoint(path, Checkpoint(groups, progress))
        return CheckpointSaved(self.step, str(path), time.monotonic() - start)

    def _state(self) -> Checkpoint:
        """What a step changes, not copied."""
        groups: dict[str, dict[str, Tensor]] = {
            "weights": self._weights(),
            "optimizer": self.optimizers.state(),
            "lanes": {str(number): lane for number, lane in enumerate(self.lanes)},
            "random": {"torch": torch.get_rng_state(), "history": torch.from_numpy(self.history)},
        }
        bits = None if math.isnan(self.bits_per_char) else self.bits_per_char
        progress = {"step": self.step, "tokens": self.tokens, "epoch": self.epoch, "bits_per_char": bits}
        return Checkpoint(groups, progress)

    def _snapshot(self) -> Checkpoint:
        state = self._state()
        groups = {
            group: {name: tensor.detach().clone() for name, tensor in tensors.items()}
            for group, tensors in state.groups.items()
        }
        return Checkpoint(groups, state.progress)

    def _take(self, state: Checkpoint) -> None:
        """Go back (or on) to a state."""
        numbers, groups = state.progress, state.groups
        with torch.no_grad():
            for name, tensor in self._weights().items():
                tensor.copy_(groups["weights"][name])
        self.optimizers.restore(groups["optimizer"])
        self.lanes = [groups["lanes"][str(i)].clone() for i in range(len(groups.get("lanes", {})))]
        self.history = groups["random"]["history"].numpy().copy()
        torch.set_rng_state(groups["random"]["torch"].clone())
        self.step, self.tokens, self.epoch = numbers["step"], numbers["tokens"], numbers["epoch"]
        self.bits_per_char = math.nan if numbers["bits_per_char"] is None else numbers["bits_per_char"]

    def restore(self, checkpoint: Checkpoint) -> None:
        """Go on where a checkpoint was taken.

        Raises:
            ModelError: if it is of another network or corpus.
        """
        numbers, groups = checkpoint.progress, checkpoint.groups
        misfit = ModelError("the checkpoint does not fit the model", "Start anew with --force.")
        if numbers["corpus_digest"] != self.data.store.header.corpus_digest:
            raise ModelError(
                "the checkpoint was taken on another corpus",
                "Resume with the corpus it began with, or start anew with --force.",
            )
        if self.tokenizer.size != self.model.settings.vocabulary or self.data.is_stream == self.model.settings.ends:
            raise misfit
        if numbers["step"] > 2 * (numbers["epoch"] + 1) * len(self.batches) + 1:  # epochs differ a little in length
            raise misfit
        lanes = {
            name: self._tensor(self.group.share(lane.numpy(), 0)) for name, lane in groups.get("lanes", {}).items()
        }
        try:
            self._take(Checkpoint({**groups, "lanes": lanes}, numbers))
        except (KeyError, RuntimeError, ValueError, TypeError, OverflowError):
            raise misfit from None
        self.best = dict(groups.get("best", {})) or None
        self.best_bits = math.inf if numbers["best_bits"] is None else numbers["best_bits"]
        self.best_progress, self.worse = numbers["best_progress"], numbers["worse"]
        self._validate_on(numbers["validated"] or SUBSET_TOKENS)
        self.schedule.anneal_from, self.schedule.anneal_steps, self.schedule.anneal_scale = numbers["anneal"]
        self.recovery = Recovery(*numbers["recovery"])
