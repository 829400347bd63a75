"""Network operations with hand-written gradients: products, norm, gated recurrence, n-gram table, cross-entropy.

Autograd's passes over memory would cost more than the arithmetic.

`half`: products of bfloat16, summed in float32, if the processor has instructions for them. Weights, states and
everything between products stay float32.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

NORM_EPSILON = 1e-6
LOSS_CHUNK_BYTES = 64 << 20  # logits that the loss computes at once


def operand(x: Tensor, half: bool) -> Tensor:
    """A factor of a product, converted to the product's type."""
    return x.bfloat16() if half else x


class Product(torch.autograd.Function):
    """x Wᵀ without bias. x: (…, K); W: (N, K); y: (…, N)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, half: bool) -> Tensor:
        x_, w_ = operand(x.flatten(0, -2), half), operand(weight, half)
        ctx.save_for_backward(x_, w_)
        y: Tensor = (x_ @ w_.T).to(x.dtype).view(*x.shape[:-1], -1)
        return y

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None]:
        x_, w_ = ctx.saved_tensors
        dy = operand(grads[0].flatten(0, -2), x_.dtype is torch.bfloat16)
        dtype = grads[0].dtype
        return (dy @ w_).to(dtype).view(*grads[0].shape[:-1], -1), (dy.T @ x_).to(dtype), None


class Linear(nn.Linear):
    """A linear map without bias whose product may run in half precision."""

    def __init__(self, inputs: int, outputs: int, half: bool) -> None:
        super().__init__(inputs, outputs, bias=False)
        self.half_products = half

    def forward(self, input: Tensor) -> Tensor:
        y: Tensor = Product.apply(input, self.weight, self.half_products)  # type: ignore[no-untyped-call]
        return y


class RMSNormalisation(torch.autograd.Function):
    """x / √(mean x² + ε) ⊙ weight (Zhang & Sennrich 2019)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        """x: (T, B, D); weight: (D,)."""
        norm = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
        scale = norm.square_().div_(x.shape[-1]).add_(NORM_EPSILON).rsqrt_()
        ctx.save_for_backward(x, scale, weight)
        y: Tensor = (x * scale).mul_(weight)
        return y

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor]:
        x, scale, weight = ctx.saved_tensors
        unit = x * scale
        along = grads[0] * unit
        dweight = along.sum((0, 1))
        inside = (along @ weight).div_(-x.shape[-1])[..., None]
        dx = torch.addcmul(grads[0] * weight, unit, inside)
        return dx.mul_(scale), dweight


class RMSNorm(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = RMSNormalisation.apply(x, self.weight)  # type: ignore[no-untyped-call]
        return y


class GatedLinearRecurrence(torch.autograd.Function):
    """The whole `mingru` cell: (ζ, v, o) = x Wᵀ + b, z = σ(ζ),

        h_t = (1 − z_t)(1 − start_t) ⊙ h_{t−1} + z_t ⊙ v_t,   y = h ⊙ SiLU(o)

    in half as many passes over memory as autograd would make.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, starts: Tensor, state: Tensor, half: bool
    ) -> tuple[Tensor, Tensor]:
        """x: (T, B, D); weight: (3 D, D); starts: (T, B, 1); state: (B, D); returns y (T, B, D) and h_T (B, D)."""
        x_, w_ = operand(x.flatten(0, 1), half), operand(weight, half)
        gates = (x_ @ w_.T).to(x.dtype).add_(bias).view(*x.shape[:2], -1)
        z, v, o = gates.chunk(3, -1)
        z.sigmoid_()
        open_ = torch.sigmoid(o)
        h = torch.empty_like(x)
        before = state
        begins = starts.flatten(1).any(1).tolist()
        for t, (z_t, v_t, h_t) in enumerate(zip(z.unbind(0), v.unbind(0), h.unbind(0), strict=True)):
            if begins[t]:
                before = before * (1 - starts[t])
            torch.lerp(before, v_t, z_t, out=h_t)
            before = h_t
        ctx.begins = begins
        ctx.save_for_backward(x_, w_, gates, open_, h, starts, state)
        return (o * open_).mul_(h), before.clone()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None, None]:
        x_, w_, gates, open_, h, starts, state = ctx.saved_tensors
        dy = grads[0]
        z, v, o = gates.chunk(3, -1)
        dgates = torch.empty_like(gates)
        dz, dv, do = dgates.chunk(3, -1)
        silu = o * open_
        # d SiLU(o) = σ(o) + SiLU(o) (1 − σ(o))
        slope = torch.addcmul(silu, silu, open_, value=-1).add_(open_)
        torch.mul(slope.mul_(h), dy, out=do)
        dh = silu.mul_(dy)
        keep = torch.sub(1, z, out=slope)
        change = torch.empty_like(h)  # ∂h_t/∂z_t = v_t − (1 − start_t) h_{t−1}
        torch.sub(v[0], state, out=change[0])
        torch.sub(v[1:], h[:-1], out=change[1:])
        rows, keeps = dh.unbind(0), keep.unbind(0)
        for t in range(len(rows) - 1, -1, -1):
            if ctx.begins[t]:
                change[t].addcmul_(starts[t], state if t == 0 else h[t - 1])
            if t:
                after = rows[t] * (1 - starts[t]) if ctx.begins[t] else rows[t]
                rows[t - 1].addcmul_(keeps[t], after)
        torch.mul(dh, z, out=dv)
        torch.mul(change.mul_(dv), keep, out=dz)
        flat = dgates.flatten(0, 1)
        flat_ = operand(flat, x_.dtype is torch.bfloat16)
        return (flat_ @ w_).to(h.dtype).view_as(h), (flat_.T @ x_).to(h.dtype), flat.sum(0), None, None, None


@dataclass
class TableGradient:
    """The sparse gradient of the table: `rows` (N, K), and the gradient (N, D) of each of a position's K rows."""

    rows: Tensor
    values: Tensor


class TableLookup(torch.autograd.Function):
    """x + scale · Σ_k table[rows_k]; the table's gradient is stored in its owner as (rows, values), never dense."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, table: Tensor, rows: Tensor, scale: float, owner: NgramTable) -> Tensor:
        """x: (T, B, D); table: (R, D); rows: (T, B, K)."""
        ctx.rows, ctx.scale, ctx.owner = rows, scale, owner
        found = F.embedding_bag(rows.flatten(0, 1), table, mode="sum")
        return torch.add(x, found.view_as(x), alpha=scale)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None, None]:
        values = grads[0].flatten(0, 1) * ctx.scale
        ctx.owner.gradient = TableGradient(ctx.rows.flatten(0, 1), values)
        return grads[0], None, None, None, None


class NgramTable(nn.Module):
    """Embeddings of n-grams; row 0 stays zero. `gradient` is that of the last backward pass."""

    def __init__(self, rows: int, width: int, dropout: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(rows, width), requires_grad=False)
        nn.init.normal_(self.weight, std=0.3)
        self.weight[0] = 0
        self.dropout = dropout
        self.gradient: TableGradient | None = None

    def forward(self, x: Tensor, rows: Tensor) -> Tensor:
        """x plus the embeddings of `rows`; in training some are dropped at random, as if they had no row."""
        scale = 1.0
        if self.training and self.dropout:
            rows = rows * (torch.rand(rows.shape, device=rows.device) >= self.dropout)
            scale = 1 / (1 - self.dropout)
        y: Tensor = TableLookup.apply(x, self.weight, rows, scale, self)  # type: ignore[no-untyped-call]
        return y


class ChunkedCrossEntropy(torch.autograd.Function):
    """Mean cross-entropy of a linear head, its gradients computed chunk by chunk in the forward pass.

    The (T·B, V) logits never exist as a whole, whatever the vocabulary.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, targets: Tensor, weights: Tensor, half: bool
    ) -> Tensor:
        """x: (N, D); weight: (V, D); bias: (V,), −inf where nothing is predicted; targets, weights: (N,)."""
        share = weights / weights.sum().clamp_min(1)
        rows = max(1, LOSS_CHUNK_BYTES // (4 * len(weight)))
        loss = x.new_zeros(())
        w_ = operand(weight, half)
        dx, dw, db = torch.empty_like(x), torch.zeros_like(weight), torch.zeros_like(bias)
        for begin in range(0, len(x), rows):
            part = slice(begin, begin + rows)
            x_, share_, target = operand(x[part], half), share[part], targets[part, None]
            p = (x_ @ w_.T).to(x.dtype).add_(bias)
            torch.softmax(p, -1, out=p)
            # A target that cannot be predicted has weight 0, but 0 · inf would be NaN.
            picked = p.gather(1, target)[:, 0].clamp_min(1e-37).log_()
            loss -= torch.where(share_ > 0, picked, 0).dot(share_)
            p.scatter_add_(1, target, p.new_full((len(p), 1), -1.0))
            db.addmv_(p.T, share_)
            dlogits = operand(p, half)
            torch.mul((dlogits @ w_).to(x.dtype), share_[:, None], out=dx[part])
            dw += (dlogits.T @ operand(x[part] * share_[:, None], half)).to(x.dtype)
        ctx.save_for_backward(dx, dw, db)
        return loss

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None, None]:
        dx, dw, db = ctx.saved_tensors
        return dx * grads[0], dw * grads[0], db * grads[0], None, None, None
