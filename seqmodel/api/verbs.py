"""The verbs as plain functions: what the command line calls, and what Python users call.

    model = seqmodel.load("model.seqmodel")
    model.score(["a line", "another"])
    model.generate("Once upon", count=3)
    seqmodel.train(["corpus.txt"], "model.seqmodel", time="60s")
    seqmodel.compare(["a.seqmodel", "b.seqmodel"], "test.txt").models[1].per_char

Torch is imported by `train` alone.
"""

from __future__ import annotations

import os
import time as clock
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seqmodel.api.arguments import verb
from seqmodel.api.model import Model
from seqmodel.choices import Over
from seqmodel.command_settings import FilterSettings, NbestSettings, ReadingSettings, TableSettings, WeightSettings
from seqmodel.errors import UsageError
from seqmodel.files import exclusive, refuse_existing
from seqmodel.model.bundle import DEFAULT_NAME, read_bundle
from seqmodel.settings import CorpusSettings, TokenizerSettings
from seqmodel.training.run.request import TrainingRequest, TrainingResult

if TYPE_CHECKING:
    from seqmodel.scoring.comparison import Comparison
    from seqmodel.scoring.filtering import FilteredLines
    from seqmodel.scoring.nbest_rescoring import RescoredLists
    from seqmodel.text.inputs import LineInputs
    from seqmodel.tokens.store import TokenStore
    from seqmodel.tokens.tokenizer import Tokenizer
    from seqmodel.training.events import Event

MOST_COMPARED = 1_000_000  # lines told of, or bootstrap samples


def model_path(name: str | Path | None = None) -> Path:
    """The bundle that a user means: the one named, else `$SEQMODEL_MODEL`, else `./model.seqmodel`."""
    return Path(name or os.environ.get("SEQMODEL_MODEL") or DEFAULT_NAME)


def load(path: str | Path | None = None) -> Model:
    """Load a bundle.

    Raises:
        ModelError: if it is missing, damaged, or no bundle.
    """
    return Model(read_bundle(model_path(path)))


Paths = Sequence[str | os.PathLike[str]] | str | os.PathLike[str]


def _names(inputs: Paths) -> tuple[str, ...]:
    return (os.fspath(inputs),) if isinstance(inputs, str | os.PathLike) else tuple(os.fspath(name) for name in inputs)


# Tokenising


def tokenize(
    inputs: Paths,
    output: str | Path,
    *,
    tokenizer: TokenizerSettings | None = None,
    corpus: CorpusSettings | None = None,
    model: Tokenizer | None = None,
    force: bool = False,
    on_note: Callable[[str], None] = lambda note: None,
) -> TokenStore:
    """Learn a vocabulary (or use a model's) and encode a corpus into a token store. `on_note` is told in a line which
    files of a folder are taken.

    Raises:
        DataError: if the corpus cannot be read or holds no text.
        UsageError: if the output exists, or the vocabulary size does not fit.
    """
    from seqmodel.tokens.store import make_store, open_store

    path = Path(output)
    with exclusive(path):
        refuse_existing(path, force)
        if os.path.realpath(path) in map(os.path.realpath, _names(inputs)):
            raise UsageError(f"{path} is an input", "Choose another name for the token store.")
        text, learned = corpus or CorpusSettings(), tokenizer or TokenizerSettings()
        make_store(path, _names(inputs), learned, text, model, hold_out=True, on_note=on_note)
    return open_store(path)


# Training


def train(
    inputs: Paths = (),
    output: str | Path | None = None,
    *,
    config: str | Path | None = None,
    resume: bool = False,
    force: bool = False,
    on_event: Callable[[Event], None] = lambda event: None,
    **options: Any,
) -> TrainingResult:
    """Train a model on text files, folders or a token store, and write the bundle to `output`.

    The options have the names and values that they have in a TOML file, which `config` may name (README, "Settings in
    a file"): `time` ("10m" or seconds), `steps` or `epochs`, `unit`, `sequence`, `valid`, `size`, `cell`, `width`,
    `layers`, `seed` … Returns the result, whose header holds the held-out figures.

    Raises:
        SeqmodelError: as the command line does; see `seqmodel.errors`.
    """
    from seqmodel.training.run.config_files import read_options
    from seqmodel.training.run.options import checked_options, merged, request_of

    places = {"inputs": _names(inputs) or None, "output": None if output is None else os.fspath(output)}
    given = checked_options(places | options)
    request = request_of(merged(read_options(config) if config is not None else {}, given), resume=resume, force=force)
    return run_training(request, on_event=on_event)


def run_training(
    request: TrainingRequest,
    *,
    on_event: Callable[[Event], None] = lambda event: None,
    should_stop: Callable[[], bool] = lambda: False,
    started: float | None = None,
) -> TrainingResult:
    """Carry out a request; `started` is the clock reading at which a `--time` budget began to run.

    In several processes under `torchrun` each calls this; the first alone writes and tells of events.
    """
    from seqmodel.training.distributed import process_group
    from seqmodel.training.run.run import TrainingRun
    from seqmodel.training.run.worker import WorkerRun

    started = clock.monotonic() if started is None else started
    budgets = (request.training.seconds, request.training.steps, request.training.epochs)
    if sum(budget is not None for budget in budgets) > 1:
        raise UsageError("more than one budget is given", "Give one of --time, --steps and --epochs.")
    with process_group() as group:
        if not group.leads:
            return WorkerRun(request, started, lambda event: None, should_stop, group).carry_out()
        with exclusive(request.output, request.inputs):
            return TrainingRun(request, started, on_event, should_stop, group).carry_out()


# Filtering


@verb
def filter(
    inputs: Paths = (),
    model: str | Path | Model | None = None,
    *,
    against: str | Path | Model | None = None,
    rule: FilterSettings,
    table: TableSettings,
    reading: ReadingSettings,
    on_note: Callable[[str], None] = lambda note: None,
) -> FilteredLines:
    """Lines of text files (standard input if there are none) whose score by the model fits; iterate over the result.

    A line's score is in bits per char, or as `per` says; with `against`, the score by that model is subtracted. The
    options are those of the command: `below`, `above`, `percentiles`, `per`, `invert`, `keep_blank`, `context`;
    `column`, `input`, `skip_bad`; `errors`, `max_line`. Nothing is read before the first line is asked for.

    Raises:
        DataError: if a file is missing, or (while reading) cannot be read.
        UsageError: if no bound is given, or the bounds make no sense for the models.
    """
    from seqmodel.scoring.filtering import FilteredLines, LineRule

    loaded = _loaded(model)
    decides = LineRule(loaded, None if against is None else _loaded(against), rule)
    return FilteredLines(_line_inputs(inputs, loaded, table, reading, on_note), decides)


def _loaded(model: str | Path | Model | None) -> Model:
    return model if isinstance(model, Model) else load(model)


def _line_inputs(
    inputs: Paths, model: Model, table: TableSettings, reading: ReadingSettings, on_note: Callable[[str], None]
) -> LineInputs:
    from seqmodel.text.inputs import LineInputs
    from seqmodel.text.tables import TableReader, format_of

    found = LineInputs.of(_names(inputs), (), reading.corpus, model.header.unit == "byte", on_note)
    if table.column is None:
        return found
    kind = table.input or format_of([source.name for source in found.sources])
    return replace(found, table=TableReader(kind, table.column, skip_bad=table.skip_bad))


# Rescoring


@verb
def rescore(
    nbest: str | os.PathLike[str] = "-",
    model: str | Path | Model | None = None,
    *,
    lists: NbestSettings,
    weights: WeightSettings,
    reading: ReadingSettings,
) -> RescoredLists:
    """The n-best lists of a file (standard input for `-`), ranked by ln p and other scores; iterate over the result.

    The options are those of the command: `input`, `scores`, `whole_ids`; `utterance`, `hypothesis`, `score`,
    `skip_bad`; `weight`, `score_weight`, `length_penalty`, `tune`; `errors`, `max_line`. For hypotheses in memory there
    is `Model.rescore`.

    Raises:
        DataError: if the file is missing, or (while reading) cannot be read.
        UsageError: if the options contradict each other.
    """
    from seqmodel.scoring.nbest_rescoring import RescoredLists
    from seqmodel.scoring.rescoring import Combination
    from seqmodel.text.nbest_inputs import NbestInputs
    from seqmodel.text.sources import STDIN

    loaded, name = _loaded(model), os.fspath(nbest)
    if [name, *lists.scores, weights.tune].count(STDIN) > 1:
        raise UsageError("standard input is named twice", "Give - once.")
    inputs = NbestInputs.of(name, lists, reading.corpus, loaded.header.unit == "byte")
    combination = Combination.of(inputs.score_count, weights.weight, weights.score_weight, weights.length_penalty)
    return RescoredLists(inputs, loaded.log_probabilities, combination, weights.tune)


# Comparing


def compare(
    models: Paths,
    inputs: Paths,
    *,
    worst: int = 5,
    resamples: int = 1000,
    seed: int = 0,
    corpus: CorpusSettings | None = None,
) -> Comparison:
    """Score the same text with several bundles and tell how they differ from the first.

    Every model reads the text as its own kind of sequence does, and what is compared is lines. `worst` lines are kept
    on which each model is worse, and better, than the first; intervals come from `resamples` bootstrap samples.

    Raises:
        DataError: if a text cannot be read, or there is none.
        UsageError: if there are fewer than two models, or they cannot be compared.
    """
    from seqmodel.scoring.comparison import ComparisonSums, check_comparable
    from seqmodel.scoring.line_mixture import scored_by_each
    from seqmodel.text.inputs import LineInputs

    names = _names(models)
    if len(names) < 2:
        raise UsageError("fewer than two models are named", "Name two or more; the first is the baseline.")
    for name, value, least in (("worst", worst, 0), ("resamples", resamples, 1)):
        if not least <= value <= MOST_COMPARED:
            raise UsageError(f"takes a whole number from {least} to {MOST_COMPARED}", setting=name)
    if seed < 0:
        raise UsageError(f"takes a whole number of 0 or more, not {seed}", setting="seed")
    loaded = [load(name) for name in names]
    check_comparable(loaded)
    gathered = ComparisonSums(names, loaded, worst)
    any_bytes = all(model.header.unit == "byte" for model in loaded)
    for name, batches in LineInputs.of(_names(inputs), (), corpus or CorpusSettings(), any_bytes).streams():
        for rows in scored_by_each(loaded, batches):
            gathered.add(name, rows)
        gathered.end_file()
    return gathered.comparison(resamples, seed)


# Pictures


def plot(
    logs: Paths,
    output: str | os.PathLike[str],
    *,
    over: Over = "time",
    force: bool = False,
) -> Path:
    """Draw the runs whose `.jsonl` logs are given as a figure, .svg or .png; needs matplotlib.

    Raises:
        DataError: if a log is missing, damaged or empty.
        UsageError: if the output exists or is of another kind, or the runs cannot share an axis.
    """
    from seqmodel.reports.figure_data import picture
    from seqmodel.reports.history import read_history
    from seqmodel.reports.matplotlib_figure import check_ending, save_figure

    path = Path(output)
    check_ending(path)
    refuse_existing(path, force)
    histories = [read_history(Path(name)) for name in _names(logs)]
    save_figure(picture(histories, over), path, force)
    return path
