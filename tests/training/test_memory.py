"""What surely does not fit is refused before it begins; what may fit is not."""

from __future__ import annotations

import resource
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from seqmodel.config import ModelSettings, TrainingSettings
from seqmodel.console.failures import _as_ours
from seqmodel.errors import ResourceError
from seqmodel.model.language_model import LanguageModel
from seqmodel.training import memory
from seqmodel.training.memory import free_bytes, least_bytes, refuse_what_does_not_fit
from tests.cli.command import run, told

SMALL = ModelSettings(vocabulary=300, width=32, layers=2)
STEPS = TrainingSettings(steps=1)


def test_the_least_is_that_of_weights_and_activations() -> None:
    for shape in (SMALL, ModelSettings(vocabulary=300, cell="lstm", networks=2, feed_forward=64, tied=True)):
        weights = sum(parameter.numel() for parameter in LanguageModel(shape).parameters())
        one = least_bytes(shape, STEPS, 0)
        assert one == 16 * weights
        many = least_bytes(shape, TrainingSettings(steps=1, lanes=1 << 16, segment=1 << 16), 1000)
        assert many - one == 4 * 8 * 1000 * shape.width * shape.layers * shape.networks


def test_what_does_not_fit_is_refused_and_what_may_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    needed = least_bytes(SMALL, STEPS, 1000)
    monkeypatch.setattr(memory, "free_bytes", lambda: needed)
    refuse_what_does_not_fit(SMALL, STEPS, 1000)
    monkeypatch.setattr(memory, "free_bytes", lambda: needed - 1)
    with pytest.raises(ResourceError, match="GB are free"):
        refuse_what_does_not_fit(SMALL, STEPS, 1000)


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
    assert not list(tmp_path.iterdir()) or [path.suffix for path in tmp_path.iterdir()] == [".jsonl"]


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
