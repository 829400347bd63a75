"""Defaults that depend on the corpus and the budget: the settings that the user left open."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from seqmodel.choices import Size, Unit
from seqmodel.model.ngram_embeddings import possible_orders
from seqmodel.settings import ModelSettings, NetworkSettings, Settings, TrainingSettings, checked

SIZES: dict[Size, tuple[int, int]] = {"s": (1, 192), "m": (2, 256), "l": (2, 512)}  # layers, width
WARM_SHARE = 1 / 3  # of the usual learning rates, if training begins from a bundle
LEAST_UNSEEN_RATE = 1 / 500
MOST_UNSEEN_RATE = 1 / 200
TABLE_ROWS = 32_000  # of all networks together: 16 MB in half precision at width 256
TYPICAL_SPEED = {"char": 40_000, "byte": 40_000, "word": 20_000, "subword": 25_000}  # tokens a second on a laptop
# A network that reads a text more often than this memorizes it; a second network, averaged with the first, then gains
# more. A model of words has far more to learn.
EPOCHS_OF_A_NETWORK = {"char": 4.0, "byte": 4.0, "word": 8.0, "subword": 8.0}
MOST_NETWORKS = 3
LONG_COUNTS = 1 << 21  # tokens; on longer texts the character count model has a lower order, or it would be too large
PARTIAL_FROM = 6_000  # vocabulary from which a step's loss covers only a part of it
# (most epochs, (dropout, dropout of whole n-gram embeddings)). Measured on plays, except the last row, which is larger
# because a text that is read often is memorized.
NOISE = ((2, (0.0, 0.1)), (4, (0.1, 0.25)), (12, (0.1, 0.5)), (float("inf"), (0.3, 0.5)))
WORD_NOISE = ((0.5, (0.1, 0.1)), (2, (0.2, 0.25)), (float("inf"), (0.3, 0.25)))  # words, subwords: measured on articles


@dataclass(frozen=True)
class Task:
    """The facts that settings are chosen by: the corpus as tokens, and the budget (fields of `TrainingSettings`)."""

    unit: Unit
    closed: bool
    ends: bool
    vocabulary: int
    tokens: int
    budget: TrainingSettings
    speed: float = math.inf  # measured tokens a second of training one network

    @property
    def is_fine(self) -> bool:
        """True if tokens are characters or bytes."""
        return self.unit in ("char", "byte")

    def epochs(self, networks: int = 1) -> float:
        """Estimate how often each of so many networks reads the corpus within the budget."""
        if self.budget.epochs:
            return self.budget.epochs
        steps, seconds = self.budget.steps, self.budget.seconds or 0
        speed = min(self.speed, TYPICAL_SPEED[self.unit])
        tokens = steps * 1024 if steps else seconds * speed / networks
        return float(tokens / max(1, self.tokens))


def given_fields(settings: Settings) -> dict[str, Any]:
    """The fields that were set, by name."""
    return {name: getattr(settings, name) for name in settings.model_fields_set}


def plan_model(task: Task, chosen: NetworkSettings, size: Size | None = None) -> ModelSettings:
    """The network for a corpus; `chosen` holds the user's fields. `ngram_rows` is set when the index is built."""
    settings: dict[str, Any] = {"vocabulary": task.vocabulary, "ends": task.ends, "tied": not task.is_fine}
    settings["width"] = 256 if task.tokens >= 60_000 else 192 if task.tokens >= 20_000 else 128
    if task.tokens >= 60_000 and task.budget.seconds:
        settings["networks"] = max(1, min(MOST_NETWORKS, round(task.epochs() / EPOCHS_OF_A_NETWORK[task.unit])))
    if size is not None:
        settings["layers"], settings["width"] = SIZES[size]
    return checked(ModelSettings, **settings | given_fields(chosen))


def plan_ngrams(task: Task, networks: int) -> tuple[tuple[int, ...], int]:
    """Choose the orders of the n-gram embeddings and the rows of each network's table."""
    rows = max(64, min(TABLE_ROWS // networks, task.tokens // 4))
    return possible_orders(task.vocabulary, 4 if task.is_fine else 2), rows


def plan_order(task: Task) -> int:
    """Choose the order of the count model."""
    if task.is_fine:
        return 7 if task.tokens <= LONG_COUNTS else 6
    return 4


def plan_training(task: Task, model: ModelSettings, chosen: TrainingSettings) -> TrainingSettings:
    """The training settings for a corpus: the more often it is read, the more dropout."""
    epochs = task.epochs(model.networks)
    noise = NOISE if task.is_fine else WORD_NOISE
    dropout, ngram_dropout = next(rates for most, rates in noise if epochs <= most)
    settings: dict[str, Any] = {
        "unseen_rate": _unseen_rate(task),
        "dropout": dropout,
        "ngram_dropout": ngram_dropout,
        "lanes": 16 if epochs < 3 else 32,
        "weight_decay": 0.1 if epochs > 2 else 0.01,
    }
    if task.tokens < 60_000:
        settings |= {"lanes": 16, "segment": 32, "table_learning_rate": 1e-2}
    if not task.is_fine:
        settings |= {"lanes": 32, "table_learning_rate": 4e-3, "weight_decay": 0.1}
        settings["negatives"] = 2048 if task.vocabulary >= PARTIAL_FROM else None
    if model.cell != "mingru":
        settings["learning_rate"] = 2e-3
    return checked(TrainingSettings, **settings | given_fields(chosen))


def warm_start(training: TrainingSettings, chosen: TrainingSettings) -> TrainingSettings:
    """Lower the peak learning rates that the user has not chosen, for weights that are no longer random."""
    rates = [name for name in TrainingSettings.model_fields if name.endswith("learning_rate")]
    rates = [name for name in rates if name not in chosen.model_fields_set]
    return training.model_copy(update={name: WARM_SHARE * getattr(training, name) for name in rates})


def _unseen_rate(task: Task) -> float:
    """The rate at which unseen spellings replace tokens: about 64 per epoch, within bounds."""
    if task.closed or task.unit == "byte":
        return 0.0
    return max(LEAST_UNSEEN_RATE, min(MOST_UNSEEN_RATE, 64 / max(1, task.tokens)))


def describe(model: ModelSettings, training: TrainingSettings, rows: int, unit: Unit, vocabulary: int) -> str:
    """Describe the settings of a run in one line."""
    budget = (
        f"{training.seconds:g} s"
        if training.seconds
        else f"{training.steps} steps"
        if training.steps
        else f"{training.epochs:g} epochs"
    )
    several = f"{model.networks} networks of " if model.networks > 1 else ""
    size = next((f" (size {name})" for name, shape in SIZES.items() if shape == (model.layers, model.width)), "")
    return (
        f"{unit} model, vocabulary {vocabulary:,}: {several}{model.layers} × {model.width} {model.cell}{size}, "
        f"{rows:,} n-gram rows, "
        f"dropout {training.dropout:g}, {training.lanes} × {training.segment} tokens a step, budget {budget}"
    )
