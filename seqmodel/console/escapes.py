"""A note for users who type `\n`, which a shell does not turn into a newline."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from seqmodel.console.terminal import say
from seqmodel.tokens.tokenizer import FIRST_PIECE, Tokenizer

_ESCAPES = {r"\n": "an n; for a newline", r"\t": "a t; for a tab", r"\r": "an r; for a carriage return"}
_ESCAPE = re.compile(r"\\[ntr]")


def say_escapes(tokenizer: Tokenizer, given: Mapping[str, Iterable[str]]) -> None:
    """Say which options hold an escape such as `\n`, which is taken literally. `given` maps options to their texts.

    Says nothing if the model has learned backslashes: then they are probably meant.
    """
    if any(b"\\" in piece for piece in tokenizer.piece_bytes[FIRST_PIECE:]):
        return
    for option, texts in given.items():
        for escape in sorted({found for text in texts for found in _ESCAPE.findall(text)}):
            say(f"{option}: {escape} is a backslash and {_ESCAPES[escape]} write $'{escape}' in bash or zsh")
