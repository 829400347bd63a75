"""What a run can be told, by name: on the command line, in a TOML file and from Python alike.

The options are the fields of the settings in `seqmodel.settings`, a few under a shorter name, and what stands here.
A file holds them in the tables [text], [model] and [training]; what names files stands above these. No torch.

Example: `[training]` `time = "10m"` in a file, `--time 10m`, `train(…, time="10m")`: {"time": 600.0}.
"""

from __future__ import annotations

import difflib
import os
import re
import sys
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, ValidationError, field_validator

from seqmodel.choices import Size
from seqmodel.errors import UsageError, system_reason
from seqmodel.model.bundle import DEFAULT_NAME
from seqmodel.settings import (
    SHORTER,
    CorpusSettings,
    ModelSettings,
    Settings,
    TokenizerSettings,
    TrainingSettings,
    checked,
    parse_duration,
    parse_size,
    usage_error,
)
from seqmodel.training.run.request import TrainingRequest

MAX_FILE = 1 << 20
BUDGETS = {"time", "steps", "epochs"}


def _file_name(value: Any) -> str:
    if not isinstance(value, str) or not value or "\0" in value:
        raise ValueError("takes a file's name, which is not empty and holds no NUL")
    return value


# Not `str`: that admits no name which is not UTF-8.
_Name = Annotated[Any, AfterValidator(_file_name)]


class Places(Settings):
    """The files of a run."""

    inputs: tuple[_Name, ...] = ()
    output: _Name = DEFAULT_NAME
    init: _Name | None = None
    valid: _Name | None = None
    write_valid: _Name | None = None

    @field_validator("inputs", mode="before")
    @classmethod
    def _one_or_several(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else tuple(value) if isinstance(value, list) else value


class Parts(Settings):
    """What a model is made of, beside the network's own settings."""

    size: Size | None = None
    ngram: Literal["on", "off"] = "on"
    ngram_embeddings: bool = True


@dataclass(frozen=True)
class Option:
    """The table in which an option stands, and the field that it sets."""

    table: str
    kind: type[Settings]
    field: str


_TABLES: dict[str, tuple[type[Settings], ...]] = {
    "": (Places,),
    "text": (TokenizerSettings, CorpusSettings),
    "model": (ModelSettings, Parts),
    "training": (TrainingSettings,),
}
_BY_CORPUS = {"vocabulary", "ends", "ngram_rows"}  # fields that the corpus decides
OPTIONS = {
    SHORTER.get(field, field): Option(table, kind, field)
    for table, kinds in _TABLES.items()
    for kind in kinds
    for field in kind.model_fields
    if field not in _BY_CORPUS
}

# From how a value is written to what the field holds: a duration or seconds, MiB.
_READ: dict[str, Callable[[Any], Any]] = {
    "time": lambda value: parse_duration(value) if isinstance(value, str) else value,
    "fingerprint": lambda value: parse_size(value) if isinstance(value, str) else value,
    "max_line": lambda value: value << 20 if type(value) is int and value > 0 else value,
}


def checked_options(written: Mapping[str, Any], where: str = "") -> dict[str, Any]:
    """The options that were given (None: was not), each as its field holds it; `where` names a file's table.

    Raises:
        UsageError: if there is no such option, or its value cannot be.
    """
    options = {}
    for name, value in written.items():
        if name not in OPTIONS:
            close = difflib.get_close_matches(name, OPTIONS, 1)
            hint = f"Did you mean {close[0]}?" if close else f"There are: {', '.join(OPTIONS)}."
            raise UsageError(f"{where}{name} is no option", hint)
        if value is not None:
            options[name] = _value(name, os.fspath(value) if isinstance(value, os.PathLike) else value, where)
    if len(BUDGETS & options.keys()) > 1:
        raise UsageError(f"{where}more than one budget is given", "Give one of --time, --steps and --epochs.")
    return options


def _value(name: str, value: Any, where: str) -> Any:
    option = OPTIONS[name]
    needed = {"vocabulary": 4} if option.kind is ModelSettings else {}
    try:
        fields = {option.field: _READ.get(name, lambda same: same)(value)}
        return getattr(option.kind.model_validate(fields | needed), option.field)
    except ValidationError as error:
        reason = usage_error(error, option.kind).reason
    except UsageError as error:
        reason = error.reason
    raise UsageError(f"{where}{name} {reason}") if where else UsageError(reason, setting=name)


def named(kind: type[Settings], fields: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of a kind of settings under their options' names; None stands for none."""
    own = {name: option.field for name, option in OPTIONS.items() if option.kind is kind}
    return {name: fields[field] for name, field in own.items() if fields.get(field) is not None}


# The file


def read_options(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The options that a TOML file holds; `-` is standard input.

    Raises:
        UsageError: if it cannot be read, is no TOML, or holds what is no option or cannot be.
    """
    content = _parsed(path)
    tables = {"": {name: value for name, value in content.items() if name not in _TABLES}}
    tables |= {name: content[name] for name in _TABLES if name in content}
    options: dict[str, Any] = {}
    for table, values in tables.items():
        where = f"{os.fspath(path)}: [{table}] " if table else f"{os.fspath(path)}: "
        if not isinstance(values, dict):
            raise UsageError(f"{where}is no table", f"Write [{table}] on a line of its own, and its options below.")
        for name in values:
            _refuse_stranger(name, table, where)
        options |= checked_options(values, where)
    return options


def _parsed(path: str | os.PathLike[str]) -> dict[str, Any]:
    try:
        if os.fspath(path) == "-":
            data = sys.stdin.buffer.read(MAX_FILE + 1)
        else:
            with Path(path).open("rb") as file:
                data = file.read(MAX_FILE + 1)
    except OSError as error:
        raise UsageError(f"{os.fspath(path)}: {system_reason(error)}", "Name a TOML file with --config.") from None
    if len(data) > MAX_FILE:
        raise UsageError(f"{os.fspath(path)}: larger than 1 MiB", "Name a TOML file with --config.")
    try:
        text = data.decode().removeprefix("\ufeff")
        return tomllib.loads(text)
    except UnicodeDecodeError as error:
        line, reason = 1 + data[: error.start].count(b"\n"), "this is no UTF-8"
    except (tomllib.TOMLDecodeError, RecursionError, ValueError) as error:
        at = re.search(r" \(at line (\d+), column \d+\)$", str(error))
        line, reason = int(at[1]) if at else 1 + text.rstrip("\n").count("\n"), str(error).split(" (at ")[0]
    raise UsageError(f"{os.fspath(path)}, line {line}: {reason}", "The file must be TOML.")


def _refuse_stranger(name: str, table: str, where: str) -> None:
    if name in OPTIONS and OPTIONS[name].table == table:
        return
    if name in OPTIONS:
        home = f"under [{OPTIONS[name].table}]" if OPTIONS[name].table else "above the first table"
        raise UsageError(f"{where}{name} has its place elsewhere", f"Write it {home}.")
    known = [other for other, option in OPTIONS.items() if option.table == table]
    tables = "" if table else "; tables: " + ", ".join(f"[{other}]" for other in _TABLES if other)
    raise UsageError(f"{where}{name} is no option", f"Allowed here: {', '.join(known)}{tables}.")


# From options to a request


def merged(file: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a file and those that were given, which win.

    A budget takes the place of one of another kind, and a size that of a width and layers.
    """
    replaced = set(BUDGETS) if BUDGETS & given.keys() else set()
    replaced |= {"width", "layers"} if "size" in given else set()
    return {name: value for name, value in file.items() if name not in replaced} | dict(given)


def request_of(options: Mapping[str, Any], *, resume: bool = False, force: bool = False) -> TrainingRequest:
    """The run that checked options ask for."""

    def of(kind: type[Settings]) -> dict[str, Any]:
        return {OPTIONS[name].field: value for name, value in options.items() if OPTIONS[name].kind is kind}

    places, parts = Places(**of(Places)), of(Parts)
    corpus = checked(CorpusSettings, **of(CorpusSettings))
    if corpus.table is not None and corpus.column is None:
        raise UsageError("--input without --column", "Name the column that holds the text.")
    return TrainingRequest(
        inputs=places.inputs,
        output=Path(places.output),
        tokenizer=TokenizerSettings(**of(TokenizerSettings)),
        corpus=corpus,
        model=of(ModelSettings),
        training=of(TrainingSettings),
        size=parts.get("size"),
        ngram_embeddings=parts.get("ngram_embeddings"),
        counts=parts["ngram"] == "on" if "ngram" in parts else None,
        init=Path(places.init) if places.init is not None else None,
        valid=places.valid,
        write_valid=Path(places.write_valid) if places.write_valid is not None else None,
        resume=resume,
        force=force,
    )


def options_of(request: TrainingRequest) -> dict[str, Any]:
    """What a request was told of text, model and training: the inverse of `request_of`, files left out."""
    options = named(TokenizerSettings, request.tokenizer.model_dump(exclude_unset=True))
    options |= named(CorpusSettings, request.corpus.model_dump(exclude_unset=True))
    options |= named(ModelSettings, request.model) | named(TrainingSettings, request.training)
    ngram = None if request.counts is None else "on" if request.counts else "off"
    parts = {"size": request.size, "ngram": ngram, "ngram_embeddings": request.ngram_embeddings}
    return options | named(Parts, parts)
