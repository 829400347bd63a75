"""The NumPy runtime and the torch network are one model; the loss and the scan are what torch computes otherwise."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from seqmodel.choices import CellKind
from seqmodel.inference.runtime import Runtime, log_mean
from seqmodel.model import kernels as gradients
from seqmodel.model.bundle import stored_precision, weight_shapes
from seqmodel.model.kernels import ChunkedCrossEntropy, GatedLinearRecurrence, RMSNormalisation, TableGradient
from seqmodel.model.language_model import FREQUENT, LanguageModel, partial_vocabulary
from seqmodel.model.ngram_embeddings import NgramIndex, next_history
from seqmodel.scoring.tokens import LN2
from seqmodel.settings import ModelSettings
from seqmodel.tokens.tokenizer import END, START, UNKNOWN, never_predicted

VOCABULARY = 270
CELLS: tuple[CellKind, ...] = ("mingru", "lstm", "gru", "rnn")
Ids = npt.NDArray[np.int64]


class Pair:
    """One network with random weights (as a bundle stores them) in torch and in NumPy."""

    def __init__(self, cell: CellKind, *, closed: bool = False, ngrams: bool = True, **settings: Any) -> None:
        random = np.random.default_rng(5)
        torch.manual_seed(5)
        torch.set_num_threads(1)
        keys = tuple(np.unique(random.integers(0, 9**order, 60)) for order in (2, 3)) if ngrams else ()
        orders = (2, 3) if ngrams else ()
        rows = tuple((order, len(some)) for order, some in zip(orders, keys, strict=True))
        # Keys are of small ids, so that the random ids below hit them.
        keys = tuple(
            np.sort(sum((some // 9**place % 9) * VOCABULARY**place for place in range(order)))
            for order, some in zip(orders, keys, strict=True)
        )
        self.settings = ModelSettings(cell=cell, vocabulary=VOCABULARY, ngram_rows=rows, **({"width": 20} | settings))
        self.index = NgramIndex(VOCABULARY, orders, keys)
        self.network = LanguageModel(self.settings, closed=closed, dropout=0.5, ngram_dropout=0.5).eval()
        names = {name for name, _ in self.network.named_parameters()}
        assert names == set(weight_shapes(self.settings))
        weights = {}
        with torch.no_grad():
            for name, parameter in self.network.named_parameters():
                if parameter.ndim == 1:  # no parameter at the value that hides it
                    parameter.add_(torch.randn_like(parameter), alpha=0.5)
                assert tuple(parameter.shape) == weight_shapes(self.settings)[name]
                stored = stored_precision(parameter.numpy().copy())
                parameter.copy_(torch.from_numpy(stored.astype(np.float32)))
                weights[name] = stored
        self.runtime = Runtime(self.settings, weights, self.index, closed)

    def torch_logs(self, inputs: Ids, state: list[Tensor] | None = None) -> npt.NDArray[np.float32]:
        logs, _, _ = self.torch_step(inputs, state, self.fresh_history(inputs.shape[1]))
        return logs

    def torch_step(
        self, inputs: Ids, state: list[Tensor] | None, history: Ids
    ) -> tuple[npt.NDArray[np.float32], list[Tensor], Ids]:
        rows = torch.from_numpy(self.index.find(inputs, history))
        with torch.no_grad():
            logits, after = self.network(torch.from_numpy(inputs), rows, state or self.network.start(inputs.shape[1]))
        logs = torch.log_softmax(logits, -1).numpy()
        return logs, after, next_history(inputs, history)

    def fresh_history(self, lanes: int) -> Ids:
        return np.full((self.index.history, lanes), UNKNOWN, np.int64)

    def numpy_logs(self, inputs: Ids) -> npt.NDArray[np.float32]:
        return self.runtime.step(inputs, self.runtime.start(inputs.shape[1]))[0]


def some_inputs(time: int = 40, lanes: int = 3) -> Ids:
    """Random small ids (and a few large), a start symbol first and nowhere else."""
    random = np.random.default_rng(1)
    inputs = random.choice([3, 4, 5, 6, 7, 8, 8, 8, 100, 269], (time, lanes))
    inputs[0] = START
    return inputs


def assert_equal_bits(found: npt.NDArray[np.float32], expected: npt.NDArray[np.float32]) -> None:
    assert found.shape == expected.shape
    assert (np.isinf(found) == np.isinf(expected)).all()
    finite = np.isfinite(expected)
    assert np.abs(found[finite] - expected[finite]).max() / LN2 < 1e-4


VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {"ngrams": False},
    "n-grams": {},
    "one layer": {"layers": 1},
    "three layers": {"layers": 3},
    "tied": {"tied": True},
    "feed-forward": {"feed_forward": 36},
    "stream": {"ends": False},
    "closed": {"closed": True},
    "all": {"tied": True, "feed_forward": 24, "ends": False, "closed": True, "layers": 3, "width": 33},
}


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("cell", CELLS)
def test_both_give_the_same_probabilities(cell: CellKind, variant: str) -> None:
    pair = Pair(cell, **VARIANTS[variant])
    inputs = some_inputs()
    assert pair.index.rows == 1 or (pair.index.find(inputs, pair.fresh_history(3)) > 0).mean() > 0.1
    assert_equal_bits(pair.numpy_logs(inputs), pair.torch_logs(inputs))


@pytest.mark.parametrize("cell", CELLS)
def test_the_ngram_rows_make_a_difference(cell: CellKind) -> None:
    """Else the comparison above would not see them."""
    with_rows, without = Pair(cell), Pair(cell, ngrams=False)
    inputs = some_inputs()
    assert np.abs(with_rows.numpy_logs(inputs)[..., 3:] - without.numpy_logs(inputs)[..., 3:]).max() > 0.01


@pytest.mark.parametrize("cell", CELLS)
def test_over_512_steps_both_stay_together(cell: CellKind) -> None:
    pair = Pair(cell)
    inputs = some_inputs(512, 2)
    assert_equal_bits(pair.numpy_logs(inputs), pair.torch_logs(inputs))


@pytest.mark.parametrize("cuts", [range(1, 40), [1, 2, 20], [39]], ids=["one by one", "uneven", "the last alone"])
@pytest.mark.parametrize("cell", CELLS)
def test_steps_with_the_state_carried_equal_the_whole(cell: CellKind, cuts: Any) -> None:
    pair = Pair(cell, feed_forward=24)
    inputs = some_inputs()
    parts = [inputs[a:b] for a, b in pairwise([0, *cuts, len(inputs)])]
    state = pair.runtime.start(3)
    found = []
    for part in parts:
        logs, state = pair.runtime.step(part, state)
        found.append(logs)
    assert_equal_bits(np.concatenate(found), pair.numpy_logs(inputs))
    torch_state, history = None, pair.fresh_history(3)
    found = []
    for part in parts:
        logs, torch_state, history = pair.torch_step(part, torch_state, history)
        found.append(logs)
    assert_equal_bits(np.concatenate(found), pair.torch_logs(inputs))


@pytest.mark.parametrize("cell", CELLS)
def test_a_state_is_a_value_that_stepping_leaves_alone(cell: CellKind) -> None:
    pair = Pair(cell)
    inputs = some_inputs()
    _, state = pair.runtime.step(inputs[:20], pair.runtime.start(3))
    first, _ = pair.runtime.step(inputs[20:], state)
    pair.runtime.step(inputs[10:30], state)
    again, _ = pair.runtime.step(inputs[20:], state)
    assert (first == again).all()


@pytest.mark.parametrize("cell", CELLS)
def test_selected_lanes_go_on_as_they_were(cell: CellKind) -> None:
    pair = Pair(cell)
    inputs = some_inputs()
    _, state = pair.runtime.step(inputs[:20], pair.runtime.start(3))
    whole, _ = pair.runtime.step(inputs[20:], state)
    lanes = np.array([2, 0, 0])
    some, _ = pair.runtime.step(inputs[20:, lanes], pair.runtime.select(state, lanes))
    assert_equal_bits(some, whole[:, lanes])


@pytest.mark.parametrize("cell", CELLS)
def test_after_a_start_in_mid_segment_the_runtime_forgets(cell: CellKind) -> None:
    """Lanes start at different times; what follows each start is as if it stood alone."""
    pair = Pair(cell)
    inputs = some_inputs()
    starts = [[0, 13, 14], [0, 7, 30], [0]]
    for lane, places in enumerate(starts):
        inputs[places, lane] = START
    logs = pair.numpy_logs(inputs)
    for lane, places in enumerate(starts):
        for begin, end in pairwise([*places, len(inputs)]):
            assert_equal_bits(logs[begin:end, lane], pair.numpy_logs(inputs[begin:end, lane : lane + 1])[:, 0])


def test_after_a_start_in_mid_segment_a_mingru_in_torch_forgets() -> None:
    pair = Pair("mingru")
    inputs = some_inputs()
    inputs[17, 1] = START
    logs = pair.torch_logs(inputs)
    assert_equal_bits(logs[17:, 1], pair.torch_logs(inputs[17:, 1:2])[:, 0])
    assert_equal_bits(logs, pair.numpy_logs(inputs))


def test_no_gradient_flows_over_a_start_in_a_mingru() -> None:
    pair = Pair("mingru", ngrams=False)
    inputs = some_inputs(12, 1)
    inputs[6] = START
    embedded = pair.network.networks[0].token.weight
    rows = torch.empty(12, 1, 0, dtype=torch.long)
    hidden, _ = pair.network.hidden(torch.from_numpy(inputs), rows, pair.network.start(1))
    (grad,) = torch.autograd.grad(hidden[0][6:].square().sum(), embedded)
    before, after = set(inputs[:6, 0].tolist()), set(inputs[6:, 0].tolist())
    assert before - after, "some ids must stand before the start alone"
    assert all((grad[token] == 0).all() for token in before - after)
    assert all((grad[token] != 0).any() for token in after)


@pytest.mark.parametrize("ends", [True, False])
@pytest.mark.parametrize("closed", [True, False])
@pytest.mark.parametrize("cell", ["mingru", "rnn"])
def test_what_is_never_predicted_has_probability_zero_and_the_rest_sums_to_one(
    cell: CellKind, closed: bool, ends: bool
) -> None:
    pair = Pair(cell, closed=closed, ends=ends)
    never = never_predicted(ends, closed)
    assert START in never and (END in never) is not ends
    for logs in (pair.numpy_logs(some_inputs()), pair.torch_logs(some_inputs())):
        p = np.exp(logs.astype(np.float64))
        assert (p[..., never] == 0).all()
        assert (np.delete(p, never, -1) > 0).all()
        assert np.abs(p.sum(-1) - 1).max() < 1e-6


# The loss


def reference_loss(x: Tensor, weight: Tensor, bias: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
    """By torch's own cross entropy, row by row of those that count."""
    counts = weights > 0
    each = F.cross_entropy(F.linear(x[counts], weight, bias), targets[counts], reduction="none")
    return (each * weights[counts]).sum() / weights.sum().clamp_min(1)


def chunked_loss(*args: Tensor) -> Tensor:
    loss: Tensor = ChunkedCrossEntropy.apply(*args, False)  # type: ignore[no-untyped-call]
    return loss


@pytest.mark.parametrize("chunk_rows", [1, 3, 7, 1000])
@pytest.mark.parametrize("kind", ["ones", "some zeros", "fractions", "all zeros", "one"])
def test_the_chunked_loss_and_its_gradients_are_those_of_cross_entropy(
    kind: str, chunk_rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    n, width, vocabulary = 21, 6, 11
    monkeypatch.setattr(gradients, "LOSS_CHUNK_BYTES", 4 * vocabulary * chunk_rows)
    torch.manual_seed(0)
    mask = torch.zeros(vocabulary)
    mask[[0, 4]] = -torch.inf
    targets = torch.tensor([1, 2, 3, 5, 6, 7, 8, 9, 10]).repeat(3)[:n]
    weights = {
        "ones": torch.ones(n),
        "some zeros": (torch.arange(n) % 3 > 0).float(),
        "fractions": torch.rand(n),
        "all zeros": torch.zeros(n),
        "one": F.one_hot(torch.tensor(5), n).float() / 4,  # less than one token's weight in all
    }[kind]
    targets[weights == 0] = 4  # what can never be predicted stands where nothing counts
    leaves = [torch.randn(n, width), torch.randn(vocabulary, width), torch.randn(vocabulary)]
    results = []
    for loss_of in (chunked_loss, reference_loss):
        x, weight, bias = (leaf.clone().requires_grad_() for leaf in leaves)
        loss = loss_of(x, weight, bias + mask, targets, weights)
        (3 * loss).backward()  # type: ignore[no-untyped-call]  # the gradient that comes in is not always one
        results.append((loss.detach(), x.grad, weight.grad, bias.grad))
    for found, expected in zip(*results, strict=True):
        assert found is not None and expected is not None
        assert torch.isfinite(found).all()
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("tied", [False, True])
def test_the_networks_loss_is_the_mean_of_the_runtimes_bits(cell: CellKind, tied: bool) -> None:
    pair = Pair(cell, tied=tied)
    inputs = some_inputs()
    targets = np.roll(inputs, -1, axis=0)
    targets[-1] = END
    weights = np.ones(inputs.shape, np.float32)
    weights[30:, 1] = 0
    rows = pair.index.find(inputs, pair.fresh_history(3))
    tensors = [torch.from_numpy(array) for array in (inputs, targets, weights, rows)]
    loss, _ = pair.network.loss(tensors[0], tensors[1], tensors[2], tensors[3], pair.network.start(3))
    logs = np.take_along_axis(pair.numpy_logs(inputs), targets[..., None], -1)[..., 0]
    expected = -(logs * weights)[weights > 0].sum(dtype=np.float64) / weights.sum()
    assert abs(float(loss.detach()) - expected) < 1e-4


def test_a_tied_head_gets_the_gradients_of_both_its_places() -> None:
    pair = Pair("mingru", tied=True, ngrams=False)
    inputs = torch.from_numpy(some_inputs())
    targets, weights = inputs.roll(-1, 0).clamp_min(END), torch.ones(inputs.shape)
    rows = torch.empty(*inputs.shape, 0, dtype=torch.long)
    loss, _ = pair.network.loss(inputs, targets, weights, rows, pair.network.start(3))
    loss.backward()  # type: ignore[no-untyped-call]
    found = pair.network.networks[0].token.weight.grad
    pair.network.zero_grad()
    logits, _ = pair.network(inputs, rows, pair.network.start(3))
    finite = logits.flatten(0, 1).clamp_min(-1e4)
    F.cross_entropy(finite, targets.flatten()).backward()  # type: ignore[no-untyped-call]
    expected = pair.network.networks[0].token.weight.grad
    assert found is not None and expected is not None
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)


# The scan


Leaves = tuple[Tensor, Tensor, Tensor]


def mingru_by_autograd(x: Tensor, weight: Tensor, bias: Tensor, starts: Tensor, state: Tensor) -> Tensor:
    """The cell as its docstring defines it, step by step."""
    zeta, v, o = F.linear(x, weight, bias).chunk(3, -1)
    z = torch.sigmoid(zeta)
    h, out = state, []
    for t in range(len(x)):
        h = (1 - z[t]) * (1 - starts[t]) * h + z[t] * v[t]
        out.append(h * F.silu(o[t]))
    return torch.stack(out)


def scan(x: Tensor, weight: Tensor, bias: Tensor, starts: Tensor, state: Tensor, half: bool = False) -> Tensor:
    y: Tensor = GatedLinearRecurrence.apply(x, weight, bias, starts, state, half)[0]  # type: ignore[no-untyped-call]
    return y


def leaves_of(steps: int, dtype: torch.dtype = torch.double) -> Leaves:
    torch.manual_seed(0)
    shapes = ((steps, 2, 3), (9, 3), (9,))
    x, weight, bias = (torch.randn(shape, dtype=dtype).requires_grad_() for shape in shapes)
    return x, weight, bias


@pytest.mark.parametrize("steps", [1, 2, 6])
def test_the_gradients_of_the_gated_linear_recurrence_are_right(steps: int) -> None:
    leaves = leaves_of(steps)
    state = torch.randn(2, 3, dtype=torch.double)
    for rate in (0.0, 0.5, 1.0):
        starts = (torch.rand(steps, 2, 1) < rate).double()
        assert torch.autograd.gradcheck(scan, (*leaves, starts, state))


def test_the_gated_linear_recurrence_is_its_definition() -> None:
    leaves = leaves_of(7)
    starts = (torch.rand(7, 2, 1) < 0.3).double()
    state = torch.randn(2, 3, dtype=torch.double)
    upstream = torch.randn(7, 2, 3, dtype=torch.double)
    results = []
    for run in (scan, mingru_by_autograd):
        y = run(*leaves, starts, state)
        results.append((y.detach(), *torch.autograd.grad(y, leaves, upstream)))
    for found, expected in zip(*results, strict=True):
        torch.testing.assert_close(found, expected)


def test_half_precision_is_the_same_but_for_rounding() -> None:
    leaves = leaves_of(7, torch.float32)
    starts, state = (torch.rand(7, 2, 1) < 0.3).float(), torch.randn(2, 3)
    results = []
    for half in (False, True):
        y = scan(*leaves, starts, state, half)
        results.append((y.detach(), *torch.autograd.grad(y.square().sum(), leaves)))
    for whole, rounded in zip(*results, strict=True):
        assert not torch.equal(whole, rounded)
        assert float((whole - rounded).norm() / whole.norm()) < 0.02


# The norm and the table


def test_the_gradients_of_the_norm_are_right() -> None:
    torch.manual_seed(0)
    x, weight = (torch.randn(shape, dtype=torch.double).requires_grad_() for shape in ((3, 2, 5), (5,)))
    assert torch.autograd.gradcheck(lambda a, b: RMSNormalisation.apply(a, b), (x, weight))  # type: ignore[no-untyped-call]


def test_the_tables_gradient_is_that_of_a_sum_of_embeddings() -> None:
    pair = Pair("mingru")
    table = pair.network.networks[0].table
    assert table is not None
    rows = torch.tensor([[[1, 0], [2, 5]], [[1, 5], [0, 0]]])
    x = torch.randn(2, 2, 20, requires_grad=True)
    upstream = torch.randn(2, 2, 20)
    y = table(x, rows)
    torch.testing.assert_close(y.detach(), x.detach() + table.weight[rows].sum(-2))
    y.backward(upstream)
    assert x.grad is not None and torch.equal(x.grad, upstream)
    assert isinstance(table.gradient, TableGradient)
    assert torch.equal(table.gradient.rows, rows.flatten(0, 1))
    assert torch.equal(table.gradient.values, upstream.flatten(0, 1))


# The loss over a part of the vocabulary


def test_a_part_that_holds_every_token_is_the_whole_vocabulary() -> None:
    targets = torch.tensor([2500, 3, 2999, 2500])
    part = partial_vocabulary(targets, 3000, 5000)
    assert part.ids.sort().values.tolist() == list(range(3000))
    assert (part.correction == 0).all()
    assert torch.equal(part.ids[part.targets], targets)


def test_a_part_holds_what_is_frequent_the_targets_and_some_of_the_rest() -> None:
    targets = torch.tensor([5000, 3, 4999])
    part = partial_vocabulary(targets, 6000, 100)
    assert len(set(part.ids.tolist())) == len(part.ids) == FREQUENT + 2 + 100
    assert set(range(FREQUENT)) <= set(part.ids.tolist())
    assert torch.equal(part.ids[part.targets], targets)
    assert (part.correction[:-100] == 0).all() and (part.correction[-100:] > 0).all()


def test_what_the_softmax_divides_by_is_right_on_average() -> None:
    torch.manual_seed(0)
    logits = torch.randn(4000)
    targets = torch.tensor([3000])
    sums = [
        float((logits[part.ids] + part.correction).exp().sum())
        for part in (partial_vocabulary(targets, 4000, 50) for _ in range(4000))
    ]
    assert np.mean(sums) == pytest.approx(float(logits.exp().sum()), rel=4 * np.std(sums) / 4000**0.5 / np.mean(sums))


def test_a_tied_network_learns_from_a_part_of_its_vocabulary_and_scores_with_all() -> None:
    torch.manual_seed(0)
    model = LanguageModel(ModelSettings(width=8, layers=1, vocabulary=3000, tied=True), negatives=10)
    inputs = torch.randint(3, 3000, (4, 2))
    args = (inputs, inputs, torch.ones(4, 2), torch.empty(4, 2, 0, dtype=torch.long), model.start(2))
    partial, _ = model.train().loss(*args)
    partial.backward()  # type: ignore[no-untyped-call]
    gradient = model.networks[0].token.weight.grad
    assert gradient is not None and 0 < int((gradient != 0).any(-1).sum()) <= FREQUENT + 8 + 10
    whole, _ = model.eval().loss(*args)
    model.negatives = None
    assert torch.equal(whole, model.train().loss(*args)[0])


# Several networks


def test_the_probabilities_of_several_networks_are_averaged() -> None:
    pair = Pair("mingru", networks=3)
    inputs = some_inputs()
    logs = pair.numpy_logs(inputs)
    assert_equal_bits(pair.torch_logs(inputs), logs)
    single = pair.settings.model_copy(update={"networks": 1})
    each = []
    for number in range(3):
        own = f"networks.{number}."
        weights = {name.replace(own, "networks.0."): w for name, w in pair.runtime.weights.items() if own in name}
        runtime = Runtime(single, weights, pair.index, False)
        each.append(np.exp(runtime.step(inputs, runtime.start(3))[0]))
    assert np.abs(np.exp(logs) - np.mean(each, axis=0)).max() < 1e-6


def test_networks_beside_each_other_learn_as_each_would_alone() -> None:
    torch.manual_seed(0)
    settings = ModelSettings(width=8, layers=1, vocabulary=270, ngram_rows=((2, 9),), networks=2)
    model = LanguageModel(settings)
    inputs, rows = torch.randint(3, 270, (5, 2)), torch.randint(0, 10, (5, 2, 1))
    model.loss(inputs, inputs, torch.ones(5, 2), rows, model.start(2))[0].backward()  # type: ignore[no-untyped-call]
    alone = LanguageModel(settings.model_copy(update={"networks": 1}))
    for network in model.networks:
        alone.networks[0].load_state_dict(network.state_dict())
        alone.zero_grad()
        alone.loss(inputs, inputs, torch.ones(5, 2), rows, alone.start(2))[0].backward()  # type: ignore[no-untyped-call]
        for own, beside in zip(alone.networks[0].parameters(), network.parameters(), strict=True):
            assert (own.grad is None) == (beside.grad is None)
            if own.grad is not None:
                torch.testing.assert_close(own.grad, beside.grad)
        tables = [each.table for each in (alone.networks[0], network)]
        values = [table.gradient.values for table in tables if table is not None and table.gradient is not None]
        torch.testing.assert_close(*values)


def test_the_mean_of_very_small_probabilities_keeps_its_digits() -> None:
    logs = [
        np.array([[-1.0, -80.0, -200.0, -np.inf]], np.float32),
        np.array([[-2.0, -90.0, -201.0, -np.inf]], np.float32),
    ]
    expected = np.logaddexp(*(each.astype(np.float64) for each in logs)) - np.log(2)
    found = log_mean([each.copy() for each in logs])
    assert found[0, 3] == -np.inf
    assert np.abs(found[0, :3] - expected[0, :3]).max() < 1e-4
