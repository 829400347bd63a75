"""seqmodel: recurrent language models on your own text.

The public names are loaded when they are first used, so that importing the package costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from seqmodel.api.model import Model, mix
    from seqmodel.api.verbs import compare, filter, load, plot, tokenize, train
    from seqmodel.errors import DataError, ModelError, ResourceError, SeqmodelError, UsageError

__version__ = "0.1.0"

_HOMES = {
    **dict.fromkeys(("compare", "filter", "load", "plot", "tokenize", "train"), "seqmodel.api.verbs"),
    **dict.fromkeys(("Model", "mix"), "seqmodel.api.model"),
    **dict.fromkeys(("DataError", "ModelError", "ResourceError", "SeqmodelError", "UsageError"), "seqmodel.errors"),
}

__all__ = [
    "DataError",
    "Model",
    "ModelError",
    "ResourceError",
    "SeqmodelError",
    "UsageError",
    "compare",
    "filter",
    "load",
    "mix",
    "plot",
    "tokenize",
    "train",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'seqmodel' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
