"""The learning rate's course, the optimizers, and what a checkpoint keeps of them."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from seqmodel.choices import CellKind
from seqmodel.model.kernels import NgramTable, TableGradient
from seqmodel.model.language_model import LanguageModel
from seqmodel.settings import ModelSettings, TrainingSettings
from seqmodel.training.optimization import (
    BETAS,
    AdamW,
    Optimizers,
    RowAdam,
    Schedule,
    choose_threads,
    fast_arithmetic,
    summed_rows,
    usable_cores,
)

# The schedule


def test_the_rate_rises_then_goes_straight_down_to_zero() -> None:
    schedule = Schedule(4)
    scales = [schedule.scale(step, step / 20) for step in range(20)]
    assert scales[:4] == pytest.approx([0.25 * 1.0, 0.5 * 0.95, 0.75 * 0.9, 1.0 * 0.85])
    assert scales[4:] == pytest.approx([1 - step / 20 for step in range(4, 20)])
    assert scales[-1] == pytest.approx(0.05)
    assert schedule.scale(20, 1.0) == 0


def test_a_run_is_over_when_its_budget_is_spent() -> None:
    schedule = Schedule(4)
    assert not schedule.is_over(0, 0.0) and not schedule.is_over(19, 0.95)
    assert schedule.is_over(20, 1.0) and schedule.is_over(21, 1.05)


def test_without_a_warmup_the_first_step_has_the_full_rate() -> None:
    assert Schedule(0).scale(0, 0.0) == 1
    assert Schedule(1).scale(0, 0.0) == 1


def test_annealing_goes_from_the_present_rate_to_zero_in_the_steps_given() -> None:
    schedule = Schedule(4)
    before = schedule.scale(10, 0.3)
    schedule.anneal(10, 8, 0.3)
    scales = [schedule.scale(step, 0.3 + step / 100) for step in range(10, 19)]
    assert scales == pytest.approx([before * (1 - k / 8) for k in range(9)])
    assert [schedule.is_over(step, 0.4) for step in (10, 17, 18, 19)] == [False, False, True, True]


def test_a_budget_that_ends_before_the_annealing_ends_the_run() -> None:
    schedule = Schedule(4)
    schedule.anneal(10, 100, 0.3)
    assert schedule.is_over(12, 1.0)


@given(st.integers(0, 50), st.lists(st.integers(0, 2000), min_size=1, max_size=30), st.integers(0, 29))
@settings(max_examples=100, deadline=None)
def test_a_scale_lies_between_zero_and_one(warmup: int, thousandths: list[int], anneal_at: int) -> None:
    schedule = Schedule(warmup)
    for step, progress in enumerate(n / 1000 for n in sorted(thousandths)):
        if step == anneal_at:
            schedule.anneal(step, 5, progress)
        assert 0 <= schedule.scale(step, progress) <= 1


# The optimizers


def network(cell: CellKind = "mingru", **settings: object) -> LanguageModel:
    torch.manual_seed(1)
    return LanguageModel(
        ModelSettings(cell=cell, width=8, layers=1, vocabulary=270, ngram_rows=((2, 30),), **settings)  # type: ignore[arg-type]
    )


def training(**settings: object) -> TrainingSettings:
    return TrainingSettings(steps=10, **settings)  # type: ignore[arg-type]


def give_gradients(model: LanguageModel, seed: int) -> None:
    """The gradients of a random batch, which looks at row 0 of the table and a few others."""
    generator = torch.Generator().manual_seed(seed)
    inputs, targets = (torch.randint(3, 270, (6, 2), generator=generator) for _ in range(2))
    rows = torch.randint(0, 31, (6, 2, 1), generator=generator)
    rows[0] = 0
    loss, _ = model.loss(inputs, targets, torch.ones(6, 2), rows, model.start(2))
    loss.backward()  # type: ignore[no-untyped-call]


def table_of(model: LanguageModel) -> Tensor:
    return ngram_table(model).weight


def ngram_table(model: LanguageModel) -> NgramTable:
    table = model.networks[0].table
    assert table is not None
    return table


def test_row_zero_stays_zero_and_rows_that_were_not_hit_stay_as_they_are() -> None:
    model = network()
    before = table_of(model).detach().clone()
    optimizers = Optimizers(model, training())
    hit: set[int] = set()
    for seed in range(3):
        give_gradients(model, seed)
        gradient = ngram_table(model).gradient
        assert gradient is not None
        hit |= set(gradient.rows.flatten().tolist())
        optimizers.step(1.0)
    after = table_of(model).detach()
    assert 0 in hit and 1 < len(hit) < 31
    assert (after[0] == 0).all()
    changed = (after != before).any(-1)
    assert {row for row in range(31) if changed[row]} == hit - {0}


@pytest.mark.parametrize("tied", [False, True])
def test_every_parameter_is_trained_once_and_gradients_are_dropped(tied: bool) -> None:
    model = network(tied=tied)
    optimizers = Optimizers(model, training())
    listed = optimizers.adamw.parameters
    assert len(listed) == len({id(p) for p in listed})
    assert sorted(i for numbers, _ in optimizers.adamw.groups for i in numbers) == list(range(len(listed)))
    assert {id(p) for p in listed} | {id(table_of(model))} == {id(p) for p in model.parameters()}
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    give_gradients(model, 0)
    optimizers.step(1.0)
    for name, parameter in model.named_parameters():
        assert parameter.grad is None
        assert (parameter.detach() != before[name]).any()


def test_a_scale_of_zero_changes_nothing() -> None:
    model = network()
    optimizers = Optimizers(model, training())
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    give_gradients(model, 0)
    optimizers.step(0.0)
    assert all((p.detach() == before[name]).all() for name, p in model.named_parameters())


def test_the_first_step_is_as_long_as_the_learning_rate() -> None:
    """Adam's first step is the rate times the gradient's sign; the table has a rate of its own."""
    model = network()
    optimizers = Optimizers(model, training(learning_rate=1e-3, table_learning_rate=1e-1, weight_decay=0.0))
    bias, table = (p.detach().clone() for p in (model.networks[0].head.bias, table_of(model)))
    give_gradients(model, 0)
    optimizers.step(0.5)
    assert float((model.networks[0].head.bias.detach() - bias).abs().max()) == pytest.approx(0.5e-3, rel=1e-2)
    assert float((table_of(model).detach() - table).abs().max()) == pytest.approx(0.5e-1, rel=1e-2)


def test_weights_decay_in_matrices_alone() -> None:
    model = network()
    optimizers = Optimizers(model, training(learning_rate=0.1, weight_decay=0.5))
    with torch.no_grad():
        for parameter in optimizers.dense:
            parameter.fill_(1.0)
    for parameter in optimizers.dense:
        parameter.grad = torch.zeros_like(parameter)
    optimizers.step(1.0)
    for parameter in optimizers.dense:
        expected = 0.95 if parameter.ndim > 1 else 1.0
        torch.testing.assert_close(parameter.detach(), torch.full_like(parameter, expected))


def test_large_gradients_are_clipped_together() -> None:
    model = network()
    optimizers = Optimizers(model, training(clip=1.0))
    for parameter in optimizers.dense:
        parameter.grad = torch.full_like(parameter, 100.0)
    give_gradients(model, 0)
    optimizers.step(0.0)
    moments = optimizers.adamw.mean
    norm = math.sqrt(sum(float(m.square().sum()) for m in moments)) / (1 - 0.9)
    assert norm == pytest.approx(1.0, rel=1e-3)


@pytest.mark.parametrize("cell", ["mingru", "lstm"])
def test_restored_optimizers_go_on_bit_for_bit(cell: CellKind) -> None:
    model = network(cell)
    optimizers = Optimizers(model, training())
    for seed in range(4):
        give_gradients(model, seed)
        optimizers.step(0.7)
    state = {name: tensor.clone() for name, tensor in optimizers.state().items()}
    other = network(cell)
    other.load_state_dict(model.state_dict())
    restored = Optimizers(other, training())
    restored.restore(state)
    for seed in range(4, 8):
        for each, its in ((model, optimizers), (other, restored)):
            give_gradients(each, seed)
            its.step(0.3)
    for (name, a), (_, b) in zip(model.named_parameters(), other.named_parameters(), strict=True):
        assert torch.equal(a, b), name
    assert restored.state().keys() == optimizers.state().keys()


def test_the_dense_weights_take_the_steps_that_torchs_adamw_takes() -> None:
    """Stood in for, because making one of torch's optimizers imports its compiler."""
    torch.manual_seed(0)
    ours = [torch.randn(4, 3, requires_grad=True), torch.randn(3, requires_grad=True)]
    theirs = [p.detach().clone().requires_grad_() for p in ours]
    groups = [{"params": theirs[:1], "weight_decay": 0.1}, {"params": theirs[1:], "weight_decay": 0.0}]
    own, torchs = AdamW(ours, 1e-2, 0.1), torch.optim.AdamW(groups, lr=1e-2, betas=BETAS, fused=True)
    for step in range(5):
        for a, b in zip(ours, theirs, strict=True):
            a.grad = torch.randn_like(a)
            b.grad = a.grad.clone()
        if step == 3:
            ours[1].grad = theirs[1].grad = None
        own.step(1.0)
        torchs.step()
        for a, b in zip(ours, theirs, strict=True):
            assert torch.equal(a, b)


def test_a_network_without_ngrams_has_no_optimizer_of_rows() -> None:
    model = LanguageModel(ModelSettings(width=8, layers=1, vocabulary=270))
    optimizers = Optimizers(model, training())
    assert optimizers.tables == []
    inputs = torch.randint(3, 270, (4, 2))
    rows = torch.empty(4, 2, 0, dtype=torch.long)
    loss, _ = model.loss(inputs, inputs, torch.ones(4, 2), rows, model.start(2))
    loss.backward()  # type: ignore[no-untyped-call]
    optimizers.step(1.0)
    assert not any(name.startswith("table") for name in optimizers.state())


@given(st.lists(st.lists(st.integers(0, 6), min_size=2, max_size=2), min_size=1, max_size=12))
@settings(max_examples=50, deadline=None)
def test_what_a_row_is_owed_is_summed_over_its_places(rows: list[list[int]]) -> None:
    values = torch.randn(len(rows), 3, dtype=torch.double)
    dense = torch.zeros(7, 3, dtype=torch.double)
    for position, row in enumerate(rows):
        for each in row:
            dense[each] += values[position]
    found, sums = summed_rows(TableGradient(torch.tensor(rows), values))
    assert found.tolist() == sorted({each for row in rows for each in row} - {0})
    torch.testing.assert_close(sums, dense[found])


def test_rows_take_the_steps_that_adam_takes() -> None:
    """Where every row has a gradient at every step, it is Adam."""
    model = network()
    optimizer = RowAdam(ngram_table(model), 1e-2)
    twin = table_of(model).detach().clone().requires_grad_()
    adam = torch.optim.Adam([twin], lr=1e-2, betas=BETAS)
    rows = torch.arange(1, 31)[:, None]
    for seed in range(4):
        values = torch.randn(30, 8, generator=torch.Generator().manual_seed(seed))
        ngram_table(model).gradient = TableGradient(rows, values)
        optimizer.step(1.0)
        twin.grad = torch.cat([torch.zeros(1, 8), values])
        adam.step()
    torch.testing.assert_close(table_of(model), twin.detach())


def test_fast_arithmetic_is_switched_off_again() -> None:
    tiny = torch.tensor([1e-39])
    before = torch.get_float32_matmul_precision()
    with fast_arithmetic():
        assert float(tiny * 0.5) == 0
    assert float(tiny * 0.5) != 0
    assert torch.get_float32_matmul_precision() == before


def test_no_more_threads_are_chosen_than_there_are_cores() -> None:
    before = torch.get_num_threads()
    try:
        assert 1 <= choose_threads(8, 16) <= usable_cores()
    finally:
        torch.set_num_threads(before)
