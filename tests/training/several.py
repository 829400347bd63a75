"""What each of several processes does in a test: runs of one corpus, one after another, and a list of how they ended.

Arguments: the corpus, and a folder for the bundles and each process's list.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from seqmodel.api.verbs import run_training
from seqmodel.errors import ResourceError, SeqmodelError
from seqmodel.training import loop, throughput
from seqmodel.training.ranks import place_of_process
from seqmodel.training.run.worker import WorkerRun
from tests.training.test_resume import request, stop_after

TRAINING = {"lanes": 5, "steps": 16, "dropout": 0.2, "ngram_dropout": 0.3}


def how_it_ends(run: Callable[[], Any]) -> list[Any]:
    try:
        return ["interrupted" if run().interrupted else "done", 0]
    except SeqmodelError as error:
        return [type(error).__name__, error.exit_code]


def main(corpus: Path, folder: Path) -> None:
    def train(name: str, changes: dict[str, Any] | None = None, stop: int = 99, resume: bool = False) -> list[Any]:
        asked = request(folder / f"{name}.seqmodel", corpus, training=TRAINING | (changes or {}), resume=resume)
        return how_it_ends(lambda: run_training(asked, should_stop=stop_after(stop)))

    def full_disk(*_: object) -> None:
        raise ResourceError("no space left")

    def lost(*_: object) -> None:
        sys.exit(0)

    ends = {
        "whole": train("whole"),
        "stopped": train("cut", stop=7),
        "resumed": train("cut", resume=True),
        "no number": train("wild", {"learning_rate": 1e30}),
    }
    throughput.CHECKPOINT_SECONDS = 0.0
    loop.write_checkpoint = full_disk  # type: ignore[assignment, attr-defined]
    ends["full disk"] = train("full")
    (folder / f"{place_of_process().rank}.json").write_text(json.dumps(ends))
    WorkerRun._trainer = lost  # type: ignore[assignment, method-assign]
    (folder / "lost.json").write_text(json.dumps(train("lost")))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
