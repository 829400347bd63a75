"""Filtered lines on standard output, as they were read; their number and what was skipped on standard error."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import TextIO

from seqmodel.console.rows import steering
from seqmodel.console.table_columns import say_skipped
from seqmodel.console.terminal import say, say_decomposed
from seqmodel.scoring.filtering import FilteredLines
from seqmodel.text.corpus import Line


def show_filtered(filtered: FilteredLines, count: bool, quiet: bool) -> None:
    """Write the lines that pass, batch by batch, or with `count` only their number."""
    output = LineOutput(sys.stdout)
    for lines in filtered.batches():
        if not count:
            output.write(lines, filtered.header)
    if count:
        sys.stdout.write(f"{filtered.kept}\n")
    elif filtered.inputs.table is not None:
        output.write([], filtered.header)  # a table without rows keeps its header
    if not quiet:
        say(f"kept {filtered.kept:,} of {filtered.read:,} line{'s' * (filtered.read != 1)}")
        say_skipped(filtered.inputs.table)
        say_decomposed(filtered.decomposed)


class LineOutput:
    """Writes lines as they were read, byte for byte; on a terminal control characters are shown, not sent.

    The last line of a file may lack its newline: it gets one if another line follows.
    """

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream
        self.steering = steering(stream)
        self.begun = self.open = False

    def write(self, lines: Iterable[Line], header: Iterable[Line] = ()) -> None:
        """Write lines and flush; `header` comes before the first."""
        parts = []
        for line in lines if self.begun else [*header, *lines]:
            parts += [b"\n"] * self.open + [line.as_read]
            self.open = not parts[-1].endswith(b"\n")
        self.begun = True
        data = b"".join(parts)
        if self.steering:
            self.stream.write(data.decode("utf-8", "backslashreplace").translate(self.steering))
        else:
            self.stream.buffer.write(data)
        self.stream.flush()
