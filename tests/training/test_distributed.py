"""Several processes train as one does: the same batches, gradients, weights; one writes, and none is left waiting."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import seqmodel
from seqmodel.errors import UsageError
from seqmodel.model.bundle import read_bundle
from seqmodel.training.distributed import Group, Processes
from seqmodel.training.ranks import Place, place_of_process
from tests.cli.command import command, environment
from tests.conftest import little_text
from tests.training.test_loop import data_of, trainer_of

ROOT = Path(__file__).parent.parent.parent
TORCHRUN = "torchrun --standalone --nproc-per-node=2"
SETTINGS = """
[model]
width = 12
networks = 2
[training]
steps = 20
threads = 1
lanes = 5
segment = 16
dropout = 0.0
ngram_dropout = 0.0
unseen_rate = 0.02
warmup_steps = 2
precision = "fp32"
"""


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    path = tmp_path / "in" / "corpus.txt"
    path.parent.mkdir()
    path.write_text(little_text(), encoding="utf-8")
    return path


def pair(arguments: list[str], folder: Path) -> list[tuple[int, str, str]]:
    """Exit code, output and errors of two processes of one run."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = str(found.getsockname()[1])
    shared = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "PYTHONPATH": str(ROOT)}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "cwd": folder, "text": True}
    processes = [
        subprocess.Popen(arguments, env=environment(RANK=str(rank), **shared), **pipes)  # type: ignore[call-overload]
        for rank in range(2)
    ]
    try:
        told = [process.communicate(timeout=60) for process in processes]
    finally:
        for process in processes:
            process.kill()
    return [(process.returncode, *streams) for process, streams in zip(processes, told, strict=True)]


def test_two_processes_give_the_model_of_one(tmp_path: Path, corpus: Path) -> None:
    (tmp_path / "in" / "run.toml").write_text(SETTINGS)
    arguments = ["-m", "seqmodel", "train", str(corpus), "--config", "in/run.toml", "-o", "two.seqmodel"]
    run = [sys.executable, "-m", "torch.distributed.run", *TORCHRUN.split()[1:], *arguments]
    env = environment(PYTHONPATH=str(ROOT))
    done = subprocess.run(run, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=90)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "two.seqmodel\n"
    assert done.stderr.count("20 steps, 2 processes") == 1
    assert done.stderr.count("held-out: ") == 1 and "Warning" not in done.stderr
    assert {path.name for path in tmp_path.iterdir() if path.is_file()} == {"two.seqmodel", "two.jsonl"}
    events = [json.loads(line)["event"] for line in (tmp_path / "two.jsonl").read_text().splitlines()]
    assert events.count("Planned") == events.count("Finished") == 1
    seqmodel.train(corpus, tmp_path / "one.seqmodel", config=tmp_path / "in" / "run.toml")
    one, two = (read_bundle(tmp_path / f"{name}.seqmodel") for name in ("one", "two"))
    assert one.weights.keys() == two.weights.keys()
    for name, array in one.weights.items():
        rounding = 2e-3 if array.dtype == np.float16 else 1e-4
        other = two.weights[name].astype(np.float32)
        np.testing.assert_allclose(other, array.astype(np.float32), rtol=rounding, atol=rounding / 10)
    assert one.header.training == two.header.training
    assert one.header.held_out is not None and two.header.held_out is not None
    assert two.header.held_out.recurrence_bits == pytest.approx(one.header.held_out.recurrence_bits, rel=1e-4)


def test_the_readme_names_the_command_that_is_tested() -> None:
    assert f"{TORCHRUN} -m seqmodel train" in (ROOT / "README.md").read_text(encoding="utf-8")


def test_what_the_first_process_refuses_ends_the_others_with_its_code(tmp_path: Path, corpus: Path) -> None:
    (tmp_path / "m.seqmodel").write_text("mine")
    (first, _, said), other = pair(command("train", corpus, "-o", "m.seqmodel", "--steps", "2"), tmp_path)
    assert first == 2 and said.startswith("seqmodel: error: m.seqmodel exists") and said.count("\n") == 1
    assert other == (2, "", "")
    assert {path.name for path in tmp_path.iterdir() if path.is_file()} == {"m.seqmodel"}
    assert (tmp_path / "m.seqmodel").read_text() == "mine"


def test_runs_are_resumed_and_fail_together(tmp_path: Path, corpus: Path) -> None:
    told = pair([sys.executable, "-m", "tests.training.several", str(corpus), str(tmp_path)], tmp_path)
    assert [code for code, _, _ in told] == [0, 0], told
    first, other = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2))
    both = {"whole": ["done", 0], "stopped": ["interrupted", 0], "resumed": ["done", 0]}
    assert first == both | {"no number": ["SeqmodelError", 1], "full disk": ["ResourceError", 5]}
    assert other == both | {"no number": ["StoppedElsewhere", 1], "full disk": ["StoppedElsewhere", 5]}
    assert (tmp_path / "cut.seqmodel").read_bytes() == (tmp_path / "whole.seqmodel").read_bytes()
    assert json.loads((tmp_path / "lost.json").read_text()) == ["SeqmodelError", 1]
    assert not list(tmp_path.glob(".*lock"))


# Shares


def test_lanes_are_shared_in_order_and_filled_up_with_nothing() -> None:
    array = np.arange(1, 11).reshape(2, 5)
    shares = [Processes(Place(rank, 2, rank, 2)).share(array) for rank in range(2)]
    assert shares[0].tolist() == [[1, 2, 3], [6, 7, 8]]
    assert shares[1].tolist() == [[4, 5, 0], [9, 10, 0]]
    assert Group().share(array) is array
    few = [Processes(Place(rank, 4, rank, 4)).share(np.array([7, 8]), 0).tolist() for rank in range(4)]
    assert few == [[7], [8], [0], [0]]


def test_dropout_differs_by_process_and_step_but_not_by_when_it_is_drawn(tmp_path: Path) -> None:
    trainer = trainer_of(data_of(tmp_path, little_text()), seed=3)
    seeds = []
    for rank, step in ((0, 0), (1, 0), (0, 1), (0, 0)):
        trainer.group, trainer.step = Processes(Place(rank, 2, rank, 2)), step
        trainer._seed_noise()
        seeds.append(torch.initial_seed())
    assert len(set(seeds[:3])) == 3 and seeds[3] == seeds[0]


# The environment


def test_the_place_of_a_process_is_read_from_the_environment() -> None:
    assert place_of_process({}) == Place() and Place().leads
    torchrun = {"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2"}
    assert place_of_process(torchrun) == Place(3, 4, 1, 2)
    assert not place_of_process({"RANK": "1", "WORLD_SIZE": "2"}).leads


@pytest.mark.parametrize(
    "variables", [{"RANK": "2", "WORLD_SIZE": "2"}, {"WORLD_SIZE": "two"}, {"RANK": "-1"}, {"WORLD_SIZE": "0"}]
)
def test_an_environment_that_makes_no_sense_is_refused(variables: dict[str, str]) -> None:
    with pytest.raises(UsageError, match=r"environment"):
        place_of_process(variables)


def test_processes_that_cannot_find_each_other_say_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    (tmp_path / "c.txt").write_text("ab\n" * 50)
    with pytest.raises(UsageError, match="2 processes"):
        seqmodel.train(tmp_path / "c.txt", tmp_path / "m.seqmodel", steps=1)
