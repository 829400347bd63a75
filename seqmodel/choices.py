"""The values that settings and options take; apart from `settings`, so that `--help` does not load pydantic."""

from __future__ import annotations

import types
from collections.abc import Sequence
from enum import Enum
from typing import Annotated, Any, Literal, Union, get_args, get_origin

Unit = Literal["char", "word", "subword", "byte"]
SequenceKind = Literal["line", "paragraph", "document", "stream"]
CellKind = Literal["mingru", "lstm", "gru", "rnn"]
SubwordMethod = Literal["unigram", "bpe"]
Precision = Literal["fp32", "bf16"]
Device = Literal["auto", "cpu", "cuda", "mps"]
Size = Literal["s", "m", "l"]
HeldOutFrom = Literal["split", "file", ""]  # part of the corpus, a file of its own, or none
TableFormat = Literal["tsv", "csv", "jsonl", "raw-tsv"]
Over = Literal["time", "tokens"]  # the horizontal axis of runs' curves
TextErrors = Literal["strict", "replace"]

MAX_THREADS = 1024  # with many thousands, libraries crash


def plain_types(kind: Any) -> list[Any]:
    """The types inside an optional, annotated or list type. Example: `list[int] | None` has int and NoneType."""
    if get_origin(kind) is Annotated:
        return plain_types(get_args(kind)[0])
    if get_origin(kind) in (Union, types.UnionType, list, tuple):
        return [part for inner in get_args(kind) for part in plain_types(inner)]
    return [kind]


def choices(kind: Any) -> tuple[str, ...]:
    """The values of a Literal or Enum type; none for other types."""
    for part in plain_types(kind):
        if get_origin(part) is Literal:
            return tuple(map(str, get_args(part)))
        if isinstance(part, type) and issubclass(part, Enum):
            return tuple(str(member.value) for member in part)
    return ()


def allowed(
    kind: Any,
    *,
    above: float | None = None,
    least: float | None = None,
    below: float | None = None,
    most: float | None = None,
) -> str:
    """Describe the allowed values of a type within bounds.

    Examples: "tsv, csv or jsonl"; "a whole number from 1 to 64"; "a number above 0 and at most 1".
    """
    if values := choices(kind):
        return either(values)
    parts = plain_types(kind)
    if bool in parts:
        return "true or false"
    if int not in parts and float not in parts:
        return "a list of texts" if get_origin(kind) in (tuple, list) else "a text"
    noun = "a number" if float in parts else "a whole number"
    if float not in parts:
        least = above + 1 if above is not None else least
        most = below - 1 if below is not None else most
        above = below = None
    if least is not None and most is not None:
        return f"{noun} from {_written(least)} to {_written(most)}"
    low = high = ""
    if above is not None:
        low = f"above {_written(above)}"
    elif least is not None:
        low = f"of {_written(least)} or more"
    if below is not None:
        high = f"below {_written(below)}"
    elif most is not None:
        high = f"at most {_written(most)}"
    return " ".join(word for word in (noun, low, "and" if low and high else "", high) if word)


def either(values: Sequence[str]) -> str:
    """Join values as alternatives. Example: "tsv, csv or jsonl"."""
    return " or ".join([", ".join(values[:-1]), values[-1]]) if len(values) > 1 else "".join(values)


def _written(number: float) -> str:
    return str(number) if isinstance(number, int) else f"{number:.15g}"
