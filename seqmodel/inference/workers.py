"""Several pieces of NumPy work side by side.

Large products use all cores by themselves, but what lies between them (norms, gates, softmax) uses one. Pieces that do
not know each other, each on a thread of its own with its products on that thread alone, keep all cores busy.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from functools import cache
from typing import Any, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

_here = threading.local()


def side_by_side(work: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[Result]:
    """The results of `work` over the items, in order, on as many threads as NumPy's products use. Work within work is
    done where it is, so that no thread waits for another of the same few."""
    if len(items) < 2 or threads() < 2 or getattr(_here, "is_worker", False):
        yield from map(work, items)
        return
    with _blas().limit(limits=1):
        yield from _pool().map(work, items)


def one_thread() -> AbstractContextManager[Any]:
    """Inside, products run on the thread that asks for them: waking others takes longer than a small product does."""
    limit: AbstractContextManager[Any] = _blas().limit(limits=1)
    return limit


@cache
def threads() -> int:
    """How many threads NumPy's products use; the environment sets it, or the number of cores."""
    return max((one.num_threads for one in _blas().lib_controllers), default=1)


@cache
def _blas() -> Any:
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController().select(user_api="blas")


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads(), initializer=lambda: setattr(_here, "is_worker", True))
