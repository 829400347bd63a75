"""Training that begins from a bundle: with its vocabulary, weights and shape; corpus and count model are new."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import seqmodel
from seqmodel.api.verbs import run_training
from seqmodel.errors import ModelError, UsageError
from seqmodel.model.bundle import HeldOut, read_bundle
from seqmodel.training.run.options import checked_options, request_of
from seqmodel.training.run.request import TrainingResult
from tests.conftest import little_text

STILL: dict[str, Any] = {"learning_rate": 1e-12, "table_learning_rate": 1e-12, "dropout": 0.0, "ngram_dropout": 0.0}

Train = Callable[..., TrainingResult]


@pytest.fixture(scope="module")
def base(train_little: Callable[..., Path]) -> Path:
    return train_little(steps=80, width=24, layers=1, threads=1)


@pytest.fixture
def train(tmp_path: Path) -> Train:
    """Train on a text, to m.seqmodel unless named otherwise."""

    def trained(text: str, output: str = "m.seqmodel", *, stop: int | None = None, **options: Any) -> TrainingResult:
        corpus = tmp_path / "corpus.txt"
        corpus.write_text(text, encoding="utf-8")
        resume = options.pop("resume", False)
        places = {"inputs": options.pop("inputs", [str(corpus)]), "output": str(tmp_path / output)}
        budget = {} if resume else {"steps": 4}
        asked = checked_options(places | {"threads": 1} | budget | options)
        calls = iter(range(stop if stop is not None else 1 << 30))
        return run_training(request_of(asked, resume=resume, force=True), should_stop=lambda: next(calls, None) is None)

    return trained


def figures(result: TrainingResult) -> HeldOut:
    held_out = result.header.held_out
    assert held_out is not None
    return held_out


def shifted(lines: int = 200) -> str:
    """The little text with its words turned round and in capitals: other sequences of mostly other characters."""
    return "".join(f"{line[::-1].upper()} {line}\n" for line in little_text(lines, seed=11).splitlines())


@pytest.mark.parametrize("options", [{}, {"unit": "word"}, {"cell": "lstm"}, {"sequence": "stream"}], ids=str)
def test_hardly_moved_weights_give_the_figures_of_the_bundle(
    options: dict[str, Any], train_little: Callable[..., Path], train: Train
) -> None:
    first = train_little(steps=60, width=24, layers=1, threads=1, **options)
    before = seqmodel.load(first).header.held_out
    after = figures(train(little_text(), init=str(first), steps=1, **STILL))
    assert before is not None and after.tokens == before.tokens
    assert after.recurrence_bits == pytest.approx(before.recurrence_bits, rel=1e-5)
    assert after.counts_bits == before.counts_bits


def test_the_bundles_shape_vocabulary_n_grams_and_digest_are_kept(base: Path, train: Train) -> None:
    result = train(shifted(), init=str(base), unit="char", width=24, ngram_embeddings=True)
    first, second = read_bundle(base), read_bundle(result.path)
    assert second.header.model == first.header.model and second.tokenizer.proto == first.tokenizer.proto
    assert all(np.array_equal(a, b) for a, b in zip(first.index.keys, second.index.keys, strict=True))
    assert second.header.provenance.began_from == first.digest != second.digest
    assert first.header.provenance.began_from is None
    assert second.header.tokenizer == first.header.tokenizer
    assert second.counts is not None and first.counts is not None
    assert second.counts.levels[-1].keys.tolist() != first.counts.levels[-1].keys.tolist()


def test_going_on_from_a_bundle_beats_as_many_steps_from_scratch(base: Path, train: Train) -> None:
    text = little_text(200, seed=5).replace("cat", "cot").replace("dog", "dug")
    options = {"steps": 15, "ngram": "off", "lanes": 4, "segment": 16}
    fine = figures(train(text, init=str(base), **options))
    scratch = figures(train(text, width=24, layers=1, **options))
    assert fine.bits_per_char < 0.8 * scratch.bits_per_char
    assert fine.bits < _bits_of(base, text)


def _bits_of(base: Path, text: str) -> float:
    """What the bundle's recurrence gives the same held-out lines, as it was."""
    corpus = base.parent / "shifted.txt"
    corpus.write_text(text)
    output = base.parent / "still.seqmodel"
    still = seqmodel.train(corpus, output, init=base, steps=1, force=True, ngram="off", **STILL)
    return figures(still).bits


def test_peak_rates_are_a_third_unless_given(base: Path, train: Train) -> None:
    usual = train(little_text(), width=24, layers=1).header.training.settings
    warm = train(little_text(), init=str(base)).header.training.settings
    assert warm["learning_rate"] == pytest.approx(float(usual["learning_rate"]) / 3)
    assert warm["table_learning_rate"] == pytest.approx(float(usual["table_learning_rate"]) / 3)
    given = train(little_text(), init=str(base), learning_rate=0.005).header.training.settings
    assert given["learning_rate"] == 0.005
    assert given["table_learning_rate"] == warm["table_learning_rate"]


def test_characters_that_the_bundle_lacks_are_spelled_in_bytes(base: Path, train: Train) -> None:
    result = train("ça va, Ω 日本\n" * 60, init=str(base), steps=12)
    model = seqmodel.load(result.path)
    ids = model.tokenizer.encode("日").tolist()
    assert len(ids) == 3 and all(3 <= token < 259 for token in ids)
    (before,) = seqmodel.load(base).score(["Ω 日本"])
    (after,) = model.score(["Ω 日本"])
    assert after.bits < before.bits / 2


def test_a_stopped_run_goes_on_without_the_bundle_that_it_began_from(base: Path, train: Train, tmp_path: Path) -> None:
    init = tmp_path / "base.seqmodel"
    init.write_bytes(base.read_bytes())
    train(shifted(), "whole.seqmodel", init=str(init), steps=12)
    stopped = train(shifted(), init=str(init), steps=12, stop=5)
    assert stopped.interrupted
    init.unlink()
    train(shifted(), resume=True, stop=3)
    resumed = train(shifted(), resume=True, inputs=[])
    assert not resumed.interrupted and resumed.header.provenance.began_from is not None
    assert resumed.path.read_bytes() == (tmp_path / "whole.seqmodel").read_bytes()


def test_a_resumed_run_takes_no_other_bundle_and_asks_for_its_own_where_the_store_is_gone(
    base: Path, train: Train, train_little: Callable[..., Path], tmp_path: Path
) -> None:
    train(shifted(), "whole.seqmodel", init=str(base), steps=8)
    train(shifted(), init=str(base), steps=8, stop=5)
    with pytest.raises(UsageError, match="did not begin from"):
        train(shifted(), resume=True, init=str(train_little()))
    (tmp_path / "m.tokens").unlink()
    with pytest.raises(UsageError, match="is gone") as caught:
        train(shifted(), resume=True)
    assert "--init" in caught.value.hint
    resumed = train(shifted(), resume=True, init=str(base))
    assert resumed.path.read_bytes() == (tmp_path / "whole.seqmodel").read_bytes()


def test_a_bundle_can_be_replaced_by_what_came_of_it(base: Path, train: Train, tmp_path: Path) -> None:
    output = tmp_path / "m.seqmodel"
    output.write_bytes(base.read_bytes())
    assert train(shifted(), init=str(output)).header.provenance.began_from == read_bundle(base).digest


def test_a_store_made_with_the_bundle_is_gone_on_with_and_no_other(base: Path, train: Train, tmp_path: Path) -> None:
    from_text = train(shifted(), "a.seqmodel", init=str(base))
    store, other, stream = (tmp_path / f"{name}.tokens" for name in ("fits", "other", "stream"))
    tokenizer = seqmodel.load(base).tokenizer
    seqmodel.tokenize([str(tmp_path / "corpus.txt")], store, model=tokenizer)
    seqmodel.tokenize([str(tmp_path / "corpus.txt")], other)
    from_store = train(shifted(), "b.seqmodel", init=str(base), inputs=[str(store)])
    assert from_store.path.read_bytes() == from_text.path.read_bytes()
    with pytest.raises(UsageError, match="another vocabulary"):
        train(shifted(), init=str(base), inputs=[str(other)])
    from_ = seqmodel.settings.CorpusSettings(sequence="stream")
    seqmodel.tokenize([str(tmp_path / "corpus.txt")], stream, model=tokenizer, corpus=from_)
    with pytest.raises(UsageError, match="has an end symbol"):
        train(shifted(), init=str(base), inputs=[str(stream)])


def test_a_kind_of_sequence_that_ends_takes_another_that_ends(base: Path, train: Train) -> None:
    text = "cat dog\ngood\n\nfar eat\n\n" * 20
    assert train(text, init=str(base)).header.sequence == "line"
    assert train(text, init=str(base), sequence="paragraph").header.sequence == "paragraph"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"unit": "word"}, "unit is char in the bundle to begin from, not word"),
        ({"width": 32}, "width is 24 in the bundle"),
        ({"layers": 4}, "layers is 1 in the bundle"),
        ({"size": "m"}, "layers is 1 in the bundle to begin from, not 2"),
        ({"cell": "gru"}, "cell is mingru"),
        ({"vocab_size": 300}, "vocab_size is "),
        ({"closed_vocab": True}, "closed_vocab is false in the bundle to begin from, not true"),
        ({"ngram_embeddings": False}, "ngram_embeddings is true"),
        ({"sequence": "stream"}, "has an end symbol"),
    ],
    ids=str,
)
def test_what_contradicts_the_bundle_is_refused(
    options: dict[str, Any], message: str, base: Path, train: Train, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=message):
        train(shifted(), init=str(base), **options)
    assert {path.name for path in tmp_path.iterdir()} == {"corpus.txt"}


def test_a_stream_takes_no_lines(train_little: Callable[..., Path], train: Train) -> None:
    with pytest.raises(UsageError, match="is a stream") as caught:
        train(shifted(), init=str(train_little(sequence="stream", steps=20, width=16)), sequence="line")
    assert "--sequence stream" in caught.value.hint


def test_what_is_no_bundle_is_a_model_error(train: Train, tmp_path: Path) -> None:
    (tmp_path / "text").write_text("hello\n")
    for name in ("text", "nowhere"):
        with pytest.raises(ModelError):
            train(shifted(), init=str(tmp_path / name))
