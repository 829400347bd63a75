"""The recurrences in torch, for training: each maps inputs and a state to outputs and the next state.

Layout is time first: (T, B, D). The same recurrences in plain NumPy, which is what scoring and generation run
on, stand in `seqmodel/inference/runtime.py`; a test holds the two together.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from seqmodel.kinds import CellKind


class GatedLinearRecurrence(torch.autograd.Function):
    """All of a `mingru` cell after its one matrix product, with its gradient written out.

    What autograd would do in some thirty passes over memory, most of them allocating, takes half as many here.
    Forward, for gates = (ζ, v, o) and z = σ(ζ):  h_t = (1 − z_t)(1 − start_t) ⊙ h_{t−1} + z_t ⊙ v_t,  y = h ⊙ SiLU(o).
    """

    @staticmethod
    def forward(ctx: Any, gates: Tensor, starts: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """gates: (T, B, 3 D); starts: (T, B, 1); state: (B, D); returns y (T, B, D) and h_T (B, D)."""
        z, v, o = gates.chunk(3, -1)
        z = torch.sigmoid(z)
        keep = torch.addcmul(1 - starts, z, starts - 1)  # (1 − z)(1 − start)
        h = z * v
        previous = state
        for keep_t, h_t in zip(keep.unbind(0), h.unbind(0), strict=True):
            previous = h_t.addcmul_(keep_t, previous)
        open_ = torch.sigmoid(o)
        ctx.save_for_backward(gates, starts, state, z, keep, h, open_)
        return (o * open_).mul_(h), h[-1].clone()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        gates, starts, state, z, keep, h, open_ = ctx.saved_tensors
        dy = grads[0]
        _, v, o = gates.chunk(3, -1)
        dgates = torch.empty_like(gates)
        dz, dv, do = dgates.chunk(3, -1)
        silu = o * open_
        # d SiLU(o) = σ(o) (1 + o − SiLU(o)) = σ(o) + SiLU(o) (1 − σ(o))
        slope = torch.addcmul(open_, silu, 1 - open_)
        torch.mul(slope.mul_(h), dy, out=do)
        dh = silu.mul_(dy)
        rows, keeps = dh.unbind(0), keep.unbind(0)
        for t in range(len(rows) - 2, -1, -1):
            rows[t].addcmul_(keeps[t + 1], rows[t + 1])
        torch.mul(dh, z, out=dv)
        # ∂h_t/∂z_t = v_t − (1 − start_t) h_{t−1}
        change = v.clone()
        change[0].addcmul_(starts[0] - 1, state)
        change[1:].addcmul_(starts[1:] - 1, h[:-1])
        torch.mul(change.mul_(dh), torch.addcmul(z, z, z, value=-1), out=dz)
        return dgates, None, None


class MinGru(nn.Module):
    """Gated linear recurrence (after minGRU, Feng et al. 2024, "Were RNNs All We Needed?").

    z, v, o are slices of one product; h_t = (1 − z_t) ⊙ h_{t−1} + z_t ⊙ v_t; output h ⊙ SiLU(o). A sequence start
    forgets exactly.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gates = nn.Linear(width, 3 * width)
        with torch.no_grad():
            self.gates.bias[:width] = torch.linspace(-3, 1, width)  # forget slowly … fast

    def forward(self, x: Tensor, starts: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """x: (T, B, D); starts: (T, B, 1), 1 where a sequence starts; state: (B, D)."""
        y, after = GatedLinearRecurrence.apply(self.gates(x), starts, state)  # type: ignore[no-untyped-call]
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


def make_cell(kind: CellKind, width: int) -> MinGru | TextbookCell:
    return MinGru(width) if kind == "mingru" else TextbookCell(kind, width)


def state_width(kind: CellKind, width: int) -> int:
    """How many numbers a layer's state has per lane."""
    return 2 * width if kind == "lstm" else width
