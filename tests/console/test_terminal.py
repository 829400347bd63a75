"""What is shown to people: user text is shown, never obeyed, whether by rich or by the terminal."""

from __future__ import annotations

import io
import signal
from pathlib import Path

import pytest
from rich.console import Console

from seqmodel.console import training_view
from seqmodel.console.failures import guarded
from seqmodel.console.signals import Stopped
from seqmodel.console.terminal import console, say
from seqmodel.console.training_view import TrainingView
from seqmodel.errors import DataError, ModelError, ResourceError, SeqmodelError, UsageError
from seqmodel.training.events import Annealing, Evaluated, Event, Finished, Noted, Planned, Sampled, StepDone, Validated
from tests.cli.command import kept_signals


def test_markup_in_a_message_is_text(capsys: pytest.CaptureFixture[str]) -> None:
    console.cache_clear()
    message = "[red]x[/red] [/] [link=file:///x]y[/link] :smile: " + "long " * 60
    say(message)
    assert capsys.readouterr().err == message + "\n"


def plain_view(quiet: bool) -> TrainingView:
    console.cache_clear()
    return TrainingView(quiet)


STEP = StepDone(7, 100, 0.5, 2.0, 1000.0, 0.25, 12.0, 1e-3)
EVENTS: list[Event] = [
    Planned("plan", {}, 10, 100, 0, "char", 1.0),
    Noted("[bold]note[/bold]"),
    STEP,
    Validated(7, 1.5, True, 1.0, 100),
    Sampled(7, "\x1b[2Jsample"),
    Annealing(7, "no gain"),
    Finished(7, 100, 0.5, 1.0, 100.0, True),
    Evaluated(1.4, 2.6, "char", 1.5, 1.6, 4.0, 100, 1.0),
]


def test_off_a_terminal_a_run_is_told_in_plain_lines(capsys: pytest.CaptureFixture[str]) -> None:
    with plain_view(quiet=False) as view:
        view.last = -100.0  # as if the last line were long ago
        for event in EVENTS:
            view.show(event)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "\x1b" not in captured.err and "\r" not in captured.err
    lines = captured.err.splitlines()
    assert "none held out" in lines[0]
    assert lines[1] == "[bold]note[/bold]"
    assert "25%" in lines[2] and "train 2.000" in lines[2]
    assert "no gain" in lines[3]
    assert len(lines) == 4


def test_a_sample_on_a_terminal_is_shown_and_steers_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.StringIO()
    live = Console(file=out, force_terminal=True, highlight=False, width=120)
    monkeypatch.setattr(training_view, "console", lambda: live)
    with TrainingView(quiet=False) as view:
        view.show(EVENTS[0])
        view.show(Sampled(7, "cat\x1b[35m\x07\x9b2J\u202e\ndog"))
        view.show(STEP)
    shown = out.getvalue()
    assert r"cat\x1b[35m\x07\x9b2J\u202e ⏎ dog" in shown
    assert not any(part in shown for part in ("\x1b[35m", "\x07", "\x9b", "\u202e"))


def test_a_quiet_run_tells_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with plain_view(quiet=True) as view:
        view.last = -100.0
        for event in EVENTS:
            view.show(event)
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (SeqmodelError("m", "h"), 1),
        (UsageError("m", "h"), 2),
        (DataError("m", "h"), 3),
        (ModelError("m", "h"), 4),
        (ResourceError("m", "h"), 5),
        (MemoryError(), 5),
        (OSError(28, "No space left on device"), 5),
        (OSError(27, "File too large"), 5),
        (OSError(5, "secret text"), 1),
        (ValueError("secret text"), 1),
        (KeyError("secret text"), 1),
        (BrokenPipeError(32, "Broken pipe"), 141),
        (Stopped(signal.SIGINT), 130),
    ],
)
def test_every_failure_has_its_exit_code_and_tells_no_text_of_the_user(
    error: BaseException, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    @guarded
    def fail() -> None:
        raise error

    with pytest.raises(SystemExit) as stop, kept_signals():
        fail()
    assert stop.value.code == code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "secret" not in captured.err and "Traceback" not in captured.err
    assert captured.err.count("\n") == (0 if code in (141, 130) else 1)


def test_a_command_that_ends_with_an_exit_code_keeps_it() -> None:
    @guarded
    def leave() -> None:
        raise SystemExit(130)

    with pytest.raises(SystemExit) as stop:
        leave()
    assert stop.value.code == 130


def test_a_message_with_a_line_end_or_a_broken_name_in_it_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    @guarded
    def fail() -> None:
        raise DataError("a\nb\x1b[31m\udcff: no such file", "Check the name.")

    with pytest.raises(SystemExit), kept_signals():
        fail()
    err = capsys.readouterr().err
    assert err.startswith("seqmodel: error: a") and err.endswith("Check the name.\n")
    assert err.count("\n") == 1 and "\x1b" not in err


def test_debug_alone_shows_a_traceback(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    @guarded
    def fail() -> None:
        raise ValueError("x")

    monkeypatch.setattr("sys.argv", ["seqmodel", "score", "--debug"])
    with pytest.raises(SystemExit):
        fail()
    assert "Traceback" in capsys.readouterr().err


def test_what_is_left_in_the_buffer_of_a_full_output_is_no_second_failure(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    class Full(io.StringIO):
        def flush(self) -> None:
            raise OSError(28, "No space left on device")

        def fileno(self) -> int:
            return target.fileno()

    @guarded
    def write() -> None:
        print("data")

    with (tmp_path / "out").open("w") as target:
        monkeypatch.setattr("sys.stdout", Full())
        with pytest.raises(SystemExit) as stop:
            write()
    assert stop.value.code == 5


def test_a_run_with_a_closed_vocabulary_is_told_per_token(capsys: pytest.CaptureFixture[str]) -> None:
    with plain_view(quiet=False) as view:
        view.last = -100.0
        for event in (Planned("plan", {}, 10, 100, 0, "token", 5.0), Validated(7, 1.5, True, 1.0, 100), STEP):
            view.show(event)
    assert "train 10.000, held-out 7.500 bits per token" in capsys.readouterr().err
