"""`seqmodel train`: text in, a bundle out."""

from __future__ import annotations

import signal
import time
from pathlib import Path
from typing import Annotated, Literal

import typer

from seqmodel.cli import options
from seqmodel.console.failures import INTERRUPTED, TERMINATED, guarded
from seqmodel.kinds import CellKind, SubwordMethod

STARTED = time.monotonic()
SHAPE, BUDGET, TUNING = "Model", "Budget (one of these; default --time 3m)", "Training"


@guarded
def command(
    inputs: options.Inputs = None,
    output: Annotated[Path, typer.Option("-o", "--output", help="Where the bundle goes.")] = Path("model.seqmodel"),
    time_budget: Annotated[
        str | None,
        typer.Option(
            "--time",
            help="Wall-clock time for the whole command: 90s, 10m, 1h30m.",
            rich_help_panel=BUDGET,
            show_default=False,
        ),
    ] = None,
    steps: Annotated[
        int | None, typer.Option(min=1, help="Optimizer steps.", rich_help_panel=BUDGET, show_default=False)
    ] = None,
    epochs: Annotated[
        float | None, typer.Option(help="Passes over the text.", rich_help_panel=BUDGET, show_default=False)
    ] = None,
    unit: options.UnitOption = "char",
    sequence: options.SequenceOption = "line",
    vocab_size: options.VocabularyOption = None,
    subword: Annotated[
        SubwordMethod, typer.Option(help="How subwords are learned.", rich_help_panel="Text")
    ] = "unigram",
    closed_vocab: options.ClosedOption = False,
    keep_blank: options.KeepBlankOption = False,
    errors: options.ErrorsOption = "strict",
    max_line: options.MaxLineOption = 256,
    valid: Annotated[
        str | None,
        typer.Option(
            help="Held-out text; else 5 % of the corpus, at most 200 kB.",
            rich_help_panel="Text",
            show_default=False,
        ),
    ] = None,
    write_valid: Annotated[
        Path | None,
        typer.Option(help="Write the held-out text to a file.", rich_help_panel="Text", show_default=False),
    ] = None,
    cell: Annotated[CellKind, typer.Option(help="The recurrence.", rich_help_panel=SHAPE)] = "mingru",
    width: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Numbers in a hidden state; default: by corpus size.",
            rich_help_panel=SHAPE,
            show_default=False,
        ),
    ] = None,
    layers: Annotated[
        int | None,
        typer.Option(min=1, help="Residual blocks; default 2.", rich_help_panel=SHAPE, show_default=False),
    ] = None,
    feed_forward: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Width of a feed-forward layer per block; default none.",
            rich_help_panel=SHAPE,
            show_default=False,
        ),
    ] = None,
    ngram_embeddings: Annotated[
        bool,
        typer.Option(
            "--ngram-embeddings/--no-ngram-embeddings",
            help="Embed frequent n-grams too.",
            rich_help_panel=SHAPE,
        ),
    ] = True,
    ngram: Annotated[
        Literal["on", "off"],
        typer.Option(help="Mix the recurrence with a Kneser-Ney count model of the same text.", rich_help_panel=SHAPE),
    ] = "on",
    learning_rate: Annotated[
        float | None, typer.Option(help="Peak learning rate.", rich_help_panel=TUNING, show_default=False)
    ] = None,
    dropout: Annotated[
        float | None, typer.Option(help="Dropout rate.", rich_help_panel=TUNING, show_default=False)
    ] = None,
    lanes: Annotated[
        int | None,
        typer.Option(min=1, help="Parallel streams in a batch.", rich_help_panel=TUNING, show_default=False),
    ] = None,
    segment: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Time steps per truncated back-propagation.",
            rich_help_panel=TUNING,
            show_default=False,
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of all random choices.", rich_help_panel=TUNING)] = 0,
    threads: Annotated[
        int | None,
        typer.Option(min=1, help="CPU threads; default: timed.", rich_help_panel=TUNING, show_default=False),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with an interrupted run of the same output.")] = False,
    force: options.ForceOption = False,
    quiet: options.QuietOption = False,
    debug: options.DebugOption = False,
) -> None:
    """Train a model on text and write it to a bundle, whose path goes to standard output.

    Ctrl-C (and SIGTERM) stops early: the bundle is saved, and --resume goes on from there.
    """
    from seqmodel.api import run_training
    from seqmodel.config import CorpusSettings, TokenizerSettings, checked, parse_duration
    from seqmodel.console.training_view import TrainingView, show_result
    from seqmodel.training.request import TrainingRequest

    request = TrainingRequest(
        inputs=tuple(inputs or ()),
        output=output,
        tokenizer=checked(
            TokenizerSettings, unit=unit, vocabulary_size=vocab_size, subword=subword, closed=closed_vocab
        ),
        corpus=checked(
            CorpusSettings, sequence=sequence, keep_blank=keep_blank, errors=errors, max_line=max_line << 20
        ),
        model={"cell": cell, "width": width, "layers": layers, "feed_forward": feed_forward},
        training={
            "seconds": parse_duration(time_budget) if time_budget is not None else None,
            "steps": steps,
            "epochs": epochs,
            "learning_rate": learning_rate,
            "dropout": dropout,
            "lanes": lanes,
            "segment": segment,
            "seed": seed,
            "threads": threads,
        },
        ngram_embeddings=ngram_embeddings,
        counts=ngram == "on",
        valid=valid,
        write_valid=write_valid,
        resume=resume,
        force=force,
    )
    stop = _StopSignals()
    with TrainingView(quiet) as view:
        result = run_training(request, on_event=view.show, should_stop=stop.requested, started=STARTED)
    if not quiet:
        show_result(result)
    typer.echo(str(result.path))
    if result.interrupted:
        raise SystemExit(stop.exit_code)


class _StopSignals:
    """The first Ctrl-C or SIGTERM asks the run to save and stop; the second Ctrl-C ends it at once."""

    def __init__(self) -> None:
        self.exit_code = 0
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) is not signal.SIG_IGN:  # nohup, or a script's background
                signal.signal(number, self._handle)

    def _handle(self, number: int, frame: object) -> None:
        if self.exit_code and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.exit_code = {signal.SIGINT: INTERRUPTED, signal.SIGTERM: TERMINATED}.get(
            signal.Signals(number), 128 + number
        )

    def requested(self) -> bool:
        return bool(self.exit_code)
