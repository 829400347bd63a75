"""A file is the old one or the new one, whatever happens while it is written, and one process writes it at a time."""

from __future__ import annotations

import ast
import errno
import fcntl
import io
import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, nullcontext
from itertools import count
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from seqmodel.errors import ResourceError, SeqmodelError, UsageError
from seqmodel.files import atomic_write, exclusive, temporary_for, write_alone
from seqmodel.model.bundle import read_bundle, write_bundle
from seqmodel.settings import CorpusSettings
from seqmodel.text.corpus import END_MARK, CorpusSummary
from seqmodel.tokens.fitting import vocabulary_proto
from seqmodel.tokens.store import open_store, write_store
from seqmodel.tokens.tokenizer import Tokenizer
from tests.cli.command import run_here
from tests.dying import CALLS, DEAD, exit_code, lay_bomb, names, open_for_writing_with
from tests.model.golden import golden

PACKAGE = Path(__file__).parents[1] / "seqmodel"
SMALL, OTHER = "subwords_no_ngram", "words_closed"  # two bundles


# What writes an old file and a new one, over it


def bundle(path: Path, new: bool) -> None:
    write_bundle(path, read_bundle(golden(OTHER if new else SMALL)))


def store(path: Path, new: bool) -> None:
    tokenizer = Tokenizer(vocabulary_proto(["a", "b"], word=False), "char")
    blocks = (text + END_MARK for text in (["ab"] * 3 if new else ["ba"]))
    write_store(path, blocks, tokenizer, CorpusSettings(), CorpusSummary())


def page(path: Path, new: bool) -> None:
    done = run_here("score", "-m", golden(SMALL), "-t", "dog" if new else "cat", "--html", path, "--force", "-q")
    assert done.code == 0, done.err


def export(path: Path, new: bool) -> None:
    with write_alone(path, force=True) as file:
        file.write(b"new" if new else b"old")


WRITERS: dict[str, Callable[[Path, bool], None]] = {
    "m.seqmodel": bundle,
    "m.tokens": store,
    "page.html": page,
    "held_out.txt": export,
}


def old_and_new(name: str, folder: Path) -> tuple[bytes, bytes]:
    """What is in a file before and after, which is left as before."""
    path = folder / name
    WRITERS[name](path, True)
    new = path.read_bytes()
    WRITERS[name](path, False)
    assert names(folder) == {name}
    return path.read_bytes(), new


def write_and_die(path: Path, call: str, at: int) -> None:
    lay_bomb(call, at)
    WRITERS[path.name](path, True)


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("name", WRITERS)
def test_a_death_in_any_call_that_writes_leaves_the_old_file_or_the_new_one(
    name: str, call: str, tmp_path: Path, start: Callable[..., BaseProcess]
) -> None:
    path = tmp_path / name
    old, new = old_and_new(name, tmp_path)
    deaths = 0
    for at in count(1, 60 if (name, call) == ("page.html", "write") else 1):  # which comes in hundreds of parts
        code = exit_code(start(write_and_die, path, call, at))
        found = path.read_bytes()
        assert found in (old, new)
        with exclusive(path):  # as the next start does
            assert len(names(tmp_path)) == 2, "what was half written is still there"
        if code == 0:
            break
        assert code == DEAD
        deaths += 1
    assert found == new
    # The file and the folder are flushed to the disk.
    assert deaths == {"fsync": 2, "replace": 1}[call.split()[1]] if call != "write" else deaths


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, int, int], Iterator[int]]:
    """Make the `at`-th call of a function of the system fail, once."""

    def fail(name: str, number: int, at: int) -> Iterator[int]:
        calls = count(1)

        def due() -> None:
            if next(calls) == at:
                raise OSError(number, os.strerror(number))

        if name == "write":

            class Failing(io.BufferedWriter):
                def write(self, data: Any) -> int:
                    due()
                    return super().write(data)

            monkeypatch.setattr(Path, "open", Path.open)  # which puts it back
            open_for_writing_with(Failing)
        else:
            real = getattr(os, name)

            def call(*arguments: Any, **options: Any) -> Any:
                due()
                return real(*arguments, **options)

            monkeypatch.setattr(os, name, call)
        return calls

    return fail


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO], ids=errno.errorcode.get)
@pytest.mark.parametrize("call", ["write", "fsync", "replace"])
@pytest.mark.parametrize("name", ["m.seqmodel", "m.tokens", "held_out.txt"])
def test_a_call_that_fails_is_told_and_leaves_the_old_file_or_the_new_one(
    name: str,
    call: str,
    number: int,
    tmp_path: Path,
    failing: Callable[[str, int, int], Iterator[int]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = tmp_path / name
    old, new = old_and_new(name, tmp_path)
    failures = 0
    for at in count(1):
        calls = failing(call, number, at)
        try:
            WRITERS[name](path, True)
            failed = False
        except SeqmodelError as error:
            assert isinstance(error, ResourceError) == (number == errno.ENOSPC) and str(path) in error.message
            failed = True
        finally:
            monkeypatch.undo()
        assert names(tmp_path) == {name}
        if not failed:
            assert next(calls) <= at, "a call failed and nobody was told"
            break
        failures += 1
        assert path.read_bytes() in (old, new)
    assert failures and path.read_bytes() == new


def test_what_cannot_be_removed_does_not_hide_what_went_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unlink(*arguments: Any, **options: Any) -> None:
        raise OSError(errno.EIO, "")

    monkeypatch.setattr(Path, "unlink", unlink)
    with pytest.raises(ResourceError, match="no space left"), atomic_write(tmp_path / "x"):
        raise OSError(errno.ENOSPC, "")


def test_a_file_system_that_cannot_flush_a_folder_is_no_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: Callable[[str, int, int], Iterator[int]]
) -> None:
    failing("fsync", errno.EINVAL, 2)
    export(tmp_path / "x", new=True)
    assert (tmp_path / "x").read_bytes() == b"new"


# Readers while a file is replaced


def replace_for_ever(path: Path) -> None:
    for number in count():
        WRITERS[path.name](path, bool(number % 2))


@pytest.mark.parametrize("name", ["m.seqmodel", "m.tokens"])
def test_a_reader_meets_the_old_file_or_the_new_one_while_it_is_replaced(
    name: str, tmp_path: Path, start: Callable[..., BaseProcess]
) -> None:
    path = tmp_path / name
    known = []
    for new in (False, True):
        WRITERS[name](path, new)
        known.append(content(path))
    writer = start(replace_for_ever, path)
    met, end = [0, 0], time.monotonic() + 1.5
    while time.monotonic() < end or not all(met):
        assert writer.is_alive() and time.monotonic() < end + 60
        met[known.index(content(path))] += 1


def content(path: Path) -> Any:
    """All of a file, as a reader gets it."""
    if path.suffix == ".tokens":
        found = open_store(path)
        return found.header.digest, found.ids[:].tolist(), found.ends[:].tolist()
    read = read_bundle(path)
    return read.digest, read.header, {name: np.asarray(weight).tobytes() for name, weight in read.weights.items()}


# One writer


def take_turns(path: Path, turns: int) -> None:
    """Hold the lock again and again; whoever is inside at the same time as another dies."""
    inside = path.with_name("inside")
    done = 0
    while done < turns:
        try:
            with exclusive(path):
                os.close(os.open(inside, os.O_CREAT | os.O_EXCL))
                time.sleep(0.001)
                inside.unlink()
                done += 1
        except UsageError:
            continue


def test_never_are_two_inside_the_lock(tmp_path: Path, start: Callable[..., BaseProcess]) -> None:
    processes = [start(take_turns, tmp_path / "m.seqmodel", 40) for _ in range(4)]
    assert [exit_code(process) for process in processes] == [0] * 4
    assert names(tmp_path) == set()


def test_a_page_that_another_process_writes_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    with exclusive(path), pytest.raises(UsageError, match="another seqmodel process"), write_alone(path, force=True):
        pass
    path.write_bytes(b"mine")
    with pytest.raises(UsageError, match="exists"), write_alone(path, force=False):
        pass
    assert path.read_bytes() == b"mine" and names(tmp_path) == {"page.html"}


@pytest.mark.parametrize("another", [False, True])
def test_a_lock_file_that_is_let_go_while_another_opens_it_locks_one_process_at_a_time(
    another: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, first, third = tmp_path / "m.seqmodel", ExitStack(), ExitStack()
    first.enter_context(exclusive(path))
    flock, waiting = fcntl.flock, [True]

    def flock_later(descriptor: int, operation: int) -> None:
        """The second process has opened the file: before it locks it, the first lets go and a third may come."""
        if waiting and operation & fcntl.LOCK_EX:
            waiting.clear()
            first.close()
            if another:
                third.enter_context(exclusive(path))
        flock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", flock_later)
    with third, pytest.raises(UsageError, match="another") if another else nullcontext(), exclusive(path):
        assert names(tmp_path) == {".m.seqmodel-lock"}


def test_what_was_half_written_is_swept_by_the_next_writer(tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    stray = temporary_for(path)
    stray.write_bytes(b"half")
    with exclusive(path):
        assert not stray.exists()


# Nobody writes otherwise

OWN_WAYS = {
    "training/run/log.py": "one line is added after another",
    "tokens/fitting.py": "for SentencePiece, in a folder that is removed",
    "reports/speed.py": "a corpus that is removed",
}


def test_files_are_written_by_the_one_function_that_does_so_atomically() -> None:
    found = set()
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            modes = [arg.value for arg in node.args if isinstance(arg, ast.Constant) and isinstance(arg.value, str)]
            modes += [ast.unparse(arg) for arg in node.args if isinstance(arg, ast.IfExp)]
            writes = name == "open" and any(set(mode) & set("wax+") for mode in modes)
            if writes or name in ("write_text", "write_bytes", "tofile", "savetxt"):
                found.add(path.relative_to(PACKAGE).as_posix())
    assert found == {"files.py", *OWN_WAYS}


@pytest.mark.parametrize("name", ["m.tokens", "m.seqmodel", "m"])
def test_files_of_a_users_that_are_named_like_locks_stay(name: str, tmp_path: Path) -> None:
    mine = [tmp_path / each for each in ("m.lock", f"{name}.lock", f"{name}.partial")]
    for path in mine:
        path.write_text("mine")
    with write_alone(tmp_path / name, force=False) as file:
        file.write(b"x")
    assert [path.read_text() for path in mine] == ["mine"] * 3


def test_held_out_tokens_are_guarded_by_the_lock_of_their_run(tmp_path: Path) -> None:
    with (
        exclusive(tmp_path / "m.valid.tokens"),
        pytest.raises(UsageError, match="another"),
        exclusive(tmp_path / "m.seqmodel"),
    ):
        pass
