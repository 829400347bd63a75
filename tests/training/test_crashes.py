"""A run that dies at any instant goes on from a whole checkpoint, and ends with the bundle of one that never died.

The processes that are to die are forked from a server that has imported everything once.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import resource
import shutil
import signal
import sys
import time
from collections.abc import Callable
from itertools import count
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest
import torch

from seqmodel.api.verbs import run_training, tokenize
from seqmodel.files import exclusive, temporary_for
from seqmodel.training import loop, throughput
from seqmodel.training.events import Event, StepDone
from seqmodel.training.run import result as run_result
from seqmodel.training.run.checkpoints import Checkpoint, read_checkpoint, write_checkpoint
from seqmodel.training.run.log import STEP_SECONDS, RunLog
from tests.cli.command import Result, run_here, told
from tests.conftest import little_text
from tests.dying import CALLS, DEAD, exit_code, lay_bomb, names
from tests.training.test_resume import progress, request

KILLS = 4
SHAPE = ("--width", "12", "--layers", "1", "--threads", "1", "-q")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("corpus") / "corpus.txt"
    path.write_text(little_text(150))
    return path


def stamp(path: Path) -> tuple[int, int]:
    """Another one for every file that takes the name."""
    if not path.exists():
        return 0, 0
    found = path.stat()
    return found.st_ino, found.st_mtime_ns


# What dies, in its own process


def save_often(seconds: float) -> None:
    throughput.CHECKPOINT_SECONDS, throughput.CHECKPOINT_SHARE = seconds, 1.0


def train(output: Path, corpus: Path, steps: int, resume: bool) -> None:
    save_often(0.02)
    run_training(request(output, corpus, training={"steps": steps}, resume=resume))


def some_checkpoint(step: int) -> Checkpoint:
    return Checkpoint({"weights": {name: torch.full((40, 50), float(step)) for name in "abc"}}, progress(step))


def write_and_die(path: Path, call: str, at: int) -> None:
    lay_bomb(call, at)
    write_checkpoint(path, some_checkpoint(2))


def at_save(number: int, action: Callable[[Path], None]) -> None:
    """Do something before the checkpoint is saved for the `number`-th time."""
    save_often(0.0)
    saves = count(1)

    def writing(path: Path, checkpoint: Checkpoint) -> None:
        if next(saves) == number:
            action(path)
        write_checkpoint(path, checkpoint)

    vars(loop)["write_checkpoint"] = writing


def train_and_die(output: Path, corpus: Path, call: str, at: int) -> None:
    at_save(3, lambda path: lay_bomb(call, at))
    run_training(request(output, corpus))


def train_and_die_at_a_step(output: Path, corpus: Path, valid: Path) -> None:
    def on_event(event: Event) -> None:
        if isinstance(event, StepDone) and event.step == 3:
            os._exit(DEAD)

    run_training(request(output, corpus, valid=str(valid)), on_event=on_event)


def command_line(folder: Path, *arguments: str) -> None:
    """`seqmodel` with its streams in files "out" and "err"."""
    from seqmodel.cli.app import main

    with (folder / "out").open("w") as sys.stdout, (folder / "err").open("w") as sys.stderr:
        sys.argv = ["seqmodel", *arguments]
        main()


def train_on_a_disk_that_fills(folder: Path, *arguments: str) -> None:
    def fill(path: Path) -> None:
        shutil.copy(path, folder / "before")
        resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size // 2,) * 2)

    at_save(3, fill)
    command_line(folder, *arguments)


def log_on_a_disk_that_fills(folder: Path, *arguments: str) -> None:
    """The first event after the third checkpoint is cut."""
    add = RunLog.add

    def adding(self: RunLog, event: Event) -> None:
        if full:
            self.last = -STEP_SECONDS
            resource.setrlimit(resource.RLIMIT_FSIZE, (self.path.stat().st_size + 30,) * 2)
        add(self, event)

    full: list[Path] = []
    at_save(3, full.append)
    RunLog.add = adding  # type: ignore[method-assign]
    command_line(folder, *arguments)


def train_with_a_long_end(folder: Path, *arguments: str) -> None:
    def last(*given: Any) -> None:
        (folder / "ending").touch()
        time.sleep(60)

    vars(run_result)["final_figures"] = last
    command_line(folder, *arguments)


# Killed at any instant


def test_a_run_that_is_killed_again_and_again_gives_the_bytes_of_one_that_never_was(
    corpus: Path, tmp_path: Path, start: Callable[..., BaseProcess]
) -> None:
    steps = 500
    whole, output, checkpoint = (tmp_path / name for name in ("whole.seqmodel", "m.seqmodel", "m.checkpoint"))
    run_training(request(whole, corpus, training={"steps": steps}))
    choose = random.Random(5)
    resumed_at = []
    for _ in range(KILLS):
        before = stamp(checkpoint)
        process = start(train, output, corpus, steps, before != (0, 0))
        while process.is_alive() and stamp(checkpoint) == before:
            time.sleep(0.002)
        time.sleep(0.05 * choose.random())
        process.kill()
        assert exit_code(process) == -signal.SIGKILL, "it was through before it could be killed"
        resumed_at.append(read_checkpoint(checkpoint).progress.step)
    assert resumed_at[0] > 0 and sorted(set(resumed_at)) == resumed_at and resumed_at[-1] < steps
    assert exit_code(start(train, output, corpus, steps, True)) == 0
    assert output.read_bytes() == whole.read_bytes()
    assert names(tmp_path) == {"m.seqmodel", "m.jsonl", "whole.seqmodel", "whole.jsonl"}
    assert all(json.loads(line) for line in (tmp_path / "m.jsonl").read_text().splitlines())


@pytest.mark.parametrize("call", CALLS)
def test_a_death_in_any_call_that_writes_leaves_the_old_checkpoint_or_the_new_one(
    call: str, tmp_path: Path, start: Callable[..., BaseProcess]
) -> None:
    path = tmp_path / "m.checkpoint"
    write_checkpoint(path, some_checkpoint(1))
    found = []
    for at in count(1):
        code = exit_code(start(write_and_die, path, call, at))
        kept = read_checkpoint(path)
        step = kept.progress.step
        assert all((tensor == step).all() and tensor.shape == (40, 50) for tensor in kept.groups["weights"].values())
        with exclusive(tmp_path / "m.seqmodel"):
            assert names(tmp_path) == {"m.checkpoint", ".m.seqmodel-lock"}
        if code == 0:
            break
        assert code == DEAD
        found.append(step)
    # The header and three arrays are written; file and folder are flushed to the disk, the folder after the renaming.
    old, new = 1, 2
    assert (
        found
        == {
            "write": [old] * 4,
            "before fsync": [old, new],
            "after fsync": [old, new],
            "before replace": [old],
            "after replace": [new],
        }[call]
    )
    assert step == new


@pytest.mark.parametrize("call", ["write", "before replace", "after replace"])
def test_a_run_that_dies_while_saving_is_resumed_from_what_it_saved_whole(
    call: str, corpus: Path, tmp_path: Path, start: Callable[..., BaseProcess]
) -> None:
    whole, output = tmp_path / "whole.seqmodel", tmp_path / "m.seqmodel"
    run_training(request(whole, corpus))
    assert exit_code(start(train_and_die, output, corpus, call, 1)) == DEAD
    assert (".m.checkpoint.seqmodel-partial" in names(tmp_path)) == (call != "after replace")
    run_training(request(output, corpus, resume=True))
    assert output.read_bytes() == whole.read_bytes()
    assert names(tmp_path) == {"m.seqmodel", "m.jsonl", "whole.seqmodel", "whole.jsonl"}


@pytest.mark.parametrize("name", ["m.seqmodel", "run.1", "m.tokens"])
def test_what_a_killed_process_half_wrote_is_swept_at_the_next_start(name: str, tmp_path: Path) -> None:
    output = tmp_path / name
    others = [tmp_path / other for other in ("other.seqmodel.partial", "mine.txt")]
    for path in (temporary_for(output.with_name(name)), *others):
        path.write_bytes(b"half")
    with exclusive(output):
        pass
    assert names(tmp_path) == {other.name for other in others}


@pytest.mark.parametrize("resume", [False, True])
def test_a_run_that_was_killed_before_its_first_checkpoint_is_in_nobodys_way(
    resume: bool, corpus: Path, tmp_path: Path, start: Callable[..., BaseProcess]
) -> None:
    output = tmp_path / "m.seqmodel"
    assert exit_code(start(train_and_die_at_a_step, output, corpus, corpus)) == DEAD
    assert names(tmp_path) == {".m.seqmodel-lock", "m.tokens", "m.valid.tokens", "m.jsonl"}
    if resume:
        told(run_here("train", "--resume", "-o", output), 4, "no such checkpoint", "leave --resume out")
    run_training(request(output, corpus))
    assert names(tmp_path) == {"m.seqmodel", "m.jsonl"}


def test_what_a_killed_run_did_not_make_or_is_given_now_stays(
    corpus: Path, tmp_path: Path, start: Callable[..., BaseProcess]
) -> None:
    output, store = tmp_path / "m.seqmodel", tmp_path / "m.tokens"
    tokenize([str(corpus)], store)
    made = store.read_bytes()
    assert exit_code(start(train_and_die_at_a_step, output, store, corpus)) == DEAD
    run_training(request(output, store))
    assert store.read_bytes() == made
    for path in (output, tmp_path / "m.jsonl", store):
        path.unlink()
    assert exit_code(start(train_and_die_at_a_step, output, corpus, corpus)) == DEAD
    run_training(request(output, store))  # the store that the killed run left
    assert store.exists()


def test_a_finished_model_is_not_resumed_but_trained_further(corpus: Path, tmp_path: Path) -> None:
    output = tmp_path / "m.seqmodel"
    run_training(request(output, corpus))
    told(run_here("train", "--resume", "-o", output), 4, "is complete", f"--init {output}")


# A full disk


def test_a_disk_that_fills_while_saving_leaves_the_old_checkpoint(
    corpus: Path, tmp_path: Path, start: Callable[..., BaseProcess]
) -> None:
    folder, output = tmp_path / "streams", tmp_path / "m.seqmodel"
    folder.mkdir()
    arguments = ("train", str(corpus), "--steps", "30", *SHAPE, "-o")
    process = start(train_on_a_disk_that_fills, folder, *arguments, str(output))
    code = exit_code(process)
    assert code is not None
    told(Result(code, b"", text_of(folder / "err")), 5, "no space left", "m.checkpoint")
    assert text_of(folder / "out") == "" and text_of(folder / "err").count("\n") == 1
    assert (tmp_path / "m.checkpoint").read_bytes() == (folder / "before").read_bytes()
    assert names(tmp_path) - {"streams"} == {"m.checkpoint", "m.tokens", "m.jsonl"}
    assert run_here(*arguments, tmp_path / "whole.seqmodel").code == 0
    assert run_here("train", "--resume", "-q", "-o", output).code == 0
    assert output.read_bytes() == (tmp_path / "whole.seqmodel").read_bytes()


def test_a_disk_that_fills_while_logging_is_told_once_and_the_log_can_be_gone_on_with(
    corpus: Path, tmp_path: Path, start: Callable[..., BaseProcess]
) -> None:
    folder, output, log = tmp_path / "streams", tmp_path / "m.seqmodel", tmp_path / "m.jsonl"
    folder.mkdir()
    arguments = ("train", str(corpus), "--steps", "30", *SHAPE, "-o", str(output))
    code = exit_code(start(log_on_a_disk_that_fills, folder, *arguments))
    assert code is not None
    told(Result(code, b"", text_of(folder / "err")), 5, "no space left", "m.jsonl")
    assert not text_of(log).endswith("\n"), "no line was cut here"
    assert run_here("train", "--resume", "-q", "-o", output).code == 0
    events = [json.loads(line)["event"] for line in text_of(log).splitlines()]
    assert events.count("Planned") == 2 and events[-1] == "Evaluated"


# Signals


def test_a_second_ctrl_c_ends_the_run_at_once(corpus: Path, tmp_path: Path, start: Callable[..., BaseProcess]) -> None:
    folder = tmp_path / "streams"
    folder.mkdir()
    arguments = ("train", str(corpus), "--steps", "1000000", *SHAPE, "-o", str(tmp_path / "m.seqmodel"))
    process = start(train_with_a_long_end, folder, *arguments)
    wait_for(lambda: "StepDone" in text_of(tmp_path / "m.jsonl"))
    for there in (folder / "ending", None):
        assert process.is_alive() and process.pid is not None
        os.kill(process.pid, signal.SIGINT)
        if there is not None:
            wait_for(there.exists)
    process.join(20)
    assert process.exitcode == 130
    assert text_of(folder / "out") == text_of(folder / "err") == ""
    assert names(tmp_path) - {"streams"} == {"m.checkpoint", "m.tokens", "m.jsonl"}
    assert read_checkpoint(tmp_path / "m.checkpoint").progress.step > 0


def wait_for(happened: Callable[[], bool]) -> None:
    for _ in range(3000):
        if happened():
            return
        time.sleep(0.01)
    raise AssertionError("it did not happen")


def text_of(path: Path) -> str:
    with contextlib.suppress(FileNotFoundError):
        return path.read_text()
    return ""
