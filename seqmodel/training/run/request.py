"""The request and the result of a training run. No torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from seqmodel.choices import Size
from seqmodel.model.bundle import BundleHeader
from seqmodel.settings import CorpusSettings, NetworkSettings, TokenizerSettings, TrainingSettings


@dataclass(frozen=True)
class TrainingRequest:
    """The settings and files of a run that the user gave.

    Of `tokenizer`, `corpus`, `model` and `training` the user gave the fields that are set (`model_fields_set`); the
    run chooses the others.
    """

    inputs: tuple[str, ...]
    output: Path
    tokenizer: TokenizerSettings
    corpus: CorpusSettings
    model: NetworkSettings
    training: TrainingSettings
    size: Size | None = None
    ngram_embeddings: bool | None = None
    counts: bool | None = None
    init: Path | None = None  # the bundle whose vocabulary and weights training begins with
    valid: str | None = None
    write_valid: Path | None = None
    resume: bool = False
    force: bool = False


@dataclass(frozen=True)
class TrainingResult:
    """The bundle's file and header, and how the run ended."""

    path: Path
    header: BundleHeader
    interrupted: bool
    seconds: float
    tokens_per_second: float
