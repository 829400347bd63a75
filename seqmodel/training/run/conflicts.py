"""Options that contradict what is fixed already: by a token store, by a checkpoint, by the bundle to begin from.

They are refused, never passed over; those that say the same are fine. No torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from seqmodel.errors import UsageError
from seqmodel.model.bundle import Bundle, BundleHeader
from seqmodel.settings import CorpusSettings, ModelSettings, TokenizerSettings, TrainingSettings
from seqmodel.tokens.store import StoreHeader, TokenStore
from seqmodel.training.planning import SIZES
from seqmodel.training.run.options import BUDGETS, OPTIONS, named, options_of
from seqmodel.training.run.request import TrainingRequest

OF_A_STORE = {"unit", "vocab_size", "subword", "closed_vocab", "sequence", "keep_blank"}
OF_A_STORE |= {"include", "exclude", "column", "input", "record_separator"}
OF_A_BUNDLE = {
    *("unit", "vocab_size", "subword", "closed_vocab", "ngram_embeddings"),
    *(name for name, option in OPTIONS.items() if option.kind is ModelSettings),
}
FREE_IN_RESUMING = {*BUDGETS, "threads", "device"}


def agree_with_store(request: TrainingRequest, header: StoreHeader) -> None:
    """
    Raises:
        UsageError: if the request says otherwise than the store that it names.
    """
    stored = _text(header.tokenizer, header.corpus)
    stored |= {"unit": header.unit, "closed_vocab": header.closed, "sequence": header.sequence}
    _compare(_given(request, OF_A_STORE), stored | {"vocab_size": header.vocabulary}, "the token store")


def agree_with_bundle(request: TrainingRequest, header: BundleHeader) -> None:
    """
    Raises:
        UsageError: if the request says otherwise than the bundle that it begins from.
    """
    stored = _text(header.tokenizer) | {"unit": header.unit, "closed_vocab": header.closed}
    _compare(_given(request, OF_A_BUNDLE), stored | _model(header.model.model_dump()), "the bundle to begin from")
    if "sequence" in request.corpus.model_fields_set:
        _compare_ends(request.corpus.sequence != "stream", header)


def fit_together(store: TokenStore, bundle: Bundle) -> None:
    """
    Raises:
        UsageError: if training cannot begin from the bundle on the ids of the store.
    """
    _compare_ends(store.header.sequence != "stream", bundle.header)
    own, other = bundle.tokenizer, store.tokenizer
    if not own.spells_as(other):
        raise UsageError(
            f"{store.path} holds the ids of another vocabulary than that of the bundle to begin from",
            "Make it with seqmodel tokenize -m and that bundle.",
        )


def _compare_ends(ends: bool, header: BundleHeader) -> None:
    if ends != header.model.ends:
        own, other = ("has an end symbol", "a stream has none") if header.model.ends else ("is a stream", "lines end")
        raise UsageError(
            f"the bundle to begin from {own}, and {other}",
            f"Use --sequence {header.sequence}, or train without --init.",
        )


def agree_with_checkpoint(request: TrainingRequest, progress: Mapping[str, Any]) -> None:
    """
    Raises:
        UsageError: if the request says otherwise than the run to resume, of more than the budget and threads.
    """
    notes = progress["notes"]
    stored = named(TokenizerSettings, notes["tokenizer"])
    stored |= named(CorpusSettings, CorpusSettings(**notes["corpus"]).model_dump())
    stored |= named(TrainingSettings, progress["settings"]) | {"ngram": "on" if notes["counts"] else "off"}
    given = _given(request, OPTIONS.keys() - FREE_IN_RESUMING)
    _compare(given, stored | _model(progress["model"]), "the checkpoint")


def _text(*settings: TokenizerSettings | CorpusSettings | None) -> dict[str, Any]:
    known = [some for some in settings if some is not None]
    return {name: value for some in known for name, value in named(type(some), some.model_dump()).items()}


def _model(fields: Mapping[str, Any]) -> dict[str, Any]:
    own = {"vocab_size": fields["vocabulary"], "ngram_embeddings": bool(fields["ngram_rows"])}
    return named(ModelSettings, fields) | own


def _given(request: TrainingRequest, names: set[str]) -> dict[str, Any]:
    """Which of these options the request has; a size stands for its layers and width."""
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
