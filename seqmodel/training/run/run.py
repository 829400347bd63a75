"""One run from request to bundle: tokens, split, plan, loop, final figures, file.

Files of a run lie beside each other: X.seqmodel, X.checkpoint, X.tokens, X.jsonl. The checkpoint and the
token store are removed when the run is complete, and kept for `--resume` when it is not.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import ValidationError

from seqmodel.choices import HeldOutFrom
from seqmodel.errors import ModelError, SeqmodelError, UsageError
from seqmodel.files import beside, note_own, refuse_existing
from seqmodel.inference.runtime import Runtime
from seqmodel.model.bundle import (
    Bundle,
    BundleHeader,
    FingerprintSettings,
    Provenance,
    TrainingSummary,
    in_range,
    stored_precision,
    write_bundle,
)
from seqmodel.model.fingerprint import build_fingerprint
from seqmodel.model.kneser_ney import CountModel, estimate
from seqmodel.model.ngram_embeddings import NgramIndex, build_index
from seqmodel.settings import CorpusSettings, ModelSettings, TokenizerSettings, TrainingSettings, usage_error
from seqmodel.text.corpus import CorpusSummary
from seqmodel.text.sequences import read_sequences
from seqmodel.text.sources import find_sources
from seqmodel.tokens.batches import split_store, token_count, whole_store
from seqmodel.tokens.characters import Characters
from seqmodel.tokens.store import TokenStore, is_store, make_store, open_store
from seqmodel.tokens.vocabulary_notes import vocabulary_notes
from seqmodel.training.devices import native_precision, pick_device
from seqmodel.training.distributed import Group
from seqmodel.training.events import Event, Finished, Noted, Planned
from seqmodel.training.held_out_evaluation import evaluated, final_figures, per_unit
from seqmodel.training.held_out_file import check_held_out_files, write_held_out
from seqmodel.training.loop import Trainer, TrainingData, stretches
from seqmodel.training.optimization import as_before, fast_arithmetic
from seqmodel.training.planning import Task, describe, plan_model, plan_ngrams, plan_order, plan_training, warm_start
from seqmodel.training.run.checkpoints import Checkpoint
from seqmodel.training.run.conflicts import agree_with_store, fit_together
from seqmodel.training.run.log import RunLog
from seqmodel.training.run.request import TrainingRequest, TrainingResult
from seqmodel.training.run.start import Beginning, beginning_of, checkpoint_of, notes_of, refuse_own_inputs
from seqmodel.training.running_text import looks_like_running_text
from seqmodel.training.trial_steps import training_speed

DEFAULT_SECONDS = 180.0
LEAST_STEPS = 30  # below which a run has hardly begun: the learning rate needs as many to rise


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
        self.store_path = beside(self.output, ".tokens")
        self.valid_path = beside(self.output, ".valid.tokens")
        self.log_path = beside(self.output, ".jsonl")
        self.deadline = math.inf
        self.made: list[Path] = []  # token stores of this run's own
        self.remade = False  # the store of a resumed run is made again
        self.begin = Beginning(request.tokenizer, request.corpus)
        self.notes: dict[str, Any] = {}  # what the checkpoint keeps of this, beside the trainer's own

    def carry_out(self) -> TrainingResult:
        with as_before(), fast_arithmetic():
            return self._carry_out()

    def _carry_out(self) -> TrainingResult:
        refuse_own_inputs(self.request)
        check_held_out_files(self.request)
        checkpoint = checkpoint_of(self.request)
        self.begin = beginning_of(self.request, checkpoint)
        self.notes = checkpoint.progress["notes"] if checkpoint is not None else {}
        device = self._device(checkpoint)
        note_own(self.output, self.store_path, self.valid_path, self.log_path)
        interrupted = False
        try:
            data, held_out_from = self._data(checkpoint)
            trainer = self._trainer(data, checkpoint, device)
            self.group.broadcast(torch.get_num_threads(), trainer.settings.precision == "bf16")
            counts, characters = self._counts(data), self.begin.with_earlier(data.characters)
            if checkpoint is None:
                self.checkpoint_path.unlink(missing_ok=True)  # of an earlier run, which --force gives up
            if self.request.write_valid is not None:
                write_held_out(self.request.write_valid, data, self.request.force or self.request.resume)
            with RunLog(self.log_path, append=checkpoint is not None) as log:
                finished = self._loop(trainer, data, checkpoint, log)
                interrupted, looped = not finished.annealed, time.monotonic()
                self._refuse_hardly_begun(finished, trainer.settings, checkpoint)
                data = self._affordable(trainer, data, log)
                header = self._save(trainer, data, counts, held_out_from, finished, characters)
                if header.held_out is not None:
                    elapsed = finished.elapsed + time.monotonic() - looped
                    self._tell(log, evaluated(header.held_out, per_unit(data), elapsed))
        finally:
            if not (interrupted or self.checkpoint_path.exists()):
                self._remove_own()
        if not interrupted:
            self.checkpoint_path.unlink(missing_ok=True)
            self._remove_own()
        self.group.broadcast()
        seconds = time.monotonic() - self.started
        return TrainingResult(self.output, header, interrupted, seconds, finished.tokens_per_second)

    def _remove_own(self) -> None:
        for path in self.made:
            path.unlink(missing_ok=True)

    def _note(self, text: str) -> None:
        self.on_event(Noted(text))

    def _tell(self, log: RunLog, event: Event) -> None:
        log.add(event)
        self.on_event(event)

    # Tokens

    def _data(self, checkpoint: Checkpoint | None) -> tuple[TrainingData, HeldOutFrom]:
        store = self._store(checkpoint)
        if checkpoint is None:
            self._note_running_text(store)
        valid = self._valid_store(store, checkpoint)
        if checkpoint is None:
            self.notes = notes_of(self.request, self.begin.init, store, valid, self.store_path in self.made)
        else:
            self._refuse_other_stores(store, valid)
        if valid is not None:
            data = TrainingData(store, whole_store(store), valid, whole_store(valid))
            self._note_vocabulary(vocabulary_notes(valid, data.held_out), checkpoint)
            return data, "file"
        split = split_store(store)
        self._note_vocabulary(vocabulary_notes(store, split.held_out, own=store), checkpoint)
        return TrainingData(store, split.train, store, split.held_out), "split" if len(split.held_out) else ""

    def _refuse_other_stores(self, store: TokenStore, valid: TokenStore | None) -> None:
        found = [opened.header.digest if opened is not None else None for opened in (store, valid)]
        if found != [self.notes["store"], self.notes["valid_store"]]:
            if self.remade:
                self.store_path.unlink()
            raise ModelError(
                "the checkpoint was taken on another corpus, or another vocabulary",
                "Resume with what it began with, or start anew with --force.",
            )

    def _store(self, checkpoint: Checkpoint | None) -> TokenStore:
        inputs = self.request.inputs
        stores = [name for name in inputs if name != "-" and is_store(Path(name))]
        if stores:
            if len(inputs) > 1:
                raise UsageError("a token store is given together with other inputs", "Give one token store, or text.")
            return self._given_store(Path(stores[0]), checkpoint)
        if checkpoint is not None and self.store_path.exists():
            if (
                inputs
                and corpus_digest(inputs, self.begin.tokenizer, self.begin.corpus)
                != checkpoint.progress["corpus_digest"]
            ):
                raise ModelError(
                    "the checkpoint was taken on another corpus", "Resume with the corpus that it began with."
                )
            if self.notes["own_store"]:
                self.made.append(self.store_path)
            return open_store(self.store_path)
        if not inputs:
            raise UsageError("no corpus is given", "Name text files, folders or a token store.")
        if checkpoint is None:
            refuse_existing(
                self.store_path,
                self.request.force,
                " (or train it: seqmodel train " + str(self.store_path) + ")",
            )
        if self.notes.get("began_from") and self.begin.init is None:
            raise UsageError(f"{self.store_path} is gone", "Name the bundle that the run began from with --init.")
        self.made.append(self.store_path)
        self.remade = checkpoint is not None
        tokenizer = self.begin.init.tokenizer if self.begin.init is not None else None
        hold_out = self.request.valid is None and not self.notes.get("valid")
        settings, corpus = self.begin.tokenizer, self.begin.corpus
        make_store(self.store_path, inputs, settings, corpus, tokenizer, hold_out, self._note)
        return open_store(self.store_path)

    def _given_store(self, path: Path, checkpoint: Checkpoint | None) -> TokenStore:
        store = open_store(path)
        if checkpoint is None:
            agree_with_store(self.request, store.header)
        if self.begin.init is not None:
            fit_together(store, self.begin.init)
        return store

    def _note_running_text(self, store: TokenStore) -> None:
        if looks_like_running_text(store):
            self._note(
                "the lines look like one running text; --sequence stream reads on across them, and usually gains"
            )

    def _note_vocabulary(self, notes: list[str], checkpoint: Checkpoint | None) -> None:
        for note in notes if checkpoint is None else []:
            self.on_event(Noted(note))

    def _valid_store(self, store: TokenStore, checkpoint: Checkpoint | None) -> TokenStore | None:
        own = store.header.corpus or CorpusSettings(sequence=store.header.sequence)
        given = self.begin.corpus
        corpus = own.model_copy(update={"errors": given.errors, "max_line": given.max_line})
        valid = self.request.valid
        if checkpoint is not None:
            noted = self.notes["valid"]
            if valid is not None and corpus_digest([valid], self.begin.tokenizer, corpus) != noted:
                raise UsageError("the run to resume has other held-out text", "Leave --valid out.")
            if noted is not None and self.valid_path.exists():
                self.made.append(self.valid_path)
                return open_store(self.valid_path)
            if noted is not None and valid is None:
                raise UsageError(f"{self.valid_path} is gone", "Name the held-out text of the run with --valid.")
        if valid is None:
            return None
        refuse_existing(self.valid_path, self.request.force)
        self.made.append(self.valid_path)
        make_store(self.valid_path, [valid], self.begin.tokenizer, corpus, store.tokenizer, on_note=self._note)
        return open_store(self.valid_path)

    # The plan

    def _device(self, checkpoint: Checkpoint | None) -> torch.device:
        earlier = checkpoint.progress["settings"].get("device") if checkpoint is not None else None
        return pick_device(self.request.training.get("device") or earlier or "cpu", self.group.place)

    def _trainer(self, data: TrainingData, checkpoint: Checkpoint | None, device: torch.device) -> Trainer:
        given = {name: value for name, value in self.request.training.items() if value is not None}
        here = {name: value for name, value in given.items() if name in ("threads", "device")}
        try:
            if checkpoint is not None:
                training = TrainingSettings.model_validate(
                    checkpoint.progress["settings"] | _budget(given) | here, strict=False
                )
                model = ModelSettings.model_validate(checkpoint.progress["model"], strict=False)
                training = training.model_copy(update={"threads": training.threads or checkpoint.progress["threads"]})
            else:
                chosen = {name: value for name, value in self.request.model.items() if value is not None}
                given |= _budget(given) or {"seconds": DEFAULT_SECONDS}
                given.setdefault("precision", native_precision(device))
                model, training = self._plan(data, chosen, given, device)
        except ValidationError as error:
            raise usage_error(error, ModelSettings, TrainingSettings) from None
        index = self._index(data, checkpoint, model.networks)
        listed = tuple((order, len(keys)) for order, keys in zip(index.orders, index.keys, strict=True))
        model = model.model_copy(update={"ngram_rows": listed})
        trainer = Trainer(data, model, training, index, group=self.group, device=device)
        if checkpoint is not None:
            trainer.restore(checkpoint)
        elif self.begin.init is not None:
            trainer.begin_from(self.begin.init.weights)
        return trainer

    def _plan(
        self, data: TrainingData, chosen: dict[str, Any], given: dict[str, Any], device: torch.device
    ) -> tuple[ModelSettings, TrainingSettings]:
        """The settings of a new run; `chosen` and `given` hold what the user said of the model and of its training."""
        task = self._task(data, given)
        init = self.begin.init
        if init is not None:
            return init.header.model, warm_start(plan_training(task, init.header.model, given), given)
        model = plan_model(task, chosen, self.request.size)
        training = plan_training(task, model, given)
        if model.networks > 1 and "networks" not in chosen and self.group.size == 1:
            index = self._index(data, None, model.networks)
            speed = training_speed(data, model, training, index, device)
            task = dataclasses.replace(task, speed=speed)
            model = plan_model(task, chosen, self.request.size)
            training = plan_training(task, model, given)
        return model, training

    def _task(self, data: TrainingData, budget: dict[str, Any]) -> Task:
        header = data.store.header
        ends = header.sequence != "stream"
        return Task(header.unit, header.closed, ends, header.vocabulary, token_count(data.train), budget)

    def _index(self, data: TrainingData, checkpoint: Checkpoint | None, networks: int) -> NgramIndex:
        vocabulary = data.store.header.vocabulary
        if checkpoint is not None:
            keys = checkpoint.groups.get("ngrams", {})
            orders = tuple(sorted(int(order) for order in keys))
            return NgramIndex(vocabulary, orders, tuple(keys[str(order)].numpy() for order in orders))
        if self.begin.init is not None:
            return self.begin.init.index
        orders, rows = plan_ngrams(self._task(data, {}), networks)
        use = self.request.ngram_embeddings is not False
        return build_index(data.store, data.train, orders if use else (), rows)

    def _counts(self, data: TrainingData) -> CountModel | None:
        order = plan_order(self._task(data, {}))
        return estimate(data.store, data.train, order) if self.notes["counts"] else None

    # The loop

    def _loop(
        self,
        trainer: Trainer,
        data: TrainingData,
        checkpoint: Checkpoint | None,
        log: RunLog,
    ) -> Finished:
        model, training = trainer.model.settings, trainer.settings
        plan = describe(model, training, trainer.index.rows - 1, data.store.header.unit, model.vocabulary)
        plan += f", {self.group.size} processes" if self.group.size > 1 else ""
        plan += f", on {trainer.device}" if trainer.device.type != "cpu" else ""
        parameters = sum(p.numel() for p in trainer.model.parameters())
        held = token_count(data.held_out)
        settings = {"model": model.model_dump(mode="json"), "training": training.model_dump(mode="json")}
        tokens, per_token = trainer.batches.total, data.chars_per_token
        self._tell(log, Planned(plan, settings, parameters, tokens, held, per_unit(data), per_token))
        now = time.monotonic()
        spent = float(checkpoint.progress["elapsed"]) if checkpoint is not None else 0.0
        # A budget counts from the start of the command; a resumed run has spent some of it before.
        self.deadline = self.started + (training.seconds or math.inf) - spent
        finished = None
        for event in trainer.events(
            self.deadline,
            began=now - spent,
            checkpoint=self.checkpoint_path,
            should_stop=self.should_stop,
            notes=self.notes,
        ):
            self._tell(log, event)
            if isinstance(event, Finished):
                finished = event
        assert finished is not None
        return finished

    # The end

    def _refuse_hardly_begun(
        self, finished: Finished, settings: TrainingSettings, checkpoint: Checkpoint | None
    ) -> None:
        """
        Raises:
            SeqmodelError: if the time was over before there was a model; of a run that was not resumed nothing is kept.
        """
        least = LEAST_STEPS if self.begin.init is None else 1
        if settings.seconds is None or not finished.annealed or finished.step >= least:
            return
        if checkpoint is None:
            self.checkpoint_path.unlink(missing_ok=True)
            self.log_path.unlink(missing_ok=True)
        steps = f"{finished.step} steps" if finished.step != 1 else "1 step"
        raise SeqmodelError(
            f"--time {settings.seconds:g}s was over after {steps} of training: too few for a model",
            "Give more --time or a smaller --size; --steps trains as few steps as you say.",
        )

    def _affordable(self, trainer: Trainer, data: TrainingData, log: RunLog) -> TrainingData:
        """The data with as much of the held-out text as the final figures have time for, evenly chosen."""
        whole = token_count(data.held_out)
        most = trainer.ending.affordable(self.deadline - time.monotonic())
        if most >= whole:
            return data
        data = dataclasses.replace(data, held_out=np.array(stretches(data.held_out, most)))
        scored = token_count(data.held_out)
        self._tell(log, Noted(f"the final figures are of {scored:,} of the {whole:,} held-out tokens, evenly chosen"))
        return data

    def _save(
        self,
        trainer: Trainer,
        data: TrainingData,
        counts: CountModel | None,
        held_out_from: HeldOutFrom,
        finished: Finished,
        characters: Characters,
    ) -> BundleHeader:
        weights = {name: stored_precision(array) for name, array in trainer.kept_weights().items()}
        if not in_range(weights):
            raise SeqmodelError("the weights grew beyond all bounds", "Train with a much lower --learning-rate.")
        store = data.store.header
        runtime = Runtime(trainer.model.settings, weights, trainer.index, store.closed)
        provenance = Provenance(
            corpus_digest=store.corpus_digest,
            corpus_bytes=store.corpus_bytes,
            corpus_chars=store.corpus_chars,
            corpus_lines=store.corpus_lines,
            sequences=store.sequences,
            tokens=store.tokens,
            train_tokens=trainer.batches.total,
            held_out_from=held_out_from,
            began_from=self.notes["began_from"],
        )
        summary = TrainingSummary(
            seed=trainer.settings.seed,
            steps=finished.step,
            tokens=finished.tokens,
            epochs=round(finished.epoch, 3),
            budget=_budget_text(trainer.settings),
            annealed=finished.annealed,
            settings=trainer.settings.model_dump(mode="json", exclude={"threads", "device"}, exclude_none=True),
        )
        held_out, mixture = final_figures(runtime, counts, data)
        size = trainer.settings.fingerprint
        fingerprint = build_fingerprint(data.store, data.train, size) if size is not None else None
        header = BundleHeader(
            model=trainer.model.settings,
            unit=store.unit,
            closed=store.closed,
            sequence=store.sequence,
            provenance=provenance,
            training=summary,
            held_out=held_out,
            discounts=tuple(level.discounts for level in counts.levels) if counts is not None else (),
            mixture=tuple(round(float(weight), 6) for weight in mixture),
            tokenizer=TokenizerSettings(**self.notes["tokenizer"]) if self.notes["learned"] else None,
            corpus=CorpusSettings(**self.notes["corpus"]),
            fingerprint=FingerprintSettings.of(fingerprint) if fingerprint is not None else None,
        )
        tokenizer, index = data.store.tokenizer, trainer.index
        write_bundle(self.output, Bundle(header, tokenizer, index, weights, counts, fingerprint, characters))
        return header


def _budget(given: dict[str, Any]) -> dict[str, Any]:
    """The budget that was given, the other kinds set to none; nothing if none was given."""
    kinds = ("seconds", "steps", "epochs")
    return {name: given.get(name) for name in kinds} if any(name in given for name in kinds) else {}


def _budget_text(settings: TrainingSettings) -> str:
    if settings.seconds:
        return f"{settings.seconds:g} s"
    return f"{settings.steps} steps" if settings.steps else f"{settings.epochs:g} epochs"


def corpus_digest(inputs: Sequence[str], tokenizer: TokenizerSettings, corpus: CorpusSettings) -> str:
    """The digest that a store of these inputs would have."""
    summary = CorpusSummary()
    for _ in read_sequences(find_sources(inputs, corpus), corpus, summary, tokenizer.unit == "byte"):
        pass
    return summary.digest
