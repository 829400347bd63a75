"""The start of a run: new, from the bundle of `--init`, or from the checkpoint of the run to resume."""

from __future__ import annotations

from dataclasses import dataclass
from os.path import realpath
from pathlib import Path
from typing import Any

from seqmodel.errors import ModelError, UsageError
from seqmodel.files import beside, refuse_existing
from seqmodel.model.bundle import Bundle, read_bundle
from seqmodel.settings import CorpusSettings, TokenizerSettings
from seqmodel.tokens.characters import Characters
from seqmodel.tokens.store import TokenStore, is_store
from seqmodel.training.run.checkpoints import Checkpoint, read_run
from seqmodel.training.run.conflicts import agree_with_bundle, agree_with_checkpoint
from seqmodel.training.run.request import TrainingRequest


@dataclass(frozen=True)
class Beginning:
    """The settings that text is read and tokenized with; `init` is the bundle to begin from."""

    tokenizer: TokenizerSettings
    corpus: CorpusSettings
    init: Bundle | None = None

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


def checkpoint_of(request: TrainingRequest) -> Checkpoint | None:
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


def beginning_of(request: TrainingRequest, checkpoint: Checkpoint | None) -> Beginning:
    """Determine the start of a run.

    Raises:
        UsageError: if the request contradicts the bundle of `--init`, or the checkpoint to resume.
        ModelError: if that bundle cannot be read.
    """
    if checkpoint is not None:
        return _resumed(request, checkpoint.progress)
    if request.init is None:
        return Beginning(request.tokenizer, request.corpus)
    init = read_bundle(request.init)
    header, corpus = init.header, request.corpus
    agree_with_bundle(request, header)
    if "sequence" not in corpus.model_fields_set:
        corpus = corpus.model_copy(update={"sequence": header.sequence})
    return Beginning(header.tokenizer or TokenizerSettings(unit=header.unit, closed=header.closed), corpus, init)


def _resumed(request: TrainingRequest, progress: Any) -> Beginning:
    notes = progress["notes"]
    agree_with_checkpoint(request, progress)
    init = read_bundle(request.init) if request.init is not None else None
    if init is not None and init.digest != notes["began_from"]:
        raise UsageError("the run to resume did not begin from the bundle of --init", "Leave --init out.")
    return Beginning(TokenizerSettings(**notes["tokenizer"]), CorpusSettings(**notes["corpus"]), init)


def notes_of(
    request: TrainingRequest, init: Bundle | None, store: TokenStore, valid: TokenStore | None, own_store: bool
) -> Any:
    """The record of a run's start for its checkpoint; `own_store`: the run made the store, and may remove it."""
    header = store.header
    learned = init.header.tokenizer if init is not None else header.tokenizer
    return {
        "counts": request.counts is not False,
        "began_from": init.digest if init is not None else None,
        "learned": learned is not None,
        "tokenizer": (learned or TokenizerSettings(unit=header.unit, closed=header.closed)).model_dump(),
        "corpus": (header.corpus or CorpusSettings(sequence=header.sequence)).model_dump(),
        "store": header.digest,
        "own_store": own_store,
        "valid_store": valid.header.digest if valid is not None else None,
        "valid": valid.header.corpus_digest if valid is not None else None,
    }
