"""What scoring, sampling and search know of a model: one method, `step`, and a state that is a value.

    log-probabilities, state = model.step(ids, state)

The recurrence implements it, and so can a count model or a mixture of both; who calls it cannot tell.
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
        """The state before anything was read, for `lanes` parallel sequences."""
        ...

    def step(self, ids: Ids, state: Any) -> tuple[Floats, Any]:
        """Read ids (T, B), time first; return log-probabilities (nats) of what follows each, (T, B, V), and
        the state after the last. The start symbol resets its lane."""
        ...

    def select(self, state: Any, lanes: Ids) -> Any:
        """The state of some lanes, in the order given; a lane may be named more than once."""
        ...

    def join(self, states: Sequence[Any]) -> Any:
        """One state with the lanes of all of these, in the order given."""
        ...
