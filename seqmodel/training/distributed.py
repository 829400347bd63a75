"""Communication between the processes of a run, on one machine or more, by torch.distributed.

Every process takes the same steps, each on its share of the lanes. Rank 0 reads the clock, validates, writes and shows;
the others follow the numbers that it broadcasts. `Group` is a single process with the same interface, so that callers
need not ask how many there are.
"""

from __future__ import annotations

import atexit
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any, ClassVar

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn

from seqmodel.arrays import Array
from seqmodel.errors import SeqmodelError, StoppedElsewhere, UsageError
from seqmodel.model.kernels import TableGradient
from seqmodel.model.language_model import LanguageModel
from seqmodel.training.ranks import Place, place_of_process

TIMEOUT = timedelta(hours=1)  # for rank 0 to read the corpus; a lost process is noticed at once
MESSAGE = 8  # numbers in a broadcast; the first is 0, or the exit code with which rank 0 fails

LossFunction = Callable[[Tensor, Tensor, Tensor, Tensor, list[Tensor]], tuple[Tensor, list[Tensor]]]


class Group:
    """A run in one process."""

    def __init__(self, place: Place | None = None) -> None:
        self.place = place or Place()
        self.size, self.leads = self.place.size, self.place.leads

    def broadcast(self, *numbers: float) -> tuple[float, ...]:
        """Return rank 0's numbers in every process; the others wait for it.

        Raises:
            StoppedElsewhere: if rank 0 has failed.
        """
        return numbers

    def common(self, error: SeqmodelError) -> SeqmodelError:
        """Return an error that every process meets at the same point, to be raised by rank 0.

        Raises:
            StoppedElsewhere: in the other processes.
        """
        return error

    def share(self, array: Array, axis: int = 1) -> Array:
        """The lanes of this process: a contiguous share of an axis, padded with zeros to the same length for all.

        Example: lanes a b c d e -> a b c and d e 0 for two processes.
        """
        return array

    def gather(self, tensor: Tensor) -> Tensor:
        """Concatenate the tensors of all processes along the first axis."""
        return tensor

    def loss_of(self, model: LanguageModel) -> LossFunction:
        """The model's loss function, wrapped so that `backward` leaves the same gradients in all processes."""
        return model.loss

    def backward(self, loss: Tensor, weights: Array) -> float:
        """Back-propagate the loss of this process's lanes; `weights` (T, B) are those of the whole batch.

        Returns the whole batch's loss, to which the gradients belong.
        """
        loss.backward()  # type: ignore[no-untyped-call]
        return float(loss.detach())

    def exchange(self, model: LanguageModel) -> None:
        """Combine the processes' gradients of the n-gram tables in every process."""


class _Loss(nn.Module):
    """A model whose forward pass returns the loss, as DistributedDataParallel needs it."""

    def __init__(self, model: LanguageModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, *batch: Any) -> tuple[Tensor, list[Tensor]]:
        return self.model.loss(*batch)


class Processes(Group):
    """A run in several processes."""

    # Keeps the last broadcast alive: if torch's thread freed it while Python ends, the process would abort.
    last: ClassVar[Any] = None

    def broadcast(self, *numbers: float) -> tuple[float, ...]:
        message = torch.zeros(MESSAGE, dtype=torch.float64)
        message[1 : 1 + len(numbers)] = torch.tensor(numbers, dtype=torch.float64)
        self._broadcast(message)
        failed, *told = message.tolist()
        if failed:
            raise StoppedElsewhere(int(failed))
        return tuple(told[: len(numbers)])

    def fail(self, error: BaseException) -> None:
        """Tell the processes that wait for rank 0 that it has failed."""
        message = torch.zeros(MESSAGE, dtype=torch.float64)
        message[0] = error.exit_code if isinstance(error, SeqmodelError) else 1
        with suppress(RuntimeError):  # they may have ended already
            self._broadcast(message)

    def _broadcast(self, message: Tensor) -> None:
        Processes.last = dist.broadcast(message, 0, async_op=True)
        Processes.last.wait()

    def common(self, error: SeqmodelError) -> SeqmodelError:
        if not self.leads:
            self.broadcast()
        return error

    def share(self, array: Array, axis: int = 1) -> Array:
        each = -(-array.shape[axis] // self.size)
        missing = [(0, 0)] * array.ndim
        missing[axis] = (0, each * self.size - array.shape[axis])
        own = slice(self.place.rank * each, (self.place.rank + 1) * each)
        return np.ascontiguousarray(np.pad(array, missing)[(slice(None),) * axis + (own,)])

    def gather(self, tensor: Tensor) -> Tensor:
        found = [torch.empty_like(tensor) for _ in range(self.size)]
        dist.all_gather(found, tensor.contiguous())
        return torch.cat(found)

    def loss_of(self, model: LanguageModel) -> LossFunction:
        from torch.nn.parallel import DistributedDataParallel  # it imports torch's compiler

        return DistributedDataParallel(_Loss(model), forward_sync_buffers=False)

    def backward(self, loss: Tensor, weights: Array) -> float:
        # Each process's loss is a mean over its own lanes; scaled to its share of the batch, the losses add up.
        part = loss * (max(1.0, float(self.share(weights).sum())) / max(1.0, float(weights.sum())))
        (part * self.size).backward()  # type: ignore[no-untyped-call]  # the gradients are averaged, not added
        total = part.detach().double().cpu()
        dist.all_reduce(total)
        return float(total)

    def exchange(self, model: LanguageModel) -> None:
        for network in model.networks:
            if network.table is not None and network.table.gradient is not None:
                own = network.table.gradient
                network.table.gradient = TableGradient(self.gather(own.rows), self.gather(own.values) / self.size)


@contextmanager
def process_group() -> Iterator[Group]:
    """Join the processes of this run, as the environment names them. They stay joined for the next run.

    Raises:
        UsageError: if they cannot find each other.
        SeqmodelError: if one of them is lost.
    """
    place = place_of_process()
    if place.size == 1:
        yield Group(place)
        return
    group = Processes(place)
    _meet(place)
    try:
        yield group
    except BaseException as error:
        if isinstance(error, RuntimeError) and (isinstance(error, dist.DistError) or "gloo" in str(error)):
            _part()
            raise SeqmodelError("another process of this run has ended", "Read its message.") from error
        if group.leads:
            group.fail(error)
        elif not isinstance(error, StoppedElsewhere):
            _part()  # the others notice this
        raise


def _meet(place: Place) -> None:
    if dist.is_initialized():
        return
    try:
        dist.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo", timeout=TIMEOUT)
    except (RuntimeError, ValueError):
        hint = "Start them with torchrun; on several machines see its --rdzv-endpoint."
        raise UsageError(f"the {place.size} processes of this run do not find each other", hint) from None
    atexit.register(_part)


def _part() -> None:
    if dist.is_initialized():
        dist.destroy_process_group()
