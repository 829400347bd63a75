"""The held-out text of a run as a file, for those who compare other models on it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from seqmodel.files import write_alone
from seqmodel.tokens.tokenizer import END
from seqmodel.training.loop import TrainingData


def write_held_out(path: Path, data: TrainingData, force: bool) -> None:
    """Export the held-out text, one sequence after another, as the files held it (line ends become newlines).

    Raises:
        UsageError: if the file exists and `force` is not given.
    """
    tokenizer = data.valid_store.tokenizer
    header = data.store.header
    between = {"line": "\n", "paragraph": "\n\n", "document": "\n", "stream": ""}[header.sequence]
    if header.corpus is not None and header.corpus.record_separator is not None:
        between = _between_records(header.corpus.record_separator)
    with write_alone(path, force) as file:
        for begin, end in data.held_out:
            ids = np.asarray(data.valid_store.ids[begin:end])
            for part in np.split(ids, np.flatnonzero(ids == END) + 1):
                if len(part):
                    text = tokenizer.decode(part[part != END].tolist())
                    file.write((text + between).encode("utf-8", "surrogateescape"))


def _between_records(separator: str) -> str:
    """What is no text of a separator; see `RecordCutter`."""
    return separator[: separator.rfind("\n") + 1] if "\n" in separator else f"\n{separator}\n"
