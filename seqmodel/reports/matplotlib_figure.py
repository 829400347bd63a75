"""A picture of runs as a figure by matplotlib, an optional dependency that only this module imports."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seqmodel.errors import SeqmodelError, UsageError
from seqmodel.files import write_alone
from seqmodel.reports.figure_data import Picture, RunPicture, spread

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ENDINGS = (".svg", ".png")
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")  # Okabe and Ito
STYLE: dict[Any, Any] = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "legend.frameon": False,
    "text.parse_math": False,  # a dollar in a file's name begins no formula
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "seqmodel",  # fixed ids: equal pictures give equal files
}
HELD_OUT: dict[str, Any] = {"linewidth": 1.9}
TRAIN: dict[str, Any] = {"linewidth": 0.9, "alpha": 0.45}
BASELINE: dict[str, Any] = {"linewidth": 0.8, "alpha": 0.8, "linestyle": (0, (5, 3))}
SIZE = (6.4, 3.8)  # inches
DOTS_PER_INCH = 200
_LABEL_GAP = 0.052  # of the height, between labels
_LETTERS_ACROSS = 100
_ROW_HEIGHT = 0.17  # inches, of a row of names


def check_ending(path: Path) -> None:
    """Check that a figure's name ends in .svg or .png.

    Raises:
        UsageError: if it does not.
    """
    if path.suffix.lower() not in ENDINGS:
        raise UsageError(f"{path}: no figure of this kind can be made", "Give a name that ends in .svg or .png.")


def save_figure(picture: Picture, path: Path, force: bool) -> None:
    """Draw a picture and write it atomically, as SVG or PNG by the ending of `path`.

    Raises:
        UsageError: if the ending is another, or the file exists and `force` is not given.
        SeqmodelError: if matplotlib is missing, or the file cannot be written.
    """
    check_ending(path)
    try:
        import matplotlib
        from matplotlib.figure import Figure
    except ImportError:
        raise SeqmodelError(
            "matplotlib is not installed", "pip install matplotlib, or leave -o out for a curve in the terminal."
        ) from None
    with matplotlib.rc_context(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a letter of a file's name that the font lacks becomes a box
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(STYLE)
        width, height = SIZE
        height += _ROW_HEIGHT * -(-len(picture.runs) // _columns(picture))
        figure = Figure(figsize=(width, height), layout="constrained")
        _draw(figure.add_subplot(), picture)
        kind = path.suffix.lower().removeprefix(".")
        metadata = {"Date": None} if kind == "svg" else {"Software": None}
        with write_alone(path, force) as file:
            figure.savefig(file, format=kind, dpi=DOTS_PER_INCH, metadata=metadata)


def _columns(picture: Picture) -> int:
    """The number of run names in a row of the legend."""
    return max(1, min(len(picture.runs), _LETTERS_ACROSS // (8 + max(len(run.name) for run in picture.runs))))


def _draw(axes: Axes, picture: Picture) -> None:
    axes.set(xlim=(picture.x.low, picture.x.high), ylim=(picture.y.low, picture.y.high))
    axes.set(xlabel=picture.x.title, ylabel=picture.y.title)
    for axis, ticks in ((axes.xaxis, picture.x.ticks), (axes.yaxis, picture.y.ticks)):
        axis.set_ticks([place for place, _ in ticks], [label for _, label in ticks])
    axes.yaxis.grid(True, color="0.92", linewidth=0.6)
    axes.set_axisbelow(True)
    colours = [COLOURS[number % len(COLOURS)] for number in range(len(picture.runs))]
    for run, colour in zip(picture.runs, colours, strict=True):
        _draw_run(axes, run, colour)
    _label(axes, picture, colours)
    _legends(axes, picture, colours)


def _draw_run(axes: Axes, run: RunPicture, colour: str) -> None:
    if run.train:
        axes.plot(*zip(*run.train, strict=True), color=colour, **TRAIN)
    if run.held_out:
        dots: dict[str, Any] = {"marker": "o", "markersize": 2.6} if len(run.held_out) <= 40 else {}
        axes.plot(*zip(*run.held_out, strict=True), color=colour, **HELD_OUT, **dots)
    for baseline in run.baselines:
        if not baseline.above:
            axes.axhline(baseline.bits, color=colour, **BASELINE)


def _label(axes: Axes, picture: Picture, colours: list[str]) -> None:
    """Name the baselines to the right of the picture, each as near to its height as there is room."""
    low, high = picture.y.low, picture.y.high
    entries = [
        (f"{baseline.label} {baseline.bits:.3f}", baseline.above, min(baseline.bits, high), colour)
        for run, colour in zip(picture.runs, colours, strict=True)
        for baseline in run.baselines
    ]
    places = spread([level for _, _, level, _ in entries], _LABEL_GAP * (high - low), low, high)
    for (text, above, level, colour), place in zip(entries, places, strict=True):
        side: dict[str, Any] = {"transform": axes.get_yaxis_transform(), "color": colour, "clip_on": False}
        if not above:
            axes.plot([1.0, 1.01, 1.03], [level, level, place], linewidth=0.6, **side)
        axes.text(1.035, place, text + " ↑" * above, verticalalignment="center", fontsize=8, **side)


def _legends(axes: Axes, picture: Picture, colours: list[str]) -> None:
    """Draw the legends above the picture: the colours of the runs and the kinds of lines."""
    from matplotlib.lines import Line2D

    neutral = "0.25" if len(picture.runs) > 1 else colours[0]
    kinds = {
        "held-out": Line2D([], [], color=neutral, **HELD_OUT),
        "train": Line2D([], [], color=neutral, **TRAIN),
        "final figures": Line2D([], [], color=neutral, **BASELINE),
    }
    if not any(run.baselines for run in picture.runs):
        del kinds["final figures"]
    axes.legend(
        kinds.values(), kinds.keys(), loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=len(kinds), fontsize=8
    )
    names = [run.name for run in picture.runs]
    if len(names) == 1:
        axes.set_title(names[0], loc="left", fontsize=9, pad=9)
        return
    lines = [Line2D([], [], color=colour, **HELD_OUT) for colour in colours]
    axes.figure.legend(lines, names, loc="outside upper left", ncols=_columns(picture), fontsize=8)
