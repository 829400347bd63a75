"""The held-out text of a run as a file: the one that is given, and the one that is written for other models."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from seqmodel.errors import UsageError
from seqmodel.files import refuse_existing, write_alone
from seqmodel.text.folders import shown_name
from seqmodel.text.sequences import read_sequences
from seqmodel.text.sources import STDIN, find_sources
from seqmodel.tokens.fitting import NoText
from seqmodel.tokens.store import is_store, sequences_in
from seqmodel.tokens.tokenizer import END
from seqmodel.training.loop import TrainingData
from seqmodel.training.run.request import TrainingRequest


def check_held_out_files(request: TrainingRequest) -> None:
    """See before the corpus is read that `--valid` can be, and that `--write-valid` replaces nothing.

    Raises:
        DataError: if the held-out text cannot be read, or there is none.
        UsageError: if standard input is to be both texts, or the file to be written exists.
    """
    if request.write_valid is not None:
        refuse_existing(request.write_valid, request.force or request.resume)
    if request.valid is None:
        return
    if request.valid == STDIN and STDIN in request.inputs:
        raise UsageError("standard input is both the corpus and --valid", "Name a file for one of them.")
    sources = find_sources([request.valid], request.corpus)
    readable = all(source.path is not None and source.path.is_file() for source in sources)
    # How the text is read is fixed already by a checkpoint, a bundle or a token store, and not known here.
    fixed = (
        request.resume
        or request.init is not None
        or any(name != STDIN and is_store(Path(name)) for name in request.inputs)
    )
    if readable and not fixed:
        blocks = read_sequences(sources, request.corpus, any_bytes=request.tokenizer.unit == "byte")
        if not any(blocks):
            raise NoText(shown_name(request.valid))


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
            for part in sequences_in(ids):
                if len(part):
                    text = tokenizer.decode(part[part != END].tolist())
                    file.write((text + between).encode("utf-8", "surrogateescape"))


def _between_records(separator: str) -> str:
    """What is no text of a separator; see `RecordCutter`."""
    return separator[: separator.rfind("\n") + 1] if "\n" in separator else f"\n{separator}\n"
