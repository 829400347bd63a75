"""What a run begins with: settings of its own, a bundle to go on from, or the run that it resumes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from seqmodel.config import CorpusSettings, TokenizerSettings
from seqmodel.errors import UsageError
from seqmodel.model.bundle import Bundle, read_bundle
from seqmodel.tokens.characters import Characters
from seqmodel.tokens.store import TokenStore
from seqmodel.training.agreement import agree_with_bundle, agree_with_checkpoint
from seqmodel.training.checkpoints import Checkpoint
from seqmodel.training.request import TrainingRequest


@dataclass(frozen=True)
class Beginning:
    """How text is read and becomes tokens; `init` is the bundle whose vocabulary and weights come first."""

    tokenizer: TokenizerSettings
    corpus: CorpusSettings
    init: Bundle | None = None

    def with_earlier(self, found: Characters) -> Characters:
        """The characters of the training text, with those that the bundle to begin from was trained on."""
        earlier = self.init.written_characters if self.init is not None else None
        return found if earlier is None else found | earlier


def beginning_of(request: TrainingRequest, checkpoint: Checkpoint | None) -> Beginning:
    """
    Raises:
        UsageError: if the request contradicts the bundle to begin from, or the checkpoint to resume.
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
    """What a checkpoint keeps of a run's beginning, as JSON; `own_store`: the run made the store, and may remove it."""
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
