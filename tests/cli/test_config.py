"""`train --config`, `info --config`, `train --init` and `--size` from the command line."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

import seqmodel
from tests.cli.command import run, run_here, told
from tests.conftest import little_text

QUICK = ("--width", "8", "--layers", "1", "--threads", "1", "--steps", "4", "-q")


@pytest.fixture
def corpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A corpus in the working folder, named as one would there."""
    monkeypatch.chdir(tmp_path)
    Path("corpus.txt").write_text(little_text(100), encoding="utf-8")
    return Path("corpus.txt")


def test_a_file_says_all_and_flags_win(corpus: Path) -> None:
    Path("run.toml").write_text(
        'inputs = ["corpus.txt"]\noutput = "mine.seqmodel"\n'
        '[text]\nunit = "word"\nkeep_blank = true\n[model]\nwidth = 8\nlayers = 1\nngram = "off"\n'
        "[training]\nsteps = 4\nthreads = 1\nclip = 0.5\n"
    )
    result = run_here("train", "--config", "run.toml", "-q")
    assert (result.code, result.err, result.lines) == (0, "", ["mine.seqmodel"])
    header = seqmodel.load("mine.seqmodel").header
    assert header.unit == "word" and header.corpus is not None and header.corpus.keep_blank
    assert header.model.width == 8 and not header.discounts and header.training.settings["clip"] == 0.5
    flags = ("-o", "other.seqmodel", "--unit", "char", "--ngram", "on", "--skip-blank", "--epochs", "0.5")
    assert run_here("train", "--config", "run.toml", "-q", *flags).code == 0
    header = seqmodel.load("other.seqmodel").header
    assert header.unit == "char" and header.discounts and header.corpus is not None and not header.corpus.keep_blank
    assert header.training.budget == "0.5 epochs" and header.training.settings["clip"] == 0.5


def test_what_info_prints_trains_the_same_bundle(corpus: Path) -> None:
    assert run("train", corpus, *QUICK, "-o", "a.seqmodel", "--unit", "word", "--dropout", "0.2").code == 0
    printed = run("info", "--config", "a.seqmodel")
    assert (printed.code, printed.err) == (0, "")
    again = run("train", corpus, "--config", "-", "-o", "b.seqmodel", "-q", "--threads", "1", stdin=printed.out)
    assert again.code == 0, again.err
    assert Path("b.seqmodel").read_bytes() == Path("a.seqmodel").read_bytes()


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("[text]\nunit = letter\n", ["run.toml, line 2: "]),
        ("[training]\nlanse = 3\n", ["run.toml: [training] lanse is no option", "lanes"]),
        ("[training]\nlanes = 0\n", ["run.toml: [training] lanes takes a whole number from 1 to 65536, not 0"]),
        ("[model]\ncell = 'transformer'\n", ["run.toml: [model] cell takes mingru, lstm, gru or rnn"]),
    ],
)
def test_a_file_that_cannot_be_is_one_line(text: str, parts: list[str], corpus: Path) -> None:
    Path("run.toml").write_text(text)
    told(run_here("train", corpus, "--config", "run.toml", *QUICK), 2, *parts)
    assert {path.name for path in Path().iterdir()} == {"corpus.txt", "run.toml"}


def test_flags_that_cannot_be_are_one_line_before_anything_is_read(corpus: Path) -> None:
    told(
        run_here("train", corpus, *QUICK, "--dropout", "1.5"),
        2,
        "--dropout takes a number of 0 or more and below 1, not 1.5",
    )
    told(run_here("train", corpus, *QUICK, "--learning-rate", "0"), 2, "--learning-rate takes a number above 0, not 0")
    told(run_here("train", corpus, *QUICK, "--time", "soon"), 2, "--time takes a duration", "10m")
    told(run_here("train", corpus, *QUICK, "--epochs", "2"), 2, "more than one budget")
    told(run_here("train", corpus, "--config", "nowhere.toml"), 2, "nowhere.toml: No such file")
    assert {path.name for path in Path().iterdir()} == {"corpus.txt"}


@pytest.mark.parametrize(
    ("flags", "part"),
    [
        (["--unit", "char"], "unit is word in the token store, not char"),
        (["--sequence", "stream"], "sequence is line in the token store, not stream"),
        (["--closed-vocab"], "--closed-vocab is false in the token store, not true"),
        (["--vocab-size", "300"], "--vocab-size is "),
        (["--keep-blank"], "--keep-blank is false"),
        (["--subword", "bpe"], "subword is unigram"),
    ],
    ids=" ".join,
)
def test_what_contradicts_a_token_store_is_refused(flags: list[str], part: str, corpus: Path) -> None:
    assert run_here("tokenize", corpus, "--unit", "word", "-o", "c.tokens", "-q").code == 0
    told(run_here("train", "c.tokens", *QUICK, *flags), 2, part, "token store")
    assert not Path("model.seqmodel").exists()


def test_what_agrees_with_a_token_store_is_fine(corpus: Path) -> None:
    assert run_here("tokenize", corpus, "--unit", "word", "-o", "c.tokens", "-q").code == 0
    size = str(seqmodel.tokens.store.open_store(Path("c.tokens")).header.vocabulary)
    same = ("--unit", "word", "--sequence", "line", "--open-vocab", "--vocab-size", size, "--skip-blank")
    assert run_here("train", "c.tokens", *QUICK, *same, "-o", "a.seqmodel").code == 0
    assert run_here("train", "c.tokens", *QUICK, "-o", "b.seqmodel").code == 0
    assert Path("a.seqmodel").read_bytes() == Path("b.seqmodel").read_bytes()


def test_going_on_from_a_bundle_is_told_by_info_and_its_toml(corpus: Path, train_little: Callable[..., Path]) -> None:
    base = train_little()
    flags = ("--steps", "4", "--threads", "1", "-q")
    assert run_here("train", corpus, "--init", base, "-o", "a.seqmodel", *flags).code == 0
    digest = seqmodel.load("a.seqmodel").header.provenance.began_from
    assert (
        digest is not None
        and f"began from the bundle with the digest {digest[:16]}" in run_here("info", "a.seqmodel").text
    )
    assert "began from" not in run_here("info", base).text
    printed = run_here("info", "--config", "a.seqmodel")
    assert digest in printed.text and "--init" in printed.text
    Path("run.toml").write_bytes(printed.out)
    again = run_here("train", corpus, "--init", base, "--config", "run.toml", "-o", "b.seqmodel", *flags)
    assert again.code == 0, again.err
    assert Path("b.seqmodel").read_bytes() == Path("a.seqmodel").read_bytes()
    told(run_here("train", corpus, "--init", base, *QUICK), 2, "width is 24 in the bundle to begin from, not 8")


def test_a_size_is_told_and_a_width_given_beside_it_wins(corpus: Path) -> None:
    arguments = ("train", corpus, "--size", "s", "--steps", "1", "--threads", "1")
    assert "1 × 192 mingru (size s)" in run_here(*arguments, "-o", "a.seqmodel").err
    assert "1 × 16 mingru, " in run_here(*arguments, "-o", "b.seqmodel", "--width", "16").err


def test_a_file_whose_name_is_no_utf8_is_an_input_as_any_other(corpus: Path) -> None:
    odd = Path(os.fsdecode(b"caf\xe9.txt"))
    odd.write_bytes(corpus.read_bytes())
    for name in (corpus, odd):
        assert run("train", name, *QUICK, "-o", f"{name}.seqmodel", "--valid", name).code == 0
    assert Path(f"{odd}.seqmodel").read_bytes() == Path(f"{corpus}.seqmodel").read_bytes()


def test_info_tells_in_one_way(train_little: Callable[..., Path]) -> None:
    told(run_here("info", "--config", "--json", train_little()), 2, "--config and --json")
