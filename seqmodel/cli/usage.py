"""Errors of a command line that cannot be understood: the option as it is typed, what it takes, and what to do.

Knows the command line's own library; what options mean to a model is checked where they are used.
"""

from __future__ import annotations

import difflib
import inspect
import sys
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin, get_type_hints

from typer.core import TyperCommand

from seqmodel.choices import allowed, choices, either, plain_types
from seqmodel.console.failures import without_texts
from seqmodel.errors import UsageError

# What people try who know other tools.
_MEANT = {
    **dict.fromkeys(("eval", "evaluate", "perplexity", "ppl", "query", "surprisal", "test"), "score"),
    **dict.fromkeys(("sample", "predict", "continue"), "generate"),
    **dict.fromkeys(("fit", "learn", "finetune", "fine-tune"), "train"),
    **dict.fromkeys(("show", "inspect", "describe"), "info"),
    **dict.fromkeys(("encode", "decode", "tokenise"), "tokenize"),
    "rerank": "rescore",
    "benchmark": "bench",
}
# How commands that take no text as an argument are given one.
_TEXT_OPTIONS = {"prefix": "a text to continue by -p", "text": "a text by -t"}


class Command(TyperCommand):
    """A command that tells which argument is one too many, and which file has an empty name."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        _refuse_empty_names(self, args)
        ctx.allow_extra_args = True
        try:
            extra = super().parse_args(ctx, args)
        except Exception as error:
            if getattr(error, "ctx", ctx) is None:
                error.ctx = ctx  # type: ignore[attr-defined]
            raise
        if extra and not ctx.resilient_parsing:
            raise _too_many(self, extra)
        return extra


def understood(error: Any) -> UsageError:
    """An error of the command line's library in our words."""
    context, kind = getattr(error, "ctx", None), type(error).__name__
    command = getattr(context, "command", None)
    if kind == "NoSuchOption":
        return _no_option(error.option_name, command)
    if kind == "MissingParameter" and error.param is not None:
        return _missing(command)
    if kind == "BadParameter" and error.param is not None:
        return _bad_value(error, command)
    if kind == "BadOptionUsage":
        return _no_value(error, command)
    if hasattr(command, "commands"):
        return _no_command(command, context)
    return UsageError(without_texts(" ".join(error.format_message().split())).rstrip("."), _help(command))


def _help(command: Any) -> str:
    name = getattr(command, "name", None)
    return f"See seqmodel {name} --help." if name and name != "seqmodel" else "See seqmodel --help."


def _no_option(name: str, command: Any) -> UsageError:
    own = list(_names(command))
    typed = next((arg.partition("=")[0] for arg in sys.argv[1:] if arg.startswith(name)), name)
    if f"-{typed}" in own:  # one dash in place of two
        return UsageError(f"there is no option {typed}", f"Did you mean -{typed}?")
    named = without_texts(name)
    owners = [other.name for other in _commands() if name in _names(other)]
    if owners and hasattr(command, "commands"):
        meant = next((arg for arg in sys.argv[1:] if arg in owners), owners[0])
        return UsageError(f"{named} stands before the command", f"Write it after: seqmodel {meant} {named} …")
    if owners:
        return UsageError(f"{command.name} has no option {named}", f"It belongs to {either(owners)}. {_help(command)}")
    close = _close(name, own)
    return UsageError(f"there is no option {named}", f"Did you mean {either(close)}?" if close else _help(command))


def _no_command(group: Any, context: Any) -> UsageError:
    rest = [*getattr(context, "_protected_args", ()), *context.args] or sys.argv[1:]
    given = rest[0] if rest else ""
    names = list(group.commands)
    known = "Commands: " + ", ".join(names) + "."
    if not given:
        return UsageError("no command is given", known)
    if given == "help":
        return UsageError("there is no command help", "Write seqmodel --help, or seqmodel score --help.")
    close = [_MEANT[given]] if given in _MEANT else difflib.get_close_matches(given, names, 1, 0.7)
    if close:
        return UsageError(f"there is no command {without_texts(given)}", f"Did you mean {close[0]}?")
    if _is_file(given):
        return UsageError(f"{without_texts(given)} is no command", f"Begin with one, such as: seqmodel train {given}")
    return UsageError(f"there is no command {without_texts(given)}", known)


def _too_many(command: Any, extra: Sequence[str]) -> UsageError:
    """An error that names the arguments a command does not take only if they are files: they may be the user's text."""
    takes = [param for param in command.params if param.param_type_name == "argument"]
    options = {param.name for param in command.params if param not in takes}
    ways = [way for name, way in _TEXT_OPTIONS.items() if name in options]
    ways += ["a model by -m"] if "model" in options else []
    most = f"{len(takes)} argument{'s' * (len(takes) > 1)}" if takes else "no argument"
    named = next((arg for arg in extra if _is_file(arg)), None)
    count = len(takes) + len(extra)
    given = f"{count} {'are' if count > 1 else 'is'}" if named is None else f"{named} is"
    hint = "Put a text of several words in quotes. " if takes and command.name == "complete" else ""
    hint += f"Give {' and '.join(ways)}." if ways else _help(command)
    return UsageError(without_texts(f"{command.name} takes {most}, but {given} given"), hint)


def _missing(command: Any) -> UsageError:
    arguments = [one for one in command.params if one.param_type_name == "argument"]
    words = [(one.metavar or one.name.upper()) + "…" * (one.nargs == -1) for one in arguments if one.required]
    return UsageError("an argument is missing", f"Write seqmodel {command.name} {' '.join(words)}.")


def _bad_value(error: Any, command: Any) -> UsageError:
    """The cause, where the library tells one, holds the value."""
    name = typed_name(error.param)
    kind, bounds = _kind(command, error.param.name)
    causes: list[Any] = getattr(error.__cause__, "errors", list)()
    value = causes[0].get("input") if causes else None
    takes = _form(kind, bounds)
    given = f", not {value}" if isinstance(value, str) and value.strip() else ""
    close = difflib.get_close_matches(str(value), choices(kind), 1, 0.7) if given else []
    hint = f"Did you mean {name} {close[0]}?" if close else _help(command)
    return UsageError(without_texts(f"{name} takes {takes}{given}"), hint)


def _no_value(error: Any, command: Any) -> UsageError:
    name = error.option_name
    param = next((one for one in command.params if name in (*one.opts, *one.secondary_opts)), None)
    if param is None or param.is_flag:
        return UsageError(f"{name} takes no value", f"Write {name} alone.")
    kind, bounds = _kind(command, param.name)
    form = param.metavar if param.metavar and not choices(kind) else _form(kind, bounds)
    return UsageError(f"{name} needs a value: {form}", _help(command))


def _form(kind: Any, bounds: dict[str, Any]) -> str:
    return "a file's name" if Path in plain_types(kind) else allowed(kind, **bounds)


def _refuse_empty_names(command: Any, args: Sequence[str]) -> None:
    """An empty name would stand for the folder that one is in."""
    files = {name for param in command.params if _is_path(command, param) for name in param.opts}
    for before, arg in pairwise(["", *args]):
        name = before if not arg else arg.removesuffix("=") if arg.endswith("=") else ""
        if name in files:
            raise UsageError(f"{name} needs a file's name, and is given an empty one", _help(command))


def _is_path(command: Any, param: Any) -> bool:
    return param.metavar in ("FILE", "REFERENCE") or Path in plain_types(_kind(command, param.name)[0])


def _kind(command: Any, name: str) -> tuple[Any, dict[str, Any]]:
    """The type of an option of a command, and the bounds that were declared for it or for its field of settings."""
    hint = get_type_hints(inspect.unwrap(command.callback), include_extras=True).get(name)
    if get_origin(hint) is not Annotated:
        return hint, {}
    kind, declared, *own = get_args(hint)
    return kind, own[0] if own else {"least": getattr(declared, "min", None), "most": getattr(declared, "max", None)}


def _commands() -> list[Any]:
    from seqmodel.cli.app import GROUPS, load_command

    return [load_command(name) for commands in GROUPS.values() for name in commands]


def _names(command: Any) -> Iterator[str]:
    for param in getattr(command, "params", ()):
        if param.param_type_name == "option":
            yield from (*param.opts, *param.secondary_opts)


def typed_name(param: Any) -> str:
    """An option by the name that was typed, or else by its long one."""
    given = {arg.partition("=")[0] for arg in sys.argv[1:]}
    if param.param_type_name != "option":
        return str(param.metavar or param.name.upper())
    return str(next((name for name in param.opts if name in given), max(param.opts, key=len)))


def _close(name: str, names: Sequence[str]) -> list[str]:
    """The option that is spelled most like another, dashes left out: these are alike in all."""
    plain = {other.lstrip("-"): other for other in names if other.startswith("--")}
    return [plain[found] for found in difflib.get_close_matches(name.lstrip("-"), plain, 1, 0.7)]


def _is_file(name: str) -> bool:
    try:
        return len(name.split()) == 1 and (name.endswith((".seqmodel", ".txt")) or Path(name).exists())
    except (OSError, ValueError):
        return False
