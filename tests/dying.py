"""Processes that die on purpose in the middle of writing, forked from a server that has imported everything once."""

from __future__ import annotations

import io
import multiprocessing
import os
from collections.abc import Callable
from itertools import count
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(["seqmodel.training.run.run", "seqmodel.cli.app", "tests.training.test_crashes"])
DEAD = 77  # the exit code of what died on purpose
CALLS = ("write", "before fsync", "after fsync", "before replace", "after replace")


def exit_code(process: BaseProcess) -> int | None:
    process.join(60)
    return process.exitcode


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


class TornFile(io.BufferedWriter):
    """Only half of what is written last reaches the disk, and then the process is gone."""

    bomb: Callable[[], bool]

    def write(self, data: Any) -> int:
        if self.bomb():
            super().write(data[: len(data) // 2])
            self.flush()
            os._exit(DEAD)
        return super().write(data)


def open_for_writing_with(kind: type[io.BufferedWriter]) -> None:
    real = Path.open

    def opened(path: Path, mode: str = "r", *more: Any, **options: Any) -> Any:
        return kind(io.FileIO(path, "w")) if mode == "wb" else real(path, mode, *more, **options)

    Path.open = opened  # type: ignore[method-assign,assignment]


def lay_bomb(call: str, at: int) -> None:
    """The process dies in the `at`-th call: inside a "write", "before" or "after" an fsync or a replace."""
    calls = count(1)
    when, _, name = call.partition(" ")
    if call == "write":
        TornFile.bomb = staticmethod(lambda: next(calls) == at)
        open_for_writing_with(TornFile)
        return
    real = getattr(os, name)

    def deadly(*arguments: Any) -> None:
        number = next(calls)
        if number == at and when == "before":
            os._exit(DEAD)
        real(*arguments)
        if number == at:
            os._exit(DEAD)

    setattr(os, name, deadly)
