"""`seqmodel train`: text in, a bundle out."""

from __future__ import annotations

import signal
import time as clock
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from seqmodel.choices import CellKind, Device, SequenceKind, Size, SubwordMethod, TextErrors, Unit
from seqmodel.cli import options
from seqmodel.console.failures import guarded
from seqmodel.console.signals import STOPPING, stop

if TYPE_CHECKING:
    from seqmodel.training.events import Event

# Every default is None, which tells what was given from what was not; the help says what is then done.
PLAIN = partial(typer.Option, show_default=False)
BUDGET = partial(PLAIN, rich_help_panel="Budget (one of these; default --time 3m)")
TEXT, SHAPE, TUNING = (partial(PLAIN, rich_help_panel=panel) for panel in ("Text", "Model", "Training"))


@guarded
def command(
    context: typer.Context,
    inputs: options.Inputs = None,
    output: Annotated[Path | None, PLAIN("-o", "--output", help="The model to write; default model.seqmodel.")] = None,
    config: Annotated[
        Path | None, PLAIN("--config", help="Read options from a TOML file (info --config prints one); flags win.")
    ] = None,
    init: Annotated[Path | None, PLAIN("--init", help="Start from this model's vocabulary and weights.")] = None,
    time: Annotated[
        str | None, BUDGET("--time", metavar="DURATION", help="Wall-clock time for the whole command: 90s, 10m, 1h30m.")
    ] = None,
    steps: Annotated[int | None, BUDGET(min=1, help="Optimizer steps.")] = None,
    epochs: Annotated[float | None, BUDGET(help="Passes over the text.")] = None,
    unit: Annotated[Unit | None, TEXT(help="What a token is; default char.")] = None,
    sequence: Annotated[SequenceKind | None, TEXT(help=options.SEQUENCE_HELP + " Default line.")] = None,
    vocab_size: options.VocabularyOption = None,
    subword: Annotated[SubwordMethod | None, TEXT(help="Method that learns subwords; default unigram.")] = None,
    closed_vocab: Annotated[bool | None, TEXT("--closed-vocab/--open-vocab", help=options.CLOSED_HELP)] = None,
    keep_blank: Annotated[bool | None, TEXT("--keep-blank/--skip-blank", help=options.KEEP_BLANK_HELP)] = None,
    errors: Annotated[TextErrors | None, TEXT(help=options.ERRORS_HELP + " Default strict.")] = None,
    max_line: Annotated[int | None, TEXT(help=options.MAX_LINE_HELP + " Default 256.", min=1)] = None,
    column: options.ColumnOption = None,
    input: options.TableOption = None,
    record_separator: options.RecordOption = None,
    include: options.IncludeOption = None,
    exclude: options.ExcludeOption = None,
    valid: Annotated[str | None, TEXT(help="Held-out text; default: 5 % of the corpus, at most 200 kB.")] = None,
    write_valid: Annotated[Path | None, TEXT(help="Write the held-out text to a file.")] = None,
    size: Annotated[
        Size | None, SHAPE(help="Preset width and layers: small, medium, large; default: by corpus size.")
    ] = None,
    cell: Annotated[CellKind | None, SHAPE(help="The recurrence; default mingru.")] = None,
    width: Annotated[int | None, SHAPE(min=1, help="Width of the hidden state; overrides --size.")] = None,
    layers: Annotated[int | None, SHAPE(min=1, help="Number of residual blocks; overrides --size.")] = None,
    networks: Annotated[
        int | None, SHAPE(min=1, help="Train so many networks and average them; default: by the passes over the text.")
    ] = None,
    feed_forward: Annotated[
        int | None, SHAPE(min=0, help="Width of a feed-forward layer in each block; default none.")
    ] = None,
    ngram_embeddings: Annotated[
        bool | None,
        SHAPE(
            "--ngram-embeddings/--no-ngram-embeddings", help="Embed frequent n-grams beside single tokens; default yes."
        ),
    ] = None,
    ngram: Annotated[
        Literal["on", "off"] | None,
        SHAPE(help="Mix the recurrence with a Kneser-Ney count model of the same text; default on."),
    ] = None,
    learning_rate: Annotated[float | None, TUNING(help="Peak learning rate.")] = None,
    dropout: Annotated[float | None, TUNING(help="Dropout rate, from 0 and below 1.")] = None,
    lanes: Annotated[int | None, TUNING(min=1, help="Parallel streams in a batch.")] = None,
    segment: Annotated[int | None, TUNING(min=1, help="Time steps per truncated back-propagation.")] = None,
    seed: Annotated[int | None, TUNING(min=0, help="Seed of all random choices; default 0.")] = None,
    threads: Annotated[
        int | None, TUNING(min=1, help="CPU threads; default: the fastest number, found by timing.")
    ] = None,
    fingerprint: Annotated[
        str | None,
        TUNING(metavar="SIZE", help="Store a filter of the text's n-grams of this size (4MB), for generate --novel."),
    ] = None,
    device: Annotated[
        Device | None, TUNING(help="Device to train on; auto: a GPU if there is one. Default cpu.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue the interrupted run of the same output.")] = False,
    force: options.ForceOption = False,
    quiet: options.QuietOption = False,
    debug: options.DebugOption = False,
) -> None:
    """Train a model on text.

    The model is written to one file, whose name is printed. Ctrl-C (or SIGTERM) stops early and saves the model;
    --resume continues.
    """
    started = clock.monotonic()  # before torch is loaded
    from seqmodel.api.verbs import run_training
    from seqmodel.console.rows import write_name
    from seqmodel.console.training_view import TrainingView, show_result
    from seqmodel.training.ranks import place_of_process
    from seqmodel.training.run.config_files import read_options
    from seqmodel.training.run.options import OPTIONS, checked_options, merged, request_of

    given = {name: value for name, value in context.params.items() if name in OPTIONS}
    lists = {"inputs": inputs or None, "include": include or None, "exclude": exclude or None}
    given = checked_options(given | lists)
    request = request_of(merged(read_options(config) if config is not None else {}, given), resume=resume, force=force)
    leads = place_of_process().leads
    signals = _StopSignals(began=not leads)
    quiet = quiet or not leads
    with TrainingView(quiet) as view:
        show = signals.watching(view.show)
        result = run_training(request, on_event=show, should_stop=signals.requested, started=started)
    if not quiet:
        show_result(result)
    if leads:
        write_name(result.path)
    if result.interrupted:
        raise SystemExit(signals.exit_code)


class _StopSignals:
    """The first Ctrl-C or SIGTERM asks the loop to save and stop; the second Ctrl-C ends it at once. Before the loop
    has begun there is nothing to save, and either ends the command: it may wait for input that never comes."""

    def __init__(self, began: bool = False) -> None:
        self.exit_code, self.began = 0, began
        for number in STOPPING:
            if signal.getsignal(number) is not signal.SIG_IGN:  # nohup, or a script's background
                signal.signal(number, self._handle)

    def _handle(self, number: int, frame: object) -> None:
        if not self.began or (self.exit_code and number == signal.SIGINT):
            stop(number, frame)
        self.exit_code = 128 + number

    def watching(self, show: Callable[[Event], None]) -> Callable[[Event], None]:
        """Show events, and learn from them that the loop begins."""
        from seqmodel.training.events import Planned

        def seen(event: Event) -> None:
            self.began = self.began or isinstance(event, Planned)
            show(event)

        return seen

    def requested(self) -> bool:
        return bool(self.exit_code)
