"""Files of held-out text: `--valid` is read, `--write-valid` is written."""

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
from seqmodel.training.run.request import TrainingRequest
from seqmodel.training.training_data import TrainingData


def check_held_out_files(request: TrainingRequest) -> None:
    """Check, before the corpus is read, that `--valid` is readable and `--write-valid` overwrites nothing.

    Raises:
        DataError: if the held-out text cannot be read, or is empty.
        UsageError: if standard input is named for both texts, or the file to write exists.
    """
    if request.write_valid is not None:
        refuse_existing(request.write_valid, request.force or request.resume)
    if request.valid is None:
        return
    if request.valid == STDIN and STDIN in request.inputs:
        raise UsageError("standard input is both the corpus and --valid", "Name a file for one of them.")
    sources = find_sources([request.valid], request.corpus)
    readable = all(source.path is not None and source.path.is_file() for source in sources)
    # A checkpoint, a bundle or a token store fixes how text is read; none is open yet.
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
    """Write the held-out sequences as text; line ends become newlines.

    Raises:
        UsageError: if the file exists and `force` is False.
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
    """The text to write between two records; see `RecordCutter`."""
    return separator[: separator.rfind("\n") + 1] if "\n" in separator else f"\n{separator}\n"
