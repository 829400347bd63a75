"""Where the network is computed: the choice of a device, and that everything goes there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import seqmodel
from seqmodel.console.failures import _as_ours
from seqmodel.errors import ResourceError, UsageError
from seqmodel.model.ngram_embeddings import build_index
from seqmodel.settings import ModelSettings, TrainingSettings
from seqmodel.training.devices import CPU, native_precision, pick_device
from seqmodel.training.loop import Trainer
from seqmodel.training.ranks import Place
from tests.conftest import little_text
from tests.training.test_loop import data_of


def machine(monkeypatch: pytest.MonkeyPatch, *, gpus: int = 0, mps: bool = False, bf16: bool = False) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: bf16 or including_emulation)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)


def test_auto_takes_cuda_then_mps_then_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    machine(monkeypatch)
    assert pick_device("auto", Place()) == CPU == pick_device("cpu", Place())
    machine(monkeypatch, mps=True)
    assert pick_device("auto", Place()).type == "mps" == pick_device("mps", Place()).type
    assert pick_device("auto", Place(1, 2, 1, 2)) == CPU
    machine(monkeypatch, gpus=2, mps=True)
    assert pick_device("auto", Place()) == torch.device("cuda", 0)
    assert pick_device("cuda", Place(5, 8, 1, 2)) == torch.device("cuda", 1)
    assert pick_device("cpu", Place()) == CPU


def test_a_device_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    machine(monkeypatch)
    (tmp_path / "c.txt").write_text("ab\n" * 50)
    for name in ("cuda", "mps"):
        with pytest.raises(UsageError, match=f"device {name}"):
            seqmodel.train(tmp_path / "c.txt", tmp_path / "m.seqmodel", steps=1, device=name)
    assert [path.name for path in tmp_path.iterdir()] == ["c.txt"]
    machine(monkeypatch, gpus=1, mps=True)
    for name, reason in (("cuda", "1 GPUs for 2 processes"), ("mps", "cannot share")):
        with pytest.raises(UsageError, match=reason):
            pick_device(name, Place(1, 2, 1, 2))  # type: ignore[arg-type]


def test_half_precision_is_for_gpus_that_have_it(monkeypatch: pytest.MonkeyPatch) -> None:
    machine(monkeypatch, gpus=1, bf16=True)
    assert native_precision(torch.device("cuda", 0)) == "bf16"
    machine(monkeypatch, gpus=1)
    assert native_precision(torch.device("cuda", 0)) == "fp32" == native_precision(torch.device("mps"))


@pytest.mark.parametrize("cell", ["mingru", "lstm"])
def test_weights_moments_batches_and_states_are_all_on_the_device(cell: Any, tmp_path: Path) -> None:
    data = data_of(tmp_path, little_text())
    index = build_index(data.store, data.train, (2,), 100)
    shape = ModelSettings(
        cell=cell, width=8, layers=1, vocabulary=data.store.header.vocabulary, ngram_rows=((2, len(index.keys[0])),)
    )
    settings = TrainingSettings(steps=2, lanes=4, segment=8, threads=1)
    trainer = Trainer(data, shape, settings, index, device=torch.device("meta"))
    kept = [*trainer.model.parameters(), *trainer.model.buffers(), *trainer.optimizers.state().values()]
    assert {tensor.device.type for tensor in kept if tensor.ndim} == {"meta"}
    seen: list[torch.Tensor] = []

    class SeenError(Exception):
        pass

    def loss(*tensors: Any) -> Any:
        seen.extend([*tensors[:4], *tensors[4]])
        raise SeenError

    trainer.loss = loss
    with pytest.raises(SeenError):
        trainer._train(next(trainer.batches.read()), 1.0)
    assert len(seen) == 5 and {tensor.device.type for tensor in seen} == {"meta"}


def test_a_gpu_that_is_out_of_memory_is_told_as_such() -> None:
    assert isinstance(_as_ours(torch.OutOfMemoryError("CUDA out of memory")), ResourceError)
