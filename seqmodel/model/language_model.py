"""The network in torch, for training. Knows token ids and rows of the n-gram table; knows nothing of text.

token and its n-grams -> sum of embeddings -> residual blocks (RMSNorm, cell, projection) -> RMSNorm -> head
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqmodel.model.cells import make_cell, state_width
from seqmodel.model.kernels import ChunkedCrossEntropy, Linear, NgramTable, RMSNorm
from seqmodel.settings import ModelSettings
from seqmodel.tokens.tokenizer import START, never_predicted

FREQUENT = 2048  # tokens that a loss over a part of the vocabulary always includes


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
    """A residual block: RMSNorm -> cell -> projection, then optionally RMSNorm -> squared-ReLU feed-forward."""

    def __init__(self, settings: ModelSettings, dropout: float, half: bool) -> None:
        super().__init__()
        width = settings.width
        self.norm = RMSNorm(width)
        self.cell = make_cell(settings.cell, width, half)
        self.out = Linear(width, width, half)
        self.drop = LockedDropout(dropout)
        with torch.no_grad():
            self.out.weight.mul_(settings.layers**-0.5)  # keeps the residual sum small at first
        if settings.feed_forward:
            self.feed_norm = RMSNorm(width)
            self.up = Linear(width, settings.feed_forward, half)
            self.down = Linear(settings.feed_forward, width, half)
        self.feeds = bool(settings.feed_forward)

    def forward(self, x: Tensor, starts: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        y, state = self.cell(self.norm(x), starts, state)
        x = x + self.drop(self.out(y))
        if self.feeds:
            x = x + self.drop(self.down(F.relu(self.up(self.feed_norm(x))).square()))
        return x, state


class Network(nn.Module):
    """One recurrent network; `table` holds its n-gram embeddings, if it has any."""

    def __init__(self, settings: ModelSettings, dropout: float, ngram_dropout: float, half: bool) -> None:
        super().__init__()
        width = settings.width
        self.scale = width**0.5 if settings.tied else 1.0
        self.token = nn.Embedding(settings.vocabulary, width)
        nn.init.normal_(self.token.weight, std=width**-0.5 if settings.tied else 1.0)
        rows = 1 + sum(count for _, count in settings.ngram_rows)
        self.table = NgramTable(rows, width, ngram_dropout) if rows > 1 else None
        self.blocks = nn.ModuleList(Block(settings, dropout, half) for _ in range(settings.layers))
        self.norm = RMSNorm(width)
        self.head = nn.Linear(width, settings.vocabulary)
        nn.init.zeros_(self.head.bias)
        if settings.tied:
            self.head.weight = self.token.weight
        self.drop = LockedDropout(dropout)

    def forward(self, inputs: Tensor, rows: Tensor, state: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """Outputs (T, B, D) before the head, and the state after; inputs: (T, B) ids; rows: (T, B, orders)."""
        x = self.token(inputs)
        if self.scale != 1:
            x = x * self.scale
        if self.table is not None:
            x = self.table(x, rows)
        x = self.drop(x)
        starts = (inputs == START)[..., None].to(x.dtype)
        after = []
        for block, before in zip(self.blocks, state, strict=True):
            x, new = block(x, starts, before)
            after.append(new)
        return self.drop(self.norm(x)), after


class LanguageModel(nn.Module):
    """The trained model: networks that differ in their initial weights, whose probabilities are averaged."""

    def __init__(
        self,
        settings: ModelSettings,
        *,
        closed: bool = False,
        dropout: float = 0.0,
        ngram_dropout: float = 0.0,
        negatives: int | None = None,
        half: bool = False,
    ) -> None:
        """`negatives`: the number of rare tokens drawn for the training loss; None for the whole vocabulary."""
        super().__init__()
        self.settings = settings
        self.negatives = negatives
        self.half_products = half
        networks = nn.ModuleList(Network(settings, dropout, ngram_dropout, half) for _ in range(settings.networks))
        self.networks: Sequence[Network] = networks  # type: ignore[assignment]
        mask = torch.zeros(settings.vocabulary)
        mask[never_predicted(settings.ends, closed)] = -torch.inf
        self.mask: Tensor
        self.register_buffer("mask", mask, persistent=False)

    def start(self, lanes: int) -> list[Tensor]:
        """The empty state: per network and layer (B, state width)."""
        size = state_width(self.settings.cell, self.settings.width)
        number = self.settings.networks * self.settings.layers
        return [torch.zeros(lanes, size, device=self.mask.device) for _ in range(number)]

    def hidden(self, inputs: Tensor, rows: Tensor, state: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """Each network's outputs (T, B, D) before the head, and the state after."""
        found, after = [], []
        for number, network in enumerate(self.networks):
            own = state[number * self.settings.layers : (number + 1) * self.settings.layers]
            x, new = network(inputs, rows, own)
            found.append(x)
            after += new
        return found, after

    def forward(self, inputs: Tensor, rows: Tensor, state: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """Log-probabilities (T, B, V), −inf for ids that are never predicted, and the state after."""
        hidden, state = self.hidden(inputs, rows, state)
        logs = [torch.log_softmax(n.head(x) + self.mask, -1) for n, x in zip(self.networks, hidden, strict=True)]
        mean = torch.logsumexp(torch.stack(logs), 0) - math.log(len(logs)) if len(logs) > 1 else logs[0]
        return mean, state

    def loss(
        self, inputs: Tensor, targets: Tensor, weights: Tensor, rows: Tensor, state: list[Tensor]
    ) -> tuple[Tensor, list[Tensor]]:
        """Weighted mean cross-entropy in nats per token, summed over the networks, and the state after.

        targets, weights: (T, B).
        """
        hidden, state = self.hidden(inputs, rows, state)
        targets, weights = targets.flatten(), weights.flatten()
        part = None
        if self.training and self.negatives is not None:
            part = partial_vocabulary(targets, self.settings.vocabulary, self.negatives)
        losses = []
        for network, x in zip(self.networks, hidden, strict=True):
            weight, bias, wanted = network.head.weight, network.head.bias + self.mask, targets
            if part is not None:
                weight, bias = weight.index_select(0, part.ids), bias[part.ids] + part.correction
                wanted = part.targets
            args = (x.flatten(0, 1), weight, bias, wanted, weights, self.half_products)
            losses.append(ChunkedCrossEntropy.apply(*args))  # type: ignore[no-untyped-call]
        return torch.stack(losses).sum(), state


class PartialVocabulary(NamedTuple):
    """Selected ids (N,), the corrections (N,) added to their logits, and the targets as positions among the ids."""

    ids: Tensor
    correction: Tensor
    targets: Tensor


def partial_vocabulary(targets: Tensor, vocabulary: int, negatives: int) -> PartialVocabulary:
    """Select the frequent tokens (ids are in order of frequency), the targets, and `negatives` of the others at random.

    The tokens drawn are weighted for those left out, so that the softmax's denominator is right on average (importance
    sampling after Bengio & Senécal 2003, of the rare tokens alone).
    """
    certain = torch.zeros(vocabulary, dtype=torch.bool, device=targets.device)
    certain[: min(vocabulary, FREQUENT)] = True
    certain[targets] = True
    rest = (~certain).nonzero()[:, 0]
    drawn = rest[torch.randperm(len(rest), device=rest.device)[:negatives]]
    known = certain.nonzero()[:, 0]
    ids = torch.cat([known, drawn])
    correction = torch.zeros(len(ids), device=targets.device)
    correction[len(known) :] = math.log(max(1, len(rest)) / max(1, len(drawn)))
    position = torch.empty(vocabulary, dtype=torch.long, device=targets.device)
    position[ids] = torch.arange(len(ids), device=targets.device)
    return PartialVocabulary(ids, correction, position[targets])
