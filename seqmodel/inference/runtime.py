"""The network's forward pass in plain NumPy: the page that shows what each recurrence computes.

It runs on the weights as a bundle stores them and agrees with the torch network (a test holds the two within 1e-4 bits
per token, for every cell). Arrays are time first: (T, B, D).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from seqmodel.arrays import Array, Floats, Ids, Mask
from seqmodel.inference.blas_threads import side_by_side
from seqmodel.model.bundle import Bundle
from seqmodel.model.ngram_embeddings import NgramIndex, next_history
from seqmodel.settings import ModelSettings
from seqmodel.tokens.tokenizer import START, UNKNOWN, never_predicted

NORM_EPSILON = np.float32(1e-6)
LONG = 128  # time steps at once that make up for starting a thread
NARROW = 4096  # numbers in a time step: at most as many cost less than the call of NumPy


@dataclass(frozen=True)
class State:
    """State of the recurrence: the last tokens (history, B), and an array (B, S) per network and layer."""

    history: Ids
    layers: tuple[Floats, ...]


class Runtime:
    """A network that can be stepped; implements `SequenceModel`."""

    def __init__(self, settings: ModelSettings, weights: Mapping[str, Array], index: NgramIndex, closed: bool) -> None:
        self.settings = settings
        self.index = index
        self.weights = {
            name: w if name.endswith(".table.weight") else w.astype(np.float32, copy=False)
            for name, w in weights.items()
        }
        self.vocabulary = settings.vocabulary
        self.networks = [_under(f"networks.{number}.", self.weights) for number in range(settings.networks)]
        self.blocks = [[_under(f"blocks.{n}.", w) for n in range(settings.layers)] for w in self.networks]
        self.scale = np.float32(settings.width**0.5 if settings.tied else 1)
        self.mask = np.zeros(settings.vocabulary, np.float32)
        self.mask[never_predicted(settings.ends, closed)] = -np.inf

    @classmethod
    def of(cls, bundle: Bundle) -> Runtime:
        return cls(bundle.header.model, bundle.weights, bundle.index, bundle.header.closed)

    def start(self, lanes: int) -> State:
        size = self.settings.width * (2 if self.settings.cell == "lstm" else 1)
        number = self.settings.networks * self.settings.layers
        layers = tuple(np.zeros((lanes, size), np.float32) for _ in range(number))
        return State(np.full((self.index.history, lanes), UNKNOWN, np.int64), layers)

    def select(self, state: State, lanes: Ids) -> State:
        return State(state.history[:, lanes], tuple(layer[lanes] for layer in state.layers))

    def join(self, states: Sequence[State]) -> State:
        layers = zip(*(state.layers for state in states), strict=True)
        history = np.concatenate([state.history for state in states], axis=1)
        return State(history, tuple(np.concatenate(layer) for layer in layers))

    def step(self, ids: Ids, state: State) -> tuple[Floats, State]:
        """ids: (T, B); returns log-probabilities (T, B, V) in nats, and the state after."""
        rows = self.index.find(ids, state.history)
        starts = ids == START

        @np.errstate(over="ignore", invalid="ignore")  # weights of a run that goes wrong; a bundle's are in range
        def run(number: int) -> tuple[Floats, list[Floats]]:
            """One network's log-probabilities, and the state of its layers after."""
            weights, layers = self.networks[number], []
            x = weights["token.weight"][ids] * self.scale
            for slot in range(rows.shape[-1] if self.index.rows > 1 else 0):
                x += weights["table.weight"][rows[..., slot]]
            for layer, block in enumerate(self.blocks[number]):
                x, after = self._block(block, x, starts, state.layers[number * self.settings.layers + layer])
                layers.append(after)
            return log_softmax(self._logits(weights, x)), layers

        # Callers with many lanes compute them on several threads; for one long text the networks run on several.
        over = side_by_side if ids.shape[1] == 1 and len(ids) >= LONG else map
        logs, layers = zip(*over(run, range(len(self.networks))), strict=True)
        return log_mean(list(logs)), State(next_history(ids, state.history), tuple(itertools.chain(*layers)))

    def _logits(self, weights: Mapping[str, Array], x: Floats) -> Floats:
        head = weights["token.weight" if self.settings.tied else "head.weight"]
        return linear(rms_norm(x, weights["norm.weight"]), head, weights["head.bias"] + self.mask)

    def _block(self, w: Mapping[str, Array], x: Floats, starts: Mask, state: Floats) -> tuple[Floats, Floats]:
        y, state = CELLS[self.settings.cell](w, rms_norm(x, w["norm.weight"]), starts, state)
        x += linear(y, w["out.weight"])
        if "up.weight" in w:
            up = linear(rms_norm(x, w["feed_norm.weight"]), w["up.weight"])
            x += linear(np.square(np.maximum(up, 0)), w["down.weight"])
        return x, state


def _under(prefix: str, weights: Mapping[str, Array]) -> dict[str, Array]:
    return {name.removeprefix(prefix): w for name, w in weights.items() if name.startswith(prefix)}


# Each cell: (weights, x (T, B, D), starts (T, B), state (B, S)) -> (y (T, B, D), state after (B, S)).


def mingru(w: Mapping[str, Array], x: Floats, starts: Mask, state: Floats) -> tuple[Floats, Floats]:
    """z = σ(·): h_t = (1 − z_t) ⊙ h_{t−1} + z_t ⊙ v_t; y = h ⊙ SiLU(o). A start forgets: 1 − z becomes 0."""
    width = x.shape[-1]
    gates = linear(x, w["cell.gates.weight"], w["cell.gates.bias"])
    z, v, o = (gates[..., at : at + width] for at in (0, width, 2 * width))
    sigmoid(z, out=z)
    keep = 1 - z
    keep[starts] = 0
    h = z * v
    h[0] += keep[0] * state
    scan(keep, h)
    last = h[-1].copy()
    h *= o
    h *= sigmoid(o, out=o)
    return h, last


def scan(keep: Floats, h: Floats) -> None:
    """Compute h_t += keep_t ⊙ h_{t−1} for t = 1, 2 …, in place; `keep` is overwritten.

    If the arrays of a step are small, time is cut into pieces that are scanned side by side; then each piece hands its
    last h on to the next. This costs twice the arithmetic and a fraction of the steps.
    """
    if len(h) == 1:
        return
    size = math.isqrt(len(h))
    number = len(h) // size if h[0].size <= NARROW else 0
    pieces, kept = (array[: number * size].reshape(number, size, *h.shape[1:]) for array in (h, keep))
    for t in range(1, size if number else 0):
        pieces[:, t] += kept[:, t] * pieces[:, t - 1]
        kept[:, t] *= kept[:, t - 1]
    for piece in range(1, number):
        pieces[piece] += kept[piece] * pieces[piece - 1, -1]
    for t in range(max(1, number * size), len(h)):
        h[t] += keep[t] * h[t - 1]


def rnn(w: Mapping[str, Array], x: Floats, starts: Mask, state: Floats) -> tuple[Floats, Floats]:
    """h_t = tanh(W x_t + U h_{t−1} + b)."""
    inputs, recurrent, bias = _recurrent(w, x)
    y = np.empty_like(x)
    h = state
    for t in range(len(x)):
        h = np.where(starts[t, :, None], 0, h)
        h = np.tanh(inputs[t] + h @ recurrent + bias)
        y[t] = h
    return y, h


def gru(w: Mapping[str, Array], x: Floats, starts: Mask, state: Floats) -> tuple[Floats, Floats]:
    """r, z = σ(·); n = tanh(W x + r ⊙ (U h + b)); h_t = (1 − z) ⊙ n + z ⊙ h_{t−1}."""
    inputs, recurrent, bias = _recurrent(w, x)
    width = x.shape[-1]
    y = np.empty_like(x)
    h = state
    for t in range(len(x)):
        h = np.where(starts[t, :, None], 0, h)
        before = h @ recurrent + bias
        r, z = np.split(sigmoid(inputs[t, :, : 2 * width] + before[:, : 2 * width]), 2, axis=-1)
        n = np.tanh(inputs[t, :, 2 * width :] + r * before[:, 2 * width :])
        h = (1 - z) * n + z * h
        y[t] = h
    return y, h


def lstm(w: Mapping[str, Array], x: Floats, starts: Mask, state: Floats) -> tuple[Floats, Floats]:
    """i, f, o = σ(·), g = tanh(·); c_t = f ⊙ c_{t−1} + i ⊙ g; h_t = o ⊙ tanh(c_t). State: h and c side by side."""
    inputs, recurrent, bias = _recurrent(w, x)
    width = x.shape[-1]
    y = np.empty_like(x)
    for t in range(len(x)):
        h, c = np.split(np.where(starts[t, :, None], 0, state), 2, axis=-1)
        gates = inputs[t] + h @ recurrent + bias
        i, f, g, o = np.split(gates, 4, axis=-1)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
        y[t] = h
        state = np.concatenate([h, c], axis=-1)
    return y, state[:, : 2 * width]


def _recurrent(w: Mapping[str, Array], x: Floats) -> tuple[Floats, Floats, Floats]:
    """Inputs' part of every gate for all time steps, and the weights and bias of the recurrent part."""
    name = "cell.recurrence."
    inputs = linear(x, w[name + "weight_ih_l0"], w[name + "bias_ih_l0"])
    return inputs, w[name + "weight_hh_l0"].T, w[name + "bias_hh_l0"]


Cell = Callable[[Mapping[str, Array], Floats, Mask, Floats], tuple[Floats, Floats]]
CELLS: dict[str, Cell] = {"mingru": mingru, "rnn": rnn, "gru": gru, "lstm": lstm}


def rms_norm(x: Floats, weight: Floats) -> Floats:
    """x / √(mean x² + ε) ⊙ weight (Zhang & Sennrich 2019)."""
    mean = np.einsum("...i,...i->...", x, x) / np.float32(x.shape[-1])
    out: Floats = x * (1 / np.sqrt(mean + NORM_EPSILON))[..., None]
    out *= weight
    return out


def linear(x: Floats, weight: Floats, bias: Floats | None = None) -> Floats:
    """x Wᵀ + b as one product; NumPy would multiply a stack of matrices one by one."""
    flat: Floats = x.reshape(-1, x.shape[-1]) @ weight.T
    if bias is not None:
        flat += bias
    return flat.reshape(*x.shape[:-1], -1)


def sigmoid(x: Floats, out: Floats | None = None) -> Floats:
    """1 / (1 + e^{−x}), computed by tanh, which does not overflow."""
    half = np.float32(0.5)
    y: Floats = np.multiply(x, half, out=out)
    np.tanh(y, out=y)
    y *= half
    y += half
    return y


def log_mean(logs: list[Floats], weights: tuple[float, ...] = ()) -> Floats:
    """log of the weighted mean of probabilities given as logs; −inf stays −inf.

    `weights` sum to one (default: equal).
    """
    if len(logs) == 1:
        return logs[0]
    shares = weights or (1 / len(logs),) * len(logs)
    mean = np.exp(logs[0])
    mean *= shares[0]
    for other, share in zip(logs[1:], shares[1:], strict=True):
        p = np.exp(other)
        p *= share
        mean += p
    tiny = mean < 1e-30  # here float32 loses digits; rare, and the exact sum is too slow to use everywhere
    with np.errstate(divide="ignore"):
        out: Floats = np.log(mean, out=mean)
        scaled = [each[tiny] + np.log(np.float32(share)) for each, share in zip(logs, shares, strict=True)]
    out[tiny] = np.logaddexp.reduce(scaled)
    return out


def log_softmax(logits: Floats) -> Floats:
    """Normalise logits over the last axis, in place; −inf stays −inf."""
    logits -= logits.max(axis=-1, keepdims=True)
    logits -= np.log(np.exp(logits).sum(axis=-1, keepdims=True))
    return logits
