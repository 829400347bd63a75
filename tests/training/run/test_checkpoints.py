"""A checkpoint whose digests are right, and whose parts are not, is refused before anything is made of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from seqmodel.api.verbs import run_training
from seqmodel.errors import ModelError
from seqmodel.model.tensors import read_tensors, write_tensors
from seqmodel.training.run.checkpoints import read_checkpoint, read_run
from tests.conftest import little_text
from tests.training.test_resume import request, stop_after


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkpoint of a run of two networks that was stopped."""
    folder = tmp_path_factory.mktemp("run")
    corpus = folder / "corpus.txt"
    corpus.write_text(little_text(60))
    run_training(request(folder / "m.seqmodel", corpus, model={"networks": 2}), should_stop=stop_after(3))
    return folder / "m.checkpoint"


Change = Callable[[dict[str, dict[str, torch.Tensor]], dict[str, Any]], None]
WEIGHT = "networks.1.token.weight"


def number(*keys: str | int, to: Any) -> Change:
    def apply(groups: dict[str, dict[str, torch.Tensor]], progress: dict[str, Any]) -> None:
        inner: Any = progress
        for key in keys[:-1]:
            inner = inner[key]
        inner[keys[-1]] = to

    return apply


def tensor(group: str, name: str, change: Callable[[torch.Tensor], torch.Tensor]) -> Change:
    def apply(groups: dict[str, dict[str, torch.Tensor]], progress: dict[str, Any]) -> None:
        groups[group][name] = change(groups[group][name])

    return apply


def without(group: str) -> Change:
    def apply(groups: dict[str, dict[str, torch.Tensor]], progress: dict[str, Any]) -> None:
        del groups[group]

    return apply


def forge(path: Path, change: Change, forged: Path) -> None:
    """Change the parts of a checkpoint, which then has right digests."""
    file, arrays = read_tensors(path)
    groups: dict[str, dict[str, torch.Tensor]] = {}
    for name, array in arrays.items():
        group, _, rest = name.partition("/")
        groups.setdefault(group, {})[rest] = torch.from_numpy(array)
    metadata = {name: value for name, value in file.metadata.items() if name != "sha256"}
    change(groups, metadata["progress"])
    flat = {f"{group}/{name}": tensor.numpy() for group, some in groups.items() for name, tensor in some.items()}
    write_tensors(forged, dict(sorted(flat.items(), key=lambda item: (-item[1].dtype.itemsize, item[0]))), metadata)


MISFITS: dict[str, Change] = {
    "no weights": without("weights"),
    "a weight of another shape": tensor("weights", WEIGHT, lambda w: w[:-1]),
    "a weight of another type": tensor("weights", WEIGHT, lambda w: w.double()),
    "a weight that is no number": tensor("weights", WEIGHT, lambda w: w * torch.nan),
    "a network far larger than its weights": number("model", "width", to=8192),
    "more networks than there are": number("model", "networks", to=16),
    "n-gram keys that fall": tensor("ngrams", "2", lambda k: k.flip(0)),
    "no n-gram keys": without("ngrams"),
    "lanes of another number": tensor("lanes", "0", lambda lane: lane[:-1]),
    "no lanes' history": without("random"),
    "history beyond the vocabulary": tensor("random", "history", lambda ids: ids + 10_000),
    "noise of another type": tensor("random", "torch", lambda state: state.float()),
    "a step before the first": number("step", to=-1),
    "a number of threads that crashes": number("threads", to=10**9),
    "no budget": number("settings", "steps", to=None),
    "two budgets": number("settings", "epochs", to=1.0),
    "more lanes than memory": number("settings", "lanes", to=1 << 60),
    "an annealing over no steps": number("anneal", to=[3, 0, 1.0]),
    "a learning rate out of all bounds": number("recovery", to=[1e300, 0]),
    "time that runs backwards": number("elapsed", to=-1.0),
    "a tokenizer that is none": number("notes", "tokenizer", to=[]),
    "notes that are none": number("notes", to=7),
    "a digest that is a path": number("notes", "began_from", to="../../etc/passwd"),
    "epochs without end": number("settings", "epochs", to=1e308),
    "a step that no number holds twice": number("step", to=1 << 62),
    "an epoch without end": number("epoch", to=1e18),
    "a setting too many": number("settings", "more", to=1),
}


@pytest.mark.parametrize("name", MISFITS)
def test_parts_that_do_not_fit_together_are_refused(name: str, path: Path, tmp_path: Path) -> None:
    forged = tmp_path / "forged.checkpoint"
    forge(path, MISFITS[name], forged)
    with pytest.raises(ModelError, match="do not fit together"):
        read_run(forged)


def test_what_was_written_is_read_back_as_it_was(path: Path) -> None:
    run, kept = read_run(path), read_checkpoint(path)
    assert run.progress.model_dump() == kept.progress.model_dump() and run.groups.keys() == kept.groups.keys()


@pytest.mark.parametrize(
    "change",
    [
        tensor("optimizer", "table0.steps", lambda _: torch.tensor(-5)),
        tensor("optimizer", "table0.steps", lambda _: torch.tensor(torch.inf)),
        number("step", to=1 << 61),
    ],
    ids=["steps backwards", "steps without end", "a step that the epoch does not have"],
)
def test_what_does_not_fit_the_run_is_refused(change: Change, path: Path, tmp_path: Path) -> None:
    for name in (path.name, "m.tokens"):
        (tmp_path / name).write_bytes((path.parent / name).read_bytes())
    forge(path, change, tmp_path / path.name)
    with pytest.raises(ModelError, match="does not fit the model"):
        run_training(request(tmp_path / "m.seqmodel", tmp_path, inputs=(), resume=True, model={"networks": 2}))
