"""The token stores of a run: that of its corpus, and that of its held-out text if this is a file of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from seqmodel.choices import HeldOutFrom
from seqmodel.errors import ModelError, UsageError
from seqmodel.files import beside, refuse_existing
from seqmodel.settings import CorpusSettings, TokenizerSettings
from seqmodel.text.corpus import CorpusSummary
from seqmodel.text.sequences import read_sequences
from seqmodel.text.sources import find_sources
from seqmodel.tokens.batches import split_store, whole_store
from seqmodel.tokens.store import TokenStore, is_store, make_store, open_store
from seqmodel.tokens.vocabulary_notes import vocabulary_notes
from seqmodel.training.run.checkpoints import StartRecord
from seqmodel.training.run.conflicts import agree_with_store, fit_together
from seqmodel.training.run.request import TrainingRequest
from seqmodel.training.run.start import Start, record_of
from seqmodel.training.running_text import looks_like_running_text
from seqmodel.training.training_data import TrainingData


@dataclass(frozen=True)
class RunText:
    """The tokens of a run, the kind of its held-out text, and the record of its start."""

    data: TrainingData
    held_out_from: HeldOutFrom
    record: StartRecord


class RunStores:
    """Opens the token stores of a run, or makes them; `remove_made` removes those that the run made."""

    def __init__(self, request: TrainingRequest, start: Start, note: Callable[[str], None]) -> None:
        self.request, self.start, self.note = request, start, note
        self.store_path = beside(request.output, ".tokens")
        self.valid_path = beside(request.output, ".valid.tokens")
        self.made: list[Path] = []
        self.remade = False  # the store of a resumed run is made again

    def open(self) -> RunText:
        """Open or make the stores.

        Raises:
            UsageError: if the request contradicts them, or they may not be written.
            ModelError: if they are not those of the run to resume.
            DataError: if a text cannot be read.
        """
        store = self._store()
        if self.start.is_new and looks_like_running_text(store):
            self.note("the lines look like one running text; --sequence stream reads on across them, and usually gains")
        valid = self._valid_store(store)
        record = self.start.record
        if record is None:
            record = record_of(self.request, self.start.init, store, valid, self.store_path in self.made)
        else:
            self._refuse_other_stores(record, store, valid)
        data = training_data(store, valid)
        if self.start.is_new:
            for text in vocabulary_notes(data.valid_store, data.held_out, own=store if valid is None else None):
                self.note(text)
        held_out_from: HeldOutFrom = "file" if valid is not None else "split" if len(data.held_out) else ""
        return RunText(data, held_out_from, record)

    def remove_made(self) -> None:
        """Remove the stores that the run made."""
        for path in self.made:
            path.unlink(missing_ok=True)

    def _refuse_other_stores(self, record: StartRecord, store: TokenStore, valid: TokenStore | None) -> None:
        found = (store.header.digest, valid.header.digest if valid is not None else None)
        if found != (record.store, record.valid_store):
            if self.remade:
                self.store_path.unlink()
            raise ModelError(
                "the checkpoint was taken on another corpus, or another vocabulary",
                "Resume with the original corpus and vocabulary, or start anew with --force.",
            )

    # The corpus

    def _store(self) -> TokenStore:
        inputs = self.request.inputs
        given = [name for name in inputs if name != "-" and is_store(Path(name))]
        if given and len(inputs) > 1:
            raise UsageError("a token store is given together with other inputs", "Give one token store, or text.")
        if given:
            return self._given_store(Path(given[0]))
        if self.start.checkpoint is not None and self.store_path.exists():
            return self._kept_store(self.start.checkpoint.progress.corpus_digest)
        return self._made_store()

    def _given_store(self, path: Path) -> TokenStore:
        store = open_store(path)
        if self.start.is_new:
            agree_with_store(self.request, store.header)
        if self.start.init is not None:
            fit_together(store, self.start.init)
        return store

    def _kept_store(self, digest: str) -> TokenStore:
        """The store of the run to resume; inputs that are given must have the digest of its corpus."""
        inputs, record = self.request.inputs, self.start.record
        if inputs and corpus_digest(inputs, self.start.tokenizer, self.start.corpus) != digest:
            raise ModelError("the checkpoint was taken on another corpus", "Resume with the original corpus.")
        if record is not None and record.own_store:
            self.made.append(self.store_path)
        return open_store(self.store_path)

    def _made_store(self) -> TokenStore:
        request, start, record = self.request, self.start, self.start.record
        if not request.inputs:
            raise UsageError("no corpus is given", "Name text files, folders or a token store.")
        if start.is_new:
            refuse_existing(self.store_path, request.force, f" (or train it: seqmodel train {self.store_path})")
        if record is not None and record.began_from and start.init is None:
            raise UsageError(f"{self.store_path} is gone", "Name the bundle that the run began from with --init.")
        self.made.append(self.store_path)
        self.remade = not start.is_new
        tokenizer = start.init.tokenizer if start.init is not None else None
        hold_out = request.valid is None and not (record is not None and record.valid)
        make_store(self.store_path, request.inputs, start.tokenizer, start.corpus, tokenizer, hold_out, self.note)
        return open_store(self.store_path)

    # The held-out text

    def _valid_store(self, store: TokenStore) -> TokenStore | None:
        own = store.header.corpus or CorpusSettings(sequence=store.header.sequence)
        given = self.start.corpus
        corpus = own.model_copy(update={"errors": given.errors, "max_line": given.max_line})
        if self.start.record is not None and (kept := self._kept_valid_store(self.start.record, corpus)) is not None:
            return kept
        valid = self.request.valid
        if valid is None:
            return None
        refuse_existing(self.valid_path, self.request.force)
        self.made.append(self.valid_path)
        make_store(self.valid_path, [valid], self.start.tokenizer, corpus, store.tokenizer, on_note=self.note)
        return open_store(self.valid_path)

    def _kept_valid_store(self, record: StartRecord, corpus: CorpusSettings) -> TokenStore | None:
        """The held-out store of the run to resume; None if it had none, or must be made again."""
        valid = self.request.valid
        if valid is not None and corpus_digest([valid], self.start.tokenizer, corpus) != record.valid:
            raise UsageError("the run to resume has other held-out text", "Leave --valid out.")
        if record.valid is not None and self.valid_path.exists():
            self.made.append(self.valid_path)
            return open_store(self.valid_path)
        if record.valid is not None and valid is None:
            raise UsageError(f"{self.valid_path} is gone", "Name the held-out text of the run with --valid.")
        return None


def training_data(store: TokenStore, valid: TokenStore | None) -> TrainingData:
    """The training and held-out ranges: those of a store, or the whole of two stores."""
    if valid is not None:
        return TrainingData(store, whole_store(store), valid, whole_store(valid))
    split = split_store(store)
    return TrainingData(store, split.train, store, split.held_out)


def corpus_digest(inputs: Sequence[str], tokenizer: TokenizerSettings, corpus: CorpusSettings) -> str:
    """Compute the corpus digest that a store of these inputs would have."""
    summary = CorpusSummary()
    for _ in read_sequences(find_sources(inputs, corpus), corpus, summary, tokenizer.unit == "byte"):
        pass
    return summary.digest
