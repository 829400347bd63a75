"""The recurrent cells in torch, for training: each maps inputs and a state to outputs and the next state.

The layout is time first: (T, B, D). `seqmodel/inference/runtime.py` has the same cells in plain NumPy, for scoring and
generation; a test compares the two.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from seqmodel.choices import CellKind
from seqmodel.model.kernels import GatedLinearRecurrence


class MinGru(nn.Module):
    """Gated linear recurrence (after minGRU, Feng et al. 2024, "Were RNNs All We Needed?").

    z, v, o are slices of one product; h_t = (1 − z_t) ⊙ h_{t−1} + z_t ⊙ v_t; output h ⊙ SiLU(o). At a sequence start
    h_{t−1} is replaced by 0.
    """

    def __init__(self, width: int, half: bool = False) -> None:
        super().__init__()
        self.gates = nn.Linear(width, 3 * width)
        self.half_products = half
        with torch.no_grad():
            self.gates.bias[:width] = torch.linspace(-3, 1, width)  # from slow to fast forgetting

    def forward(self, x: Tensor, starts: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Outputs (T, B, D) and the state after; x: (T, B, D); starts: (T, B, 1), 1 at a start; state: (B, D)."""
        gates = self.gates
        args = (x, gates.weight, gates.bias, starts, state, self.half_products)
        y, after = GatedLinearRecurrence.apply(*args)  # type: ignore[no-untyped-call]
        return y, after.detach()


class TextbookCell(nn.Module):
    """`rnn` (Elman 1990), `gru` (Cho et al. 2014) and `lstm` (Hochreiter & Schmidhuber 1997) on torch's kernels.

    They reset only between segments. The state is (B, D), or (B, 2 D) for the lstm: hidden, then cell state.
    """

    def __init__(self, kind: CellKind, width: int) -> None:
        super().__init__()
        kinds = {"rnn": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}
        self.kind = kind
        self.recurrence = kinds[kind](width, width)
        if kind == "lstm":
            with torch.no_grad():
                self.recurrence.bias_hh_l0[width : 2 * width] = 1.0  # the forget gate starts open (Gers et al. 2000)

    def forward(self, x: Tensor, starts: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Outputs (T, B, D) and the state after; x: (T, B, D); `starts` is ignored; state as above."""
        if self.kind == "lstm":
            hidden, memory = (part.contiguous()[None] for part in state.chunk(2, -1))
            y, (hidden, memory) = self.recurrence(x, (hidden, memory))
            return y, torch.cat([hidden[0], memory[0]], -1).detach()
        y, hidden = self.recurrence(x, state[None])
        return y, hidden[0].detach()


def make_cell(kind: CellKind, width: int, half: bool) -> MinGru | TextbookCell:
    return MinGru(width, half) if kind == "mingru" else TextbookCell(kind, width)


def state_width(kind: CellKind, width: int) -> int:
    """The size of a layer's state per lane."""
    return 2 * width if kind == "lstm" else width
