"""The network in torch, for training. It knows ids and rows of the n-gram table; nothing of text.

token and its n-grams -> sum of embeddings -> residual blocks (RMSNorm, cell, projection) -> RMSNorm -> head
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqmodel.config import ModelSettings
from seqmodel.model.cells import make_cell, state_width
from seqmodel.tokens.tokenizer import START, never_predicted

NORM_EPSILON = 1e-6
LOSS_CHUNK_BYTES = 16 << 20  # logits that the loss holds at once


class RMSNormalisation(torch.autograd.Function):
    """x / √(mean x² + ε) ⊙ weight (Zhang & Sennrich 2019), its gradient written out: a third of autograd's passes."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        """x: (T, B, D); weight: (D,)."""
        norm = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
        scale = (norm.square() / x.shape[-1] + NORM_EPSILON).rsqrt()
        unit = x * scale
        ctx.save_for_backward(unit, scale, weight)
        y: Tensor = unit * weight
        return y

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor]:
        unit, scale, weight = ctx.saved_tensors
        along = grads[0] * unit
        dweight = along.sum((0, 1))
        inside = (along @ weight).div_(unit.shape[-1])[..., None]
        dx = torch.addcmul(grads[0] * weight, unit, inside, value=-1)
        return dx.mul_(scale), dweight


class RMSNorm(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = RMSNormalisation.apply(x, self.weight)  # type: ignore[no-untyped-call]
        return y


class LockedDropout(nn.Module):
    """Dropout with one mask per lane for a whole segment (Gal & Ghahramani 2016), cheap to draw. x: (T, B, D)."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        if not (self.training and self.rate):
            return x
        mask = torch.rand(x.shape[1:], device=x.device) >= self.rate
        return x * (mask / (1 - self.rate))


class Block(nn.Module):
    """Residual: RMSNorm -> cell -> projection, then if asked RMSNorm -> squared-ReLU feed-forward."""

    def __init__(self, settings: ModelSettings, dropout: float) -> None:
        super().__init__()
        width = settings.width
        self.norm = RMSNorm(width)
        self.cell = make_cell(settings.cell, width)
        self.out = nn.Linear(width, width, bias=False)
        self.drop = LockedDropout(dropout)
        with torch.no_grad():
            self.out.weight.mul_(settings.layers**-0.5)  # so that the residual sum starts small
        if settings.feed_forward:
            self.feed_norm = RMSNorm(width)
            self.up = nn.Linear(width, settings.feed_forward, bias=False)
            self.down = nn.Linear(settings.feed_forward, width, bias=False)
        self.feeds = bool(settings.feed_forward)

    def forward(self, x: Tensor, starts: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        y, state = self.cell(self.norm(x), starts, state)
        x = x + self.drop(self.out(y))
        if self.feeds:
            x = x + self.drop(self.down(F.relu(self.up(self.feed_norm(x))).square()))
        return x, state


class LanguageModel(nn.Module):
    """Everything that is trained. `table` holds the n-gram embeddings, row 0 of which stays zero."""

    def __init__(
        self,
        settings: ModelSettings,
        *,
        closed: bool = False,
        dropout: float = 0.0,
        ngram_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.settings = settings
        self.ngram_dropout = ngram_dropout
        width = settings.width
        self.token = nn.Embedding(settings.vocabulary, width)
        nn.init.normal_(self.token.weight, std=width**-0.5 if settings.tied else 1.0)
        rows = 1 + sum(count for _, count in settings.ngram_rows)
        self.table = nn.Embedding(rows, width, sparse=True) if rows > 1 else None
        if self.table is not None:
            nn.init.normal_(self.table.weight, std=0.3)
            with torch.no_grad():
                self.table.weight[0] = 0
        self.blocks = nn.ModuleList(Block(settings, dropout) for _ in range(settings.layers))
        self.norm = RMSNorm(width)
        self.head = nn.Linear(width, settings.vocabulary)
        nn.init.zeros_(self.head.bias)
        if settings.tied:
            self.head.weight = self.token.weight
        self.drop = LockedDropout(dropout)
        mask = torch.zeros(settings.vocabulary)
        mask[never_predicted(settings.ends, closed)] = -torch.inf
        self.mask: Tensor
        self.register_buffer("mask", mask, persistent=False)

    def start(self, lanes: int) -> list[Tensor]:
        """The empty state: per layer (B, state width)."""
        size = state_width(self.settings.cell, self.settings.width)
        return [torch.zeros(lanes, size, device=self.head.bias.device) for _ in range(self.settings.layers)]

    def hidden(self, inputs: Tensor, rows: Tensor, state: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """inputs: (T, B) ids; rows: (T, B, orders) of the n-gram table; returns (T, B, D) before the head."""
        x = self.token(inputs)
        if self.settings.tied:
            x = x * self.settings.width**0.5
        if self.table is not None:
            x = x + self._ngrams(rows)
        x = self.drop(x)
        starts = (inputs == START)[..., None].to(x.dtype)
        after = []
        for block, before in zip(self.blocks, state, strict=True):
            x, new = block(x, starts, before)
            after.append(new)
        return self.drop(self.norm(x)), after

    def _ngrams(self, rows: Tensor) -> Tensor:
        """Sum of the n-gram embeddings; in training each is left out now and then, as if it had no row."""
        assert self.table is not None
        scale = 1.0
        if self.training and self.ngram_dropout:
            rows = rows * (torch.rand(rows.shape, device=rows.device) >= self.ngram_dropout)
            scale = 1 / (1 - self.ngram_dropout)
        flat = F.embedding_bag(rows.flatten(0, 1), self.table.weight, mode="sum", sparse=True)
        return flat.view(*rows.shape[:2], -1) * scale

    def forward(self, inputs: Tensor, rows: Tensor, state: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """Logits (T, B, V), −inf where nothing is ever predicted, and the state after."""
        x, state = self.hidden(inputs, rows, state)
        return self.head(x) + self.mask, state

    def loss(
        self, inputs: Tensor, targets: Tensor, weights: Tensor, rows: Tensor, state: list[Tensor]
    ) -> tuple[Tensor, list[Tensor]]:
        """Weighted mean cross-entropy in nats per token, and the state after; targets, weights: (T, B)."""
        x, state = self.hidden(inputs, rows, state)
        flat = x.flatten(0, 1)
        args = (flat, self.head.weight, self.head.bias + self.mask, targets.flatten(), weights.flatten())
        return ChunkedCrossEntropy.apply(*args), state  # type: ignore[no-untyped-call]


class ChunkedCrossEntropy(torch.autograd.Function):
    """Mean cross-entropy of a linear head, its gradients computed chunk by chunk in the forward pass.

    The (T·B, V) logits never exist as a whole, whatever the vocabulary.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
        """x: (N, D); weight: (V, D); bias: (V,); targets, weights: (N,)."""
        total = weights.sum().clamp_min(1)
        rows = max(1, LOSS_CHUNK_BYTES // (4 * len(weight)))
        loss = x.new_zeros(())
        dx, dw, db = torch.empty_like(x), torch.zeros_like(weight), torch.zeros_like(bias)
        for begin in range(0, len(x), rows):
            part = slice(begin, begin + rows)
            grad = torch.log_softmax(torch.addmm(bias, x[part], weight.T), -1)
            # A target that cannot be predicted has weight 0; it must not turn 0 · inf into nan.
            picked = grad.gather(1, targets[part, None])[:, 0]
            loss += -torch.where(weights[part] > 0, picked, 0).mul(weights[part]).sum()
            grad.exp_()
            grad.scatter_add_(1, targets[part, None], grad.new_full((len(grad), 1), -1.0))
            grad.mul_((weights[part] / total)[:, None])
            torch.mm(grad, weight, out=dx[part])
            dw.addmm_(grad.T, x[part])
            db += grad.sum(0)
        ctx.save_for_backward(dx, dw, db)
        return loss / total

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:
        dx, dw, db = ctx.saved_tensors
        return dx * grads[0], dw * grads[0], db * grads[0], None, None
