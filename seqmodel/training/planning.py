"""Defaults that follow the corpus: what the user did not say is chosen here, and told in one line."""

from __future__ import annotations

from typing import Any

from seqmodel.config import CellKind, ModelSettings, TrainingSettings, Unit
from seqmodel.model.ngram_index import possible_orders

LEAST_UNSEEN_RATE = 1 / 2000
MOST_UNSEEN_RATE = 1 / 200
TABLE_ROWS = 40_000  # with width 256, 20 MB in half precision
SMALL_CORPUS = 300_000  # tokens under which a model of the default size would learn it by heart


def plan_model(unit: Unit, vocabulary: int, train_tokens: int, ends: bool, chosen: dict[str, Any]) -> ModelSettings:
    """The network for a corpus; `chosen` holds what the user said. N-gram rows are set when the index is built."""
    settings: dict[str, Any] = {"vocabulary": vocabulary, "ends": ends, "tied": unit in ("word", "subword")}
    settings["width"] = 256 if train_tokens >= 60_000 else 192 if train_tokens >= 20_000 else 128
    return ModelSettings(**(settings | chosen))


def plan_ngrams(unit: Unit, vocabulary: int, train_tokens: int) -> tuple[tuple[int, ...], int]:
    """Orders and number of rows of the n-gram table."""
    most = 4 if unit in ("char", "byte") else 2
    return possible_orders(vocabulary, most), max(64, min(TABLE_ROWS, train_tokens // 4))


def plan_order(unit: Unit) -> int:
    """The order of the count model."""
    return 6 if unit in ("char", "byte") else 4


def plan_training(
    unit: Unit, closed: bool, cell: CellKind, train_tokens: int, chosen: dict[str, Any]
) -> TrainingSettings:
    """How to train on a corpus; small ones need more noise and smaller batches."""
    settings: dict[str, Any] = {"unseen_rate": 0.0 if closed or unit == "byte" else _unseen_rate(train_tokens)}
    if train_tokens < SMALL_CORPUS:
        settings |= {"dropout": 0.3, "ngram_dropout": 0.5, "table_learning_rate": 1e-2}
    if train_tokens < 60_000:
        settings |= {"lanes": 16, "segment": 32}
    if unit in ("word", "subword"):
        settings |= {
            "dropout": 0.3 if train_tokens < 5_000_000 else 0.1,
            "table_learning_rate": 4e-3,
            "learning_rate": 2e-3,
        }
    if cell != "mingru":
        settings["learning_rate"] = 2e-3
    return TrainingSettings(**(settings | chosen))


def _unseen_rate(train_tokens: int) -> float:
    """How often something unseen is put into a batch: some 64 times per epoch, within bounds."""
    return max(LEAST_UNSEEN_RATE, min(MOST_UNSEEN_RATE, 64 / max(1, train_tokens)))


def describe(model: ModelSettings, training: TrainingSettings, rows: int, unit: Unit, vocabulary: int) -> str:
    """The choices in one line."""
    budget = (
        f"{training.seconds:g} s"
        if training.seconds
        else f"{training.steps} steps"
        if training.steps
        else f"{training.epochs:g} epochs"
    )
    return (
        f"{unit} model, vocabulary {vocabulary:,}: {model.layers} × {model.width} {model.cell}, {rows:,} n-gram rows, "
        f"dropout {training.dropout:g}, {training.lanes} × {training.segment} tokens a step, budget {budget}"
    )
