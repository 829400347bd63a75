"""`seqmodel info`: what a bundle says of itself, and whether it is whole."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

import seqmodel
from seqmodel.model import bundle
from tests.cli.command import environment, run, run_here, told


def test_every_label_is_told_on_standard_output(train_little: Callable[..., Path]) -> None:
    result = run("info", train_little())
    assert (result.code, result.err) == (0, "")
    labels = [line.split()[0] for line in result.lines]
    for label in ("bundle", "digest", "model", "unit", "sequence", "corpus", "training", "held-out"):
        assert label in labels
    assert "end: counted" in result.text and "mingru" in result.text
    assert "\x1b" not in result.text


def test_a_files_name_steers_no_terminal(train_little: Callable[..., Path], tmp_path: Path) -> None:
    odd = tmp_path / "a\x1b[31m.seqmodel"
    odd.write_bytes(train_little().read_bytes())
    shown = run_here("info", odd).text
    assert "a\\x1b[31m" in shown and "\x1b" not in shown


def test_a_bundle_that_is_replaced_while_it_is_verified_is_told_as_it_is_now(
    train_little: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, other = tmp_path / "m.seqmodel", train_little(seed=2)
    path.write_bytes(train_little().read_bytes())
    read = bundle.read_bundle

    def replaced(name: Path) -> bundle.Bundle:
        path.write_bytes(other.read_bytes())
        return read(name)

    monkeypatch.setattr(bundle, "read_bundle", replaced)
    assert f"{read(other).digest} (verified)" in run_here("info", path, "--verify").text


def test_a_stream_says_that_it_has_no_end(train_little: Callable[..., Path]) -> None:
    assert "end: none" in run_here("info", train_little(sequence="stream", steps=20, width=16)).text


def test_json_is_the_whole_header(train_little: Callable[..., Path]) -> None:
    data = json.loads(run_here("info", "--json", train_little()).text)
    header = seqmodel.load(train_little()).header
    assert data.pop("digest") and json.loads(header.model_dump_json()) == data


def test_the_figures_are_those_of_the_header(train_little: Callable[..., Path]) -> None:
    held_out = seqmodel.load(train_little()).header.held_out
    assert held_out is not None
    assert f"{held_out.bits_per_char:.4f} bits per char" in run_here("info", train_little()).text


@pytest.mark.parametrize("variable", ["SEQMODEL_MODEL", "default"])
def test_the_model_is_found_without_being_named(
    variable: str, train_little: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SEQMODEL_MODEL", raising=False)
    told(run_here("info"), 4, "model.seqmodel", "no such file")
    if variable == "default":
        os.symlink(train_little(), "model.seqmodel")
    else:
        monkeypatch.setenv(variable, str(train_little()))
    assert run_here("info").code == 0
    assert run_here("score", "-t", "cat").code == 0
    assert run_here("generate", "--seed", "1").code == 0


def test_a_named_model_comes_before_the_environment(
    train_little: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEQMODEL_MODEL", str(tmp_path / "nowhere.seqmodel"))
    assert run_here("info", train_little()).code == 0
    told(run_here("info"), 4, "nowhere.seqmodel")


def test_verifying_finds_a_flipped_byte_anywhere(train_little: Callable[..., Path], tmp_path: Path) -> None:
    data = train_little().read_bytes()
    damaged = tmp_path / "damaged.seqmodel"
    assert "(verified)" in run_here("info", "--verify", train_little()).text
    for at in (0, 9, 100, len(data) // 2, len(data) - 1):
        damaged.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
        told(run_here("info", "--verify", damaged), 4, "damaged.seqmodel")


def test_info_is_told_in_any_locale(train_little: Callable[..., Path]) -> None:
    result = run("info", train_little(), env=environment(PYTHONIOENCODING="latin-1", PYTHONUTF8="0"))
    assert (result.code, result.err) == (0, "")


@pytest.mark.parametrize("name", ["train", "score", "generate", "tokenize", "info", "plot"])
def test_help_is_told_in_any_locale_and_without_colour(name: str) -> None:
    result = run(name, "--help", env=environment(PYTHONIOENCODING="latin-1", PYTHONUTF8="0"))
    assert result.code == 0, result.err[-300:]
    assert b"\x1b" not in result.out
