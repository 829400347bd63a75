"""Defaults that follow the corpus: what the user did not say is chosen here, and told in one line."""

from __future__ import annotations

from typing import Any

from seqmodel.config import ModelSettings, TrainingSettings
from seqmodel.kinds import CellKind, Size, Unit
from seqmodel.model.ngram_index import possible_orders

SIZES: dict[Size, tuple[int, int]] = {"s": (1, 192), "m": (2, 256), "l": (2, 512)}  # layers, width
LEAST_UNSEEN_RATE = 1 / 500
MOST_UNSEEN_RATE = 1 / 200
TABLE_ROWS = 40_000  # with width 256, 20 MB in half precision
TYPICAL_SPEED = 25_000  # tokens a second on a laptop; plans only need its order of magnitude
# Dropout, and that of whole n-gram embeddings, by how often the text is read. The first two
# were measured on plays; the others are larger because a text that is read often is learned by heart.
NOISE = ((2, (0.0, 0.1)), (5, (0.1, 0.25)), (12, (0.2, 0.4)), (float("inf"), (0.3, 0.5)))


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
    """How to train on a corpus: the more often the budget lets it be read, the more noise."""
    epochs = _expected_epochs(train_tokens, chosen)
    dropout, ngram_dropout = next((rates for most, rates in NOISE if epochs <= most), NOISE[-1][1])
    settings: dict[str, Any] = {
        "unseen_rate": _unseen_rate(unit, closed, train_tokens),
        "dropout": dropout,
        "ngram_dropout": ngram_dropout,
        "lanes": 16 if epochs < 8 else 32,
    }
    if train_tokens < 60_000:
        settings |= {"lanes": 16, "segment": 32, "table_learning_rate": 1e-2}
    if unit in ("word", "subword"):
        settings |= {"lanes": 32, "table_learning_rate": 4e-3, "learning_rate": 2e-3, "dropout": max(dropout, 0.1)}
    if cell != "mingru":
        settings["learning_rate"] = 2e-3
    return TrainingSettings(**(settings | chosen))


def _expected_epochs(train_tokens: int, chosen: dict[str, Any]) -> float:
    """How often the budget lets the corpus be read, about."""
    if chosen.get("epochs"):
        return float(chosen["epochs"])
    tokens = chosen["steps"] * 1024 if chosen.get("steps") else (chosen.get("seconds") or 0) * TYPICAL_SPEED
    return float(tokens / max(1, train_tokens))


def _unseen_rate(unit: Unit, closed: bool, train_tokens: int) -> float:
    """How often something unseen is put into a batch: some 64 times per epoch, within bounds."""
    if closed or unit == "byte":
        return 0.0
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
