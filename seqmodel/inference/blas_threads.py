"""Several pieces of NumPy work side by side.

Large products use all cores by themselves, but what lies between them (norms, gates, softmax) uses one. Pieces that do
not know each other, each on a thread of its own with its products on that thread alone, keep all cores busy.
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
    """The results of `work` over the items, in order, on as many threads as NumPy's products use. Work within work is
    done where it is, so that no thread waits for another of the same few."""
    count = threads()
    if len(items) < 2 or count < 2 or getattr(_here, "is_worker", False):
        yield from map(work, items)
        return
    # The limit is the workers' own: held here it would last for as long as the results wait to be taken.
    yield from _pool(count).map(one_thread()(work), items)


@contextmanager
def one_thread() -> Iterator[None]:
    """Inside, products run on the thread that asks for them: waking others takes longer than a small product does.

    The limit is the process's, so that whoever comes last restores it, in whichever order and thread. A generator must
    not hold it across a `yield`: its caller would be limited, too.
    """
    _limit.begin()
    try:
        yield
    finally:
        _limit.end()


def threads() -> int:
    """How many threads NumPy's products use outside `one_thread`; the environment sets it, or the number of cores."""
    return max(_limit.usual(), default=1)


class _Limit:
    """Limits products to one thread while anybody is inside, and knows how many threads they use else."""

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
