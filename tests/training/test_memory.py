"""What surely does not fit is refused before it begins; what may fit is not."""

from __future__ import annotations

import resource
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from seqmodel.console.failures import _as_ours
from seqmodel.errors import ResourceError
from seqmodel.model.language_model import LanguageModel
from seqmodel.settings import ModelSettings, TrainingSettings
from seqmodel.training import memory
from seqmodel.training.memory import check_memory, free_bytes, least_bytes
from seqmodel.training.optimization import Optimizers
from tests.cli.command import run, told

SMALL = ModelSettings(vocabulary=300, width=32, layers=2)
STEPS = TrainingSettings(steps=1)


@pytest.mark.parametrize(
    "shape",
    [SMALL, ModelSettings(vocabulary=300, cell="lstm", networks=2, feed_forward=64, tied=True)],
    ids=["mingru", "lstm"],
)
def test_the_least_is_no_more_than_a_step_keeps(shape: ModelSettings) -> None:
    """Weights, gradients and moments are counted exactly; of activations at least a tenth, and never too much."""
    steps, lanes = 16, 8
    model = LanguageModel(shape)
    rows = torch.zeros(steps, lanes, 0, dtype=torch.int64)
    ids = torch.randint(3, 300, (steps, lanes))
    kept: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss, _ = model.loss(ids, ids, torch.ones(steps, lanes), rows, model.start(lanes))
    for weight in model.parameters():
        kept.pop(weight.untyped_storage().data_ptr(), None)
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer = Optimizers(model, STEPS)
    held = [*model.parameters(), *(weight.grad for weight in model.parameters() if weight.grad is not None)]
    held += optimizer.adamw.state().values()
    weights = least_bytes(shape, STEPS, 0)
    assert weights == pytest.approx(sum(tensor.nbytes for tensor in held), rel=0.01)
    activations = least_bytes(shape, TrainingSettings(steps=1, lanes=lanes, segment=steps), 10**6) - weights
    assert sum(kept.values()) / 10 < activations <= sum(kept.values())


def test_what_does_not_fit_is_refused_and_what_may_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    needed = least_bytes(SMALL, STEPS, 1000)
    monkeypatch.setattr(memory, "free_bytes", lambda: needed)
    check_memory(SMALL, STEPS, 1000)
    monkeypatch.setattr(memory, "free_bytes", lambda: needed - 1)
    with pytest.raises(ResourceError, match="GB are free"):
        check_memory(SMALL, STEPS, 1000)


def test_the_least_of_what_the_system_says_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    files = {
        "/proc/meminfo": "MemTotal: 9000 kB\nMemAvailable:    3000 kB\nSwapFree:  1000 kB\n",
        "/sys/fs/cgroup/memory.max": "max\n",
        "/proc/self/statm": "100 1 1\n",
    }
    monkeypatch.setattr(memory, "_read", lambda name: files.get(name, ""))
    monkeypatch.setattr(resource, "getrlimit", lambda _: (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    assert free_bytes() == 4000 << 10
    files["/sys/fs/cgroup/memory.max"] = f"{2 << 20}\n"
    assert free_bytes() == 2 << 20
    page = resource.getpagesize()
    monkeypatch.setattr(resource, "getrlimit", lambda _: (page * 107, resource.RLIM_INFINITY))
    assert free_bytes() == page * 7
    files.clear()
    assert free_bytes() == page * 107


@pytest.mark.parametrize(
    "options",
    [
        ("--width", "8192", "--layers", "64"),
        ("--width", "4096", "--layers", "4", "--cell", "lstm", "--networks", "4"),
        ("--width", "1024", "--layers", "2", "--feed-forward", "65536", "--networks", "8"),
    ],
    ids=" ".join,
)
def test_a_run_that_cannot_fit_says_so_under_a_limit(
    options: tuple[str, ...], tmp_path: Path, train_little: Callable[..., Path]
) -> None:
    limit = (resource.RLIMIT_AS, (6 << 30, 6 << 30))
    corpus = train_little().with_name("corpus.txt")
    places: tuple[str | Path, ...] = ("train", corpus, "-o", tmp_path / "m.seqmodel")
    budget = ("--steps", "1", "--threads", "1", "-q")
    result = run(*places, *budget, *options, preexec_fn=lambda: resource.setrlimit(*limit))
    told(result, 5, "GB of memory", "--width")
    assert {path.name for path in tmp_path.iterdir()} <= {"m.jsonl"}


def test_absurd_batches_are_no_larger_than_the_corpus(tmp_path: Path, train_little: Callable[..., Path]) -> None:
    limit = (resource.RLIMIT_AS, (6 << 30, 6 << 30))
    corpus = train_little().with_name("corpus.txt")
    for cell in ("mingru", "gru"):
        shape = ("--width", "8", "--layers", "1", "--lanes", "65536", "--segment", "65536")
        arguments = ("train", corpus, "-o", tmp_path / f"{cell}.seqmodel", "--steps", "1", "-q", "--cell", cell, *shape)
        result = run(*arguments, preexec_fn=lambda: resource.setrlimit(*limit))
        assert result.code == 0, result.err


def test_memory_that_the_system_does_not_give_is_told() -> None:
    for ask in (lambda: torch.empty(1 << 50), lambda: np.empty(1 << 50)):
        with pytest.raises((RuntimeError, MemoryError)) as caught:
            ask()
        told = _as_ours(caught.value)
        assert isinstance(told, ResourceError) and told.message == "out of memory"
