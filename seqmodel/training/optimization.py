"""The optimizers, the learning rate's course, and how many threads pay."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from seqmodel.config import TrainingSettings
from seqmodel.model.language_model import LanguageModel

BETAS = (0.9, 0.99)


class Optimizers:
    """AdamW (Loshchilov & Hutter 2019) for the dense weights; sparse Adam, much faster, for the n-gram table."""

    def __init__(self, model: LanguageModel, settings: TrainingSettings) -> None:
        self.table = None if model.table is None else model.table.weight
        self.dense = [p for p in model.parameters() if p is not self.table]
        matrices = [p for p in self.dense if p.ndim > 1]
        vectors = [p for p in self.dense if p.ndim == 1]
        groups = [
            {"params": matrices, "weight_decay": settings.weight_decay},
            {"params": vectors, "weight_decay": 0.0},
        ]
        self.adamw = torch.optim.AdamW(groups, lr=settings.learning_rate, betas=BETAS, fused=True)
        self.sparse = (
            None
            if self.table is None
            else torch.optim.SparseAdam([self.table], lr=settings.table_learning_rate, betas=BETAS)
        )
        self.clip = settings.clip
        self.rates = (settings.learning_rate, settings.table_learning_rate)

    def step(self, scale: float) -> None:
        """Apply the gradients with `scale` times the peak learning rates, and drop them."""
        nn.utils.clip_grad_norm_(self.dense, self.clip)
        for group in self.adamw.param_groups:
            group["lr"] = self.rates[0] * scale
        self.adamw.step()
        if self.sparse is not None:
            for group in self.sparse.param_groups:
                group["lr"] = self.rates[1] * scale
            self._keep_row_zero()
            self.sparse.step()  # type: ignore[no-untyped-call]
        self.zero()

    def _keep_row_zero(self) -> None:
        """Row 0 stands for n-grams without a row of their own: it has no gradient."""
        assert self.table is not None and self.table.grad is not None
        grad = self.table.grad.coalesce()
        indices, values = grad.indices(), grad.values()
        if len(values) and indices[0, 0] == 0:
            values[0] = 0
        self.table.grad = grad

    def zero(self) -> None:
        for parameter in self.dense:
            parameter.grad = None
        if self.table is not None:
            self.table.grad = None

    def state(self) -> dict[str, Tensor]:
        """Moments and step counts by name, for a checkpoint."""
        found = {}
        for label, optimizer, parameters in self._named():
            for number, parameter in enumerate(parameters):
                for key, value in optimizer.state[parameter].items():
                    found[f"{label}.{number}.{key}"] = (
                        value if isinstance(value, Tensor) else torch.tensor(float(value))
                    )
        return found

    def restore(self, state: dict[str, Tensor]) -> None:
        for label, optimizer, parameters in self._named():
            for number, parameter in enumerate(parameters):
                start = f"{label}.{number}."
                found = {key.removeprefix(start): value for key, value in state.items() if key.startswith(start)}
                if label == "table" and found:
                    found["step"] = int(found["step"])  # type: ignore[assignment]
                if found:
                    optimizer.state[parameter] = found

    def _named(self) -> list[tuple[str, torch.optim.Optimizer, list[Tensor]]]:
        ordered = [p for group in self.adamw.param_groups for p in group["params"]]
        named: list[tuple[str, torch.optim.Optimizer, list[Tensor]]] = [("dense", self.adamw, ordered)]
        if self.sparse is not None and self.table is not None:
            named.append(("table", self.sparse, [self.table]))
        return named


@dataclass
class Schedule:
    """The learning rate's share of its peak: a short rise, then straight down to zero at the end.

    `anneal` begins the descent at once: from the present share to zero in a number of steps.
    """

    warmup_steps: int
    anneal_from: int | None = None
    anneal_steps: int = 1
    anneal_scale: float = 1.0

    def scale(self, step: int, progress: float) -> float:
        if self.anneal_from is not None:
            return self.anneal_scale * max(0.0, 1 - (step - self.anneal_from) / self.anneal_steps)
        return min(1.0, (step + 1) / max(1, self.warmup_steps)) * max(0.0, 1 - progress)

    def anneal(self, step: int, steps: int, progress: float) -> None:
        self.anneal_scale = self.scale(step, progress)
        self.anneal_from, self.anneal_steps = step, steps

    def is_over(self, step: int, progress: float) -> bool:
        return progress >= 1 or (self.anneal_from is not None and step - self.anneal_from >= self.anneal_steps)


@contextmanager
def fast_arithmetic() -> Iterator[None]:
    """The arithmetic that training runs under; the caller's own is as it was afterwards."""
    torch.set_flush_denormal(True)  # numbers next to nothing are many times slower
    try:
        yield
    finally:
        torch.set_flush_denormal(False)


def usable_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def choose_threads(width: int, rows: int) -> int:
    """The thread count with which a product of a training step's shape is fastest here and now.

    Counting cores does not tell: on a busy machine two threads can be ten times slower than one.
    """
    cores = usable_cores()
    counts = sorted({min(2**k, cores) for k in range(cores.bit_length() + 1)})
    x, w = torch.randn(rows, width), torch.randn(width, 3 * width)
    best, fastest = 1, float("inf")
    for count in counts:
        torch.set_num_threads(count)
        torch.sigmoid(x @ w)
        times = []
        for _ in range(5):
            began = time.perf_counter()
            torch.sigmoid(x @ w)
            times.append(time.perf_counter() - began)
        median = sorted(times)[2]
        if median < fastest * 0.95:
            best, fastest = count, median
    return best
