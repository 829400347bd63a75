"""What goes wrong is told in one line that says what, where and what to do, with the right exit code, and never
with the user's text in it."""

from __future__ import annotations

import gzip
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from seqmodel.console.terminal import console
from tests.cli.command import FULL, command, environment, run, run_here, told
from tests.conftest import little_text

CANARY = "Xylocarp-canary"
QUICK = ("--steps", "3", "--width", "8", "--layers", "1", "--threads", "1", "-q")

# Inputs that cannot be used: the file's name, its bytes, and what the message must say.
BAD_INPUTS = {
    "missing": ("missing.txt", None, "no such file"),
    "invalid": ("bad.txt", f"one\ntwo\n{CANARY} ".encode() + b"\xff\n", "line 3, byte 24"),
    "utf-16": ("wide.txt", f"{CANARY}\n".encode("utf-16"), "UTF-16"),
    "binary": ("junk.bin", bytes(range(128, 256)) * 40, "invalid UTF-8"),
    "cut-gzip": ("cut.txt.gz", gzip.compress(os.urandom(4000).hex().encode())[:1500], "truncated or damaged"),
    "no-gzip": ("no.txt.gz", f"{CANARY}\n".encode(), "no.txt.gz"),
    "no-bzip2": ("no.txt.bz2", f"{CANARY}\n".encode(), "no.txt.bz2"),
    "no-xz": ("no.txt.xz", f"{CANARY}\n".encode(), "no.txt.xz"),
    "no-zstandard": ("no.txt.zst", f"{CANARY}\n".encode(), "no.txt.zst"),
}
# Inputs without anything to learn from; scoring them is no fault.
EMPTY_INPUTS = {"empty": b"", "blank": b"\n\n  \n\t\n", "mark": b"\xef\xbb\xbf"}


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SEQMODEL_MODEL", raising=False)


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    path = tmp_path / "corpus.txt"
    path.write_text(little_text() + f"{CANARY}\n", encoding="utf-8")
    return path


def files() -> set[str]:
    return {path.name for path in Path().iterdir()}


# Input


@pytest.mark.parametrize("kind", BAD_INPUTS)
@pytest.mark.parametrize("verb", ["score", "filter", "tokenize", "train"])
def test_input_that_cannot_be_read_is_told_with_its_name(
    verb: str, kind: str, train_little: Callable[..., Path]
) -> None:
    name, data, message = BAD_INPUTS[kind]
    if data is not None:
        Path(name).write_bytes(data)
    before = files()
    options: dict[str, tuple[str | Path, ...]] = {
        "score": ("-m", train_little()),
        "filter": ("-m", train_little(), "--above", "0"),
        "tokenize": ("-o", "out.tokens"),
        "train": ("-o", "out.seqmodel", *QUICK),
    }
    result = run_here(verb, name, *options[verb])
    told(result, 3, name, message)
    assert CANARY not in result.err
    assert files() == before, "leftovers"


@pytest.mark.parametrize("kind", EMPTY_INPUTS)
@pytest.mark.parametrize("verb", ["tokenize", "train"])
def test_a_corpus_without_text_is_told(verb: str, kind: str) -> None:
    Path("corpus.txt").write_bytes(EMPTY_INPUTS[kind])
    told(run_here(verb, "corpus.txt", "-o", "out", *(QUICK if verb == "train" else ())), 3, "no text")
    assert files() == {"corpus.txt"}


def test_a_folder_without_text_is_told(train_little: Callable[..., Path]) -> None:
    Path("folder").mkdir()
    (Path("folder") / "image.png").write_bytes(b"\x89PNG\0\0")
    (Path("folder") / ".hidden.txt").write_bytes(b"cat\n")
    told(run_here("score", "folder", "-m", train_little()), 3, "folder", "no text")
    told(run_here("train", "folder", *QUICK), 3, "folder", "no text")


def test_byte_offsets_count_from_the_files_first_byte_mark_or_none(train_little: Callable[..., Path]) -> None:
    Path("marked.txt").write_bytes(b"\xef\xbb\xbfone\ntwo \xff\n")
    told(run_here("score", "marked.txt", "-m", train_little()), 3, "line 2, byte 11")


def test_rows_before_the_fault_are_written(train_little: Callable[..., Path]) -> None:
    Path("good.txt").write_bytes(b"cat\ndog\n")
    Path("bad.txt").write_bytes(b"\xff")
    result = run_here("score", "good.txt", "bad.txt", "-m", train_little())
    told(result, 3, "bad.txt")
    assert len(result.lines) == 3


def test_standard_input_named_twice_or_beside_text_is_refused(train_little: Callable[..., Path]) -> None:
    told(run_here("score", "-", "-", "-m", train_little(), stdin=b"cat\n"), 2, "twice")
    told(run_here("score", "-", "-t", "cat", "-m", train_little(), stdin=b"cat\n"), 2, "--text")


def test_a_name_that_is_too_long_or_odd_is_told_in_one_line(train_little: Callable[..., Path]) -> None:
    told(run_here("score", "x" * 300, "-m", train_little()), 3)
    told(run_here("score", "no\nsuch\x1b[31m.txt", "-m", train_little()), 3, "no such file")


# Models


@pytest.mark.parametrize("verb", ["score", "generate", "info", "tokenize"])
@pytest.mark.parametrize(
    "kind",
    ["missing", "folder", "text", "empty", "cut", "cut-header", "flipped", "checkpoint", "file-as-folder", "long"],
)
def test_a_model_that_is_none_is_told(verb: str, kind: str, train_little: Callable[..., Path]) -> None:
    path = Path("model.seqmodel")
    data = train_little().read_bytes()
    contents = {
        "text": CANARY.encode() * 100,
        "empty": b"",
        "cut": data[:-100],
        "cut-header": data[:500],
        "flipped": data[:-9] + bytes([data[-9] ^ 4]) + data[-8:],
    }
    if kind == "folder":
        path.mkdir()
    elif kind == "checkpoint":
        path.write_bytes(b"\x02\0\0\0\0\0\0\0{}")
    elif kind in contents:
        path.write_bytes(contents[kind])
    elif kind == "file-as-folder":
        Path("corpus.txt").write_bytes(b"cat\n")
        path = Path("corpus.txt/model.seqmodel")
    elif kind == "long":
        path = Path("x" * 300)
    arguments = (path, "--verify") if verb == "info" else ("-m", path)
    result = run_here(verb, *arguments, stdin=b"cat\n")
    told(result, 4, str(path))
    assert result.out == b"" and CANARY not in result.err


def test_the_environments_model_is_named_when_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEQMODEL_MODEL", "elsewhere/x.seqmodel")
    told(run_here("score", stdin=b"cat\n"), 4, "elsewhere/x.seqmodel", "SEQMODEL_MODEL")


def test_a_damaged_token_store_is_told(corpus: Path) -> None:
    assert run_here("tokenize", corpus, "-o", "c.tokens", "-q").code == 0
    data = Path("c.tokens").read_bytes()
    for damaged in (data[:-8], data[:300], data[:-20] + bytes([data[-20] ^ 1]) + data[-19:], data + b"\0" * 8):
        Path("d.tokens").write_bytes(damaged)
        result = run_here("train", "d.tokens", "-o", "m.seqmodel", *QUICK)
        told(result, 4, "d.tokens")
        told(run_here("tokenize", "-m", "d.tokens", stdin=b"cat\n"), 4, "d.tokens")
    assert files() == {"c.tokens", "d.tokens", "corpus.txt"}


# Options


@pytest.mark.parametrize(
    "options",
    [
        ["--time", "5s", "--steps", "3"],
        ["--epochs", "1", "--steps", "3"],
        ["--time", "soon"],
        ["--time", "0s"],
        ["--time", "-5s"],
        ["--time", "5 minutes"],
        ["--time", ""],
        ["--steps", "0"],
        ["--steps", "-1"],
        ["--steps", "1.5"],
        ["--epochs", "0"],
        ["--epochs", "-1"],
        ["--epochs", "nan"],
        ["--epochs", "inf"],
        ["--width", "0"],
        ["--width", "1000000"],
        ["--layers", "0"],
        ["--layers", "1000"],
        ["--lanes", "0"],
        ["--segment", "-1"],
        ["--dropout", "1"],
        ["--dropout", "nan"],
        ["--learning-rate", "0"],
        ["--learning-rate", "nan"],
        ["--learning-rate", "inf"],
        ["--seed", "-1"],
        ["--seed", str(1 << 63)],
        ["--threads", "0"],
        ["--threads", "100000"],
        ["--lanes", "1000000000000"],
        ["--segment", "1000000000000"],
        ["--steps", "1" + "0" * 400],
        ["--vocab-size", "5", "--steps", "1"],
        ["--vocab-size", "100000", "--steps", "1"],
        ["--vocab-size", "100000", "--unit", "word", "--steps", "1"],
        ["--vocab-size", "100000", "--unit", "subword", "--steps", "1"],
        ["--closed-vocab", "--unit", "subword", "--steps", "1"],
        ["--unit", "letter"],
        ["--cell", "transformer"],
        ["--max-line", "0"],
        ["--nonsense"],
    ],
    ids=" ".join,
)
def test_training_options_that_cannot_be_are_told_in_one_line(options: list[str], corpus: Path) -> None:
    budget = [] if {"--time", "--epochs", "--steps"} & set(options) else ["--steps", "2"]
    told(run_here("train", corpus, "-o", "m.seqmodel", "-q", "--threads", "1", *budget, *options), 2)
    assert files() - {"m.jsonl"} == {"corpus.txt"}


def test_a_run_without_a_corpus_or_with_a_store_and_text_is_refused(corpus: Path) -> None:
    told(run_here("train", *QUICK), 2, "no corpus")
    assert run_here("tokenize", corpus, "-o", "c.tokens", "-q").code == 0
    told(run_here("train", "c.tokens", corpus, "-o", "m.seqmodel", *QUICK), 2, "token store")
    told(run_here("train", "--resume", "-o", "m.seqmodel", *QUICK), 4, "no such checkpoint")
    assert files() == {"corpus.txt", "c.tokens"}


@pytest.mark.parametrize("arguments", [["nonsense"], ["score", "--base", "7"], ["score", "--by", "page"], ["--x"]])
def test_a_command_line_that_means_nothing_is_told_in_one_line(arguments: list[str]) -> None:
    told(run_here(*arguments), 2)


@pytest.mark.parametrize("verb", ["train", "tokenize"])
def test_outputs_that_cannot_be_are_refused(verb: str, corpus: Path) -> None:
    more = QUICK if verb == "train" else ()
    told(run_here(verb, corpus, "-o", "no/such/folder/m.x", *more), 2, "is not a folder")
    told(run_here(verb, corpus, "-o", "corpus.txt/m.x", *more), 2, "is not a folder")
    Path("taken").write_bytes(b"mine")
    told(run_here(verb, corpus, "-o", "taken", *more), 2, "taken exists", "--force")
    assert Path("taken").read_bytes() == b"mine"
    assert files() == {"corpus.txt", "taken"}


@pytest.mark.skipif(not Path("/sys/kernel").exists(), reason="needs a folder in which not even root may write")
@pytest.mark.parametrize("verb", ["train", "tokenize"])
def test_a_folder_that_takes_no_files_is_told(verb: str, corpus: Path) -> None:
    result = run_here(verb, corpus, "-o", "/sys/m.seqmodel", *(QUICK if verb == "train" else ()))
    told(result, 1, "/sys/m.seqmodel", "Permission denied")


HUGE = "9" * 5_000


@pytest.mark.parametrize(
    "arguments",
    [
        ["score", "--column", HUGE],
        ["score", "--shard", f"1/{HUGE}"],
        ["filter", "--column", HUGE, "--above", "0"],
        ["rescore", "--utterance", HUGE, "--hypothesis", "1"],
        ["generate", "--length", f"1..{HUGE}"],
        ["generate", "--count", "1" + "0" * 30],
        ["generate", "--first", "1" + "0" * 30],
        ["generate", "--first", str((1 << 32) - 1), "--count", "2"],
        ["generate", "--seed", "1" + "0" * 30],
        ["compare", "MODEL", "--resamples", "1" + "0" * 12],
        ["compare", "MODEL", "--worst", "1" + "0" * 12],
    ],
    ids=lambda arguments: " ".join(arguments)[:30],
)
def test_numbers_beyond_all_sense_are_told_in_one_line(
    arguments: list[str], corpus: Path, train_little: Callable[..., Path]
) -> None:
    model = str(train_little())
    given = [] if arguments[0] == "generate" else [model, str(corpus)] if "MODEL" in arguments else [str(corpus)]
    parts = [model if part == "MODEL" else part for part in arguments]
    result = run_here(*parts, *given, *([] if "MODEL" in arguments else ["-m", model]))
    told(result, 3 if HUGE in arguments and "rescore" not in arguments else 2)
    assert result.out == b"" and CANARY not in result.err


def test_a_name_that_is_no_utf8_is_used_and_told_as_it_is(train_little: Callable[..., Path]) -> None:
    text, page = (os.fsdecode(b"\x1b[31m\xff" + suffix) for suffix in (b".txt", b".html"))
    Path("a.txt").write_bytes(b"cat\n")
    Path(text).write_bytes(b"dog\n")
    result = run_here("score", "a.txt", text, "-m", train_little())
    assert (result.code, [row["file"] for row in result.rows]) == (0, ["a.txt", "\x1b[31m\\xff.txt"])
    assert run_here("score", text, "-m", train_little(), "--html", page).out == os.fsencode(page) + b"\n"
    store, bundle = (os.fsdecode(b"\x1b[31m\xff" + suffix) for suffix in (b"1.tokens", b"2.seqmodel"))
    assert run_here("tokenize", text, "-o", store, "-q").out == os.fsencode(store) + b"\n"
    assert run_here("train", text, "-o", bundle, *QUICK).out == os.fsencode(bundle) + b"\n"
    told(run_here("score", os.fsdecode(b"\xfe.txt"), "-m", train_little()), 3, r"\xfe.txt: no such file")


# Pipes and disks


@pytest.mark.parametrize(
    "arguments",
    [["score"], ["score", "--by", "token", "--format", "jsonl"], ["generate", "-n", "1000"], ["tokenize"]],
    ids=lambda arguments: arguments[0],
)
def test_a_reader_that_has_had_enough_is_no_fault(arguments: list[str], train_little: Callable[..., Path]) -> None:
    Path("big.txt").write_text(little_text(20_000), encoding="utf-8")
    given = [] if arguments[0] == "generate" else ["big.txt"]
    process = subprocess.Popen(
        command(*arguments, *given, "-m", train_little()),
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None and process.stderr is not None
    assert process.stdout.readline()
    process.stdout.close()
    err = process.stderr.read()
    process.stderr.close()
    assert (process.wait(timeout=60), err) == (141, b"")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("verb", ["score", "generate", "tokenize", "info", "--version", "--help"])
def test_a_full_output_is_told(verb: str, train_little: Callable[..., Path]) -> None:
    options = {"info": [train_little()], "--version": [], "--help": []}.get(verb, ["-m", train_little()])
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            command(verb, *options), input=b"cat\n", stdout=full, stderr=subprocess.PIPE, env=environment(), timeout=60
        )
    err = done.stderr.decode()
    assert done.returncode == 5, err
    assert "Traceback" not in err and err.count("\n") == 1 and err.startswith("seqmodel: error: ")


NBEST = "u-1 cat dog\nu-2 dog cat\n"
# Every command's ways of writing to standard output, and the file that it makes, which stays.
FULL_OUTPUTS: dict[str, tuple[list[str], str]] = {
    "score": (["score", "text.txt"], ""),
    "score-corpus": (["score", "text.txt", "--by", "corpus"], ""),
    "score-kenlm": (["score", "text.txt", "--format", "kenlm"], ""),
    "score-table": (["score", "table.csv", "--column", "text"], ""),
    "score-explain": (["score", "-t", "cat", "--explain"], ""),
    "score-page": (["score", "text.txt", "--html", "page.html"], "page.html"),
    "score-page-out": (["score", "text.txt", "--html", "-"], ""),
    "compare": (["compare", "m.seqmodel", "m.seqmodel", "text.txt"], ""),
    "compare-rows": (["compare", "m.seqmodel", "m.seqmodel", "text.txt", "--format", "jsonl"], ""),
    "rescore": (["rescore", "nbest.txt"], ""),
    "filter": (["filter", "text.txt", "--above", "0"], ""),
    "filter-count": (["filter", "text.txt", "--above", "0", "--count"], ""),
    "generate": (["generate", "--seed", "1"], ""),
    "complete": (["complete", "ca"], ""),
    "complete-requests": (["complete", "--jsonl"], ""),
    "top": (["top", "-n", "2", "--effort", "50"], ""),
    "generate-rows": (["generate", "--seed", "1", "--format", "jsonl"], ""),
    "tokenize": (["tokenize", "text.txt"], ""),
    "tokenize-store": (["tokenize", "text.txt", "-o", "c.tokens"], "c.tokens"),
    "info": (["info", "m.seqmodel"], ""),
    "info-json": (["info", "m.seqmodel", "--json"], ""),
    "info-config": (["info", "m.seqmodel", "--config"], ""),
    "plot": (["plot", "run.jsonl"], ""),
    "plot-figure": (["plot", "run.jsonl", "-o", "run.svg"], "run.svg"),
    "train": (["train", "text.txt", "-o", "new.seqmodel", *QUICK], "new.seqmodel"),
    "bench": (["bench", "--quick", "-q"], ""),
    "bench-rows": (["bench", "--quick", "-q", "--format", "jsonl"], ""),
}
WITH_MODEL = ("score", "rescore", "filter", "generate", "complete", "top", "bench")


@pytest.mark.skipif(not FULL.exists(), reason="needs /dev/full")
@pytest.mark.parametrize("name", FULL_OUTPUTS)
def test_a_full_output_is_told_by_every_command(name: str, train_little: Callable[..., Path]) -> None:
    arguments, made = FULL_OUTPUTS[name]
    model = train_little(steps=2, width=8, layers=1)
    for source, suffix in ((model, "m.seqmodel"), (model.with_suffix(".jsonl"), "run.jsonl")):
        Path(suffix).write_bytes(source.read_bytes())
    Path("text.txt").write_text(little_text(60))
    Path("table.csv").write_text("id,text\n1,cat\n2,dog\n")
    Path("nbest.txt").write_text(NBEST)
    before = {path.name: path.read_bytes() for path in Path().iterdir()}
    with_model = arguments[0] in WITH_MODEL or arguments == ["tokenize", "text.txt"]
    request = b'{"prefix": "ca"}\n'
    result = run_here(*arguments, *(["-m", "m.seqmodel"] if with_model else []), stdin=request, full="out")
    told(result, 5, "no space left on the output")
    assert {path.name: path.read_bytes() for path in Path().iterdir() if path.name in before} == before
    logs = {"new.jsonl"} if made == "new.seqmodel" else set()
    assert files() - before.keys() == logs | ({made} if made else set())


@pytest.mark.skipif(not FULL.exists(), reason="needs /dev/full")
def test_a_failure_that_nobody_can_be_told_of_has_its_exit_code(train_little: Callable[..., Path]) -> None:
    model = train_little()
    for full in ("err", "out err"):
        assert run_here("score", "missing.txt", "-m", model, full=full).code == 3
        assert run_here("info", "missing.seqmodel", full=full).code == 4
    assert run_here("score", "-m", model, stdin=b"cat\n", full="err").code == 5  # its summary is lost
    console.cache_clear()  # which would try to write it once more
    assert run_here("score", "-m", model, "-q", stdin=b"cat\n", full="err").code == 0


@pytest.mark.parametrize("redirection", ["<&-", ">&-"])
def test_a_closed_stream_is_told(redirection: str, train_little: Callable[..., Path]) -> None:
    line = f'"$0" -m seqmodel score -m "$1" {redirection}'
    done = subprocess.run(
        ["sh", "-c", line, sys.executable, str(train_little())], capture_output=True, env=environment(), timeout=60
    )
    err = done.stderr.decode()
    assert done.returncode > 0
    assert "Traceback" not in err and "internal error" not in err and err.startswith("seqmodel: error: ")


def limited(size: int) -> Callable[[], None]:
    """What a child runs first so that no file that it writes grows beyond `size` bytes, as on a full disk."""
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def test_a_disk_that_fills_while_saving_leaves_the_old_bundle(corpus: Path) -> None:
    output = Path("m.seqmodel")
    assert run_here("train", corpus, "-o", output, *QUICK, "--width", "64").code == 0
    before, size = output.read_bytes(), output.stat().st_size
    assert run_here("tokenize", corpus, "-o", "c.tokens", "-q").code == 0
    assert Path("c.tokens").stat().st_size < size // 2
    arguments = ("train", "c.tokens", "-o", output, "--force", *QUICK, "--width", "64", "--seed", "8")
    result = run(*arguments, preexec_fn=limited(size - 1000))
    told(result, 5, "no space left", "m.seqmodel")
    assert result.out == b""
    assert output.read_bytes() == before
    assert files() == {"corpus.txt", "c.tokens", "m.seqmodel", "m.jsonl"}


def test_a_disk_that_fills_while_encoding_leaves_the_old_store(corpus: Path) -> None:
    assert run_here("tokenize", corpus, "-o", "c.tokens", "-q").code == 0
    before = Path("c.tokens").read_bytes()
    result = run("tokenize", corpus, "-o", "c.tokens", "--force", preexec_fn=limited(6000))
    told(result, 5, "no space left", "c.tokens")
    assert Path("c.tokens").read_bytes() == before
    assert files() == {"corpus.txt", "c.tokens"}


# Signals


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("verb", ["score", "tokenize"])
def test_a_signal_while_waiting_for_input_ends_without_a_word(
    verb: str, number: signal.Signals, code: int, train_little: Callable[..., Path]
) -> None:
    process = subprocess.Popen(
        command(verb, "-m", train_little()),
        env=environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write(b"cat\n")
    process.stdin.flush()
    assert process.stdout.readline()  # it is past its start, and waits
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    shell = process.returncode if process.returncode >= 0 else 128 - process.returncode
    assert (shell, err) == (code, b"")


# Looks


@pytest.mark.parametrize("more", [{}, {"NO_COLOR": "1"}, {"TERM": "dumb"}, {"TERM": "xterm-256color"}], ids=str)
def test_off_a_terminal_nothing_is_coloured(more: dict[str, str], train_little: Callable[..., Path]) -> None:
    for arguments in (["--help"], ["score", "-m", str(train_little())], ["info", "nowhere"], ["score", "--nonsense"]):
        result = run(*arguments, stdin=b"cat\n", env=environment(**more))
        assert b"\x1b" not in result.out and "\x1b" not in result.err
