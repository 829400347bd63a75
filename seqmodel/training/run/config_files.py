"""TOML files of options: read for `train --config`, written for `info --config` to repeat a bundle's run. No torch.

seqmodel info --config model.seqmodel > run.toml
seqmodel train corpus.txt --config run.toml -o again.seqmodel
"""

from __future__ import annotations

import json
import os
import re
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from seqmodel.errors import ModelError, UsageError, system_reason
from seqmodel.model.bundle import BundleHeader, TrainingSummary
from seqmodel.settings import CorpusSettings, TokenizerSettings, TrainingSettings
from seqmodel.text.visible import one_line
from seqmodel.training.run.options import OPTIONS, TABLES, checked_options, named

MAX_FILE = 1 << 20

Scalar = str | bool | int | float
Value = Scalar | tuple[str, ...]


# Reading


def read_options(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read the options of a TOML file; `-` is standard input.

    Raises:
        UsageError: if the file cannot be read or is no TOML, or an option is unknown, misplaced or invalid.
    """
    content = _parsed(path)
    tables = {"": {name: value for name, value in content.items() if name not in TABLES}}
    tables |= {name: content[name] for name in TABLES if name in content}
    options: dict[str, Any] = {}
    for table, values in tables.items():
        where = f"{os.fspath(path)}: [{table}] " if table else f"{os.fspath(path)}: "
        if not isinstance(values, dict):
            raise UsageError(f"{where}is no table", f"Write [{table}] on a line of its own, and its options below.")
        for name in values:
            _check_table(name, table, where)
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


def _check_table(name: str, table: str, where: str) -> None:
    if name in OPTIONS and OPTIONS[name].table == table:
        return
    if name in OPTIONS:
        home = f"under [{OPTIONS[name].table}]" if OPTIONS[name].table else "above the first table"
        raise UsageError(f"{where}{name} has its place elsewhere", f"Write it {home}.")
    known = [other for other, option in OPTIONS.items() if option.table == table]
    tables = "" if table else "; tables: " + ", ".join(f"[{other}]" for other in TABLES if other)
    raise UsageError(f"{where}{name} is no option", f"Allowed here: {', '.join(known)}{tables}.")


# Writing


def run_config(header: BundleHeader) -> str:
    """Write a bundle's settings as TOML for `train --config`.

    Raises:
        ModelError: if the bundle's training settings are not valid.
    """
    tokenizer = header.tokenizer or TokenizerSettings(unit=header.unit, closed=header.closed)
    corpus = header.corpus or CorpusSettings(sequence=header.sequence)
    text = named(tokenizer) | named(corpus)
    text["max_line"] = -(-corpus.max_line >> 20)
    if header.unit != "subword":
        del text["subword"]
    model = named(header.model)
    model |= {"ngram_embeddings": bool(header.model.ngram_rows), "ngram": "on" if header.discounts else "off"}
    training = named(_training(header.training))
    return _comments(header) + toml({"text": text, "model": model, "training": training})


def _training(summary: TrainingSummary) -> TrainingSettings:
    """The training settings with their budget, which older bundles hold as text only."""
    settings: dict[str, Any] = {
        name: value for name, value in summary.settings.items() if name in TrainingSettings.model_fields
    }
    try:
        amount, kind = summary.budget.split()
        budget = {"s": {"seconds": float(amount)}, "epochs": {"epochs": float(amount)}}.get(kind)
        settings = (budget or {"steps": int(amount)}) | {"seed": summary.seed} | settings
        return TrainingSettings.model_validate(settings, strict=False)
    except (ValidationError, ValueError):
        raise ModelError("the bundle's training settings are not valid", "Use another copy, or train again.") from None


def _comments(header: BundleHeader) -> str:
    made = header.provenance
    lines = [
        f"corpus: {made.corpus_bytes} bytes, SHA-256 {made.corpus_digest}; name it on the command line",
        "threads are chosen by timing; for a bit-identical run give the same --threads",
    ]
    if made.held_out_from == "file":
        lines.append("the held-out text was a separate file: name it with --valid")
    if made.began_from is not None:
        lines.append(f"training began from the bundle with the digest {made.began_from}: name it with --init")
    elif header.tokenizer is None:
        lines.append("how the vocabulary was learned is not recorded: name the token store as the corpus")
    return "".join(f"# {one_line(line)}\n" for line in lines)


def toml(tables: Mapping[str, Mapping[str, Value]]) -> str:
    """Write tables of plain values as TOML; table names and keys must be bare words."""
    parts = [
        f"\n[{name}]\n" + "".join(f"{k} = {_value(v)}\n" for k, v in table.items()) for name, table in tables.items()
    ]
    return "".join(parts)


def _value(value: Value) -> str:
    if isinstance(value, tuple):
        return f"[{', '.join(map(_value, value))}]"
    if isinstance(value, str):  # TOML accepts JSON's escapes; JSON leaves DEL unescaped
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return str(value).lower() if isinstance(value, bool) else repr(value)
