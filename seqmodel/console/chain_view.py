"""The chain rule as a table for people: the factors of a short text's probability, token by token."""

from __future__ import annotations

import io
from typing import TextIO

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from seqmodel.api.model import Model
from seqmodel.console.score_output import ScoreOutput
from seqmodel.reports.explanation import Step, chain
from seqmodel.scoring.lines import LineScore
from seqmodel.text.visible import with_signs

CONTEXT = 16  # characters
WIDTH_OFF_TERMINAL = 120
MOST_BITS = 1000  # smaller probabilities than 2^−1000 are not written out


class ChainOutput(ScoreOutput):
    """Prints for each line a table of factors, their product and its perplexity."""

    def __init__(self, model: Model, stream: TextIO) -> None:
        super().__init__(stream)
        self.model = model
        self.terminal = Console(file=stream)

    def line(self, file: str, row: LineScore) -> None:
        steps = chain(self.model.runtime, self.model.tokenizer, row, CONTEXT)
        self._print(Text(f"x = {with_signs(row.text)}"))
        if steps:
            self._print(self._table(steps))
        self._print(Text("\n".join(self._sums(row, steps)) + "\n"))

    def _table(self, steps: list[Step]) -> Table:
        mixed = steps[0].experts is not None
        table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
        table.add_column("t", justify="right", no_wrap=True)
        table.add_column("context", justify="right", overflow="ellipsis", no_wrap=True)
        table.add_column("token", no_wrap=True)
        for name in ("p(token |\ncontext)", "−log₂ p", "sum of\n−log₂ p"):
            table.add_column(name, justify="right", no_wrap=True)
        for name in ("recur-\nrence", "counts", "λ") if mixed else ():
            table.add_column(name, justify="right", style="dim", no_wrap=True)
        for number, step in enumerate(steps, start=1):
            cells = [str(number), step.before, step.token, probability(step.p), f"{step.bits:.3f}", f"{step.sum:.3f}"]
            if step.experts is not None:
                experts = step.experts
                cells += [probability(experts.recurrence), probability(experts.counts), f"{experts.share:.2f}"]
            table.add_row(*map(Text, cells))
        return table

    def _sums(self, row: LineScore, steps: list[Step]) -> list[str]:
        bits, tokens, chars = row.bits, len(row.ids), len(row.text)
        if not tokens:
            return ["log₂ p(x) = 0: no token is predicted"]
        value = f" = {2**-bits:.3g}" if bits < MOST_BITS else ""
        lines = [f"log₂ p(x) = −{bits:.3f}, so p(x) = 2^−{bits:.3f}{value}"]
        if steps[0].experts is not None:
            lines.insert(0, "p = λ · recurrence + (1 − λ) · counts")
        if chars and not self.model.header.closed:
            lines.append(f"bits per char: {bits:.3f} / {chars} = {bits / chars:.3f}")
        end = " (the end symbol is one)" if row.ends else " (the newline is one)" if row.end_newline else ""
        choices = f"{2 ** (bits / tokens):,.3f}"
        lines.append(f"perplexity per token{end}: 2^({bits:.3f} / {tokens}) = {choices}")
        return lines

    def _print(self, shown: Table | Text) -> None:
        buffer = io.StringIO()
        if self.terminal.is_terminal:
            Console(file=buffer, width=self.terminal.width, force_terminal=True, highlight=False).print(shown)
            self.stream.write(buffer.getvalue())
        else:
            Console(file=buffer, width=WIDTH_OFF_TERMINAL, force_terminal=False, highlight=False).print(shown)
            self.stream.write("\n".join(line.rstrip() for line in buffer.getvalue().split("\n")))


def probability(p: float) -> str:
    """A probability with four decimals, or with a power of ten below 0.001."""
    return f"{p:.4f}" if p >= 0.001 else f"{p:.1e}"
