"""Failures as one line on standard error (the fault, its place, the next step) and an exit code."""

from __future__ import annotations

import errno
import functools
import os
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from typing import NoReturn, ParamSpec

from seqmodel.console.signals import Stopped, die_on_signals, stopped
from seqmodel.errors import DataError, ResourceError, SeqmodelError, StoppedElsewhere, UsageError, system_reason
from seqmodel.text.visible import one_line

P = ParamSpec("P")

CLOSED_PIPE = 141


def guarded(command: Callable[P, None]) -> Callable[P, None]:
    """Wrap a command: any failure ends in one line on standard error and the right exit code."""

    @functools.wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            if sys.stdin is None or sys.stdout is None or sys.stderr is None:
                _tell(SeqmodelError("a standard stream is closed", "Give it a file, or /dev/null."))
            command(*args, **kwargs)
            sys.stdout.flush()
        except BrokenPipeError:
            _leave(CLOSED_PIPE)
        except StoppedElsewhere as error:
            _leave(error.exit_code)
        except (Exception, Stopped) as error:
            signal = error if isinstance(error, Stopped) else stopped()
            if signal is not None:
                _leave(signal.exit_code)
            assert isinstance(error, Exception)
            if "--debug" in sys.argv:
                traceback.print_exc()
            _tell(_as_ours(error))

    return run


def _as_ours(error: Exception) -> SeqmodelError:
    if isinstance(error, SeqmodelError):
        return error
    if isinstance(error, MemoryError) or _is_of_memory(error):
        return ResourceError("out of memory", "Use a smaller model, shorter lines, or in training fewer --lanes.")
    if isinstance(error, UnicodeEncodeError):  # from writing: texts that are read have been checked
        return DataError("an argument holds bytes that are no UTF-8", "Write it in UTF-8.")
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return ResourceError("no space left on the output", "Free some disk space, or write elsewhere.")
    if isinstance(error, OSError) and error.errno:
        return SeqmodelError(f"the system says: {system_reason(error)}", "Run again with --debug for more.")
    # The message of a foreign error may hold the user's text, so it is not shown.
    return SeqmodelError(f"internal error ({type(error).__name__})", "Run again with --debug and report what it shows.")


def without_texts(message: str) -> str:
    """The message with `…` in place of every argument that has blanks in it, as texts have."""
    for given in sys.argv[1:]:
        for text in (given, given.partition("=")[2]):
            if len(words := text.split()) > 1:
                message = message.replace(text, "…").replace(" ".join(words), "…")
    return message


def _is_of_memory(error: Exception) -> bool:
    """True for torch's out-of-memory errors, of a GPU or of the system."""
    return type(error).__name__ == "OutOfMemoryError" or (
        isinstance(error, RuntimeError) and "can't allocate memory" in str(error)
    )


def _tell(error: SeqmodelError) -> NoReturn:
    hint = f" {error.hint}" if error.hint else ""
    message = error.message
    if isinstance(error, UsageError) and error.setting:
        message = f"{as_typed(error.setting)} {error.reason}"
    # A file's name may hold anything: the line stays one line, and steers no terminal.
    line = one_line(f"seqmodel: error: {message}.{hint}")
    if sys.stderr is not None:
        with suppress(OSError):  # it may be a file on the full disk
            print(line.encode("utf-8", "replace").decode(), file=sys.stderr)
    _leave(error.exit_code)


def as_typed(setting: str) -> str:
    """An option's name on the command line. Example: `top_p` is `--top-p`, `k` is `-k`."""
    return f"-{setting}" if len(setting) == 1 else f"--{setting.replace('_', '-')}"


def _leave(code: int) -> NoReturn:
    """Exit with a code; what is left in a stream's buffer causes no second failure.

    A slow reader may block the flush; a further signal ends the process.
    """
    die_on_signals()
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except (OSError, ValueError):
            sink = os.open(os.devnull, os.O_WRONLY)
            os.dup2(sink, stream.fileno())
    raise SystemExit(code)
