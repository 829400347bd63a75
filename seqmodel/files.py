"""Atomic writes, so that a crash leaves the old file or the new one, and locks against other writers."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from seqmodel.errors import ResourceError, SeqmodelError, UsageError, system_reason


def temporary_for(path: Path) -> Path:
    """The temporary file that becomes `path` when complete. Users' files have no such names, so it may be removed."""
    return path.with_name(f".{path.name}.seqmodel-partial")


def file_failure(error: OSError, path: Path | str, doing: str) -> SeqmodelError:
    """The `SeqmodelError` for an operating-system error while `doing` (such as "writing") something to `path`."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return ResourceError(f"no space left while {doing} {path}", "Free some disk space, or choose another folder.")
    return SeqmodelError(f"{path}: {doing} failed: {system_reason(error)}", "Check the path and its permissions.")


@contextmanager
def atomic_write(path: Path) -> Iterator[BinaryIO]:
    """Open a sibling temporary file; on success flush it to disk and rename it to `path`, else remove it.

    Raises:
        ResourceError: if the disk is full.
        SeqmodelError: for any other failure of the file system.
    """
    temporary = temporary_for(path)
    try:
        with temporary.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        _sync_folder(path.parent)
    except OSError as error:
        _remove(temporary)
        raise file_failure(error, path, "writing") from error
    except BaseException:
        _remove(temporary)
        raise


def _remove(temporary: Path) -> None:
    with suppress(OSError):  # the first error is the one to report
        temporary.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # a file system that flushes no folders
            raise
    finally:
        os.close(descriptor)


@contextmanager
def write_alone(path: Path, force: bool) -> Iterator[BinaryIO]:
    """`atomic_write` under the lock of `path`; an existing file is overwritten only with `force`.

    Raises:
        UsageError: if it exists, is not a regular file, or another process is writing it.
        SeqmodelError: as `atomic_write`.
    """
    with exclusive(path):
        refuse_existing(path, force)
        with atomic_write(path) as file:
            yield file


def refuse_existing(path: Path, force: bool, also: str = "") -> None:
    """Raise `UsageError` if `path` exists, unless `force` is given and it is a regular file; `also` ends the hint."""
    if path.exists() and not path.is_file():
        raise UsageError(f"{path} is no regular file", "Choose another name.")
    if path.exists() and not force:
        raise UsageError(f"{path} exists", f"Choose another name, or overwrite it with --force{also}.")


def check_folder(path: Path) -> None:
    """Raise `UsageError` if `path` is a folder, or its parent is not one."""
    if str(path) == "-":
        raise UsageError("the output must be a file", "Standard output carries its name; choose another than -.")
    if not path.name or path.is_dir():
        raise UsageError(f"{path} is a folder", "Name a file in it.")
    if not path.parent.is_dir():
        raise UsageError(f"{path.parent} is not a folder", "Create it first, or choose another path.")


def beside(path: Path, suffix: str) -> Path:
    """Another file of the same run: beside `m.seqmodel` these are `m.checkpoint`, `m.tokens`, `m.jsonl` …"""
    return path.with_name(_stem(path) + suffix)


def lock_of(path: Path) -> Path:
    """The lock that guards `path` and the files beside it."""
    return path.with_name(f".{_stem(path)}.seqmodel-lock")


def _stem(path: Path) -> str:
    name = path.name.removesuffix(".seqmodel").removesuffix(".tokens")
    return name.removesuffix(".valid") if path.name.endswith(".valid.tokens") else name


# A lock's file is removed while the lock is still held, so that no two files of one name are locked: a process that has
# opened it by then finds it gone (filelock checks) and opens a new one, for which it needs some time.
_OPENED_ANEW = 0.1  # seconds


def note_own(path: Path, *made: Path) -> None:
    """Record in the lock of `path`, held by the caller, the files of `made` that do not exist yet.

    If the caller is killed before it has written a bundle or checkpoint, the next holder removes them.
    """
    with suppress(OSError):  # without the record, the files must be overwritten with --force
        lock_of(path).write_bytes(b"".join(os.fsencode(each.name) + b"\n" for each in made if not each.exists()))


def _left(path: Path) -> list[Path]:
    """The files recorded in the lock of `path` by a killed holder."""
    try:
        noted = lock_of(path).read_bytes().split(b"\n")
    except OSError:
        return []
    own = (beside(path, suffix) for suffix in (".tokens", ".valid.tokens", ".jsonl"))
    return [each for each in own if os.fsencode(each.name) in noted]


@contextmanager
def exclusive(path: Path, inputs: Sequence[str] = ()) -> Iterator[None]:
    """Hold the lock of `path` and the files beside it; removes what a killed run left, except `inputs`.

    Raises:
        UsageError: if another process holds it, or `path` cannot be a file.
    """
    import filelock

    check_folder(path)
    lock_path, left = lock_of(path), _left(path)
    lock = filelock.FileLock(lock_path)
    try:
        lock.acquire(timeout=_OPENED_ANEW, poll_interval=_OPENED_ANEW / 10)
    except filelock.Timeout:
        message = f"another seqmodel process is writing {path} or a file beside it"
        raise UsageError(message, "Wait for it, or choose another name.") from None
    except OSError as error:
        raise file_failure(error, path, "locking") from error
    try:
        for suffix in (".seqmodel", ".checkpoint", ".tokens", ".valid.tokens"):
            temporary_for(beside(path, suffix)).unlink(missing_ok=True)
        temporary_for(path).unlink(missing_ok=True)  # a bundle may have another suffix
        if not (path.exists() or beside(path, ".checkpoint").exists()):
            read = [os.path.realpath(name) for name in inputs]
            for each in (each for each in left if os.path.realpath(each) not in read):
                each.unlink(missing_ok=True)
        yield
    finally:
        lock_path.unlink(missing_ok=True)
        lock.release()
