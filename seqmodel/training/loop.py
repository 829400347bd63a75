"""The training loop: truncated back-propagation through time over lanes; it yields events.

It knows ids, batches and the network, but neither text files nor the screen. The clock counts the whole command, so
that a run of `--time 60s` ends, saved, after 60 seconds.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from seqmodel.arrays import Array
from seqmodel.command_settings import SamplingSettings
from seqmodel.decoding.generation import generate
from seqmodel.decoding.token_masks import SequenceForm
from seqmodel.errors import ModelError, SeqmodelError
from seqmodel.inference.runtime import Runtime
from seqmodel.model.language_model import LanguageModel
from seqmodel.model.ngram_embeddings import NgramIndex, next_history
from seqmodel.scoring.tokens import LN2
from seqmodel.settings import ModelSettings, TrainingSettings
from seqmodel.tokens.batches import Batch, LaneBatches, PaddedBatches, UnseenSpellings, token_count
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
from seqmodel.training.memory import check_memory
from seqmodel.training.optimization import Optimizers, Schedule, choose_threads
from seqmodel.training.recovery import Recovery
from seqmodel.training.run.checkpoints import (
    AnnealState,
    Checkpoint,
    Progress,
    RecoveryState,
    Snapshot,
    StartRecord,
    StepProgress,
    write_checkpoint,
)
from seqmodel.training.throughput import LoopTiming, SlowdownWatch
from seqmodel.training.training_data import TrainingData
from seqmodel.training.validation import Validation

ROWS_TIMED = 1 << 13  # at most, when the threads are chosen
VALIDATIONS = 20  # in a run that is counted in steps
SAMPLE_CHARS = 120


class Trainer:
    """The state of a run. `events` trains; `kept_weights` returns the best weights so far."""

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
            check_memory(model_settings, settings, token_count(data.train))
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
        self.validation = Validation(data, settings.seconds, clock)
        self.step = 0
        self.tokens = 0
        self.epoch = 0.0
        self.bits_per_char = math.nan
        self.recovery = Recovery()
        # With a given number of steps, equal runs give equal bundles: so the thread count must not change.
        may_change = settings.threads is None and settings.seconds is not None and self.group.size == 1
        self.slowdown = SlowdownWatch() if may_change and device == CPU else None
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
        """Replace the random weights by those of a bundle."""
        with torch.no_grad():
            for name, parameter in self._weights().items():
                parameter.copy_(torch.from_numpy(weights[name].astype(np.float32)))

    # Progress

    def total_steps(self) -> int | None:
        """The number of steps of the whole run; None if the budget is a time."""
        if self.settings.steps is not None:
            return self.settings.steps
        if self.settings.epochs is not None:
            return max(1, round(self.settings.epochs * len(self.batches)))
        return None

    def _progress(self, timing: LoopTiming) -> float:
        total = self.total_steps()
        if total is not None:
            return self.step / total
        return timing.share(self.clock(), self.validation.end_reserve.seconds)

    # The loop

    def events(
        self,
        deadline: float = math.inf,
        *,
        began: float | None = None,
        checkpoint: Path | None = None,
        should_stop: Callable[[], bool] = lambda: False,
        record: StartRecord | None = None,
    ) -> Iterator[Event]:
        """Train until the budget is spent, or `should_stop` says so; `deadline` and `began` are clock readings.

        Of a budget of time as much is left, at the deadline, as `EndReserve` keeps for the final figures.

        Raises:
            SeqmodelError: if the loss is no number, and again after each of a few tries with a lower rate.
        """
        timing = self._timing(began, deadline)
        self.loss = self.group.loss_of(self.model)
        reading = self.batches.read(self.step)
        while True:
            progress, stop = self.group.broadcast(self._progress(timing), should_stop())
            if self.schedule.is_over(self.step, progress):
                break
            if stop:
                if checkpoint is not None:
                    yield self._save(checkpoint, timing.began, record)
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
            yield self._step_done(bits, timing, progress, now, scale)
            yield from self._after_step(timing, progress, before, now, checkpoint, record)
        yield from self._finish(timing)

    def _timing(self, began: float | None, deadline: float) -> LoopTiming:
        """Start the loop's timers, and time a validation if the budget is a time."""
        start = self.clock()
        timing = LoopTiming(start, start if began is None else began, deadline, self.tokens)
        if self.validation.subset and self.settings.seconds is not None and self.group.leads:
            self.validation.time_scoring(self.runtime())
            timing.validation.done(start - self.validation.end_reserve.validation_seconds, start)
        return timing

    def _after_step(
        self,
        timing: LoopTiming,
        progress: float,
        before: float,
        now: float,
        checkpoint: Path | None,
        record: StartRecord | None,
    ) -> Iterator[Event]:
        """Do what is due after a step: choose threads, validate, sample, save. The step took from `before` to `now`."""
        if self.slowdown is not None and self.slowdown.has_collapsed(now - before, self.batch_tokens):
            yield self._choose_threads_again()
        total = self.total_steps()
        due = self.step % max(1, total // VALIDATIONS) == 0 if total is not None else timing.validation.is_due(now)
        saves = checkpoint is not None and timing.saving.is_due(self.clock())
        due, saves = map(bool, self.group.broadcast(due, saves))
        if self.validation.subset and due and self.schedule.anneal_from is None:
            yield from self._validate(progress, timing.start)
            timing.validation.done(now, self.clock())
        if self.group.leads and timing.sample.is_due(now := self.clock()):
            yield Sampled(self.step, self._sample())
            timing.sample.done(now, self.clock())
        if checkpoint is not None and saves:
            now = self.clock()
            yield self._save(checkpoint, timing.began, record)
            timing.saving.done(now, self.clock())

    def _finish(self, timing: LoopTiming) -> Iterator[Event]:
        (progress,) = self.group.broadcast(self._progress(timing))
        annealed = self.schedule.is_over(self.step, progress)
        if self.validation.subset and self.step:
            yield from self._validate(1.0, timing.start)
        elapsed = self.clock() - timing.start
        speed = (self.tokens - timing.first_tokens) / max(1e-9, elapsed)
        yield Finished(self.step, self.tokens, self.epoch, elapsed, speed, annealed)

    def _step_done(self, bits: float, timing: LoopTiming, progress: float, now: float, scale: float) -> StepDone:
        elapsed = now - timing.start
        speed = (self.tokens - timing.first_tokens) / max(1e-9, elapsed)
        smooth = bits / self.data.chars_per_token
        self.bits_per_char = smooth if math.isnan(self.bits_per_char) else 0.95 * self.bits_per_char + 0.05 * smooth
        rate = scale * self.settings.learning_rate
        return StepDone(self.step, self.tokens, self.epoch, self.bits_per_char, speed, progress, elapsed, rate)

    def _roll_back(self, reason: str) -> RolledBack:
        """Go back to the last good state.

        Raises:
            SeqmodelError: after several failed tries.
        """
        failed = self.step
        try:
            self._load(self.recovery.roll_back(reason, failed))
        except SeqmodelError as error:
            raise self.group.common(error) from None
        return RolledBack(failed, self.step, reason, self.recovery.factor)

    def _choose_threads_again(self) -> Noted:
        before = torch.get_num_threads()
        self._set_threads(self.model.settings.width)
        after = torch.get_num_threads()
        return Noted(f"training became slow: the threads were timed again, {before} before, {after} now")

    def _train(self, batch: Batch, scale: float) -> float:
        """Take one step. Returns the batch's bits per token; if that is not finite, no weight has changed."""
        begins = batch.fresh.all() or not self.lanes
        if begins:
            self.history = np.full((self.index.history, batch.inputs.shape[1]), UNKNOWN, np.int64)
        elif self.history.shape[1] != batch.inputs.shape[1]:
            raise ModelError("the checkpoint has another number of lanes", "Start anew with --force.")
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
        """Seed dropout by step and rank: its masks differ between processes, and checkpoints hold no GPU state."""
        if self.group.size > 1 or self.device != CPU:
            entropy = [self.settings.seed, self.step, self.group.place.rank]
            torch.manual_seed(int(np.random.SeedSequence(entropy).generate_state(1, np.uint64)[0]))

    def _tensor(self, array: Array) -> Tensor:
        return torch.from_numpy(array).to(self.device)

    # Held-out text and samples

    def runtime(self, weights: dict[str, Tensor] | None = None) -> Runtime:
        """A scoring runtime with the present (or given) weights; on a CPU it shares their memory."""
        arrays = {name: tensor.detach().cpu().numpy() for name, tensor in (weights or self._weights()).items()}
        return Runtime(self.model.settings, arrays, self.index, self.tokenizer.closed)

    def _weights(self) -> dict[str, Tensor]:
        return dict(self.model.named_parameters())  # a tied weight occurs once

    def _validate(self, progress: float, start: float) -> Iterator[Event]:
        validation = self.validation
        (figure,) = self.group.broadcast(validation.figure(self.runtime()) if self.group.leads else 0.0)
        best = validation.record(figure, progress, self._weights())
        yield Validated(self.step, figure, best, self.clock() - start, self.tokens)
        if validation.has_stalled(progress) and self.schedule.anneal_from is None and progress < 0.8:
            self.schedule.anneal(self.step, max(20, self.step // 8), progress)
            with torch.no_grad():  # annealing starts from the best weights, not from the over-fitted ones
                for name, parameter in self._weights().items():
                    parameter.copy_((validation.best or {}).get(name, parameter))
            yield Annealing(self.step, "held-out text no longer gains")

    def _sample(self) -> str:
        settings = SamplingSettings(max_tokens=SAMPLE_CHARS, max_chars=SAMPLE_CHARS, seed=self.step)
        pieces = generate(
            *(self.runtime(), self.tokenizer, "", settings),
            form=SequenceForm.of(self.data.store.header.sequence),
            characters=self.data.characters,
        )
        return "".join(piece.text for piece in pieces)

    def kept_weights(self) -> dict[str, Array]:
        """The best weights so far, as arrays."""
        best = self.validation.best
        weights = best if best is not None else self._weights()
        return {name: tensor.detach().cpu().numpy() for name, tensor in weights.items()}

    # Checkpoints

    def _save(self, path: Path, began: float, record: StartRecord | None) -> CheckpointSaved:
        start = time.monotonic()
        state = self._state()
        lanes = self.history.shape[1]
        keys = zip(self.index.orders, self.index.keys, strict=True)
        groups = {
            **state.groups,
            "lanes": {name: self.group.gather(lane)[:lanes] for name, lane in state.groups["lanes"].items()},
            "best": self.validation.best or {},
            "ngrams": {str(order): torch.from_numpy(each) for order, each in keys},
        }
        schedule, recovery, validation = self.schedule, self.recovery, self.validation
        progress = Progress(
            **dict(state.progress),
            elapsed=self.clock() - began,
            best_bits=None if math.isinf(validation.best_bits) else validation.best_bits,
            best_progress=validation.best_progress,
            worse=validation.worse,
            validated=validation.end_reserve.validated,
            anneal=AnnealState(schedule.anneal_from, schedule.anneal_steps, schedule.anneal_scale),
            recovery=RecoveryState(recovery.factor, recovery.tries),
            settings=self.settings,
            model=self.model.settings,
            threads=torch.get_num_threads(),
            corpus_digest=self.data.store.header.corpus_digest,
            notes=record,
        )
        if self.group.leads:
            write_checkpoint(path, Checkpoint(groups, progress))
        return CheckpointSaved(self.step, str(path), time.monotonic() - start)

    def _state(self) -> Snapshot:
        """The state that a step changes, not copied."""
        groups: dict[str, dict[str, Tensor]] = {
            "weights": self._weights(),
            "optimizer": self.optimizers.state(),
            "lanes": {str(number): lane for number, lane in enumerate(self.lanes)},
            "random": {"torch": torch.get_rng_state(), "history": torch.from_numpy(self.history)},
        }
        bits = None if math.isnan(self.bits_per_char) else self.bits_per_char
        progress = StepProgress(step=self.step, tokens=self.tokens, epoch=self.epoch, bits_per_char=bits)
        return Snapshot(groups, progress)

    def _snapshot(self) -> Snapshot:
        state = self._state()
        groups = {
            group: {name: tensor.detach().clone() for name, tensor in tensors.items()}
            for group, tensors in state.groups.items()
        }
        return Snapshot(groups, state.progress)

    def _load(self, state: Snapshot) -> None:
        """Replace the state that a step changes."""
        numbers, groups = state.progress, state.groups
        with torch.no_grad():
            for name, tensor in self._weights().items():
                tensor.copy_(groups["weights"][name])
        self.optimizers.restore(groups["optimizer"])
        self.lanes = [groups["lanes"][str(i)].clone() for i in range(len(groups.get("lanes", {})))]
        self.history = groups["random"]["history"].numpy().copy()
        torch.set_rng_state(groups["random"]["torch"].clone())
        self.step, self.tokens, self.epoch = numbers.step, numbers.tokens, numbers.epoch
        self.bits_per_char = math.nan if numbers.bits_per_char is None else numbers.bits_per_char

    def restore(self, checkpoint: Checkpoint) -> None:
        """Continue from a checkpoint.

        Raises:
            ModelError: if it belongs to another network or corpus.
        """
        numbers, groups = checkpoint.progress, checkpoint.groups
        misfit = ModelError("the checkpoint does not fit the model", "Start anew with --force.")
        if numbers.corpus_digest != self.data.store.header.corpus_digest:
            raise ModelError(
                "the checkpoint was taken on another corpus",
                "Resume with the original corpus, or start anew with --force.",
            )
        if self.tokenizer.size != self.model.settings.vocabulary or self.data.is_stream == self.model.settings.ends:
            raise misfit
        if numbers.step > 2 * (numbers.epoch + 1) * len(self.batches) + 1:  # epochs differ a little in length
            raise misfit
        lanes = {
            name: self._tensor(self.group.share(lane.numpy(), 0)) for name, lane in groups.get("lanes", {}).items()
        }
        try:
            self._load(Snapshot({**groups, "lanes": lanes}, numbers))
        except (KeyError, RuntimeError, ValueError, TypeError, OverflowError):
            raise misfit from None
        self.validation.restore(
            groups.get("best", {}), numbers.best_bits, numbers.best_progress, numbers.worse, numbers.validated
        )
        self.schedule = Schedule(self.settings.warmup_steps, *numbers.anneal)
        self.recovery = Recovery(*numbers.recovery)
