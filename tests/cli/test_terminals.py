"""Whatever text, tables, names and bundles hold: on a terminal it is shown, and steers nothing."""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from seqmodel.model.bundle import read_bundle, write_bundle
from tests.cli.command import on_terminal, run, run_here
from tests.cli.sweep import QUICK

# Colours, a link, a title, a bell, one-byte controls, DEL, a screen to clear, and marks that turn the writing round.
STEERING = "\x1b[35m \x1b]8;;https://x.example\x07y \x1b]0;t\x07 \x9b2J \x9d0;t\x9c \x7f \x08\x0e\x00 \x1bc"
STEERING += " \x1b[2J\u202e\u2066\u200f \u2028"
LINE = f"cat {STEERING} dog"
NAME = "n\x1b[35m\x07\u202e.txt"
# What steers: C0 but tab and line ends, DEL, C1, marks of direction, and in a byte string what is no UTF-8.
UNSEEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
OF_RICH = re.compile(r"\x1b\[(?:[0-9;]*m|\?25[hl]|2K|1A)")  # styles, and what a live picture moves the cursor with
COLOURLESS = re.compile(r"\x1b\[(?:[01234]?m|\?25[hl]|2K|1A)")

COMMANDS = {
    "score": ("score", "lines.txt"),
    "score csv": ("score", "lines.txt", "--format", "csv"),
    "score jsonl": ("score", "lines.txt", "--format", "jsonl"),
    "score kenlm": ("score", "lines.txt", "--format", "kenlm"),
    "score --by token": ("score", "lines.txt", "--by", "token"),
    "score lmzoo": ("score", "lines.txt", "--by", "word", "--format", "lmzoo"),
    "score a table": ("score", "table.tsv", "--column", "text", "--column-prefix", "\x1b[35m\x07"),
    "score objects": ("score", "table.jsonl", "--column", "text"),
    "score documents": ("score", NAME, "lines.txt", "--by", "document"),
    "score --heatmap": ("score", "lines.txt", "--heatmap"),
    "score --explain": ("score", "lines.txt", "--explain"),
    "score --html": ("score", "lines.txt", "--html", f"{NAME}.html"),
    "filter": ("filter", "lines.txt", "--above", "0"),
    "rescore": ("rescore", "lists.txt"),
    "rescore tsv": ("rescore", "lists.txt", "--format", "tsv", "--output", "scores"),
    "compare": ("compare", "MODEL", "other.seqmodel", NAME, "lines.txt"),
    "generate": ("generate", "-n", "20", "--seed", "1", "--prefix", LINE.replace("\0", "")),
    "generate --show-probs": ("generate", "-n", "20", "--seed", "1", "--show-probs"),
    "generate jsonl": ("generate", "-n", "20", "--seed", "1", "--format", "jsonl"),
    "tokenize": ("tokenize", "lines.txt"),
    "tokenize --decode": ("tokenize", "pieces.txt", "--decode"),
    "tokenize -o": ("tokenize", "lines.txt", "-o", f"{NAME}.tokens", "--force"),
    "info": ("info", "odd.seqmodel"),
    "info --json": ("info", "odd.seqmodel", "--json"),
    "info --config": ("info", "odd.seqmodel", "--config"),
    "plot": ("plot", f"{NAME}.jsonl"),
    "train": (
        "train",
        "corpus.txt",
        "-o",
        f"{NAME}.seqmodel",
        "--force",
        "--steps",
        "5",
        "--width",
        "8",
        "--layers",
        "1",
    ),
    "a wrong name": ("score", f"{NAME} that is none"),
    "a wrong option": ("score", "lines.txt", f"--{STEERING}".replace("\0", "")),
}
NO_MODEL = ("compare", "info", "plot", "train")
NEEDS_COLOUR = ("score --heatmap",)


needs_terminal = pytest.mark.skipif(not hasattr(os, "openpty"), reason="needs a pseudo-terminal")


@pytest.fixture(scope="module")
def model(train_little: Callable[..., Path]) -> Path:
    return train_little(f"{LINE}\n" * 300, steps=60, ngram="off")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, model: Path) -> Path:
    made = tmp_path_factory.mktemp("terminal")
    cell = STEERING.replace("\u2028", "")
    contents = {
        "lines.txt": f"{LINE}\nanna\n",
        NAME: f"{LINE}\n",
        "corpus.txt": f"{LINE}\n" * 2_000,
        "table.tsv": f"id\x1b[35m\ttext\n{cell}\t{LINE}\n",
        "table.jsonl": '{"text": "cat \\u001b[35m \x7f\x9b31m \u202e", "\\u0007\x9d": 1}\n',
        "lists.txt": f"u\x07-1 {LINE}\nu\x07-2 dog\n",
        "pieces.txt": run_here("tokenize", "-m", model, stdin=f"{LINE}\n".encode()).text,
        f"{NAME}.jsonl": model.with_suffix(".jsonl").read_text(encoding="utf-8"),
    }
    for name, text in contents.items():
        (made / name).write_text(text, encoding="utf-8", newline="")
    (made / "other.seqmodel").write_bytes(model.read_bytes())
    assert run_here("train", made / "lines.txt", "-o", made / "other.seqmodel", *QUICK, "--force").code == 0
    bundle = read_bundle(model)
    training = bundle.header.training.model_copy(update={"settings": {"cell": STEERING, STEERING: STEERING}})
    header = bundle.header.model_copy(update={"training": training})
    write_bundle(made / "odd.seqmodel", dataclasses.replace(bundle, header=header))
    return made


def shown(name: str, folder: Path, model: Path, **environment: str) -> str:
    """What a command of the list writes to a terminal."""
    arguments = [str(model) if part == "MODEL" else part for part in COMMANDS[name]]
    more = [] if name.startswith(NO_MODEL) or "-o" in arguments else ["-m", str(model)]
    code, data = on_terminal(*arguments, *more, cwd=folder, **{"TERM": "xterm-256color"} | environment)
    wrong = name.startswith("a wrong")
    assert code in ((2, 3) if wrong else (0, 4) if name == "info --config" else (0,)), (code, data)
    assert data.strip()
    return data.decode("utf-8", "surrogateescape")


def steers(text: str) -> str:
    """The surroundings of the first character that should not have come."""
    found = UNSEEN.search(text)
    return "" if found is None else repr(text[max(0, found.start() - 80) : found.end() + 80])


@needs_terminal
@pytest.mark.parametrize("name", [name for name in COMMANDS if name not in NEEDS_COLOUR])
def test_without_colours_nothing_steers_the_terminal(name: str, folder: Path, model: Path) -> None:
    assert not steers(COLOURLESS.sub("", shown(name, folder, model, NO_COLOR="1")))


@needs_terminal
@pytest.mark.parametrize("name", ["score --explain", "compare", "generate --show-probs", "train"])
def test_a_dumb_terminal_is_told_plain_characters(name: str, folder: Path, model: Path) -> None:
    assert not steers(shown(name, folder, model, TERM="dumb"))


@needs_terminal
@pytest.mark.parametrize("name", ["score --heatmap", "score --explain", "compare", "generate --show-probs", "train"])
def test_with_colours_only_our_own_do(name: str, folder: Path, model: Path) -> None:
    text = shown(name, folder, model, COLORTERM="truecolor")
    assert OF_RICH.search(text) and "\x1b[35m" not in text
    assert not steers(OF_RICH.sub("", text))


@needs_terminal
def test_bytes_that_are_no_text_are_shown_too(train_little: Callable[..., Path], tmp_path: Path) -> None:
    (tmp_path / "b.bin").write_bytes(b"cat \x9b31m\x1b[35m\xff\n")
    byte = train_little(unit="byte", steps=5)
    for more in (["score"], ["score", "--format", "csv"], ["filter", "--above", "0"], ["tokenize"]):
        code, data = on_terminal(more[0], "b.bin", "-m", byte, *more[1:], cwd=tmp_path, NO_COLOR="1")
        assert code == 0 and UNSEEN.search(data.decode("utf-8", "surrogateescape")) is None, data


def test_off_a_terminal_text_passes_as_it_is(folder: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    assert run_here("filter", "lines.txt", "-m", model, "--above", "0").out == f"{LINE}\nanna\n".encode()
    assert run_here("tokenize", "pieces.txt", "-m", model, "--decode").out == f"{LINE}\n".encode()
    assert f"\t{LINE}\n".encode() in run("score", "lines.txt", "-m", model, cwd=folder).out
    name = os.fsencode(f"{NAME}\udcff.html")
    assert run_here("score", "lines.txt", "-m", model, "--html", os.fsdecode(name)).out == name + b"\n"
    assert Path(os.fsdecode(name)).exists()
