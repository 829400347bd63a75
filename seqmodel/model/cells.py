"""The recurrences in torch, for training: each maps inputs and a state to outputs and the next state.

Layout is time first: (T, B, D). The same recurrences in plain NumPy, which is what scoring and generation run
on, stand in `seqmodel/inference/runtime.py`; a test holds the two together.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqmodel.config import CellKind


class LinearRecurrence(torch.autograd.Function):
    """h_t = a_t ⊙ h_{t−1} + b_t over the first axis: the only sequential part of a `mingru` model."""

    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor, h0: Tensor) -> Tensor:
        """a, b: (T, B, D); h0: (B, D); returns h: (T, B, D)."""
        h = torch.empty_like(b)
        previous = h0
        for a_t, b_t, h_t in zip(a.unbind(0), b.unbind(0), h.unbind(0), strict=True):
            torch.addcmul(b_t, a_t, previous, out=h_t)
            previous = h_t
        ctx.save_for_backward(a, h, h0)
        return h

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None]:
        grad = grads[0]
        a, h, h0 = ctx.saved_tensors
        db = torch.empty_like(h)
        db[-1] = grad[-1]
        for t in range(len(h) - 2, -1, -1):
            torch.addcmul(grad[t], a[t + 1], db[t + 1], out=db[t])
        da = torch.empty_like(h)
        torch.mul(db[1:], h[:-1], out=da[1:])
        torch.mul(db[0], h0, out=da[0])
        return da, db, None


class MinGru(nn.Module):
    """Gated linear recurrence (after minGRU, Feng et al. 2024, "Were RNNs All We Needed?").

    z, v, o are slices of one product; a = 1 − σ(z); h_t = a_t ⊙ h_{t−1} + (1 − a_t) ⊙ v_t; output h ⊙ SiLU(o).
    At a sequence start a = 0, which forgets exactly.
    """

    resets_anywhere = True

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gates = nn.Linear(width, 3 * width)
        with torch.no_grad():
            self.gates.bias[:width] = torch.linspace(-3, 1, width)  # forget slowly … fast

    def forward(self, x: Tensor, starts: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """x: (T, B, D); starts: (T, B, 1), 1 where a sequence starts; state: (B, D)."""
        z, v, o = self.gates(x).chunk(3, -1)
        z = torch.sigmoid(z)
        h = LinearRecurrence.apply((1 - z) * (1 - starts), z * v, state)  # type: ignore[no-untyped-call]
        return h * F.silu(o), h[-1].detach()


class TextbookCell(nn.Module):
    """`rnn` (Elman 1990), `gru` (Cho et al. 2014) and `lstm` (Hochreiter & Schmidhuber 1997) on torch's kernels.

    They reset between segments only: the state is (B, D), for the lstm (B, 2 D) with hidden and cell side by side.
    """

    resets_anywhere = False

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
