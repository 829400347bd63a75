"""The `.jsonl` log beside a bundle: one JSON object per event."""

from __future__ import annotations

import dataclasses
import json
import math
import os
from contextlib import suppress
from pathlib import Path
from typing import Any, TextIO

from seqmodel.files import file_failure
from seqmodel.training.events import CheckpointSaved, Event, Sampled, StepDone

STEP_SECONDS, STEP_SHARE = 1.0, 0.01  # between logged steps: this share of the elapsed time, at most these seconds


class RunLog:
    """Appends events, but no sampled text, to a file; a context manager."""

    def __init__(self, path: Path, append: bool) -> None:
        self.path = path
        try:
            if append and path.exists():
                _drop_cut_line(path)
            self.file: TextIO = path.open("a" if append else "w", encoding="utf-8")
        except OSError as error:
            raise file_failure(error, path, "writing") from error
        self.last = -math.inf

    def __enter__(self) -> RunLog:
        return self

    def __exit__(self, *exc: object) -> None:
        with suppress(OSError):  # each event was flushed; `add` has reported a full disk
            self.file.close()

    def add(self, event: Event) -> None:
        """Append an event, if it is logged.

        Raises:
            ResourceError: if the disk is full.
        """
        if isinstance(event, Sampled | CheckpointSaved):
            return
        if isinstance(event, StepDone):
            if event.elapsed - self.last < min(STEP_SECONDS, STEP_SHARE * event.elapsed):
                return
            self.last = event.elapsed
        row = {"event": type(event).__name__, **_as_json(dataclasses.asdict(event))}
        try:
            self.file.write(json.dumps(row) + "\n")
            self.file.flush()
        except OSError as error:
            raise file_failure(error, self.path, "writing") from error


def _drop_cut_line(path: Path) -> None:
    """Remove an incomplete last line, which a full disk or a power failure may have left."""
    os.truncate(path, path.read_bytes().rfind(b"\n") + 1)


def _as_json(fields: dict[str, Any]) -> dict[str, Any]:
    """Replace infinities and NaN, which JSON lacks, by None."""
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value for name, value in fields.items()
    }
