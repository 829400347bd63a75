"""The start of a run: new, from the bundle of `--init`, or from the checkpoint of the run to resume."""

from __future__ import annotations

from dataclasses import dataclass
from os.path import realpath
from pathlib import Path

from seqmodel.errors import ModelError, UsageError
from seqmodel.files import beside, refuse_existing
from seqmodel.model.bundle import Bundle, read_bundle
from seqmodel.settings import CorpusSettings, TokenizerSettings
from seqmodel.tokens.characters import Characters
from seqmodel.tokens.store import TokenStore, is_store
from seqmodel.training.run.checkpoints import RunCheckpoint, StartRecord, read_run
from seqmodel.training.run.conflicts import agree_with_bundle, agree_with_checkpoint
from seqmodel.training.run.request import TrainingRequest


@dataclass(frozen=True)
class Start:
    """The start of a run: how its text is read and tokenized, and the bundle or checkpoint that it continues."""

    tokenizer: TokenizerSettings
    corpus: CorpusSettings
    init: Bundle | None = None
    checkpoint: RunCheckpoint | None = None

    @classmethod
    def of(cls, request: TrainingRequest, checkpoint: RunCheckpoint | None) -> Start:
        """The start of a run that is new, begins from a bundle, or is resumed.

        Raises:
            UsageError: if the request contradicts the bundle of `--init`, or the checkpoint to resume.
            ModelError: if that bundle cannot be read.
        """
        if checkpoint is not None:
            return cls.resumed(request, checkpoint)
        return cls.new(request) if request.init is None else cls.from_bundle(request, read_bundle(request.init))

    @classmethod
    def new(cls, request: TrainingRequest) -> Start:
        """The start with random weights."""
        return cls(request.tokenizer, request.corpus)

    @classmethod
    def from_bundle(cls, request: TrainingRequest, init: Bundle) -> Start:
        """The start with a bundle's vocabulary and weights.

        Raises:
            UsageError: if the request contradicts the bundle.
        """
        header, corpus = init.header, request.corpus
        agree_with_bundle(request, header)
        if "sequence" not in corpus.model_fields_set:
            corpus = corpus.model_copy(update={"sequence": header.sequence})
        return cls(header.tokenizer or TokenizerSettings(unit=header.unit, closed=header.closed), corpus, init)

    @classmethod
    def resumed(cls, request: TrainingRequest, checkpoint: RunCheckpoint) -> Start:
        """The start at a checkpoint.

        Raises:
            UsageError: if the request contradicts the checkpoint.
        """
        record = checkpoint.progress.notes
        agree_with_checkpoint(request, checkpoint.progress)
        init = read_bundle(request.init) if request.init is not None else None
        if init is not None and init.digest != record.began_from:
            raise UsageError("the run to resume did not begin from the bundle of --init", "Leave --init out.")
        return cls(record.tokenizer, record.corpus, init, checkpoint)

    @property
    def is_new(self) -> bool:
        """True unless the run is resumed."""
        return self.checkpoint is None

    @property
    def record(self) -> StartRecord | None:
        """The record of the start of the run that is resumed."""
        return None if self.checkpoint is None else self.checkpoint.progress.notes

    def with_earlier(self, found: Characters) -> Characters:
        """The characters of the training text, and of the text that the bundle of `--init` was trained on."""
        earlier = self.init.written_characters if self.init is not None else None
        return found if earlier is None else found | earlier


def refuse_own_inputs(request: TrainingRequest) -> None:
    """Check that no input, and no held-out text, is a file that this run writes.

    Raises:
        UsageError: if one is, or the output has the suffix of another kind of file.
    """
    output = request.output
    if output.suffix in (".tokens", ".checkpoint", ".jsonl"):
        raise UsageError(f"{output} has the name of another kind of file", "Call the bundle something.seqmodel.")
    written = [output, *(beside(output, suffix) for suffix in (".checkpoint", ".valid.tokens", ".jsonl"))]
    inputs = [*request.inputs, *([request.valid] if request.valid is not None else [])]
    names = [Path(name) for name in inputs if name != "-"]
    written += [] if any(map(is_store, names)) else [beside(output, ".tokens")]
    for name in [*names, *([request.write_valid] if request.write_valid is not None else [])]:
        if realpath(name) in map(realpath, written):
            raise UsageError(f"{name} would be overwritten by this run", "Choose another name with -o.")
    export, init = request.write_valid, request.init
    read = map(realpath, [*names, *([init] if init is not None else [])])
    if export is not None and any(Path(realpath(export)).is_relative_to(name) for name in read):
        raise UsageError(f"{export} is an input of this run", "Choose another name with --write-valid.")


def checkpoint_of(request: TrainingRequest) -> RunCheckpoint | None:
    """Read the checkpoint of the run to resume; None for a new run.

    Raises:
        ModelError: if there is nothing to resume, or the checkpoint cannot be read.
        UsageError: if a new run would overwrite a file without --force.
    """
    output, path = request.output, beside(request.output, ".checkpoint")
    if request.resume:
        if path.exists():
            return read_run(path)
        if output.exists():
            raise ModelError(
                f"{output} is complete: there is nothing to resume",
                f"To train it further, begin a new run from it: --init {output} -o another.seqmodel.",
            )
        raise ModelError(
            f"{path}: no such checkpoint", "There is nothing to resume; leave --resume out, and the run starts anew."
        )
    refuse_existing(output, request.force)
    if path.exists() and not request.force:
        raise UsageError(
            f"{path} exists: an earlier run was interrupted", "Go on with --resume, or start anew with --force."
        )
    refuse_existing(beside(output, ".jsonl"), request.force)
    return None


def record_of(
    request: TrainingRequest, init: Bundle | None, store: TokenStore, valid: TokenStore | None, own_store: bool
) -> StartRecord:
    """The record of a run's start for its checkpoint; `own_store`: the run made the store, and may remove it."""
    header = store.header
    learned = init.header.tokenizer if init is not None else header.tokenizer
    return StartRecord(
        counts=request.counts is not False,
        began_from=init.digest if init is not None else None,
        learned=learned is not None,
        tokenizer=learned or TokenizerSettings(unit=header.unit, closed=header.closed),
        corpus=header.corpus or CorpusSettings(sequence=header.sequence),
        store=header.digest,
        own_store=own_store,
        valid_store=valid.header.digest if valid is not None else None,
        valid=valid.header.corpus_digest if valid is not None else None,
    )
