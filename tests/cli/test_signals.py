"""Ctrl-C, SIGTERM and SIGHUP end a command at any instant without a word, with their exit code and no half a file."""

from __future__ import annotations

import fcntl
import io
import os
import random
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest

from seqmodel.console.failures import guarded
from seqmodel.console.signals import unwind_on_signals
from seqmodel.model.bundle import read_bundle
from seqmodel.tokens.store import open_store
from tests.cli.command import command, environment
from tests.conftest import little_text
from tests.dying import exit_code, names

PIPE_BYTES = 60_000  # with more than so many a pipe is full
POINTS = 2  # of each command and signal at which it comes
QUICK = ("--steps", "3", "--width", "8", "--layers", "1", "--threads", "1", "-q")
COMMANDS: dict[str, tuple[str, ...]] = {
    "score": ("score", "text.txt", "-m", "m.seqmodel", "-q"),
    "page": ("score", "text.txt", "-m", "m.seqmodel", "--html", "page.html", "-q"),
    "compare": ("compare", "m.seqmodel", "m.seqmodel", "text.txt", "-q", "--resamples", "100"),
    "rescore": ("rescore", "nbest.txt", "-m", "m.seqmodel", "-q"),
    "filter": ("filter", "text.txt", "-m", "m.seqmodel", "--above", "0", "-q"),
    "generate": ("generate", "-m", "m.seqmodel", "-n", "3", "--seed", "1"),
    "complete": ("complete", "ca", "-m", "m.seqmodel", "-q"),
    "top": ("top", "-m", "m.seqmodel", "-n", "2", "--effort", "20", "-q"),
    "tokenize": ("tokenize", "text.txt", "-o", "c.tokens", "-q"),
    "info": ("info", "m.seqmodel", "--verify"),
    "plot": ("plot", "run.jsonl"),
    "train": ("train", "text.txt", "-o", "new.seqmodel", *QUICK),
    "bench": ("bench", "-m", "m.seqmodel", "--quick", "-q"),
}


def run_until(folder: Path, at: int, number: int, *arguments: str) -> None:
    """The command in this process, with its streams in files; a signal comes at the `at`-th call of a function."""
    from seqmodel.cli.app import main

    calls = 0

    def count(*event: object) -> None:
        nonlocal calls
        calls += 1
        if calls == at:
            os.kill(os.getpid(), number)

    os.chdir(folder)
    sys.argv = ["seqmodel", *arguments]
    with open("../out", "w") as sys.stdout, open("../err", "w") as sys.stderr:
        sys.setprofile(count)
        try:
            main()
        finally:
            sys.setprofile(None)
            Path("../calls").write_text(str(calls))


def fill(folder: Path, model: Path) -> None:
    """What the commands read."""
    folder.mkdir(exist_ok=True)
    for path in folder.iterdir():
        path.unlink()
    for name, source in (("m.seqmodel", model), ("run.jsonl", model.with_suffix(".jsonl"))):
        (folder / name).write_bytes(source.read_bytes())
    (folder / "text.txt").write_text(little_text(40))
    (folder / "nbest.txt").write_text("u-1 cat dog\nu-2 dog cat\n")


@pytest.mark.parametrize("name", COMMANDS)
def test_a_signal_at_any_call_ends_a_command_without_a_word_and_without_half_a_file(
    name: str, tmp_path: Path, train_little: Callable[..., Path], start: Callable[..., BaseProcess]
) -> None:
    folder, arguments = tmp_path / "here", COMMANDS[name]
    model = train_little(steps=2, width=8, layers=1)
    fill(folder, model)
    before = names(folder)
    assert exit_code(start(run_until, folder, 0, 0, *arguments)) == 0, (tmp_path / "err").read_text()
    whole = names(folder)
    calls = int((tmp_path / "calls").read_text())
    choose = random.Random(name)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        for at in [choose.randrange(1, calls) for _ in range(POINTS)]:
            fill(folder, model)
            code = exit_code(start(run_until, folder, at, int(number), *arguments))
            done = code == 0 and name == "train" and names(folder) == whole  # it was about to end by itself
            assert done or code in (128 + number, -number), (at, code, (tmp_path / "err").read_text())
            assert (tmp_path / "err").read_text() == "", at
            left = names(folder)
            kept = {"new.checkpoint", "new.tokens"} if name == "train" else set()  # to go on with
            assert before <= left <= whole | kept, (at, left)
            read_what_is_there(folder)


def read_what_is_there(folder: Path) -> None:
    for path in folder.iterdir():
        if path.suffix == ".seqmodel":
            read_bundle(path)
        elif path.suffix == ".tokens":
            open_store(path)
        elif path.suffix == ".html":
            assert path.read_text().rstrip().endswith("</html>")


def lose(folder: Path, how: str) -> None:
    """A command that loses the exception of a signal."""

    class Freed:
        def __del__(self) -> None:
            signal.raise_signal(signal.SIGTERM)

    @guarded
    def command() -> None:
        unwind_on_signals()
        if how == "freed":
            Freed()
            time.sleep(30)
        try:
            signal.raise_signal(signal.SIGTERM)
        except BaseException:
            raise RuntimeError(how) from None

    with (folder / "err").open("w") as sys.stderr:
        command()


@pytest.mark.parametrize("how", ["freed", "turned into another"])
def test_a_signal_whose_exception_is_lost_is_no_lost_signal(
    how: str, tmp_path: Path, start: Callable[..., BaseProcess]
) -> None:
    assert exit_code(start(lose, tmp_path, how)) == 143
    assert (tmp_path / "err").read_text() == ""


def leave_slowly(folder: Path) -> None:
    """A command that is stopped while its reader lets it wait."""

    class Full(io.StringIO):
        def flush(self) -> None:
            (folder / "waiting").touch()
            time.sleep(30)

    @guarded
    def command() -> None:
        unwind_on_signals()
        signal.raise_signal(signal.SIGINT)

    sys.stdout = Full()
    with (folder / "err").open("w") as sys.stderr:
        command()


def test_a_second_ctrl_c_is_immediate(tmp_path: Path, start: Callable[..., BaseProcess]) -> None:
    process = start(leave_slowly, tmp_path)
    wait_for((tmp_path / "waiting").exists)
    assert process.is_alive() and process.pid is not None
    os.kill(process.pid, signal.SIGINT)
    assert exit_code(process) == -signal.SIGINT
    assert (tmp_path / "err").read_text() == ""


SENDER = """
import os, runpy, sys
sys.argv = {arguments!r}
class Sender:
    def find_spec(self, name, path=None, target=None):
        if name == {module!r}:
            os.kill(os.getpid(), {number})
sys.meta_path.insert(0, Sender())
runpy.run_module("seqmodel", run_name="__main__", alter_sys=True)
"""
MODULES = ("seqmodel.cli.app", "typer", "pydantic", "numpy", "numpy._core._multiarray_umath", "sentencepiece")


@pytest.mark.parametrize("module", MODULES)
def test_a_signal_while_modules_are_loaded_ends_without_a_word(module: str, train_little: Callable[..., Path]) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        arguments = ["seqmodel", "score", "-m", str(train_little())]
        code = SENDER.format(arguments=arguments, module=module, number=int(number))
        done = subprocess.run(
            [sys.executable, "-c", code], input=b"cat\n", capture_output=True, env=environment(), timeout=60
        )
        assert done.returncode in (128 + number, -number) and done.stderr == b"", done.stderr.decode()


def started(*arguments: str | Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        command(*arguments),
        env=environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def wait_for(happened: Callable[[], Any]) -> None:
    for _ in range(3000):
        if happened():
            return
        time.sleep(0.01)
    raise AssertionError("it did not happen")


def test_a_store_that_is_half_written_goes_when_a_signal_comes(
    tmp_path: Path, train_little: Callable[..., Path]
) -> None:
    (tmp_path / "big.txt").write_bytes(b"cat dog\n" * (4 << 20))  # takes long enough to be written
    process = started("tokenize", tmp_path / "big.txt", "-m", train_little(), "-o", tmp_path / "c.tokens")
    wait_for(lambda: ".c.tokens.seqmodel-partial" in names(tmp_path))
    process.send_signal(signal.SIGTERM)
    assert process.communicate(timeout=60) == (b"", b"") and process.returncode == 143
    assert names(tmp_path) == {"big.txt"}


def test_ctrl_c_ends_a_command_whose_reader_reads_nothing(tmp_path: Path, train_little: Callable[..., Path]) -> None:
    (tmp_path / "big.txt").write_text(little_text(20_000))
    process = started("score", tmp_path / "big.txt", "-m", train_little())
    assert process.stdout is not None and process.stderr is not None
    pipe = process.stdout.fileno()
    wait_for(lambda: waiting_bytes(pipe) >= PIPE_BYTES)
    time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=20) == 130
    process.stdout.close()
    assert process.stderr.read() == b""


def waiting_bytes(pipe: int) -> int:
    """How many bytes a pipe holds that nobody has read."""
    return struct.unpack("i", fcntl.ioctl(pipe, termios.FIONREAD, bytes(4)))[0]  # type: ignore[no-any-return]


def test_a_signal_that_means_nothing_to_us_changes_nothing(train_little: Callable[..., Path]) -> None:
    process = started("score", "-m", train_little(), "-q", "--no-header")
    assert process.stdin is not None and process.stdout is not None
    for _ in range(2):
        process.stdin.write(b"cat\n")
        process.stdin.flush()
        assert process.stdout.readline().endswith(b"\tcat\n")
        process.send_signal(signal.SIGPIPE)  # without a write that failed
    assert process.communicate(timeout=60)[1] == b"" and process.returncode == 0


def test_what_is_ignored_stays_ignored(train_little: Callable[..., Path]) -> None:
    """`nohup` does so."""
    process = subprocess.Popen(
        ["sh", "-c", 'trap "" HUP INT; exec "$@"', "sh", *command("score", "-m", train_little(), "-q", "--no-header")],
        env=environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write(b"cat\n")
    process.stdin.flush()
    assert process.stdout.readline()
    for number in (signal.SIGHUP, signal.SIGINT):
        process.send_signal(number)
    process.stdin.write(b"dog\n")
    assert process.communicate(timeout=60)[0].endswith(b"\tdog\n") and process.returncode == 0
