"""Checks for options that contradict a token store, a checkpoint or the bundle of `--init`.

A contradiction is an error, never ignored; an option that repeats a fixed value is allowed. No torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from seqmodel.errors import UsageError
from seqmodel.model.bundle import Bundle, BundleHeader
from seqmodel.settings import CorpusSettings, ModelSettings, NetworkSettings, TokenizerSettings
from seqmodel.tokens.store import StoreHeader, TokenStore
from seqmodel.training.planning import SIZES
from seqmodel.training.run.options import BUDGETS, OPTIONS, named, options_of
from seqmodel.training.run.request import TrainingRequest

if TYPE_CHECKING:
    from seqmodel.training.run.checkpoints import RunProgress

OF_A_STORE = {"unit", "vocab_size", "subword", "closed_vocab", "sequence", "keep_blank"}
OF_A_STORE |= {"include", "exclude", "column", "input", "record_separator"}
OF_A_BUNDLE = {
    *("unit", "vocab_size", "subword", "closed_vocab", "ngram_embeddings"),
    *(name for name, option in OPTIONS.items() if option.kind is NetworkSettings),
}
FREE_IN_RESUMING = {*BUDGETS, "threads", "device"}


def agree_with_store(request: TrainingRequest, header: StoreHeader) -> None:
    """Check a request against the token store that it names.

    Raises:
        UsageError: if an option contradicts the store.
    """
    stored = _text(header.tokenizer, header.corpus)
    stored |= {"unit": header.unit, "closed_vocab": header.closed, "sequence": header.sequence}
    _compare(_given(request, OF_A_STORE), stored | {"vocab_size": header.vocabulary}, "the token store")


def agree_with_bundle(request: TrainingRequest, header: BundleHeader) -> None:
    """Check a request against the bundle of `--init`.

    Raises:
        UsageError: if an option contradicts the bundle.
    """
    stored = _text(header.tokenizer) | {"unit": header.unit, "closed_vocab": header.closed}
    _compare(_given(request, OF_A_BUNDLE), stored | _model(header.model), "the bundle to begin from")
    if "sequence" in request.corpus.model_fields_set:
        _compare_ends(request.corpus.sequence != "stream", header)


def fit_together(store: TokenStore, bundle: Bundle) -> None:
    """Check that a bundle can be trained further on a token store.

    Raises:
        UsageError: if their vocabularies or their ends of sequences differ.
    """
    _compare_ends(store.header.sequence != "stream", bundle.header)
    own, other = bundle.tokenizer, store.tokenizer
    if not own.spells_as(other):
        raise UsageError(
            f"{store.path} was made with another vocabulary than the bundle to begin from",
            "Make the store with seqmodel tokenize -m and that bundle.",
        )


def _compare_ends(ends: bool, header: BundleHeader) -> None:
    if ends != header.model.ends:
        own, other = ("has an end symbol", "a stream has none") if header.model.ends else ("is a stream", "lines end")
        raise UsageError(
            f"the bundle to begin from {own}, and {other}",
            f"Use --sequence {header.sequence}, or train without --init.",
        )


def agree_with_checkpoint(request: TrainingRequest, progress: RunProgress) -> None:
    """Check a request against the run to resume; budget, threads and device may change.

    Raises:
        UsageError: if another option contradicts the checkpoint.
    """
    notes = progress.notes
    stored = _text(notes.tokenizer, notes.corpus) | named(progress.settings)
    stored |= {"ngram": "on" if notes.counts else "off"}
    given = _given(request, OPTIONS.keys() - FREE_IN_RESUMING)
    _compare(given, stored | _model(progress.model), "the checkpoint")


def _text(*settings: TokenizerSettings | CorpusSettings | None) -> dict[str, Any]:
    return {name: value for some in settings if some is not None for name, value in named(some).items()}


def _model(model: ModelSettings) -> dict[str, Any]:
    return named(model) | {"vocab_size": model.vocabulary, "ngram_embeddings": bool(model.ngram_rows)}


def _given(request: TrainingRequest, names: set[str]) -> dict[str, Any]:
    """The request's options among `names`; a size is replaced by its layers and width."""
    given = options_of(request)
    if "size" in given:
        given = dict(zip(("layers", "width"), SIZES[given.pop("size")], strict=True)) | given
    return {name: value for name, value in given.items() if name in names}


def _compare(given: Mapping[str, Any], stored: Mapping[str, Any], owner: str) -> None:
    for name, value in given.items():
        if stored.get(name) != value:
            own = _shown(stored.get(name, "not known"))
            raise UsageError(
                f"is {own} in {owner}, not {_shown(value)}", "Leave the option out, or start anew.", setting=name
            )


def _shown(value: Any) -> str:
    if isinstance(value, tuple):
        return " ".join(value)
    return str(value).lower() if isinstance(value, bool) else str(value)
