"""A run in a process other than the first: the same steps on its own lanes; it writes no files."""

from __future__ import annotations

import dataclasses
import time
from collections import deque
from pathlib import Path

from seqmodel.files import beside
from seqmodel.model.bundle import read_bundle_header
from seqmodel.tokens.store import is_store, open_store
from seqmodel.training.events import Finished
from seqmodel.training.run.checkpoints import read_run
from seqmodel.training.run.plan import run_device
from seqmodel.training.run.request import TrainingResult
from seqmodel.training.run.run import TrainingRun
from seqmodel.training.run.start import Start
from seqmodel.training.run.stores import training_data
from seqmodel.training.training_data import TrainingData


class WorkerRun(TrainingRun):
    """Reads the files that the first process has made, and follows the numbers that it broadcasts."""

    def _carry_out(self) -> TrainingResult:
        threads, half = self.group.broadcast(0, 0)  # the first has made the token stores, and its plan
        settled = {"threads": int(threads), "precision": "bf16" if half else "fp32"}
        training = self.request.training.model_copy(update=settled)
        self.request = dataclasses.replace(self.request, training=training)
        start = Start.of(self.request, read_run(self.checkpoint_path) if self.request.resume else None)
        trainer = self._trainer(start, self._data(start), run_device(self.request, start, self.group.place))
        (finished,) = deque(trainer.events(checkpoint=self.checkpoint_path), maxlen=1)
        assert isinstance(finished, Finished)
        self.group.broadcast()  # the first has written the bundle
        header, _ = read_bundle_header(self.output)
        seconds = time.monotonic() - self.started
        return TrainingResult(self.output, header, not finished.annealed, seconds, finished.tokens_per_second)

    def _data(self, start: Start) -> TrainingData:
        given = [name for name in self.request.inputs if name != "-" and is_store(Path(name))]
        valid_path = beside(self.output, ".valid.tokens")
        has_valid = self.request.valid is not None or (not start.is_new and valid_path.exists())
        store = open_store(Path(given[0]) if given else beside(self.output, ".tokens"))
        return training_data(store, open_store(valid_path) if has_valid else None)
