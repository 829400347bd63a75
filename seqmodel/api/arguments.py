"""A verb from a function that takes settings: their options become its keywords, as the command line has them.

@verb
def filter(inputs, model=None, *, rule: FilterSettings, reading: ReadingSettings) -> Filtered: ...

filter("a.txt", below=3.0, max_line=1)        # Python users write options
filter("a.txt", rule=FilterSettings(…))       # the command line hands over settings, checked already
"""

from __future__ import annotations

import difflib
import functools
import inspect
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from seqmodel.errors import UsageError
from seqmodel.settings import checked, settings_of

Result = TypeVar("Result")


def verb(function: Callable[..., Result]) -> Callable[..., Result]:
    """The function, to be called with options or with settings; its signature shows the options."""
    groups = settings_of(function)
    fields = {field: kind.model_fields[field] for kind in groups.values() for field in kind.options()}
    own = [p for p in inspect.signature(function).parameters.values() if p.name not in groups]

    @functools.wraps(function)
    def call(*arguments: Any, **given: Any) -> Result:
        _refuse_strangers(given, [*(p.name for p in own), *groups, *fields])
        settings = {name: given.pop(name) for name in groups if name in given}
        for name, kind in groups.items():
            options = {field: given.pop(field) for field in kind.options() if field in given}
            settings.setdefault(name, checked(kind, **options))
        return function(*arguments, **given, **settings)

    keyword = inspect.Parameter.KEYWORD_ONLY
    flat = [inspect.Parameter(n, keyword, default=f.default, annotation=f.annotation) for n, f in fields.items()]
    call.__signature__ = inspect.signature(function).replace(parameters=[*own, *flat])  # type: ignore[attr-defined]
    return call


def _refuse_strangers(given: Iterable[str], known: list[str]) -> None:
    for name in given:
        if name not in known:
            close = difflib.get_close_matches(name, known, 1)
            raise UsageError("is no option", f"Did you mean {close[0]}?" if close else "", setting=name)
