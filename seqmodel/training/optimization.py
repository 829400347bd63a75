"""The optimizers, the learning-rate schedule, and torch's global settings during training."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqmodel.model.kernels import NgramTable, TableGradient
from seqmodel.model.language_model import LanguageModel
from seqmodel.model.ngram_embeddings import NO_ROW
from seqmodel.settings import TrainingSettings

BETAS = (0.9, 0.99)
EPSILON = 1e-8


class RowAdam:
    """Adam (Kingma & Ba 2015) on the table rows that a step has used; the moments of other rows stay unchanged."""

    def __init__(self, table: NgramTable, learning_rate: float) -> None:
        self.table, self.learning_rate = table, learning_rate
        self.mean = torch.zeros_like(table.weight)
        self.square = torch.zeros_like(table.weight)
        self.steps = 0

    @torch.no_grad()
    def step(self, scale: float) -> None:
        """Apply the table's gradient with `scale` times the learning rate, and drop it."""
        gradient, self.table.gradient = self.table.gradient, None
        if gradient is None:
            return
        rows, grad = summed_rows(gradient)
        self.steps += 1
        mean = self.mean.index_select(0, rows).lerp_(grad, 1 - BETAS[0])
        square = self.square.index_select(0, rows).mul_(BETAS[1]).addcmul_(grad, grad, value=1 - BETAS[1])
        self.mean.index_copy_(0, rows, mean)
        self.square.index_copy_(0, rows, square)
        bias = [1 - beta**self.steps for beta in BETAS]
        rate = self.learning_rate * scale * bias[1] ** 0.5 / bias[0]
        change = mean.div_(square.sqrt_().add_(EPSILON)).mul_(-rate)
        self.table.weight.index_add_(0, rows, change)

    def state(self) -> dict[str, Tensor]:
        return {"mean": self.mean, "square": self.square, "steps": torch.tensor(self.steps)}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        self.mean.copy_(state["mean"])
        self.square.copy_(state["square"])
        self.steps = int(state["steps"])
        if self.steps < 0:
            raise ValueError("steps")


def summed_rows(gradient: TableGradient) -> tuple[Tensor, Tensor]:
    """Sum the gradient per row: the rows that occur (R,), except row 0, and their sums (R, D)."""
    per_position = gradient.rows.shape[1]
    flat, order = gradient.rows.flatten().sort(stable=True)
    rows, counts = torch.unique_consecutive(flat, return_counts=True)
    begins = counts.cumsum(0) - counts
    if len(rows) and rows[0] == NO_ROW:
        rows, begins, order = rows[1:], begins[1:] - counts[0], order[counts[0] :]
    return rows, F.embedding_bag(order // per_position, gradient.values, begins, mode="sum")


class AdamW:
    """AdamW (Loshchilov & Hutter 2019) with torch's fused kernel; only matrices decay.

    `torch.optim.AdamW` would import torch's compiler, which takes two seconds.
    """

    def __init__(self, parameters: Sequence[Tensor], learning_rate: float, weight_decay: float) -> None:
        self.learning_rate = learning_rate
        self.mean = [torch.zeros_like(p) for p in parameters]
        self.square = [torch.zeros_like(p) for p in parameters]
        self.steps = [torch.zeros((), device=p.device) for p in parameters]
        kinds = ((1, 0.0), (2, weight_decay))  # vectors, matrices
        self.groups = [([i for i, p in enumerate(parameters) if p.ndim == ndim], decay) for ndim, decay in kinds]
        self.parameters = list(parameters)

    @torch.no_grad()
    def step(self, scale: float) -> None:
        """Apply the gradients with `scale` times the learning rate; a parameter without one stays as it is."""
        for numbers, decay in self.groups:
            here = [i for i in numbers if self.parameters[i].grad is not None]
            grads = [g for i in here if (g := self.parameters[i].grad) is not None]
            of_here = ([column[i] for i in here] for column in (self.parameters, self.mean, self.square, self.steps))
            parameters, mean, square, steps = of_here
            if not here:
                continue
            torch._foreach_add_(steps, 1)
            torch._fused_adamw_(
                *(parameters, grads, mean, square, [], steps),
                lr=self.learning_rate * scale,
                beta1=BETAS[0],
                beta2=BETAS[1],
                weight_decay=decay,
                eps=EPSILON,
                amsgrad=False,
                maximize=False,
            )

    def state(self) -> dict[str, Tensor]:
        columns = {"mean": self.mean, "square": self.square, "steps": self.steps}
        return {f"{number}.{name}": column[number] for name, column in columns.items() for number in range(len(column))}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        for name, tensor in self.state().items():
            tensor.copy_(state[name])


class Optimizers:
    """AdamW for the dense weights; row-wise Adam, which is much faster, for the n-gram tables."""

    def __init__(self, model: LanguageModel, settings: TrainingSettings) -> None:
        tables = [network.table for network in model.networks if network.table is not None]
        self.tables = [RowAdam(table, settings.table_learning_rate) for table in tables]
        self.networks = [[p for p in network.parameters() if p.requires_grad] for network in model.networks]
        self.dense = [p for network in self.networks for p in network]
        self.adamw = AdamW(self.dense, settings.learning_rate, settings.weight_decay)
        self.clip = settings.clip

    def step(self, scale: float) -> None:
        """Apply the gradients with `scale` times the peak learning rates, and drop them."""
        for network in self.networks:  # each is clipped as if it were alone
            nn.utils.clip_grad_norm_(network, self.clip)
        self.adamw.step(scale)
        for table in self.tables:
            table.step(scale)
        self.drop_gradients()

    def drop_gradients(self) -> None:
        """Drop the gradients without applying them."""
        for parameter in self.dense:
            parameter.grad = None
        for table in self.tables:
            table.table.gradient = None

    def state(self) -> dict[str, Tensor]:
        """Moments and step counts by name, for a checkpoint."""
        return {f"{label}.{name}": tensor for label, each in self._each() for name, tensor in each.state().items()}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Load moments and step counts.

        Raises:
            KeyError, RuntimeError, ValueError: if they are not those of these weights.
        """
        for label, each in self._each():
            start = f"{label}."
            each.restore({name.removeprefix(start): t for name, t in state.items() if name.startswith(start)})

    def _each(self) -> list[tuple[str, AdamW | RowAdam]]:
        return [("dense", self.adamw), *((f"table{number}", table) for number, table in enumerate(self.tables))]


@dataclass
class Schedule:
    """The learning rate as a share of its peak: a short warm-up, then a linear descent to zero.

    `anneal` starts a faster descent: from the present share to zero in a number of steps.
    """

    warmup_steps: int
    anneal_from: int | None = None
    anneal_steps: int = 1
    anneal_scale: float = 1.0

    def scale(self, step: int, progress: float) -> float:
        """The share (0 to 1) of the peak learning rate at a step; `progress` (0 to 1) is that of the run."""
        if self.anneal_from is not None:
            return self.anneal_scale * max(0.0, 1 - (step - self.anneal_from) / self.anneal_steps)
        return min(1.0, (step + 1) / max(1, self.warmup_steps)) * max(0.0, 1 - progress)

    def anneal(self, step: int, steps: int, progress: float) -> None:
        """Start the descent to zero at `step`, over so many steps."""
        self.anneal_scale = self.scale(step, progress)
        self.anneal_from, self.anneal_steps = step, steps

    def is_over(self, step: int, progress: float) -> bool:
        """True if the learning rate has reached zero."""
        return progress >= 1 or (self.anneal_from is not None and step - self.anneal_from >= self.anneal_steps)


@contextmanager
def fast_arithmetic() -> Iterator[None]:
    """Set torch's global flags for training, and restore them.

    Denormal numbers are flushed to zero: they are many times slower. "medium" lets oneDNN compute fp32 products: with
    AVX-512 it is twice as fast as the default library, and as exact. On CUDA it allows TF32.
    """
    before, flushes = torch.get_float32_matmul_precision(), _flushes_denormals()
    torch.set_float32_matmul_precision("medium")
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(flushes)
        torch.set_float32_matmul_precision(before)


def _flushes_denormals() -> bool:
    return float(torch.tensor(1e-310, dtype=torch.float64) * 1) == 0


@contextmanager
def restored_torch_state() -> Iterator[None]:
    """Restore torch's thread count and random states at the end."""
    threads, seed, state = torch.get_num_threads(), torch.initial_seed(), torch.get_rng_state()
    used = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
    states = torch.cuda.get_rng_state_all() if used else []
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        torch.manual_seed(seed)  # of devices as well
        torch.set_rng_state(state)
        if states:
            torch.cuda.set_rng_state_all(states)


def usable_cores() -> int:
    """The number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def choose_threads(width: int, rows: int, processes: int = 1) -> int:
    """Choose the thread count that is fastest for a matrix product (rows, width) × (width, 3 · width), by timing.

    The number of cores is no guide: on a busy machine two threads can be ten times slower than one. The cores are
    shared by the run's `processes` on this machine.
    """
    cores = max(1, usable_cores() // processes)
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
