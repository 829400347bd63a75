"""The interface of a model to scoring, sampling and search: one method, `step`, and a state that is a value.

    log-probabilities, state = model.step(ids, state)

The recurrence, the count model and mixtures implement it; callers cannot tell them apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from seqmodel.arrays import Floats, Ids


class SequenceModel(Protocol):
    """A distribution over the next token, given the tokens so far."""

    @property
    def vocabulary(self) -> int: ...

    def start(self, lanes: int) -> Any:
        """State of `lanes` parallel sequences before the first token."""
        ...

    def step(self, ids: Ids, state: Any) -> tuple[Floats, Any]:
        """Read ids (T, B), time first. The start symbol resets its lane.

        Returns log-probabilities (nats) of the token after each, (T, B, V), and the state after the last.
        """
        ...

    def select(self, state: Any, lanes: Ids) -> Any:
        """State of some lanes, in the order given; lanes may repeat."""
        ...

    def join(self, states: Sequence[Any]) -> Any:
        """One state with the lanes of all of these, in the order given."""
        ...
