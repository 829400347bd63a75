"""The frontier of a best-first search: its open items, the highest score first. Knows nothing of what they are."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from itertools import count
from typing import Generic, TypeVar

import numpy as np

Item = TypeVar("Item")


class Frontier(Generic[Item]):
    """A queue of items by score; of equal scores, the item that was added first comes first."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Item]] = []
        self._serial = count()

    def __len__(self) -> int:
        return len(self._heap)

    def __iter__(self) -> Iterator[Item]:
        """Yield the items, in no particular order."""
        return (item for *_, item in self._heap)

    @property
    def best(self) -> float:
        """Score of the first item, −inf if there is none."""
        return -self._heap[0][0] if self._heap else -np.inf

    @property
    def first(self) -> Item:
        return self._heap[0][2]

    def push(self, score: float, item: Item) -> None:
        heapq.heappush(self._heap, (-score, next(self._serial), item))

    def pop(self) -> Item:
        """Remove the first item and return it."""
        return heapq.heappop(self._heap)[2]

    def lower(self, score: float) -> None:
        """Give the first item another score; among equal scores it keeps its age."""
        _, serial, item = self._heap[0]
        heapq.heapreplace(self._heap, (-score, serial, item))

    def ranked(self) -> list[Item]:
        """Sort the items; returns them best first."""
        self._heap.sort()
        return list(self)

    def cut(self, kept: int) -> float:
        """Drop all but the `kept` best items; returns the highest score dropped, −inf if there is none."""
        self._heap.sort()
        dropped = -self._heap[kept][0] if kept < len(self._heap) else -np.inf
        del self._heap[kept:]
        return dropped
