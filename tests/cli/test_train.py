"""`seqmodel train`: one bundle and nothing else, runs that can be stopped and go on, and one trainer at a time."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import seqmodel
from seqmodel.api.verbs import run_training
from seqmodel.cli.train import _StopSignals
from seqmodel.errors import ModelError, UsageError
from seqmodel.files import exclusive
from seqmodel.settings import CorpusSettings, NetworkSettings, TokenizerSettings, TrainingSettings
from seqmodel.training.events import Event, StepDone
from seqmodel.training.run.request import TrainingRequest, TrainingResult
from tests.cli.command import command, environment, run, run_here, told
from tests.conftest import little_text

SHAPE = ("--width", "16", "--layers", "1", "--threads", "1")
QUICK = (*SHAPE, "--steps", "3")


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    path = tmp_path / "in" / "corpus.txt"
    path.parent.mkdir()
    path.write_text(little_text(), encoding="utf-8")
    return path


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if path.is_file()}


# What a run leaves


def test_a_run_prints_the_bundles_path_alone_and_leaves_bundle_and_log(tmp_path: Path, corpus: Path) -> None:
    result = run("train", corpus, "-o", "model.seqmodel", "--steps", "40", *SHAPE, cwd=tmp_path)
    assert result.code == 0, result.err
    assert result.out == b"model.seqmodel\n"
    assert "held-out" in result.err and "\x1b" not in result.err and "\r" not in result.err
    assert names(tmp_path) == {"model.seqmodel", "model.jsonl"}
    events = [json.loads(line) for line in (tmp_path / "model.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [event["event"] for event in events[:1] + events[-2:]] == ["Planned", "Finished", "Evaluated"]
    scored = run("score", stdin=b"cat dog\n", cwd=tmp_path)
    assert scored.code == 0 and len(scored.lines) == 2
    assert run("generate", "--seed", "1", cwd=tmp_path).code == 0
    assert "40 steps" in run("info", cwd=tmp_path).text
    assert run("tokenize", "-m", "model.seqmodel", stdin=b"cat\n", cwd=tmp_path).lines == ["c a t"]


def test_quiet_says_nothing_on_standard_error(tmp_path: Path, corpus: Path) -> None:
    result = run_here("train", corpus, "-o", tmp_path / "m.seqmodel", "-q", *QUICK)
    assert (result.code, result.err) == (0, "")
    assert result.lines == [str(tmp_path / "m.seqmodel")]


@pytest.mark.parametrize("text", ["a\n", "a", "ab\n" * 3, "\n\nx\n\n", "é\n", "cat dog\n" * 20])
@pytest.mark.parametrize("options", [[], ["--sequence", "stream"], ["--unit", "word"]], ids=" ".join)
def test_the_smallest_corpora_give_a_model(text: str, options: list[str], tmp_path: Path) -> None:
    result = run_here("train", "-", "-o", tmp_path / "m.seqmodel", "-q", *QUICK, *options, stdin=text.encode())
    assert result.code == 0, result.err
    (score,) = seqmodel.load(tmp_path / "m.seqmodel").score([text.strip()])
    assert 0 < score.bits < 1000


def test_the_held_out_text_can_be_written_and_brought(tmp_path: Path, corpus: Path) -> None:
    held_out, brought = tmp_path / "held.txt", tmp_path / "brought.txt"
    first = run_here("train", corpus, "-o", tmp_path / "a.seqmodel", "-q", *QUICK, "--write-valid", held_out)
    assert first.code == 0, first.err
    lines = held_out.read_text(encoding="utf-8").splitlines()
    assert lines and set(lines) <= set(corpus.read_text(encoding="utf-8").splitlines())
    brought.write_text("cat dog\n" * 10, encoding="utf-8")
    arguments = ("train", corpus, "-o", tmp_path / "b.seqmodel", "-q", *QUICK, "--valid", brought)
    assert run_here(*arguments).code == 0
    header = seqmodel.load(tmp_path / "b.seqmodel").header
    assert header.held_out is not None and header.held_out.tokens == 80
    assert names(tmp_path) == {"a.seqmodel", "a.jsonl", "b.seqmodel", "b.jsonl", "held.txt", "brought.txt"}


# What a run must not touch


def test_a_corpus_named_like_the_log_is_not_written_over(tmp_path: Path) -> None:
    corpus = tmp_path / "data.jsonl"
    corpus.write_text(little_text(), encoding="utf-8")
    told(run_here("train", corpus, "-o", tmp_path / "data.seqmodel", "-q", *QUICK), 2, "data.jsonl", "overwritten")
    assert corpus.read_text(encoding="utf-8") == little_text()


def test_a_file_named_like_the_log_is_not_written_over(tmp_path: Path, corpus: Path) -> None:
    (tmp_path / "data.jsonl").write_text("mine\n", encoding="utf-8")
    told(run_here("train", corpus, "-o", tmp_path / "data.seqmodel", "-q", *QUICK), 2, "data.jsonl exists", "--force")
    assert (tmp_path / "data.jsonl").read_text(encoding="utf-8") == "mine\n"


def test_a_store_brought_as_held_out_text_is_there_afterwards(tmp_path: Path, corpus: Path) -> None:
    brought = tmp_path / "m.valid.tokens"
    assert run_here("tokenize", corpus, "-o", brought, "-q").code == 0
    before = brought.read_bytes()
    result = run_here("train", corpus, "-o", tmp_path / "m.seqmodel", "-q", *QUICK, "--valid", brought)
    told(result, 2, "m.valid.tokens would be overwritten")
    assert brought.exists() and brought.read_bytes() == before


@pytest.mark.parametrize("name", ["m.tokens", "m.checkpoint", "m.jsonl", "m.valid.tokens"])
def test_a_bundle_named_like_a_file_beside_it_is_refused_or_whole(name: str, tmp_path: Path, corpus: Path) -> None:
    result = run_here("train", corpus, "-o", tmp_path / name, "-q", *QUICK)
    if result.code == 0:
        assert run_here("info", "--verify", tmp_path / name).code == 0
    else:
        told(result, 2)
        assert names(tmp_path) == set()


def test_bundles_whose_names_differ_after_a_dot_keep_their_own_files(tmp_path: Path, corpus: Path) -> None:
    for name in ("run.1", "run.2"):
        assert run_here("train", corpus, "-o", tmp_path / name, "-q", *QUICK).code == 0
    logs = names(tmp_path) - {"run.1", "run.2"}
    assert len(logs) == 2, "one log was written over by the other run"


def test_an_output_that_cannot_be_written_is_refused_before_training(tmp_path: Path, corpus: Path) -> None:
    (tmp_path / "folder").mkdir()
    for output in (tmp_path / "folder", Path("."), Path("/")):
        result = run_here("train", corpus, "-o", output, "--force", "-q", *QUICK)
        told(result, 2)
    assert names(tmp_path) == set()


def test_force_alone_overwrites(tmp_path: Path, corpus: Path) -> None:
    output = tmp_path / "m.seqmodel"
    assert run_here("train", corpus, "-o", output, "-q", *QUICK).code == 0
    before = output.read_bytes()
    told(run_here("train", corpus, "-o", output, "-q", *QUICK), 2, "exists", "--force")
    assert output.read_bytes() == before
    assert run_here("train", corpus, "-o", output, "-q", *QUICK, "--force", "--seed", "5").code == 0
    assert output.read_bytes() != before


def test_a_failed_run_leaves_an_older_bundle_and_nothing_else(tmp_path: Path, corpus: Path) -> None:
    output = tmp_path / "m.seqmodel"
    output.write_bytes(b"old")
    (tmp_path / "bad.txt").write_bytes(b"cat\n\xff\n")
    told(run_here("train", tmp_path / "bad.txt", "-o", output, "--force", "-q", *QUICK), 3)
    assert output.read_bytes() == b"old"
    assert names(tmp_path) == {"m.seqmodel", "bad.txt"}


@pytest.mark.parametrize("name", ["m.seqmodel", "other.name"])
def test_time_for_too_few_steps_is_an_error_that_says_what_to_do_and_saves_nothing(
    name: str, tmp_path: Path, corpus: Path
) -> None:
    """However fast the machine is, the budget is over before the loop begins."""
    before = names(tmp_path)
    result = run_here("train", corpus, "-o", tmp_path / name, "--time", "0.01s", "--width", "8", "--layers", "1")
    told(result, 1, "0 steps", "too few", "--time", "--steps")
    assert names(tmp_path) == before


# Stopped runs


@pytest.fixture
def trainer(tmp_path: Path, corpus: Path) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Start a long run in a process of its own, and wait until it trains."""
    started: list[subprocess.Popen[bytes]] = []

    def start(*options: str) -> subprocess.Popen[bytes]:
        arguments = command("train", corpus, "-o", "m.seqmodel", *SHAPE, *options)
        process = subprocess.Popen(
            arguments, cwd=tmp_path, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        started.append(process)
        log = tmp_path / "m.jsonl"
        while process.poll() is None and not (log.exists() and b"StepDone" in log.read_bytes()):
            time.sleep(0.02)
        assert process.poll() is None, process.communicate()
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_ctrl_c_saves_says_how_to_go_on_and_resume_completes(
    tmp_path: Path, corpus: Path, trainer: Callable[..., subprocess.Popen[bytes]]
) -> None:
    process = trainer("--steps", "1000000")
    second = run_here("train", corpus, "-o", tmp_path / "m.seqmodel", "--force", *QUICK)
    told(second, 2, "another seqmodel process")
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert out == b"m.seqmodel\n"
    assert b"Traceback" not in err and b"--resume" in err and b"internal" not in err
    assert names(tmp_path) == {"m.seqmodel", "m.checkpoint", "m.tokens", "m.jsonl"}
    stopped = seqmodel.load(tmp_path / "m.seqmodel").header
    assert not stopped.training.annealed and stopped.training.steps > 0
    assert "interrupted" in run_here("info", tmp_path / "m.seqmodel").text
    told(run_here("train", corpus, "-o", tmp_path / "m.seqmodel", *QUICK), 2, "exists")
    more = stopped.training.steps + 4
    resumed = run_here("train", "--resume", "-o", tmp_path / "m.seqmodel", "--steps", str(more))
    assert resumed.code == 0, resumed.err
    header = seqmodel.load(tmp_path / "m.seqmodel").header
    assert header.training.annealed and header.training.steps == more
    assert names(tmp_path) == {"m.seqmodel", "m.jsonl"}


def test_sigterm_saves_and_ends_with_its_own_code(
    tmp_path: Path, trainer: Callable[..., subprocess.Popen[bytes]]
) -> None:
    process = trainer("--time", "10m")
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (143, b"m.seqmodel\n"), err
    assert b"Traceback" not in err
    assert names(tmp_path) == {"m.seqmodel", "m.checkpoint", "m.tokens", "m.jsonl"}


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_ends_a_run_that_waits_for_its_corpus(tmp_path: Path, number: signal.Signals, code: int) -> None:
    arguments = command("train", "-", "-o", "m.seqmodel")
    streams: dict[str, Any] = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    with subprocess.Popen(arguments, cwd=tmp_path, env=environment(), **streams) as process:
        assert process.stdin is not None and process.stdout is not None and process.stderr is not None
        process.stdin.write(b"cat\n")
        process.stdin.flush()
        while not (tmp_path / ".m.seqmodel-lock").exists() and process.poll() is None:
            time.sleep(0.02)
        time.sleep(0.3)  # it reads, which no file tells
        process.send_signal(number)
        assert process.wait(timeout=60) == code
        assert process.stdout.read() + process.stderr.read() == b""
    assert names(tmp_path) == set()


def test_a_killed_run_blocks_nobody(
    tmp_path: Path, corpus: Path, trainer: Callable[..., subprocess.Popen[bytes]]
) -> None:
    process = trainer("--time", "10m")
    process.kill()
    process.wait()
    assert not (tmp_path / "m.seqmodel").exists()
    assert run_here("train", corpus, "-o", tmp_path / "m.seqmodel", "-q", *QUICK).code == 0
    assert names(tmp_path) - {".m.seqmodel-lock"} == {"m.seqmodel", "m.jsonl"}


def test_signals_that_were_ignored_stay_ignored() -> None:
    """`nohup seqmodel train` and `seqmodel train &` of a script must not be ended by what they were shielded from."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = [signal.getsignal(number) for number in numbers]
    try:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        _StopSignals()
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
        assert callable(signal.getsignal(signal.SIGINT))
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


def request(corpus: Path, output: Path, *, resume: bool = False, **budget: Any) -> TrainingRequest:
    return TrainingRequest(
        inputs=() if resume else (str(corpus),),
        output=output,
        tokenizer=TokenizerSettings(),
        corpus=CorpusSettings(),
        model=NetworkSettings() if resume else NetworkSettings(width=16, layers=1),
        training=TrainingSettings(threads=1, **budget),
        resume=resume,
    )


def stopped_after(done_steps: int, corpus: Path, output: Path, **budget: Any) -> TrainingResult:
    done: list[Event] = []
    return run_training(
        request(corpus, output, **budget),
        on_event=lambda event: done.append(event) if isinstance(event, StepDone) else None,
        should_stop=lambda: len(done) >= done_steps,
    )


def test_a_resumed_run_gives_the_bundle_of_a_run_that_was_never_stopped(tmp_path: Path, corpus: Path) -> None:
    whole = run_training(request(corpus, tmp_path / "whole.seqmodel", steps=24))
    stopped = stopped_after(9, corpus, tmp_path / "m.seqmodel", steps=24)
    assert stopped.interrupted and not whole.interrupted
    resumed = run_training(request(corpus, tmp_path / "m.seqmodel", resume=True))
    assert not resumed.interrupted
    assert resumed.path.read_bytes() == whole.path.read_bytes()


def test_a_run_stopped_before_its_first_step_can_be_resumed(tmp_path: Path, corpus: Path) -> None:
    assert stopped_after(0, corpus, tmp_path / "m.seqmodel", steps=6).interrupted
    assert run_training(request(corpus, tmp_path / "m.seqmodel", resume=True)).header.training.steps == 6


@pytest.mark.parametrize(("first", "second"), [("steps", "epochs"), ("epochs", "steps")])
def test_a_new_budget_takes_the_old_ones_place(first: str, second: str, tmp_path: Path, corpus: Path) -> None:
    long: dict[str, Any] = {"steps": 400, "epochs": 50.0}
    short: dict[str, Any] = {"steps": 12, "epochs": 1.5}
    stopped_after(4, corpus, tmp_path / "m.seqmodel", **{first: long[first]})
    resumed = run_training(request(corpus, tmp_path / "m.seqmodel", resume=True, **{second: short[second]}))
    assert resumed.header.training.steps < 30
    assert resumed.header.training.budget == f"{short[second]:g} {second}"


def test_resume_without_a_checkpoint_or_on_another_corpus_is_refused(tmp_path: Path, corpus: Path) -> None:
    with pytest.raises(ModelError, match="no such checkpoint"):
        run_training(request(corpus, tmp_path / "m.seqmodel", resume=True))
    stopped_after(2, corpus, tmp_path / "m.seqmodel", steps=400)
    other = tmp_path / "other.txt"
    other.write_text("quite another corpus\n" * 50, encoding="utf-8")
    (tmp_path / "m.tokens").unlink()
    told(run_here("train", other, "--resume", "-o", tmp_path / "m.seqmodel"), 4, "another corpus")
    assert (tmp_path / "m.checkpoint").exists()
    told(run_here("train", corpus, "-o", tmp_path / "m.seqmodel", *QUICK), 2, "exists")


# One writer at a time


def test_all_files_of_one_name_have_one_lock(tmp_path: Path) -> None:
    with exclusive(tmp_path / "m.seqmodel"):
        for name in ("m.seqmodel", "m.tokens"):
            with pytest.raises(UsageError, match="another"), exclusive(tmp_path / name):
                pass
        with exclusive(tmp_path / "n.seqmodel"):
            pass
    with exclusive(tmp_path / "m.tokens"):
        pass
    assert names(tmp_path) == set()


def test_the_time_of_a_command_begins_with_it_also_in_a_process_that_has_run_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = []

    def note(request: Any, *, started: float, **more: Any) -> None:
        begun.append(started)
        raise UsageError("enough", "Stop here.")

    monkeypatch.setattr("seqmodel.api.verbs.run_training", note)
    for _ in range(2):
        before = time.monotonic()
        told(run_here("train", tmp_path / "c.txt", "--time", "5s", "-o", tmp_path / "m.seqmodel"), 2, "enough")
        assert before <= begun[-1] <= time.monotonic()


@pytest.mark.parametrize("name", ["nosuch", "empty.txt", "wide.txt", "latin.txt"])
def test_held_out_text_that_cannot_be_read_is_told_before_the_corpus_is_read(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for other, data in (("empty.txt", b""), ("wide.txt", "one\n".encode("utf-16")), ("latin.txt", b"d\xe9j\xe0\n")):
        (tmp_path / other).write_bytes(data)
    (tmp_path / "corpus.txt").write_bytes(b"\xff is read later\n")
    result = run_here("train", "corpus.txt", *QUICK, "--valid", name)
    assert result.code == 3 and result.err.startswith(f"seqmodel: error: {name}"), result.err


def test_a_file_that_would_be_replaced_is_told_before_the_corpus_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "corpus.txt").write_bytes(b"\xff is read later\n")
    (tmp_path / "held.txt").write_bytes(b"precious\n")
    result = run_here("train", "corpus.txt", *QUICK, "--write-valid", "held.txt")
    assert result.code == 2 and "held.txt exists" in result.err
    twice = run_here("train", "-", *QUICK, "--valid", "-", stdin=b"cat\n")
    assert twice.code == 2 and "standard input is both" in twice.err
