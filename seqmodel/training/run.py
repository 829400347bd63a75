"""One run from request to bundle: tokens, split, plan, loop, final figures, file.

Files of a run lie beside each other: X.seqmodel, X.checkpoint, X.tokens, X.jsonl. The checkpoint and the
token store are removed when the run is complete, and kept for `--resume` when it is not.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from os.path import realpath
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError

from seqmodel.config import CorpusSettings, ModelSettings, TokenizerSettings, TrainingSettings, usage_error
from seqmodel.errors import ModelError, SeqmodelError, UsageError
from seqmodel.files import beside, refuse_existing
from seqmodel.inference.runtime import Runtime
from seqmodel.inference.scoring import score_ranges
from seqmodel.kinds import HeldOutFrom
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
from seqmodel.model.ngram import CountModel, estimate
from seqmodel.model.ngram_index import NgramIndex, build_index
from seqmodel.text.corpus import CorpusSummary, find_sources, read_blocks
from seqmodel.tokens.batches import split_store, token_count, whole_store
from seqmodel.tokens.characters import Characters
from seqmodel.tokens.store import TokenStore, is_store, make_store, open_store
from seqmodel.training.agreement import agree_with_store, fit_together
from seqmodel.training.beginning import Beginning, beginning_of, notes_of
from seqmodel.training.checkpoints import Checkpoint, read_run
from seqmodel.training.devices import native_precision, pick_device
from seqmodel.training.distributed import Group
from seqmodel.training.events import Event, Finished, Noted, Planned
from seqmodel.training.final import evaluated, final_figures, per_unit
from seqmodel.training.held_out_file import write_held_out
from seqmodel.training.loop import Trainer, TrainingData, stretches
from seqmodel.training.optimization import fast_arithmetic
from seqmodel.training.planning import Task, describe, plan_model, plan_ngrams, plan_order, plan_training, warm_start
from seqmodel.training.request import TrainingRequest, TrainingResult
from seqmodel.training.run_log import RunLog
from seqmodel.training.running_text import looks_like_running_text

HELD_OUT_SHARE = 0.05
HELD_OUT_BYTES = 200_000
DEFAULT_SECONDS = 180.0
TRIAL_STRETCHES = 4
SAVING_SECONDS = 0.5  # for the bundle and the rest of the end, beside what is measured


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
        self.made: list[Path] = []  # token stores of this run's own
        self.remade = False  # the store of a resumed run is made again
        self.begin = Beginning(request.tokenizer, request.corpus)
        self.notes: dict[str, Any] = {}  # what the checkpoint keeps of this, beside the trainer's own

    def carry_out(self) -> TrainingResult:
        with fast_arithmetic():
            return self._carry_out()

    def _carry_out(self) -> TrainingResult:
        self._refuse_own_inputs()
        checkpoint = self._checkpoint()
        self.begin = beginning_of(self.request, checkpoint)
        self.notes = checkpoint.progress["notes"] if checkpoint is not None else {}
        device = self._device(checkpoint)
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

    def _tell(self, log: RunLog, event: Event) -> None:
        log.add(event)
        self.on_event(event)

    # What is there already

    def _checkpoint(self) -> Checkpoint | None:
        request = self.request
        if request.resume:
            if not self.checkpoint_path.exists():
                raise ModelError(
                    f"{self.checkpoint_path}: no such checkpoint",
                    "There is nothing to resume; leave --resume out.",
                )
            return read_run(self.checkpoint_path)
        refuse_existing(self.output, request.force)
        if self.checkpoint_path.exists() and not request.force:
            raise UsageError(
                f"{self.checkpoint_path} exists: an earlier run was interrupted",
                "Go on with --resume, or start anew with --force.",
            )
        refuse_existing(self.log_path, request.force)
        return None

    def _refuse_own_inputs(self) -> None:
        """No input, and no text that is held out, may be a file that this run writes (a token store to train on is only
        read)."""
        if self.output.suffix in (".tokens", ".checkpoint", ".jsonl"):
            raise UsageError(
                f"{self.output} has the name of another kind of file", "Call the bundle something.seqmodel."
            )
        written = [self.output, self.checkpoint_path, self.valid_path, self.log_path]
        inputs = [*self.request.inputs, *([self.request.valid] if self.request.valid is not None else [])]
        names = [Path(name) for name in inputs if name != "-"]
        written += [] if any(map(is_store, names)) else [self.store_path]
        for name in [*names, *([self.request.write_valid] if self.request.write_valid is not None else [])]:
            if realpath(name) in map(realpath, written):
                raise UsageError(f"{name} would be overwritten by this run", "Choose another name with -o.")
        export, init = self.request.write_valid, self.request.init
        read = map(realpath, [*names, *([init] if init is not None else [])])
        if export is not None and any(Path(realpath(export)).is_relative_to(name) for name in read):
            raise UsageError(f"{export} is an input of this run", "Choose another name with --write-valid.")

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
            return TrainingData(store, whole_store(store), valid, whole_store(valid)), "file"
        split = split_store(store, HELD_OUT_SHARE, HELD_OUT_BYTES)
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
        make_store(self.store_path, inputs, self.begin.tokenizer, self.begin.corpus, tokenizer)
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
            note = (
                "the lines look like one running text; --sequence stream would read on across them, and usually gains"
            )
            self.on_event(Noted(note))

    def _valid_store(self, store: TokenStore, checkpoint: Checkpoint | None) -> TokenStore | None:
        own = store.header.corpus or CorpusSettings(sequence=store.header.sequence)
        corpus = self.begin.corpus.model_copy(update={"sequence": own.sequence, "keep_blank": own.keep_blank})
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
        make_store(self.valid_path, [valid], self.begin.tokenizer, corpus, store.tokenizer)
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
                task = self._task(data, given)
                model = plan_model(task, chosen, self.request.size)
                model = self.begin.init.header.model if self.begin.init is not None else model
                training = plan_training(task, model, given)
                training = warm_start(training, given) if self.begin.init is not None else training
        except ValidationError as error:
            raise usage_error(error) from None
        index = self._index(data, checkpoint, model.networks)
        listed = tuple((order, len(keys)) for order, keys in zip(index.orders, index.keys, strict=True))
        model = model.model_copy(update={"ngram_rows": listed})
        trainer = Trainer(data, model, training, index, group=self.group, device=device)
        if checkpoint is not None:
            trainer.restore(checkpoint)
        elif self.begin.init is not None:
            trainer.begin_from(self.begin.init.weights)
        return trainer

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
        began = now - spent
        deadline = self.started + (training.seconds or 0) - spent - self._ending_seconds(trainer)
        finished = None
        for event in trainer.events(
            deadline,
            began=began,
            checkpoint=self.checkpoint_path,
            should_stop=self.should_stop,
            notes=self.notes,
        ):
            self._tell(log, event)
            if isinstance(event, Finished):
                finished = event
        assert finished is not None
        return finished

    def _ending_seconds(self, trainer: Trainer) -> float:
        """How long the final figures and the saving will take, from a small trial."""
        if trainer.settings.seconds is None or not trainer.subset:
            return 0.0
        trial = trainer.subset[:TRIAL_STRETCHES]
        times = []
        for _ in range(2):  # the first warms up
            began = time.monotonic()
            score_ranges(trainer.runtime(), trainer.data.valid_store.ids, trial, trainer.data.is_stream)
            times.append(time.monotonic() - began)
        tokens = sum(end - begin for begin, end in [*trainer.subset, *stretches(trainer.data.held_out)])
        return SAVING_SECONDS + min(times) * tokens / max(1, sum(end - begin for begin, end in trial))

    # The end

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
    for _ in read_blocks(find_sources(inputs), corpus, summary, tokenizer.unit == "byte"):
        pass
    return summary.digest
