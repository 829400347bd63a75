"""A comparison of models: tables for people, or a row per model for programs, on standard output."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator

from rich.console import Console
from rich.table import Table
from rich.text import Text

from seqmodel.console.rows import RowFormat, RowWriter, data_output
from seqmodel.console.terminal import say
from seqmodel.scoring.comparison import Comparison, Difference, LineDifference, ModelFigures
from seqmodel.text.visible import visible

LEAST_WIDTH = 100  # columns of the tables off a terminal, beside the models' names
_COLUMNS = (
    *("model", "unit", "sequence", "lines", "tokens", "words", "chars", "bits"),
    *("bits_per_char", "bits_per_word", "perplexity"),
    *("bits_per_char_difference", "bits_per_char_low", "bits_per_char_high"),
    *("bits_per_word_difference", "bits_per_word_low", "bits_per_word_high"),
    *("resampled", "resampled_number"),
)


def write_comparison(found: Comparison, style: RowFormat) -> None:
    """Write a row per model. Differences are from the first model, whose own are empty."""
    writer = RowWriter(data_output("byte"), _COLUMNS, style, header=True)
    for model in found.models:
        writer.write(
            [
                [
                    *(model.name, model.unit, model.sequence),
                    *(found.lines, model.tokens, found.words, found.chars, model.bits),
                    *(model.bits_per_char, model.bits_per_word, model.perplexity),
                    *_cells(model.per_char),
                    *_cells(model.per_word),
                    *(found.drawn, found.number),
                ]
            ]
        )
    writer.flush()


def _cells(difference: Difference | None) -> list[float]:
    if difference is None:
        return [math.nan] * 3
    return [difference.value, difference.low, difference.high]


def say_how(found: Comparison) -> None:
    """Say on standard error what a reader must know about the figures."""
    kinds = dict.fromkeys(model.sequence for model in found.models)
    if len(kinds) > 1:
        say(f"the models' sequences differ ({', '.join(kinds)}): each reads the lines in its own way")
    if math.isnan(found.models[0].bits_per_char):
        say("a closed vocabulary has no bits per char: what it does not know has lost its characters")


def show_comparison(found: Comparison) -> None:
    """Print the models, their differences from the first, and the lines on which they differ most."""
    names = [visible(model.name) for model in found.models]
    width = None if sys.stdout.isatty() else LEAST_WIDTH + max(map(len, names))
    out = Console(file=data_output("char"), highlight=False, width=width)
    out.print(_models(found))
    first, *others = found.models
    out.print()
    out.print(_differences(first, others))
    if found.number > 1:
        out.print(f"95 % intervals: {found.resamples:,} resamples of {found.number:,} {found.drawn}, seed {found.seed}")
    for name, model in zip(names[1:], others, strict=True):
        for much, lines in (("more", model.worse), ("less", model.better)):
            if lines:
                out.print()
                out.print(Text(f"lines that cost {name} {much} than {names[0]}"), soft_wrap=True)
                for row in _lines(lines, found.files > 1, out.width):
                    out.print(row, no_wrap=True, overflow="ellipsis")


def _table(*left: str, right: tuple[str, ...]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for name in left:
        table.add_column(name, overflow="fold")
    for name in right:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def _models(found: Comparison) -> Table:
    columns = ("tokens", "bits", "bits\nper char", "bits\nper word", "perplexity\nper token")
    table = _table("model", "unit and\nsequence", right=columns)
    for model in found.models:
        figures = (model.bits_per_char, model.bits_per_word, model.perplexity)
        table.add_row(
            *(Text(visible(model.name)), f"{model.unit} {model.sequence}"),
            *(f"{model.tokens:,}", f"{model.bits:,.1f}", *map(_figure, figures)),
        )
    return table


def _differences(first: ModelFigures, others: list[ModelFigures]) -> Table:
    table = _table("model", "difference in", right=("value", "95 % interval", "excludes 0"))
    table.columns[0].header = Text(f"against {visible(first.name)}")
    for model in others:
        name = visible(model.name)
        for per, difference in (("bits per char", model.per_char), ("bits per word", model.per_word)):
            if difference is not None:
                table.add_row(Text(name), per, *_interval(difference))
                name = ""
    return table


def _interval(difference: Difference) -> Iterator[str]:
    yield _figure(difference.value, "+")
    if math.isnan(difference.low):
        yield from ("", "too little text")
    else:
        yield f"{_figure(difference.low, '+')} to {_figure(difference.high, '+')}"
        yield "yes" if difference.excludes_zero else "no"


def _lines(lines: tuple[LineDifference, ...], files: bool, width: int) -> Iterator[Text]:
    """Yield rows of text; the last column is cut at `width`."""
    places = [f"{visible(line.file)}:{line.number}" if files else str(line.number) for line in lines]
    wide = max(len("line"), *map(len, places))
    yield Text(f"{'line':>{wide}}  {'difference':>12}  {'bits':>12}  text", style="bold")
    for place, line in zip(places, lines, strict=True):
        figures = f"{place:>{wide}}  {_figure(line.difference, '+'):>12}  {_figure(line.bits):>12}"
        yield Text(f"{figures}  {visible(line.text[: width + 1])}")


def _figure(value: float, sign: str = "") -> str:
    return "" if math.isnan(value) else f"{value + 0.0:{sign},.4f}"
