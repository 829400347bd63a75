"""The recurrences in torch, for training: each maps inputs and a state to outputs and the next state.

Layout is time first: (T, B, D). The same recurrences in plain NumPy, which is what scoring and generation run
on, stand in `seqmodel/inference/runtime.py`; a test holds the two together.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from seqmodel.choices import CellKind
from seqmodel.model.kernels import GatedLinearRecurrence


class MinGru(nn.Module):
    """Gated linear recurrence (after minGRU, Feng et al. 2024, "Were RNNs All We Needed?").

    z, v, o are slices of one product; h_t = (1 − z_t) ⊙ h_{t−1} + z_t ⊙ v_t; output h ⊙ SiLU(o). A sequence start
    forgets exactly.
    """

    def __init__(self, width: int, half: bool = False) -> None:
        super().__init__()
        self.gates = nn.Linear(width, 3 * width)
        self.half_products = half
        with torch.no_grad():
            self.gates.bias[:width] = torch.linspace(-3, 1, width)  # forget slowly … fast

    def forward(self, x: Tensor, starts: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """x: (T, B, D); starts: (T, B, 1), 1 where a sequence starts; state: (B, D)."""
        gates = self.gates
        args = (x, gates.weight, gates.bias, starts, state, self.half_products)
        y, after = GatedLinearRecurrence.apply(*args)  # type: ignore[no-untyped-call]
        return y, after.detach()


class TextbookCell(nn.Module):
    """`rnn` (Elman 1990), `gru` (Cho et al. 2014) and `lstm` (Hochreiter & Schmidhuber 1997) on torch's kernels.

    They reset between segments only: the state is (B, D), for the lstm (B, 2 D) with hidden and cell side by side.
    """

    def __init__(self, kind: CellKind, width: int) -> None:
        super().__init__()
        kinds = {"rnn": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}
        self.kind = kind
        self.recurrence = kinds[kind](width, width)
        if kind == "lstm":
            with torch.no_grad():
                self.recurrence.bias_hh_l0[width : 2 * width] = 1.0  # remember at first (Gers et al. 2000)

    def forward(self, x: Tensor, starts: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """x: (T, B, D); starts are not used here; state as above."""
        if self.kind == "lstm":
            hidden, memory = (part.contiguous()[None] for part in state.chunk(2, -1))
            y, (hidden, memory) = self.recurrence(x, (hidden, memory))
            return y, torch.cat([hidden[0], memory[0]], -1).detach()
        y, hidden = self.recurrence(x, state[None])
        return y, hidden[0].detach()


def make_cell(kind: CellKind, width: int, half: bool) -> MinGru | TextbookCell:
    return MinGru(width, half) if kind == "mingru" else TextbookCell(kind, width)


def state_width(kind: CellKind, width: int) -> int:
    """How many numbers a layer's state has per lane."""
    return 2 * width if kind == "lstm" else width
