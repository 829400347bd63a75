"""A run in a process other than the first: the same steps on its own lanes; it writes no files."""

from __future__ import annotations

import dataclasses
import time
from collections import deque
from pathlib import Path
from typing import Any

from seqmodel.choices import Precision
from seqmodel.model.bundle import read_bundle_header
from seqmodel.tokens.store import TokenStore, is_store, open_store
from seqmodel.training.events import Finished
from seqmodel.training.run.checkpoints import Checkpoint, read_run
from seqmodel.training.run.request import TrainingResult
from seqmodel.training.run.run import TrainingRun
from seqmodel.training.run.start import beginning_of


class FollowingRun(TrainingRun):
    """Reads the files that the first process has made, and follows the numbers that it broadcasts."""

    def _carry_out(self) -> TrainingResult:
        threads, half = self.group.broadcast(0, 0)  # the first has made the token store, and its plan
        precision: Precision = "bf16" if half else "fp32"
        settled: dict[str, Any] = {"threads": int(threads), "precision": precision}
        self.request = dataclasses.replace(self.request, training=self.request.training | settled)
        checkpoint = read_run(self.checkpoint_path) if self.request.resume else None
        self.begin = beginning_of(self.request, checkpoint)
        self.notes = checkpoint.progress["notes"] if checkpoint is not None else {}
        data, _ = self._data(checkpoint)
        trainer = self._trainer(data, checkpoint, self._device(checkpoint))
        (finished,) = deque(trainer.events(checkpoint=self.checkpoint_path), maxlen=1)
        assert isinstance(finished, Finished)
        self.group.broadcast()  # the first has written the bundle
        header, _ = read_bundle_header(self.output)
        seconds = time.monotonic() - self.started
        return TrainingResult(self.output, header, not finished.annealed, seconds, finished.tokens_per_second)

    def _store(self, checkpoint: Checkpoint | None) -> TokenStore:
        stores = [name for name in self.request.inputs if name != "-" and is_store(Path(name))]
        return open_store(Path(stores[0]) if stores else self.store_path)

    def _valid_store(self, store: TokenStore, checkpoint: Checkpoint | None) -> TokenStore | None:
        there = self.request.valid is not None or (checkpoint is not None and self.valid_path.exists())
        return open_store(self.valid_path) if there else None
