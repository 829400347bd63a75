"""Threads of NumPy's matrix products, and independent work on several threads.

Large products use all cores, but the work between them (norms, gates, softmax) uses one. Independent pieces of work,
each with its products on a thread of its own, keep all cores busy.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from typing import Any, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

_here = threading.local()


def side_by_side(work: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[Result]:
    """Apply `work` to the items on as many threads as NumPy's products use; yields the results in order.

    Nested calls run inline, so that a pool thread never waits for its own pool.
    """
    count = threads()
    if len(items) < 2 or count < 2 or getattr(_here, "is_worker", False):
        yield from map(work, items)
        return
    # The workers hold the limit: held here, it would last until the caller has taken all results.
    yield from _pool(count).map(one_thread()(work), items)


@contextmanager
def one_thread() -> Iterator[None]:
    """Run products on the calling thread: waking others takes longer than a small product.

    The limit holds for the whole process; the last to leave restores it, in any order and on any thread. A generator
    must not hold it across a `yield`: that would limit its caller, too.
    """
    _limit.begin()
    try:
        yield
    finally:
        _limit.end()


def threads() -> int:
    """Number of threads of NumPy's products outside `one_thread`, set by the environment or the number of cores."""
    return max(_limit.usual(), default=1)


class _Limit:
    """Limits products to one thread while a caller is inside, and knows the number of threads otherwise."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.inside = 0
        self.before: list[int] = []

    def begin(self) -> None:
        with self.lock:
            if not self.inside:
                self.before = [one.num_threads for one in _libraries()]
                _set([1] * len(self.before))
            self.inside += 1

    def end(self) -> None:
        with self.lock:
            self.inside -= 1
            if not self.inside:
                _set(self.before)

    def usual(self) -> list[int]:
        with self.lock:
            return self.before if self.inside else [one.num_threads for one in _libraries()]


_limit = _Limit()


def _set(counts: Sequence[int]) -> None:
    for one, count in zip(_libraries(), counts, strict=True):
        one.set_num_threads(count)


@cache
def _libraries() -> Sequence[Any]:
    from threadpoolctl import ThreadpoolController

    found: Sequence[Any] = ThreadpoolController().select(user_api="blas").lib_controllers
    return found


@cache
def _pool(count: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(count, initializer=lambda: setattr(_here, "is_worker", True))
