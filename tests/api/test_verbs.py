"""The verbs from Python, as the README shows them, and the errors that they raise."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import seqmodel
from seqmodel.api.model import Model
from seqmodel.errors import SeqmodelError
from seqmodel.training.events import Evaluated, Event, Planned, StepDone
from tests.conftest import little_text


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    path = tmp_path / "corpus.txt"
    path.write_text(little_text(), encoding="utf-8")
    return path


def test_train_load_score_and_generate(corpus: Path, tmp_path: Path) -> None:
    events: list[Event] = []
    output = tmp_path / "m.seqmodel"
    result = seqmodel.train(str(corpus), output, steps=30, width=16, layers=1, on_event=events.append)
    assert result.path == output and not result.interrupted
    assert isinstance(events[0], Planned) and isinstance(events[-1], Evaluated)
    assert [event.step for event in events if isinstance(event, StepDone)] == list(range(1, 31))
    model = seqmodel.load(output)
    assert model.header == result.header
    likely, odd = model.score(["cat dog", "qqq zzz"])
    assert 0 < likely.bits < odd.bits
    assert [sample.index for sample in model.generate("ca", count=3, seed=1)] == [0, 1, 2]


def arithmetic() -> tuple[object, ...]:
    """Torch's settings that hold in the whole process."""
    flushes = float(torch.tensor(1e-310, dtype=torch.float64) * 1) == 0
    random = (torch.initial_seed(), torch.get_rng_state().tolist())
    return torch.get_num_threads(), torch.get_float32_matmul_precision(), flushes, random


@pytest.mark.parametrize("flushes", [False, True])
@pytest.mark.parametrize("fails", [False, True])
def test_training_leaves_torch_as_it_was(flushes: bool, fails: bool, corpus: Path, tmp_path: Path) -> None:
    def watch(event: Event) -> None:
        if fails:
            raise InterruptedError

    threads = torch.get_num_threads()
    torch.set_num_threads(3)
    torch.set_flush_denormal(flushes)
    with torch.random.fork_rng():
        torch.manual_seed(77)
        before = arithmetic()
        try:
            with pytest.raises(InterruptedError) if fails else nullcontext():
                seqmodel.train(corpus, tmp_path / "m.seqmodel", steps=2, width=8, threads=2, on_event=watch)
            assert arithmetic() == before
        finally:
            torch.set_flush_denormal(False)
            torch.set_num_threads(threads)


def test_a_store_made_from_python_is_trained_on(corpus: Path, tmp_path: Path) -> None:
    store = seqmodel.tokenize([str(corpus)], tmp_path / "c.tokens")
    assert store.header.sequences == 300 and store.tokenizer.decode(store.ids[:5]) == little_text()[:5]
    seqmodel.train([str(tmp_path / "c.tokens")], tmp_path / "m.seqmodel", steps=2, width=8, layers=1)
    assert seqmodel.load(str(tmp_path / "m.seqmodel")).tokenizer.proto == store.tokenizer.proto


def test_paths_are_taken_as_names_are(corpus: Path, tmp_path: Path) -> None:
    """One name or several, text or path: the same corpus for both verbs."""
    digests = set()
    one: list[Any] = [str(corpus), [str(corpus)], corpus, [corpus]]
    for number, inputs in enumerate(one):
        digests.add(seqmodel.tokenize(inputs, tmp_path / f"{number}.tokens").header.corpus_digest)
    for number, inputs in enumerate(one):
        result = seqmodel.train(inputs, tmp_path / f"{number}.seqmodel", steps=1, width=8, layers=1, force=True)
        digests.add(result.header.provenance.corpus_digest)
    assert len(digests) == 1


@pytest.mark.parametrize("name", ["nowhere", "", ".", "x" * 300, "corpus.txt", "corpus.txt/inside"])
def test_a_model_that_is_none_is_a_model_error(
    name: str, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SEQMODEL_MODEL", raising=False)
    with pytest.raises(seqmodel.ModelError):
        seqmodel.load(name)


def test_equal_settings_give_equal_samples_and_leave_numpys_state_alone(little_model: Model) -> None:
    np.random.seed(0)
    before = np.random.get_state(legacy=False)
    first = little_model.generate("ca", count=3, seed=9)
    assert [sample.text for sample in little_model.generate("ca", count=3, seed=9)] == [s.text for s in first]
    after = np.random.get_state(legacy=False)
    assert np.array_equal(before["state"]["key"], after["state"]["key"])


def test_a_score_depends_on_its_text_alone(little_model: Model) -> None:
    texts = ["cat dog", "", "anna boil cat", "x" * 700, "cat dog", "Ω"]
    together = [score.bits for score in little_model.score(texts)]
    alone = [little_model.score([text])[0].bits for text in texts]
    assert together == pytest.approx(alone, abs=1e-2)
    assert together[0] == pytest.approx(together[4], abs=1e-4)
    assert little_model.score([]) == []


def test_an_empty_text_is_its_end_alone(little_model: Model) -> None:
    (score,) = little_model.score([""])
    assert score.ids.tolist() == [2] and 0 < score.bits < 40


def test_a_text_with_newlines_is_one_sequence(little_model: Model) -> None:
    (score,) = little_model.score(["cat\ndog\n"])
    assert len(score.ids) == 9 and np.isfinite(score.bits)
    assert int((score.ids == 2).sum()) == 1


@settings(deadline=None, max_examples=40)
@given(text=st.text(st.characters(exclude_categories=["Cs"]), max_size=30))
def test_every_text_has_a_probability(text: str, little_model: Model) -> None:
    (score,) = little_model.score([text], details=True)
    assert np.isfinite(score.bits) and score.bits > 0
    assert little_model.tokenizer.decode(score.ids.tolist()) == text
    assert score.scores.rank is not None and (score.scores.rank >= 1).all()


@settings(deadline=None, max_examples=40)
@given(
    char=st.characters(categories=["Cs"]) | st.sampled_from(["\ud800", "\udfff", "\udc80"]),
    before=st.sampled_from(["", "cat"]),
    after=st.sampled_from(["", "dog"]),
)
@pytest.mark.parametrize("unit", ["char", "word"])
def test_a_lone_surrogate_is_no_text(
    unit: str, char: str, before: str, after: str, train_little: Callable[..., Path], little_model: Model
) -> None:
    model = little_model if unit == "char" else _loaded(train_little)
    text = before + char + after
    with pytest.raises(seqmodel.DataError):
        model.score([text])
    with pytest.raises(seqmodel.DataError):
        model.generate(text, max_tokens=2)


def _loaded(train_little: Callable[..., Path]) -> Model:
    return seqmodel.load(train_little(unit="word", steps=20, width=16))


@pytest.mark.parametrize(
    "settings_",
    [
        {"temperature": -1},
        {"temperature": 101.0},
        {"top_p": 0.0},
        {"top_k": 0},
        {"count": 0},
        {"seed": -1},
        {"max_tokens": -1},
        {"nonsense": 1},
        {"count": "three"},
    ],
    ids=str,
)
def test_sampling_settings_that_cannot_be_are_usage_errors(settings_: dict[str, Any], little_model: Model) -> None:
    with pytest.raises(seqmodel.UsageError):
        little_model.generate("cat", **settings_)


@pytest.mark.parametrize(
    "given_",
    [
        {"unit": "letter"},
        {"sequence": "sentence"},
        {"widht": 3},
        {"width": 0},
        {"cell": "transformer"},
        {"steps": 0},
        {"steps": 3, "time": "5s"},
        {"time": "soon"},
        {"time": -1.0},
        {"epochs": float("nan")},
        {"epochs": float("inf")},
        {"seed": -1},
    ],
    ids=str,
)
def test_training_settings_that_cannot_be_are_usage_errors(
    given_: dict[str, Any], corpus: Path, tmp_path: Path
) -> None:
    budget = {} if {"time", "epochs"} & set(given_) else {"steps": 2}
    with pytest.raises(seqmodel.UsageError):
        seqmodel.train(str(corpus), tmp_path / "m.seqmodel", **(budget | given_))
    assert not (tmp_path / "m.seqmodel").exists() and not (tmp_path / "m.tokens").exists()


def test_outputs_are_not_overwritten_unasked(corpus: Path, tmp_path: Path) -> None:
    output = tmp_path / "kept"
    output.write_bytes(b"mine")
    with pytest.raises(seqmodel.UsageError, match="exists"):
        seqmodel.train(str(corpus), output, steps=1)
    with pytest.raises(seqmodel.UsageError, match="exists"):
        seqmodel.tokenize([str(corpus)], output)
    assert output.read_bytes() == b"mine"


def test_a_prefix_with_a_newline_is_for_those_who_know_lines(
    little_model: Model, train_little: Callable[..., Path]
) -> None:
    with pytest.raises(seqmodel.UsageError, match="newline"):
        little_model.generate("cat\ndog")
    stream = seqmodel.load(train_little(sequence="stream", steps=20, width=16))
    (sample,) = stream.generate("cat\ndog", seed=1)
    assert (sample.stop, len(sample.text)) == ("max_chars", 500)


@pytest.mark.parametrize("texts", ["cat", b"cat", ["cat", 3], [None], 3, None], ids=repr)
def test_a_text_in_place_of_a_list_of_texts_is_a_usage_error(texts: Any, little_model: Model) -> None:
    for ask in (little_model.score, little_model.log_probabilities, little_model.rescore):
        with pytest.raises(seqmodel.UsageError, match="list of strings"):
            ask(texts)


def test_lists_that_do_not_go_together_are_usage_errors(little_model: Model) -> None:
    with pytest.raises(seqmodel.UsageError, match="1 texts are given for 2"):
        little_model.score(["cat", "dog"], given=["boil"])
    with pytest.raises(seqmodel.UsageError, match="more or fewer scores"):
        little_model.rescore(["cat", "dog"], [1.0])
    with pytest.raises(seqmodel.UsageError, match="no models"):
        seqmodel.mix([])


def test_texts_may_come_as_any_sequence(little_model: Model) -> None:
    expected = [row.bits for row in little_model.score(["cat", "dog"])]
    assert [row.bits for row in little_model.score(("cat", "dog"))] == expected
    assert [row.bits for row in little_model.score(np.array(["cat", "dog"]))] == expected  # type: ignore[arg-type]


def test_words_need_details_where_tokens_hold_blanks(train_little: Callable[..., Path], little_model: Model) -> None:
    model = seqmodel.load(train_little(unit="word", steps=20, width=16))
    with pytest.raises(seqmodel.UsageError, match="need details") as caught:
        model.words(model.score(["cat dog"])[0])
    assert "details=True" in caught.value.hint
    assert [word.end for word in model.words(model.score(["cat dog"], details=True)[0])] == [3, 7]
    assert [word.end for word in little_model.words(little_model.score(["cat dog"])[0])] == [3, 7]


def test_samples_are_others_at_each_call_unless_a_seed_is_given(little_model: Model) -> None:
    calls = [tuple(sample.text for sample in little_model.generate(count=8)) for _ in range(2)]
    assert calls[0] != calls[1]
    calls = [tuple(sample.text for sample in little_model.generate(count=8, seed=0)) for _ in range(2)]
    assert calls[0] == calls[1]


def test_a_mixture_ranks_no_line_among_those_of_one_of_its_models(
    train_little: Callable[..., Path], tmp_path: Path
) -> None:
    (tmp_path / "valid.txt").write_text(little_text(80, seed=4))
    model = seqmodel.load(train_little(steps=20, width=16, valid=str(tmp_path / "valid.txt")))
    (row,) = model.score(["cat dog"])
    assert 0 <= model.percentile(row) <= 100 and model.worst_span(row) is not None
    mixed = seqmodel.mix([model, model])
    assert isinstance(mixed, Model)
    for ask in (mixed.percentile, mixed.worst_span):
        with pytest.raises(seqmodel.UsageError, match="a mixture has no held-out"):
            ask(row)


def test_the_error_tree_is_as_documented() -> None:
    codes = {"SeqmodelError": 1, "UsageError": 2, "DataError": 3, "ModelError": 4, "ResourceError": 5}
    for name, code in codes.items():
        error = getattr(seqmodel, name)("what", "what next")
        assert isinstance(error, SeqmodelError)
        assert (error.exit_code, error.message, error.hint, str(error)) == (code, "what", "what next", "what")
