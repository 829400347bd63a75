"""The output of `seqmodel top`: a row for each sequence when its rank is known, then a summary of the search."""

from __future__ import annotations

from typing import TextIO

from seqmodel.console.rows import RowFormat, RowWriter
from seqmodel.console.terminal import say
from seqmodel.decoding.best_first import TopSearch

COLUMNS = ("rank", "bits", "probability", "cumulative", "proved", "text")


def write_top(search: TopSearch, stream: TextIO, style: RowFormat, header: bool, quiet: bool) -> None:
    """Write the most probable sequences to `stream`, and a summary to standard error unless `quiet`."""
    writer = RowWriter(stream, COLUMNS, style, header)
    number = 0
    for row in search:
        number = row.rank
        writer.write([(row.rank, row.bits, row.probability, row.cumulative, int(row.proved), row.text)])
        writer.flush()
    writer.flush()
    if not quiet:
        say(_summary(search, number))


def _summary(search: TopSearch, number: int) -> str:
    told = (
        f"sequences: {number:,}, together {search.covered:.4g} of the probability; "
        f"beginnings extended: {search.extended:,}; "
    )
    if search.proved == number == search.settings.count:
        return told + "order proved"
    if not (search.spent or search.dropped):
        return told + "order proved, and there are no others"
    limits = {
        "beginnings were dropped (--frontier, --memory)": search.dropped,
        "the effort was spent (--effort)": search.spent,
    }
    why = " and ".join(limit for limit, reached in limits.items() if reached)
    return told + f"order proved for {search.proved:,} of them, then {why}"
