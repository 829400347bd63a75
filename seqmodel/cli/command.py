"""A command from a function that takes settings: their options become the command's, each written once.

    @command
    def filter(inputs: Inputs = None, *, rule: FilterSettings, reading: ReadingSettings) -> None: ...

Every field of `FilterSettings` that carries an `Option` is an option of the command. The function is called with a
`FilterSettings` in which the fields that the user gave are set; `model_fields_set` tells which. Every command has
`--debug` as well.
"""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable, Iterator
from typing import Annotated, Any, Union, get_args, get_origin

import typer

from seqmodel.console.failures import guarded
from seqmodel.settings import SHORTER, Settings, bounds, checked, settings_of

_DEBUG = Annotated[bool, typer.Option("--debug", help="Show a traceback when something fails.")]


def command(function: Callable[..., None]) -> Callable[..., None]:
    """The function as Typer calls it, with one parameter for each option."""
    groups = settings_of(function)

    def run(typer_context: typer.Context, debug: bool, **values: Any) -> None:
        settings = {name: _settings(typer_context, kind, values) for name, kind in groups.items()}
        function(**values, **settings)

    plain = inspect.signature(function, eval_str=True).parameters
    parameters = [
        _keyword("typer_context", typer.Context),
        *(flat for p in plain.values() for flat in (_options(groups[p.name]) if p.name in groups else [p])),
        _keyword("debug", _DEBUG, False),
    ]
    keywords = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in parameters]
    run.__name__, run.__doc__ = function.__name__, function.__doc__
    run.__signature__ = inspect.Signature(keywords)  # type: ignore[attr-defined]
    run.__annotations__ = {p.name: p.annotation for p in keywords}
    return guarded(run)


def _keyword(name: str, annotation: Any, default: Any = inspect.Parameter.empty) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=annotation, default=default)


def _settings(context: typer.Context, kind: type[Settings], values: dict[str, Any]) -> Settings:
    """The settings that the user gave, taken out of the values of all options."""
    own = {field: values.pop(field) for field in kind.options()}
    sources = {field: context.get_parameter_source(field) for field in own}
    given = {field: own[field] for field, source in sources.items() if source is not None and source.name != "DEFAULT"}
    return checked(kind, **{field: tuple(v) if isinstance(v, list) else v for field, v in given.items()})


def _options(kind: type[Settings]) -> Iterator[inspect.Parameter]:
    """A parameter for each option of the settings."""
    for name, option in kind.options().items():
        field = kind.model_fields[name]
        limits = bounds(field.annotation, field.metadata)
        made = typer.Option(
            *(option.names or (f"--{SHORTER.get(name, name).replace('_', '-')}",)),
            help=option.help,
            metavar=option.metavar,
            min=limits.get("least"),
            max=limits.get("most"),
            rich_help_panel=option.panel or kind.panel,
            show_default=field.default not in (None, "", (), False),
        )
        default = list(field.default) if isinstance(field.default, tuple) else field.default
        yield _keyword(name, Annotated[_typed(field.annotation, option.metavar is not None), made], default)


def _typed(annotation: Any, as_text: bool) -> Any:
    """The type by which Typer reads a value; the settings check the rest."""
    arguments = get_args(annotation)
    if get_origin(annotation) in (Union, types.UnionType):
        (inner,) = (part for part in arguments if part is not type(None))
        return _typed(inner, as_text) | None
    if get_origin(annotation) is Annotated:
        return _typed(arguments[0], as_text)
    if get_origin(annotation) is tuple and arguments[-1] is Ellipsis:
        return list[_typed(arguments[0], as_text)]  # type: ignore[misc]
    return str if as_text else annotation
