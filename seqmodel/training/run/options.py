"""The options of a run, with the same names on the command line, in a TOML file and in Python.

They are the fields of `seqmodel.settings`, a few under a shorter name, and of the settings defined here. A TOML file
has them in the tables [text], [model] and [training], and those that name files above these. No torch.

Example: `[training]` `time = "10m"` in a file, `--time 10m`, `train(…, time="10m")`: {"time": 600.0}.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, ValidationError, field_validator

from seqmodel.choices import Size
from seqmodel.errors import UsageError
from seqmodel.model.bundle import DEFAULT_NAME
from seqmodel.settings import (
    SHORTER,
    CorpusSettings,
    NetworkSettings,
    Settings,
    TokenizerSettings,
    TrainingSettings,
    checked,
    parse_duration,
    parse_size,
    usage_error,
)
from seqmodel.training.run.request import TrainingRequest

BUDGETS = {"time", "steps", "epochs"}


def _file_name(value: Any) -> str:
    if not isinstance(value, str) or not value or "\0" in value:
        raise ValueError("takes a file's name, which is not empty and holds no NUL")
    return value


# Pydantic's `str` refuses names that are not UTF-8.
_Name = Annotated[Any, AfterValidator(_file_name)]


class FileOptions(Settings):
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


class PartOptions(Settings):
    """The parts of a model, beside the network's own settings."""

    size: Size | None = None
    ngram: Literal["on", "off"] = "on"
    ngram_embeddings: bool = True


@dataclass(frozen=True)
class Option:
    """An option's table in a file, and the field that it sets."""

    table: str
    kind: type[Settings]
    field: str


TABLES: dict[str, tuple[type[Settings], ...]] = {
    "": (FileOptions,),
    "text": (TokenizerSettings, CorpusSettings),
    "model": (NetworkSettings, PartOptions),
    "training": (TrainingSettings,),
}

OPTIONS = {
    SHORTER.get(field, field): Option(table, kind, field)
    for table, kinds in TABLES.items()
    for kind in kinds
    for field in kind.model_fields
}

# Conversion from an option's value to its field's: a duration to seconds, MiB to bytes.
_READ: dict[str, Callable[[Any], Any]] = {
    "time": lambda value: parse_duration(value) if isinstance(value, str) else value,
    "fingerprint": lambda value: parse_size(value) if isinstance(value, str) else value,
    "max_line": lambda value: value << 20 if type(value) is int and value > 0 else value,
}


def checked_options(written: Mapping[str, Any], where: str = "") -> dict[str, Any]:
    """Check options and convert their values to those of the fields; None means that an option is not given.

    `where` names the file and table in messages.

    Raises:
        UsageError: if an option is unknown, its value invalid, or several budgets are given.
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
    try:
        fields = {option.field: _READ.get(name, lambda same: same)(value)}
        return getattr(option.kind.model_validate(fields), option.field)
    except ValidationError as error:
        reason = usage_error(error, option.kind).reason
    except UsageError as error:
        reason = error.reason
    raise UsageError(f"{where}{name} {reason}") if where else UsageError(reason, setting=name)


def named(settings: Settings, only_set: bool = False) -> dict[str, Any]:
    """The fields of settings by option name, without those that are None; with `only_set`, those that were given."""
    own = {name: option.field for name, option in OPTIONS.items() if isinstance(settings, option.kind)}
    fields = {name: getattr(settings, field) for name, field in own.items()}
    given = settings.model_fields_set
    return {name: value for name, value in fields.items() if value is not None and (own[name] in given or not only_set)}


# From options to a request


def merged(file: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Merge the options of a file with those that were given, which win.

    A budget also replaces one of another kind, and a size replaces width and layers.
    """
    replaced = set(BUDGETS) if BUDGETS & given.keys() else set()
    replaced |= {"width", "layers"} if "size" in given else set()
    return {name: value for name, value in file.items() if name not in replaced} | dict(given)


def request_of(options: Mapping[str, Any], *, resume: bool = False, force: bool = False) -> TrainingRequest:
    """Make a request from checked options.

    Raises:
        UsageError: if options contradict each other.
    """

    def of(kind: type[Settings]) -> dict[str, Any]:
        return {OPTIONS[name].field: value for name, value in options.items() if OPTIONS[name].kind is kind}

    files, parts = FileOptions(**of(FileOptions)), of(PartOptions)
    corpus = checked(CorpusSettings, **of(CorpusSettings))
    if corpus.table is not None and corpus.column is None:
        raise UsageError("--input without --column", "Name the column that holds the text.")
    return TrainingRequest(
        inputs=files.inputs,
        output=Path(files.output),
        tokenizer=TokenizerSettings(**of(TokenizerSettings)),
        corpus=corpus,
        model=NetworkSettings(**of(NetworkSettings)),
        training=TrainingSettings(**of(TrainingSettings)),
        size=parts.get("size"),
        ngram_embeddings=parts.get("ngram_embeddings"),
        counts=parts["ngram"] == "on" if "ngram" in parts else None,
        init=Path(files.init) if files.init is not None else None,
        valid=files.valid,
        write_valid=Path(files.write_valid) if files.write_valid is not None else None,
        resume=resume,
        force=force,
    )


def options_of(request: TrainingRequest) -> dict[str, Any]:
    """The options of a request, without those that name files: the inverse of `request_of`."""
    options: dict[str, Any] = {}
    for settings in (request.tokenizer, request.corpus, request.model, request.training):
        options |= named(settings, only_set=True)
    ngram = None if request.counts is None else "on" if request.counts else "off"
    parts = {"size": request.size, "ngram": ngram, "ngram_embeddings": request.ngram_embeddings}
    return options | {name: value for name, value in parts.items() if value is not None}
