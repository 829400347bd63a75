"""Writing files so that a crash at any instant leaves the old file or the new one, and nobody else writes them."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from seqmodel.errors import ResourceError, SeqmodelError, UsageError


def temporary_for(path: Path) -> Path:
    """The file that becomes `path` when it is complete. Nothing of a user's has such a name, so it may be swept."""
    return path.with_name(f".{path.name}.seqmodel-partial")


def file_failure(error: OSError, path: Path | str, doing: str) -> SeqmodelError:
    """The error of ours that tells what an operating-system error means for the user."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return ResourceError(f"no space left while {doing} {path}", "Free some disk space, or choose another folder.")
    reason = os.strerror(error.errno) if error.errno else type(error).__name__
    return SeqmodelError(f"{path}: {doing} failed: {reason}", "Check the path and its permissions.")


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
    with suppress(OSError):  # what went wrong before is what is told
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
    """`atomic_write` under the lock of `path`; one that exists is overwritten with `force` alone.

    Raises:
        UsageError: if it exists, is no file, or another process is writing it.
        SeqmodelError: as `atomic_write`.
    """
    with exclusive(path):
        refuse_existing(path, force)
        with atomic_write(path) as file:
            yield file


def refuse_existing(path: Path, force: bool, also: str = "") -> None:
    """Raise `UsageError` if `path` exists and may not be overwritten. A folder or a device never may."""
    if path.exists() and not path.is_file():
        raise UsageError(f"{path} is no regular file", "Choose another name.")
    if path.exists() and not force:
        raise UsageError(f"{path} exists", f"Choose another name, or overwrite it with --force{also}.")


def check_folder(path: Path) -> None:
    """Raise `UsageError` if `path` is a folder, or stands in none."""
    if str(path) == "-":
        raise UsageError("the output must be a file", "Standard output carries its name; choose another than -.")
    if not path.name or path.is_dir():
        raise UsageError(f"{path} is a folder", "Name a file in it.")
    if not path.parent.is_dir():
        raise UsageError(f"{path.parent} is not a folder", "Create it first, or choose another path.")


def beside(path: Path, suffix: str) -> Path:
    """The file of another kind that belongs to a run: `m.seqmodel` has `m.checkpoint`, `m.tokens`, `m.jsonl` …"""
    return path.with_name(_stem(path) + suffix)


def lock_of(path: Path) -> Path:
    """The lock that guards `path` and the files beside it."""
    return path.with_name(f".{_stem(path)}.seqmodel-lock")


def _stem(path: Path) -> str:
    name = path.name.removesuffix(".seqmodel").removesuffix(".tokens")
    return name.removesuffix(".valid") if path.name.endswith(".valid.tokens") else name


# Who lets go of a lock takes its file away while it still holds it, so that a file of that name is never locked twice:
# who has opened the file by then finds it gone (filelock looks), and opens the next.
_OPENED_ANEW = 0.1  # seconds


def note_own(path: Path, *made: Path) -> None:
    """Note in the lock of `path`, which the caller holds, which files it is about to make: those of `made` that are not
    there yet. If it is killed before it has something to keep, the next holder sweeps them."""
    with suppress(OSError):  # where a lock cannot be written to, they have to be overwritten with --force
        lock_of(path).write_bytes(b"".join(os.fsencode(each.name) + b"\n" for each in made if not each.exists()))


def _left(path: Path) -> list[Path]:
    """The files that a killed holder of the lock of `path` noted as its own."""
    try:
        noted = lock_of(path).read_bytes().split(b"\n")
    except OSError:
        return []
    own = (beside(path, suffix) for suffix in (".tokens", ".valid.tokens", ".jsonl"))
    return [each for each in own if os.fsencode(each.name) in noted]


@contextmanager
def exclusive(path: Path, inputs: Sequence[str] = ()) -> Iterator[None]:
    """Hold the lock that guards `path` and the files beside it; what a killed run left is swept, but `inputs`.

    Raises:
        UsageError: if another process holds it, or no file of that name can be.
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
        temporary_for(path).unlink(missing_ok=True)  # whatever the bundle is called
        if not (path.exists() or beside(path, ".checkpoint").exists()):
            read = [os.path.realpath(name) for name in inputs]
            for each in (each for each in left if os.path.realpath(each) not in read):
                each.unlink(missing_ok=True)
        yield
    finally:
        lock_path.unlink(missing_ok=True)
        lock.release()
