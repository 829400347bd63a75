"""How Ctrl-C, SIGTERM and SIGHUP end a command: by an exception, so that what is half done is undone on the way out."""

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
    """One of these signals has come."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number
        self.exit_code = 128 + number


def unwind_on_signals() -> None:
    """From here on they raise `Stopped`; those that are ignored stay so."""
    _raised.clear()
    _on_signals(stop)
    sys.unraisablehook = _not_raised


def die_on_signals() -> None:
    """From here on they end the process at once: nothing is half done, and the end needs no end of its own."""
    _on_signals(signal.SIG_DFL)


def _on_signals(action: Callable[[int, object], None] | signal.Handlers) -> None:
    for number in STOPPING:
        if signal.getsignal(number) is not signal.SIG_IGN:  # nohup, or a script's background
            signal.signal(number, action)


def stop(number: int, frame: object) -> NoReturn:
    """The handler: raise `Stopped`."""
    _raised.append(Stopped(number))
    raise _raised[-1]


def stopped() -> Stopped | None:
    """What a signal has raised, if one has come, whatever others have made of it since."""
    return _raised[-1] if _raised else None


def _not_raised(lost: UnraisableHookArgs) -> None:
    """Where Python lets nothing be raised (when it frees an object) a signal is lost: it comes again a little later."""
    if isinstance(lost.exc_value, Stopped):
        threading.Timer(AGAIN_SECONDS, os.kill, (os.getpid(), lost.exc_value.number)).start()
    else:
        sys.__unraisablehook__(lost)
