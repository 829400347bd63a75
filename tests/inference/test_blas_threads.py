"""Work side by side: results in order, failures told, and no thread that waits for itself."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

import seqmodel
from seqmodel.api.model import Model
from seqmodel.inference import blas_threads as workers
from seqmodel.inference.blas_threads import one_thread, side_by_side, threads


class Library:
    """A BLAS that can be told how many threads to use."""

    def __init__(self, threads: int) -> None:
        self.num_threads = threads

    def set_num_threads(self, count: int) -> None:
        self.num_threads = count


@pytest.fixture(autouse=True)
def blas(monkeypatch: pytest.MonkeyPatch) -> Iterator[Library]:
    """Two threads, whatever the machine and its settings."""
    library = Library(2)
    monkeypatch.setattr(workers, "_libraries", lambda: [library])
    yield library
    workers._pool(2).shutdown()
    workers._pool.cache_clear()


def watch_steps(model: Model, blas: Library, monkeypatch: pytest.MonkeyPatch) -> set[int]:
    """The numbers of threads with which the model's steps are computed from here on."""
    seen: set[int] = set()
    step = type(model.runtime).step

    def watched(*arguments: Any) -> Any:
        seen.add(blas.num_threads)
        return step(*arguments)

    monkeypatch.setattr(type(model.runtime), "step", watched)
    return seen


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


def test_products_use_one_thread_each_and_as_many_as_before_afterwards(blas: Library) -> None:
    assert list(side_by_side(lambda _: blas.num_threads, [1, 2])) == [1, 1]
    assert blas.num_threads == 2


def test_results_that_wait_to_be_taken_limit_nobody(blas: Library) -> None:
    results = side_by_side(lambda number: number, [1, 2, 3])
    assert next(results) == 1
    list(islice(results, 1))
    workers._pool(2).shutdown()  # all is done
    assert blas.num_threads == 2


def test_the_last_to_leave_restores_the_threads_in_whichever_order(blas: Library) -> None:
    first, second = one_thread(), one_thread()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert blas.num_threads == 1
    second.__exit__(None, None, None)
    assert blas.num_threads == 2


def test_the_number_of_threads_is_known_inside_a_limit_and_follows_the_library(blas: Library) -> None:
    with one_thread():
        assert threads() == 2
    blas.set_num_threads(1)  # by the user, for a while
    assert threads() == 1
    blas.set_num_threads(4)
    assert threads() == 4


def test_samples_of_two_streams_taken_by_turns_leave_the_threads_to_others(
    blas: Library, little_model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = watch_steps(little_model, blas, monkeypatch)
    settings = little_model.sampling(count=2, max_chars=8)
    for pieces in zip(little_model.stream("cat", settings), little_model.stream("dog", settings), strict=False):
        assert pieces and blas.num_threads == 2
    assert seen == {1}


@pytest.mark.parametrize("ask", ["generate", "beam", "complete", "next_tokens", "top"])
def test_prefixes_are_read_and_continued_on_one_thread(
    ask: str, blas: Library, train_little: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = seqmodel.load(train_little())
    seen = watch_steps(model, blas, monkeypatch)
    answers: dict[str, Callable[[], Any]] = {
        "generate": lambda: model.generate("cat", max_chars=8),
        "beam": lambda: model.beam("cat", 2, max_chars=8),
        "complete": lambda: model.complete("ca"),
        "next_tokens": lambda: model.next_tokens("ca"),
        "top": lambda: list(model.top(2, "cat")),
    }
    assert answers[ask]()
    assert seen == {1} and blas.num_threads == 2
