"""Running the command line in tests: in this process where that is enough, in a process of its own where not."""

from __future__ import annotations

import csv
import io
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

COLOUR_VARIABLES = ("FORCE_COLOR", "GITHUB_ACTIONS", "PY_COLORS", "CLICOLOR_FORCE", "TTY_COMPATIBLE")
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass(frozen=True)
class Result:
    """What a command wrote, and its exit code."""

    code: int
    out: bytes
    err: str

    @property
    def text(self) -> str:
        return self.out.decode()

    @property
    def lines(self) -> list[str]:
        """The lines of standard output, which must end with a newline."""
        assert self.text.endswith("\n") or not self.text
        return self.text.split("\n")[:-1]

    @property
    def rows(self) -> list[dict[str, str]]:
        """Rows of TSV with a header line."""
        names, *rows = csv.reader(io.StringIO(self.text, newline=""), dialect="excel-tab", strict=True)
        return [dict(zip(names, row, strict=True)) for row in rows]


def environment(**more: str) -> dict[str, str]:
    """This process's environment on one thread, without what forces colour or names a model."""
    dropped = (*COLOUR_VARIABLES, "SEQMODEL_MODEL", "NO_COLOR")
    kept = {name: value for name, value in os.environ.items() if name not in dropped}
    return {**kept, "OMP_NUM_THREADS": "1", **more}


def command(*arguments: str | Path) -> list[str]:
    return [sys.executable, "-m", "seqmodel", *map(str, arguments)]


def run(*arguments: str | Path, stdin: bytes = b"", **more: Any) -> Result:
    """Run seqmodel in a process of its own."""
    options: dict[str, Any] = {"env": environment(), "timeout": 120} | more
    done = subprocess.run(command(*arguments), input=stdin, capture_output=True, **options)
    return Result(done.returncode, done.stdout, done.stderr.decode())


def on_terminal(*arguments: str | Path, cwd: Path, **more: str) -> tuple[int, bytes]:
    """Run seqmodel on a pseudo-terminal, with variables of its environment; the exit code, and all that was shown."""
    leader, follower = os.openpty()
    streams: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": follower, "stderr": follower}
    with subprocess.Popen(command(*arguments), env=environment(**more), cwd=cwd, **streams) as process:
        os.close(follower)
        shown = []
        try:
            while data := os.read(leader, 1 << 16):
                shown.append(data)
        except OSError:  # Linux says so where nobody writes any more
            pass
        os.close(leader)
    return process.returncode, b"".join(shown)


FULL = Path("/dev/full")


def run_here(*arguments: str | Path, stdin: bytes = b"", full: str = "") -> Result:
    """Run seqmodel in this process, with files for its three streams; its signal handlers are taken away again.
    `full` names the streams ("out", "err") that are on a full disk."""
    from seqmodel.cli.app import main
    from seqmodel.console.terminal import console

    console.cache_clear()  # what an earlier command could not write to a full disk waits there

    def file(name: str) -> Any:
        return FULL.open("r+b", buffering=0) if name in full.split() else tempfile.TemporaryFile()

    with tempfile.TemporaryFile() as given, file("out") as out, file("err") as err:
        given.write(stdin)
        given.seek(0)
        with _streams(given, out, err), kept_signals(), _arguments(arguments):
            try:
                main()
                code = 0
            except SystemExit as stop:
                code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
            for stream in (sys.stdout, sys.stderr):
                stream.flush()
        out_data, err_data = (b"" if name in full.split() else read(f) for name, f in (("out", out), ("err", err)))
        return Result(code, out_data, err_data.decode())


def read(file: Any) -> bytes:
    file.seek(0)
    data: bytes = file.read()
    return data


@contextmanager
def _streams(given: Any, out: Any, err: Any) -> Iterator[None]:
    old = sys.stdin, sys.stdout, sys.stderr
    new = [io.TextIOWrapper(file, encoding="utf-8", line_buffering=file is err) for file in (given, out, err)]
    sys.stdin, sys.stdout, sys.stderr = new
    try:
        yield
    finally:
        sys.stdin, sys.stdout, sys.stderr = old
        for stream in new:
            stream.detach()


@contextmanager
def kept_signals() -> Iterator[None]:
    old = [(number, signal.getsignal(number)) for number in SIGNALS]
    hook = sys.unraisablehook
    try:
        yield
    finally:
        sys.unraisablehook = hook
        for number, handler in old:
            signal.signal(number, handler)


@contextmanager
def _arguments(arguments: tuple[str | Path, ...]) -> Iterator[None]:
    old = sys.argv
    sys.argv = ["seqmodel", *map(str, arguments)]
    try:
        yield
    finally:
        sys.argv = old


def told(result: Result, code: int, *parts: str) -> None:
    """Assert that a command failed with `code` and said why in one line that holds `parts`."""
    assert result.code == code, (result.code, result.err)
    failures = [line for line in result.err.splitlines() if line.startswith("seqmodel: error: ")]
    assert len(failures) == 1, result.err
    assert result.err.splitlines()[-1] == failures[0], result.err
    assert "Traceback" not in result.err and "internal error" not in result.err, result.err
    for part in parts:
        assert part in failures[0], (part, failures[0])
