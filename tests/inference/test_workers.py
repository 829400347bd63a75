"""Work side by side: results in order, failures told, and no thread that waits for itself."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from seqmodel.inference import workers
from seqmodel.inference.workers import side_by_side


@pytest.fixture(autouse=True)
def two_threads(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Whatever the machine and its settings."""
    monkeypatch.setattr(workers, "threads", lambda: 2)
    workers._pool.cache_clear()
    yield
    workers._pool().shutdown()
    workers._pool.cache_clear()


def test_results_come_in_order_from_several_threads() -> None:
    both = threading.Barrier(2, timeout=20)  # passed only if two are at work

    def work(number: int) -> int:
        both.wait()
        return number * 10

    assert list(side_by_side(work, [3, 1, 2, 4])) == [30, 10, 20, 40]


def test_work_within_work_ends() -> None:
    def outer(number: int) -> int:
        return sum(side_by_side(lambda inner: inner * number, [1, 2, 3]))

    assert list(side_by_side(outer, [1, 2, 3, 4])) == [6, 12, 18, 24]


def test_a_failure_is_the_callers() -> None:
    def work(number: int) -> float:
        return 1 / number

    with pytest.raises(ZeroDivisionError):
        list(side_by_side(work, [1, 0, 2]))


def test_products_use_one_thread_each_and_as_many_as_before_afterwards() -> None:
    blas = workers._blas()
    before = [one.num_threads for one in blas.lib_controllers]
    inside = list(side_by_side(lambda _: max(one.num_threads for one in blas.lib_controllers), [1, 2]))
    assert inside == [1, 1]
    assert [one.num_threads for one in blas.lib_controllers] == before
