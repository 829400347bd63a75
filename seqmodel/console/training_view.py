"""The view of a training run: live on a terminal, elsewhere a plain line every few seconds. Listens to events."""

from __future__ import annotations

import math
import time
from types import TracebackType

from rich.console import Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from seqmodel.console.held_out_view import held_out_lines
from seqmodel.console.terminal import console, say
from seqmodel.text.visible import visible
from seqmodel.training.events import (
    Annealing,
    Event,
    Finished,
    Noted,
    Planned,
    RolledBack,
    Sampled,
    StepDone,
    Validated,
)
from seqmodel.training.run.request import TrainingResult

PLAIN_SECONDS = 5.0


class TrainingView:
    """Context manager that shows events as they happen; if `quiet`, none."""

    def __init__(self, quiet: bool) -> None:
        self.quiet = quiet
        self.live: Live | None = None
        self.held_out = math.nan
        self.per, self.scale = "char", 1.0
        self.sample = ""
        self.last = time.monotonic()

    def __enter__(self) -> TrainingView:
        if console().is_terminal and not self.quiet:
            self.live = Live(console=console(), refresh_per_second=4, transient=True)
            self.live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.live is not None:
            self.live.stop()

    def show(self, event: Event) -> None:
        """Show an event."""
        if self.quiet:
            return
        if isinstance(event, Noted):
            say(visible(event.text))
        elif isinstance(event, Planned):
            self.per, self.scale = event.per, event.chars_per_token if event.per == "token" else 1.0
            held_out = (
                f"{event.held_out_tokens:,} held out" if event.held_out_tokens else "none held out: too little text"
            )
            say(f"{event.plan}; {event.parameters:,} parameters; {event.train_tokens:,} tokens to train on, {held_out}")
        elif isinstance(event, Validated):
            self.held_out = event.bits_per_char
        elif isinstance(event, Sampled):
            self.sample = event.text
        elif isinstance(event, RolledBack):
            again = f"back to step {event.step:,} with {event.factor:g} times the learning rate"
            say(f"step {event.failed:,}: {event.reason}; {again}", "yellow")
        elif isinstance(event, Annealing):
            end = "the learning rate goes to zero now, and the run ends before its budget is spent"
            say(f"step {event.step:,}: {event.reason}, so more steps would only fit the training text; {end}")
        elif isinstance(event, StepDone):
            self._step(event)
        elif isinstance(event, Finished) and self.live is not None:
            self.live.update(Text("final figures and saving …", style="dim"))

    def _step(self, event: StepDone) -> None:
        if self.live is not None:
            self.live.update(self._picture(event))
        elif time.monotonic() - self.last >= PLAIN_SECONDS:
            self.last = time.monotonic()
            say(f"{event.progress:4.0%}  {self._figures(event)}")

    def _picture(self, event: StepDone) -> Group:
        bar = Table.grid(padding=(0, 2))
        left = event.elapsed * (1 - event.progress) / max(event.progress, 1e-3)
        bar.add_row(
            ProgressBar(total=1.0, completed=event.progress, width=32),
            f"{event.progress:4.0%}",
            f"{_clock(left)} left",
        )
        sample = Text(visible(self.sample).replace("\n", " ⏎ "), style="dim italic", no_wrap=True, overflow="ellipsis")
        return Group(bar, Text(self._figures(event)), sample)

    def _figures(self, event: StepDone) -> str:
        held_out = "" if math.isnan(self.held_out) else f", held-out {self.held_out * self.scale:.3f}"
        return (
            f"step {event.step:,}  epoch {event.epoch:.2f}  "
            f"train {event.bits_per_char * self.scale:.3f}{held_out} bits per {self.per}  "
            f"{event.tokens_per_second:,.0f} tokens/s  {_clock(event.elapsed)}"
        )


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(max(0.0, seconds)), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}" if minutes >= 60 else f"{minutes}:{rest:02d}"


def show_result(result: TrainingResult) -> None:
    """Print the summary of a run: held-out figures, speed, bundle."""
    for number, line in enumerate(held_out_lines(result.header)):
        say(f"  {line}" if number else f"held-out: {line}")
    summary = result.header.training
    say(
        f"trained: {summary.steps:,} steps, {summary.epochs:.2f} epochs, {result.tokens_per_second:,.0f} tokens/s, "
        f"{_clock(result.seconds)} in all"
    )
    say(f"bundle: {visible(str(result.path))}, {result.path.stat().st_size / 1e6:.1f} MB")
    if result.interrupted:
        say(
            "interrupted: the learning rate had not come down yet, so the model is not at its best. "
            f"Go on with: seqmodel train --resume -o {visible(str(result.path))}",
            "yellow",
        )
