"""One run from request to bundle: tokens, plan, loop, final figures, file.

The files of a run lie beside each other: X.seqmodel, X.checkpoint, X.tokens, X.valid.tokens, X.jsonl. The checkpoint
and the token stores are removed when the run is complete, and kept for `--resume` when it is not.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable

import numpy as np
import torch

from seqmodel.errors import SeqmodelError
from seqmodel.files import beside, note_own
from seqmodel.model.bundle import (
    BundleHeader,
)
from seqmodel.model.kneser_ney import estimate
from seqmodel.settings import TrainingSettings
from seqmodel.tokens.batches import token_count
from seqmodel.training.distributed import Group
from seqmodel.training.events import Event, Finished, Noted, Planned
from seqmodel.training.held_out_evaluation import evaluated, per_unit
from seqmodel.training.held_out_file import check_held_out_files, write_held_out
from seqmodel.training.loop import Trainer
from seqmodel.training.optimization import fast_arithmetic, restored_torch_state
from seqmodel.training.planning import describe, plan_order
from seqmodel.training.run.log import RunLog
from seqmodel.training.run.plan import Plan, run_device, task_of
from seqmodel.training.run.request import TrainingRequest, TrainingResult
from seqmodel.training.run.result import write_result
from seqmodel.training.run.start import Start, checkpoint_of, refuse_own_inputs
from seqmodel.training.run.stores import RunStores, RunText
from seqmodel.training.training_data import TrainingData, stretches

LEAST_STEPS = 30  # of a new run: the warm-up of the learning rate takes as many


class TrainingRun:
    """Carries out one request; the caller holds the lock on the output."""

    def __init__(
        self,
        request: TrainingRequest,
        started: float,
        on_event: Callable[[Event], None],
        should_stop: Callable[[], bool],
        group: Group,
    ) -> None:
        self.request, self.started, self.on_event, self.should_stop = request, started, on_event, should_stop
        self.group = group
        self.output = request.output
        self.checkpoint_path = beside(self.output, ".checkpoint")
        self.log_path = beside(self.output, ".jsonl")
        self.deadline = math.inf

    def carry_out(self) -> TrainingResult:
        """Train, and write the bundle.

        Raises:
            SeqmodelError: if the request cannot be carried out.
        """
        with restored_torch_state(), fast_arithmetic():
            return self._carry_out()

    def _carry_out(self) -> TrainingResult:
        refuse_own_inputs(self.request)
        check_held_out_files(self.request)
        start = Start.of(self.request, checkpoint_of(self.request))
        device = run_device(self.request, start, self.group.place)
        stores = RunStores(self.request, start, lambda text: self.on_event(Noted(text)))
        note_own(self.output, stores.store_path, stores.valid_path, self.log_path)
        interrupted = False
        try:
            text = stores.open()
            trainer = self._trainer(start, text.data, device)
            self.group.broadcast(torch.get_num_threads(), trainer.settings.precision == "bf16")
            finished, header = self._train(trainer, start, text)
            interrupted = not finished.annealed
        finally:
            if not (interrupted or self.checkpoint_path.exists()):
                stores.remove_made()
        if not interrupted:
            self.checkpoint_path.unlink(missing_ok=True)
            stores.remove_made()
        self.group.broadcast()
        seconds = time.monotonic() - self.started
        return TrainingResult(self.output, header, interrupted, seconds, finished.tokens_per_second)

    def _trainer(self, start: Start, data: TrainingData, device: torch.device) -> Trainer:
        return Plan.of(self.request, start, data, device, self.group).trainer(data, self.group, device)

    def _tell(self, log: RunLog, event: Event) -> None:
        log.add(event)
        self.on_event(event)

    def _train(self, trainer: Trainer, start: Start, text: RunText) -> tuple[Finished, BundleHeader]:
        """Train until the end of the budget, or an interruption, and write the bundle."""
        data = text.data
        order = plan_order(task_of(data, trainer.settings))
        counts = estimate(data.store, data.train, order) if text.record.counts else None
        characters = start.with_earlier(data.characters)
        if start.is_new:
            self.checkpoint_path.unlink(missing_ok=True)  # --force gives up that of an earlier run
        if self.request.write_valid is not None:
            write_held_out(self.request.write_valid, data, self.request.force or self.request.resume)
        with RunLog(self.log_path, append=not start.is_new) as log:
            finished = self._loop(trainer, start, text, log)
            looped = time.monotonic()
            self._refuse_hardly_begun(finished, trainer.settings, start)
            scored = self._affordable(trainer, data, log)
            header = write_result(self.output, trainer, text, scored, counts, characters, finished)
            if header.held_out is not None:
                elapsed = finished.elapsed + time.monotonic() - looped
                self._tell(log, evaluated(header.held_out, per_unit(data), elapsed))
        return finished, header

    # The loop

    def _loop(self, trainer: Trainer, start: Start, text: RunText, log: RunLog) -> Finished:
        self._tell(log, self._planned(trainer, text.data))
        now = time.monotonic()
        spent = start.checkpoint.progress.elapsed if start.checkpoint is not None else 0.0
        # A budget counts from the start of the command; a resumed run has spent a part of it earlier.
        self.deadline = self.started + (trainer.settings.seconds or math.inf) - spent
        finished = None
        for event in trainer.events(
            self.deadline,
            began=now - spent,
            checkpoint=self.checkpoint_path,
            should_stop=self.should_stop,
            record=text.record,
        ):
            self._tell(log, event)
            if isinstance(event, Finished):
                finished = event
        assert finished is not None
        return finished

    def _planned(self, trainer: Trainer, data: TrainingData) -> Planned:
        model, training = trainer.model.settings, trainer.settings
        plan = describe(model, training, trainer.index.rows - 1, data.store.header.unit, model.vocabulary)
        plan += f", {self.group.size} processes" if self.group.size > 1 else ""
        plan += f", on {trainer.device}" if trainer.device.type != "cpu" else ""
        return Planned(
            plan,
            {"model": model.model_dump(mode="json"), "training": training.model_dump(mode="json")},
            parameters=sum(p.numel() for p in trainer.model.parameters()),
            train_tokens=trainer.batches.total,
            held_out_tokens=token_count(data.held_out),
            per=per_unit(data),
            chars_per_token=data.chars_per_token,
        )

    # The end

    def _refuse_hardly_begun(self, finished: Finished, settings: TrainingSettings, start: Start) -> None:
        """Check that a run with a time budget has taken enough steps.

        Raises:
            SeqmodelError: if it has not; unless the run was resumed, its files are removed.
        """
        least = LEAST_STEPS if start.init is None else 1
        if settings.seconds is None or not finished.annealed or finished.step >= least:
            return
        if start.is_new:
            self.checkpoint_path.unlink(missing_ok=True)
            self.log_path.unlink(missing_ok=True)
        steps = f"{finished.step} steps" if finished.step != 1 else "1 step"
        raise SeqmodelError(
            f"--time {settings.seconds:g}s was over after {steps} of training: too few for a model",
            "Give more --time or a smaller --size; --steps trains as few steps as you say.",
        )

    def _affordable(self, trainer: Trainer, data: TrainingData, log: RunLog) -> TrainingData:
        """The data with an even choice of the held-out text that can be scored in the time left."""
        whole = token_count(data.held_out)
        most = trainer.validation.end_reserve.affordable(self.deadline - time.monotonic())
        if most >= whole:
            return data
        data = dataclasses.replace(data, held_out=np.array(stretches(data.held_out, most)))
        scored = token_count(data.held_out)
        self._tell(log, Noted(f"the final figures are of {scored:,} of the {whole:,} held-out tokens, evenly chosen"))
        return data
