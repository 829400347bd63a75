"""The request and the result of a training run. No torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seqmodel.choices import Size
from seqmodel.model.bundle import BundleHeader
from seqmodel.settings import CorpusSettings, TokenizerSettings


@dataclass(frozen=True)
class TrainingRequest:
    """`model` and `training` hold the settings that the user gave by name; None stands for "you choose".

    Of `tokenizer` and `corpus` the fields that were set are those that the user gave.
    """

    inputs: tuple[str, ...]
    output: Path
    tokenizer: TokenizerSettings
    corpus: CorpusSettings
    model: dict[str, Any]
    training: dict[str, Any]
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
