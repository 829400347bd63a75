"""The bundle that a run ends with: rounded weights, figures on the held-out text, and the record of the training."""

from __future__ import annotations

from pathlib import Path

from seqmodel.errors import SeqmodelError
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
from seqmodel.model.kneser_ney import CountModel
from seqmodel.settings import TrainingSettings
from seqmodel.tokens.characters import Characters
from seqmodel.training.events import Finished
from seqmodel.training.held_out_evaluation import final_figures
from seqmodel.training.loop import Trainer
from seqmodel.training.run.stores import RunText
from seqmodel.training.training_data import TrainingData


def write_result(
    path: Path,
    trainer: Trainer,
    text: RunText,
    scored: TrainingData,
    counts: CountModel | None,
    characters: Characters,
    finished: Finished,
) -> BundleHeader:
    """Write the bundle of a trainer's best weights. Returns its header.

    The final figures are of the held-out text of `scored`.

    Raises:
        SeqmodelError: if a weight cannot be stored.
        ResourceError: if the disk is full.
    """
    weights = {name: stored_precision(array) for name, array in trainer.kept_weights().items()}
    if not in_range(weights):
        raise SeqmodelError("the weights grew too large to be stored", "Train with a much lower --learning-rate.")
    store, model = text.data.store, trainer.model.settings
    held_out, mixture = final_figures(Runtime(model, weights, trainer.index, store.header.closed), counts, scored)
    size = trainer.settings.fingerprint
    fingerprint = build_fingerprint(store, text.data.train, size) if size is not None else None
    header = BundleHeader(
        model=model,
        unit=store.header.unit,
        closed=store.header.closed,
        sequence=store.header.sequence,
        provenance=_provenance(trainer, text),
        training=_summary(trainer.settings, finished),
        held_out=held_out,
        discounts=tuple(level.discounts for level in counts.levels) if counts is not None else (),
        mixture=tuple(round(float(weight), 6) for weight in mixture),
        tokenizer=text.record.tokenizer if text.record.learned else None,
        corpus=text.record.corpus,
        fingerprint=FingerprintSettings.of(fingerprint) if fingerprint is not None else None,
    )
    write_bundle(path, Bundle(header, store.tokenizer, trainer.index, weights, counts, fingerprint, characters))
    return header


def _provenance(trainer: Trainer, text: RunText) -> Provenance:
    store = text.data.store.header
    return Provenance(
        corpus_digest=store.corpus_digest,
        corpus_bytes=store.corpus_bytes,
        corpus_chars=store.corpus_chars,
        corpus_lines=store.corpus_lines,
        sequences=store.sequences,
        tokens=store.tokens,
        train_tokens=trainer.batches.total,
        held_out_from=text.held_out_from,
        began_from=text.record.began_from,
    )


def _summary(settings: TrainingSettings, finished: Finished) -> TrainingSummary:
    return TrainingSummary(
        seed=settings.seed,
        steps=finished.step,
        tokens=finished.tokens,
        epochs=round(finished.epoch, 3),
        budget=_budget_text(settings),
        annealed=finished.annealed,
        settings=settings.model_dump(mode="json", exclude={"threads", "device"}, exclude_none=True),
    )


def _budget_text(settings: TrainingSettings) -> str:
    if settings.seconds:
        return f"{settings.seconds:g} s"
    return f"{settings.steps} steps" if settings.steps else f"{settings.epochs:g} epochs"
