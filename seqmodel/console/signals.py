"""Ctrl-C, SIGTERM and SIGHUP as an exception, so that a stopped command undoes unfinished work on its way out."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from sys import UnraisableHookArgs

_NAMES = ("SIGINT", "SIGTERM", "SIGHUP")
STOPPING = tuple(getattr(signal, name) for name in _NAMES if hasattr(signal, name))  # Windows has no SIGHUP
AGAIN_SECONDS = 0.005
_raised: list[Stopped] = []


class Stopped(BaseException):
    """Raised when one of these signals arrives; holds its number and the exit code."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number
        self.exit_code = 128 + number


def unwind_on_signals() -> None:
    """Let the signals raise `Stopped` from now on; ignored signals stay ignored."""
    _raised.clear()
    _on_signals(stop)
    sys.unraisablehook = _not_raised


def die_on_signals() -> None:
    """Let the signals end the process at once from now on, when no work is unfinished."""
    _on_signals(signal.SIG_DFL)


def _on_signals(action: Callable[[int, object], None] | signal.Handlers) -> None:
    for number in STOPPING:
        if signal.getsignal(number) is not signal.SIG_IGN:  # ignored by nohup, or in a script's background
            signal.signal(number, action)


def stop(number: int, frame: object) -> NoReturn:
    """Raise `Stopped`; the handler of the signals."""
    _raised.append(Stopped(number))
    raise _raised[-1]


def stopped() -> Stopped | None:
    """The last `Stopped` that was raised, even if another exception has replaced it since; None if none was."""
    return _raised[-1] if _raised else None


def _not_raised(lost: UnraisableHookArgs) -> None:
    """Send a lost signal again: Python drops an exception that is raised while it frees an object."""
    if isinstance(lost.exc_value, Stopped):
        threading.Timer(AGAIN_SECONDS, os.kill, (os.getpid(), lost.exc_value.number)).start()
    else:
        sys.__unraisablehook__(lost)
