"""Messages on standard error: coloured on a terminal only; user text is never read as markup."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING, TextIO

from seqmodel.text.visible import visible

if TYPE_CHECKING:
    from rich.console import Console


@lru_cache(maxsize=1)
def console() -> Console:
    """The console on standard error; rich itself honours NO_COLOR and TERM=dumb."""
    from rich.console import Console

    return Console(stderr=True, highlight=False, soft_wrap=not sys.stderr.isatty())


def say(message: str, style: str = "") -> None:
    """Write a line to standard error, without reading it as markup."""
    from rich.text import Text

    console().print(Text(message, style=style))


def notes(quiet: bool) -> Callable[[str], None]:
    """A listener that says the library's notes, made visible; if `quiet`, one that ignores them."""
    return (lambda note: None) if quiet else (lambda note: say(visible(note)))


def visible_on(stream: TextIO) -> Callable[[str], str]:
    """A function for text that is written to `stream`: `visible` on a terminal, elsewhere one that changes nothing."""
    return visible if stream.isatty() else str


def say_decomposed(lines: int) -> None:
    """Note on standard error how many lines cost more than they need."""
    if lines:
        say(
            f"note: {lines:,} line{'s' * (lines != 1)} with decomposed characters (NFD), scored as unknown: "
            "the model knows them composed. Convert the text to NFC first, for example with uconv -x any-nfc."
        )
