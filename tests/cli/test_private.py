"""What users give stays with them: no message repeats it, nothing is sent anywhere, and no other program is run."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.command import environment, run_here, told
from tests.cli.sweep import QUICK, READING, arguments, result_or_one_line
from tests.conftest import little_text

CANARY = "xylocarpcanary"

# Inputs that hold the canary wherever something can stand but the name of a column that an error tells of; most are
# wrong for most commands.
INPUTS: dict[str, bytes] = {
    "lines": f"{CANARY} cat\n{CANARY}\n".encode() * 3,
    "invalid": f"{CANARY}\n{CANARY}".encode() + b"\xff" + CANARY.encode(),
    "UTF-16": CANARY.encode("utf-16"),
    "TSV": f"{CANARY}\ttext\n{CANARY}\t{CANARY}\n{CANARY}\n".encode(),
    "CSV": f'text,{CANARY}\n{CANARY},"{CANARY}\n'.encode(),
    "CSV that is none": f'text,{CANARY}\n{CANARY},"{CANARY}"{CANARY}\n'.encode(),
    "JSON": json.dumps({"text": CANARY, "id": CANARY, CANARY: [CANARY]}).encode() + b"\n",
    "JSON without the key": json.dumps({"other": CANARY}).encode() + b"\n",
    "JSON that is none": f'{{"text": "{CANARY}", {CANARY}'.encode(),
    "half a character": f'{{"text": "{CANARY}\\ud800", "id": "{CANARY}"}}\n'.encode(),
    "TOML": f'output = ["{CANARY}"]\n'.encode(),
    "TOML values": f'[training]\nsteps = "{CANARY}"\n'.encode(),
    "TOML of another kind": f'[text]\nunit = "{CANARY}"\nsequence = "{CANARY}"\n'.encode(),
    "TOML that is none": f'steps = "{CANARY}" {CANARY}\n'.encode(),
    "lists": f"{CANARY}-1 cat\n{CANARY}-2 dog\n{CANARY}-2 {CANARY}\n".encode(),
    "lists again": f"{CANARY}-1 cat\nu-1 dog\n{CANARY}-2 {CANARY}\n".encode(),
    "scores": f"u-1 {CANARY}\n".encode(),
    "scores of others": f"{CANARY} 1.5\n".encode(),
    "pieces": f"c a t\n{CANARY} {CANARY}\n".encode(),
    "log": json.dumps({"event": "Planned", "per": CANARY, "more": {CANARY: CANARY}}).encode() + b"\n",
    "log that is none": f'{{"event": "{CANARY}"}}\n{CANARY}\n'.encode(),
}
# Command lines that cannot be carried out, the canary in what they name or say.
FAULTS: dict[str, tuple[str, ...]] = {
    "column": ("score", "table.tsv", "--column", CANARY),
    "given column": ("score", "table.tsv", "--column", "text", "--given-column", CANARY),
    "key": ("score", "keys.jsonl", "--column", CANARY),
    "column number": ("score", "table.tsv", "--column", "7"),
    "taken": ("score", "table.jsonl", "--column", "text", "--column-prefix", CANARY),
    "utterance": ("rescore", "table.tsv", "--utterance", CANARY, "--hypothesis", "text"),
    "score": ("rescore", "table.tsv", "--utterance", "id", "--hypothesis", "text", "--score", "id"),
    "filter": ("filter", "table.tsv", "--column", CANARY, "--above", "1"),
    "text and file": ("score", "lines.txt", "-t", CANARY),
    "prefix and file": ("generate", "--prefix", CANARY, "--prefix-file", "lines.txt"),
    "two lines": ("generate", "--prefix", f"{CANARY}\n{CANARY}"),
    "no such length": ("generate", "--prefix", CANARY, "--length", "1..0", "--stop", CANARY),
    "half a character": ("generate", "--prefix", f"{CANARY}\udcff"),
    "half a character to score": ("score", "-t", f"{CANARY}\udcff"),
    "half a character in a name": ("score", "table.tsv", "--column", "text", "--column-prefix", f"{CANARY}\udcff"),
    "prefix that is no option": ("generate", f"{CANARY} and what follows it"),
    "context": ("score", "-t", CANARY, "--context", "lines.txt"),
    "explain": ("score", "-t", CANARY * 50, "--explain"),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("private")
    (made / "corpus.txt").write_text(little_text() + f"{CANARY}\n", encoding="utf-8")
    (made / "lists.txt").write_text(f"u-1 cat {CANARY}\nu-2 dog\n", encoding="utf-8")
    (made / "lines.txt").write_bytes(INPUTS["lines"])
    (made / "table.tsv").write_text(f"id\ttext\n{CANARY}\t{CANARY}\n", encoding="utf-8")
    bits = {f"{CANARY}{name}": 1 for name in ("bits", "tokens", "chars", "bits_per_char")}
    (made / "keys.jsonl").write_text(json.dumps({"text": CANARY}) + "\n", encoding="utf-8")
    (made / "table.jsonl").write_text(json.dumps({"text": CANARY, **bits}) + "\n", encoding="utf-8")
    for number, data in enumerate(INPUTS.values()):
        (made / f"input{number}").write_bytes(data)
    return made


@pytest.fixture(scope="module")
def model(train_little: Callable[..., Path]) -> Path:
    return train_little(little_text() + f"{CANARY}\n" * 9, steps=2, width=8, layers=1)


@pytest.fixture(autouse=True)
def _here(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)


def swept(before: set[Path]) -> None:
    for path in set(Path().iterdir()) - before:
        path.unlink()


@pytest.mark.parametrize("kind", INPUTS)
@pytest.mark.parametrize("command", READING)
def test_no_message_repeats_what_was_read(command: str, kind: str, model: Path) -> None:
    before = set(Path().iterdir())
    result = run_here(*arguments(command, f"input{list(INPUTS).index(kind)}", model))
    result_or_one_line(result)
    assert CANARY not in result.err
    swept(before)


@pytest.mark.parametrize("kind", FAULTS)
def test_no_message_repeats_what_the_command_line_said(kind: str, model: Path) -> None:
    result = run_here(*FAULTS[kind], "-m", model)
    assert result.code in (2, 3), (result.code, result.err)
    result_or_one_line(result)
    assert CANARY not in result.err
    assert CANARY not in result.text.split("\n")[0]


@pytest.mark.parametrize(
    "given",
    [
        ("complete", f"--my {CANARY} text"),
        (f"my {CANARY} text",),
        ("score", "-t", "cat", "--by", f"my  {CANARY}"),
        ("score", "-t", "cat", f"--base={CANARY} text"),
    ],
)
def test_a_text_in_the_place_of_an_option_is_not_repeated(given: tuple[str, ...]) -> None:
    result = run_here(*given)
    told(result, 2, "…")
    assert CANARY not in result.err


def test_what_goes_wrong_inside_is_told_without_its_message(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from seqmodel.api.model import Model

    def fail(*_: object) -> None:
        raise ValueError(f"what is {CANARY}?")

    monkeypatch.setattr(Model, "score_lines", fail)
    result = run_here("score", "lines.txt", "-m", model)
    assert result.code == 1 and CANARY not in result.err and "Traceback" not in result.err
    result = run_here("score", "lines.txt", "-m", model, "--debug")
    assert "Traceback" in result.err


# Quiet: nothing but data on standard output, and on standard error nothing

GIVEN = {
    "train": "corpus.txt",
    "train --valid": "corpus.txt",
    "train --config": "good.toml",
    "tokenize --decode": "good.pieces",
    "tokenize --decode --ids": "good.ids",
    "score tsv": "table.tsv",
    "score csv": "good.csv",
    "score jsonl": "table.jsonl",
    "score --explain": "short.txt",
    "score --context": "short.txt",
    "rescore": "lists.txt",
    "rescore --scores": "good.scores",
    "rescore jsonl": "lists.jsonl",
    "filter a table": "table.tsv",
    "rescore --tune": "said.txt",
    "train --init": "MODEL",
    "compare -m": "MODEL",
    "score -m": "MODEL",
}


@pytest.mark.parametrize("command", [command for command in READING if command not in ("plot", "plot -o", "info")])
def test_standard_output_is_the_same_whatever_is_said_beside_it(command: str, model: Path) -> None:
    for name, data in {
        "good.toml": "[training]\nsteps = 2\n",
        "good.pieces": "c a t\n",
        "good.ids": "97 98\n",
        "good.csv": f"text\n{CANARY}\n",
        "short.txt": "cat\n",
        "good.scores": "u-1 1\nu-2 2\n",
        "lists.jsonl": json.dumps({"id": "u", "text": "cat"}) + "\n",
        "said.txt": "u cat\n",
    }.items():
        Path(name).write_text(data, encoding="utf-8")
    given = GIVEN.get(command, "lines.txt").replace("MODEL", str(model))
    before = set(Path().iterdir())
    line = [part for part in arguments(command, given, model) if part != "-q"]
    results = []
    for more in ([], ["-q"]):
        results.append(run_here(*line, *([] if line[0] == "generate" else more)))
        swept(before)
    assert [result.code for result in results] == [0, 0], results
    assert results[0].out == results[1].out
    assert results[1].err == ""


# Nowhere but here

# Refuses what reaches the network or begins a program, and tells of it; then runs the command line.
# What lists the system's fonts, when matplotlib is used for the first time, may run.
GUARD = """
import sys
def guard(event, arguments):
    if event == "subprocess.Popen" and arguments[0] in ("fc-list", "system_profiler"):
        return
    if event.startswith(("socket.", "subprocess.", "os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.startfile",
                         "ftplib.", "http.", "urllib.", "smtplib.", "webbrowser.", "pty.")):
        print("REACHED OUT", event, arguments, file=sys.stderr)
        raise PermissionError(event)
sys.addaudithook(guard)
from seqmodel.cli.app import main
main()
"""
ALONE: dict[str, tuple[str, ...]] = {
    "train": ("train", "corpus.txt", "-o", "new.seqmodel", "--force", *QUICK[:-3]),
    "tokenize -o": ("tokenize", "corpus.txt", "-o", "new.tokens", "--unit", "subword", "--force"),
    "tokenize": ("tokenize", "lines.txt", "-m", "MODEL"),
    "score": ("score", "lines.txt", "-m", "MODEL", "--by", "word", "--words", "unicode"),
    "score --html": ("score", "lines.txt", "-m", "MODEL", "--html", "-"),
    "score --explain": ("score", "-t", "cat", "-m", "MODEL", "--explain"),
    "compare": ("compare", "MODEL", "MODEL", "lines.txt"),
    "rescore --tune": ("rescore", "lists.txt", "-m", "MODEL", "--tune", "said.txt"),
    "filter": ("filter", "lines.txt", "-m", "MODEL", "--above", "0"),
    "generate": ("generate", "-m", "MODEL", "--seed", "1"),
    "info": ("info", "MODEL", "--verify"),
    "plot": ("plot", "run.jsonl"),
    "plot -o": ("plot", "run.jsonl", "-o", "new.svg", "--force"),
    "bench": ("bench", "--quick", "-m", "MODEL"),
    "compressed": ("score", "-m", "MODEL", "packed.txt.gz", "packed.txt.bz2", "packed.txt.xz", "packed.txt.zst"),
    "a fault": ("score", "nowhere.txt", "-m", "MODEL"),
    "--help": ("--help",),
}


@pytest.mark.parametrize("name", ALONE)
def test_nothing_is_sent_and_no_program_is_run(name: str, model: Path) -> None:
    import bz2
    import gzip
    import lzma

    import xopen

    Path("said.txt").write_text("u cat\n", encoding="utf-8")
    Path("run.jsonl").write_bytes(model.with_suffix(".jsonl").read_bytes())
    for suffix, pack in (("gz", gzip.compress), ("bz2", bz2.compress), ("xz", lzma.compress)):
        Path(f"packed.txt.{suffix}").write_bytes(pack(b"cat\n"))
    with xopen.xopen("packed.txt.zst", "wb", threads=0) as file:
        file.write(b"cat\n")
    line = [str(model) if part == "MODEL" else part for part in ALONE[name]]
    done = subprocess.run([sys.executable, "-c", GUARD, *line], capture_output=True, env=environment(), timeout=120)
    err = done.stderr.decode()
    assert "REACHED OUT" not in err
    assert done.returncode == (3 if name == "a fault" else 0), err
