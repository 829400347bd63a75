"""The TOML of a bundle's run: what is written is what is read, and the run that it describes is the same run."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import seqmodel
from seqmodel.errors import ModelError
from seqmodel.training.run.config_files import read_options, run_config, toml
from seqmodel.training.run.options import OPTIONS
from tests.conftest import little_text

SCALARS = (
    st.text(st.characters(exclude_categories=["Cs"]))
    | st.booleans()
    | st.integers(-(1 << 63), (1 << 63) - 1)
    | st.floats(allow_nan=False)
)
BARE = st.text("abcxyz_-0123456789", min_size=1)


@given(tables=st.dictionaries(BARE, st.dictionaries(BARE, SCALARS)))
def test_every_value_comes_back_as_it_was(tables: dict[str, dict[str, Any]]) -> None:
    read = tomllib.loads(toml(tables))
    assert read == tables
    kinds = {(table, key): type(value) for table, values in tables.items() for key, value in values.items()}
    assert all(type(read[table][key]) is kind for (table, key), kind in kinds.items())


@pytest.mark.parametrize("value", ['"', "\\", "\x7f", "\x00\x1f\x80\u2028", "a\nb\r\n", "\U0001f600", "'''", "# x"])
def test_odd_characters_come_back(value: str) -> None:
    assert tomllib.loads(toml({"a": {"b": value}})) == {"a": {"b": value}}


RUNS: dict[str, dict[str, Any]] = {
    "chars": {"dropout": 0.3, "keep_blank": True, "weight_decay": 0.02, "seed": 3},
    "stream of words": {"unit": "word", "sequence": "stream", "cell": "gru", "ngram": "off", "size": "s", "width": 16},
    "closed": {"unit": "word", "closed_vocab": True, "ngram_embeddings": False, "feed_forward": 12},
    "subwords": {"unit": "subword", "subword": "bpe", "vocab_size": 290, "sequence": "paragraph"},
    "bytes": {"unit": "byte", "max_line": 2, "sequence": "document", "steps": None, "epochs": 1 / 3},
    "invalid text": {"errors": "replace", "tied": True, "unseen_rate": 0.01},
}


@pytest.mark.parametrize("run", RUNS)
def test_the_run_of_a_bundles_toml_gives_its_very_bytes(run: str, tmp_path: Path) -> None:
    corpus = tmp_path / "corpus.txt"
    corpus.write_bytes(little_text(90).replace("good\n", "good\n\n").encode() + b"\xff\n" * (run == "invalid text"))
    settings = {"steps": 5, "width": 8, "layers": 1, "lanes": 4, "threads": 1} | RUNS[run]
    first = seqmodel.train(corpus, tmp_path / "a.seqmodel", **settings)
    config = tmp_path / "run.toml"
    config.write_text(run_config(first.header), encoding="utf-8")
    seqmodel.train(corpus, tmp_path / "b.seqmodel", config=config, threads=1)
    assert (tmp_path / "b.seqmodel").read_bytes() == (tmp_path / "a.seqmodel").read_bytes()


def test_all_settings_but_threads_device_and_a_size_are_told_and_the_corpus_in_comments(
    train_little: Callable[..., Path], tmp_path: Path
) -> None:
    header = seqmodel.load(train_little()).header
    text = run_config(header)
    (tmp_path / "run.toml").write_text(text)
    told = read_options(tmp_path / "run.toml")
    places = {name for name, option in OPTIONS.items() if not option.table}
    assert OPTIONS.keys() - told.keys() == places | {
        "time",
        "epochs",
        "size",
        "threads",
        "device",
        "vocab_size",
        "subword",
        "negatives",
        "fingerprint",
        *("include", "exclude", "column", "input", "record_separator"),
    }
    assert told["steps"] == 60 and told["seed"] == 1 and told["learning_rate"] == 4e-3
    comments = [line for line in text.splitlines() if line.startswith("#")]
    assert header.provenance.corpus_digest in comments[0] and str(header.provenance.corpus_bytes) in comments[0]


def test_a_digest_in_a_bundle_cannot_become_an_option(train_little: Callable[..., Path]) -> None:
    header = seqmodel.load(train_little()).header
    made = header.provenance.model_copy(update={"corpus_digest": 'x\noutput = "y"', "began_from": "\r\u2028[text]"})
    assert tomllib.loads(run_config(header.model_copy(update={"provenance": made}))).keys() == {
        *("text", "model", "training")
    }


def test_an_older_bundle_tells_what_it_knows(train_little: Callable[..., Path], tmp_path: Path) -> None:
    header = seqmodel.load(train_little(unit="word", steps=20, width=16)).header
    settings = {name: value for name, value in header.training.settings.items() if name not in ("steps", "clip")}
    training = header.training.model_copy(update={"settings": settings | {"gone": 1}})
    old = header.model_copy(update={"tokenizer": None, "corpus": None, "training": training})
    (tmp_path / "run.toml").write_text(run_config(old))
    told = read_options(tmp_path / "run.toml")
    assert (told["unit"], told["sequence"], told["steps"], told["clip"]) == ("word", "line", 20, 1.0)
    assert "not recorded" in run_config(old) and "not recorded" not in run_config(header)


@pytest.mark.parametrize("budget", ["", "soon", "x steps", "-3 steps", "nan s", "3 fortnights later"])
def test_a_bundle_whose_budget_cannot_be_is_a_model_error(budget: str, train_little: Callable[..., Path]) -> None:
    header = seqmodel.load(train_little()).header
    training = header.training.model_copy(update={"settings": {}, "budget": budget})
    with pytest.raises(ModelError, match="settings"):
        run_config(header.model_copy(update={"training": training}))
