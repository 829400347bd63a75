"""An interrupted run that is resumed is the uninterrupted run, bit for bit; and equal runs give equal bytes."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import seqmodel
from seqmodel.api.verbs import run_training
from seqmodel.choices import CellKind, SequenceKind, Unit
from seqmodel.errors import ModelError, SeqmodelError, UsageError
from seqmodel.model.language_model import LanguageModel
from seqmodel.settings import CorpusSettings, ModelSettings, NetworkSettings, TokenizerSettings, TrainingSettings
from seqmodel.training.events import CheckpointSaved, Event, Finished, StepDone, Validated
from seqmodel.training.run.checkpoints import AnnealState, Progress, RecoveryState, read_checkpoint
from seqmodel.training.run.request import TrainingRequest, TrainingResult
from tests.conftest import little_text

STEPS = 24


def request(output: Path, corpus: Path, **changes: Any) -> TrainingRequest:
    """A tiny run: `model`, `training`, `unit` and `sequence` add to what it has."""
    unit: Unit = changes.pop("unit", "char")
    sequence: SequenceKind = changes.pop("sequence", "line")
    model = {"width": 12, "layers": 2} | changes.pop("model", {})
    budget = {} if {"epochs", "seconds"} & changes.get("training", {}).keys() else {"steps": STEPS}
    training = budget | {"threads": 1, "seed": 4, "lanes": 4, "segment": 16} | changes.pop("training", {})
    return TrainingRequest(
        inputs=changes.pop("inputs", (str(corpus),)),
        output=output,
        tokenizer=TokenizerSettings(unit=unit),
        corpus=CorpusSettings(sequence=sequence),
        model=NetworkSettings(**model),
        training=TrainingSettings(**training),
        **changes,
    )


def progress(step: int) -> Progress:
    """The numbers of a trainer that belongs to no run."""
    return Progress(
        step=step,
        tokens=0,
        epoch=0.0,
        bits_per_char=None,
        elapsed=0.0,
        best_bits=None,
        worse=0,
        anneal=AnnealState(None, 1, 1.0),
        recovery=RecoveryState(1.0, 0),
        settings=TrainingSettings(steps=STEPS),
        model=ModelSettings(vocabulary=300),
        threads=1,
        corpus_digest="0" * 64,
    )


def stop_after(calls: int) -> Callable[[], bool]:
    """Asked before each step: the first `calls` times no."""
    asked = 0

    def should_stop() -> bool:
        nonlocal asked
        asked += 1
        return asked > calls

    return should_stop


def run_in_parts(make: Callable[..., TrainingRequest], stops: list[int]) -> TrainingResult:
    """A run that is stopped after so many steps, each time resumed."""
    resume = False
    for steps in stops:
        result = run_training(make(resume=resume), should_stop=stop_after(steps))
        assert result.interrupted
        resume = True
    return run_training(make(resume=resume))


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("corpus") / "corpus.txt"
    path.write_text(little_text(150))
    return path


VARIANTS: dict[str, dict[str, Any]] = {
    "mingru": {},
    "lstm": {"model": {"cell": "lstm"}},
    "gru": {"model": {"cell": "gru", "feed_forward": 20}},
    "rnn": {"model": {"cell": "rnn"}},
    "stream": {"sequence": "stream"},
    "stream of an lstm": {"sequence": "stream", "model": {"cell": "lstm"}},
    "words": {"unit": "word"},
    "no n-grams": {"ngram_embeddings": False},
    "no counts": {"counts": False},
    "epochs": {"training": {"epochs": 1.5}},
    "unseen": {"training": {"unseen_rate": 0.05, "dropout": 0.4}},
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_resumed_run_gives_the_bytes_of_the_uninterrupted_one(variant: str, corpus: Path, tmp_path: Path) -> None:
    changes = VARIANTS[variant]
    whole = tmp_path / "whole.seqmodel"
    run_training(request(whole, corpus, **_copied(changes)))
    parts = tmp_path / "parts.seqmodel"
    choose = random.Random(variant)
    stops = [choose.randint(1, 8), choose.randint(1, 6)]
    result = run_in_parts(lambda resume: request(parts, corpus, resume=resume, **_copied(changes)), stops)
    assert not result.interrupted
    assert parts.read_bytes() == whole.read_bytes()


def _copied(changes: dict[str, Any]) -> dict[str, Any]:
    return {key: dict(value) if isinstance(value, dict) else value for key, value in changes.items()}


@pytest.mark.parametrize("stops", [[0], [0, 0, 3], [STEPS - 1], [1] * 5], ids=str)
def test_so_it_does_wherever_it_was_stopped(stops: list[int], corpus: Path, tmp_path: Path) -> None:
    whole, parts = tmp_path / "whole.seqmodel", tmp_path / "parts.seqmodel"
    run_training(request(whole, corpus))
    run_in_parts(lambda resume: request(parts, corpus, resume=resume), stops)
    assert parts.read_bytes() == whole.read_bytes()


def test_so_it_does_where_overfitting_began_the_annealing(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a patience of none the first validation without a gain anneals; its descent is kept in the checkpoint."""
    monkeypatch.setattr("seqmodel.training.validation.PATIENCE", 0)
    monkeypatch.setattr("seqmodel.training.validation.PATIENCE_SHARE", 0.0)
    settings = {"training": {"steps": 200}}
    whole, parts = tmp_path / "whole.seqmodel", tmp_path / "parts.seqmodel"
    result = run_training(request(whole, corpus, **_copied(settings)))
    assert result.header.training.steps < 200 and not result.interrupted
    assert result.header.training.annealed
    run_in_parts(lambda resume: request(parts, corpus, resume=resume, **_copied(settings)), [14, 3])
    assert parts.read_bytes() == whole.read_bytes()


def test_equal_runs_give_equal_bytes_and_another_seed_other_ones(corpus: Path, tmp_path: Path) -> None:
    outputs = [tmp_path / f"{name}.seqmodel" for name in "abc"]
    for output, seed in zip(outputs, (4, 4, 5), strict=True):
        run_training(request(output, corpus, training={"seed": seed}))
    a, b, c = (output.read_bytes() for output in outputs)
    assert a == b and a != c


def test_an_interrupted_run_leaves_a_model_that_works_and_what_resuming_needs(corpus: Path, tmp_path: Path) -> None:
    output = tmp_path / "m.seqmodel"
    events: list[Event] = []
    result = run_training(request(output, corpus), on_event=events.append, should_stop=stop_after(5))
    assert result.interrupted and not result.header.training.annealed
    assert result.header.training.steps == 5
    assert sum(isinstance(event, StepDone) for event in events) == 5
    assert any(isinstance(event, CheckpointSaved) for event in events)
    finished = [event for event in events if isinstance(event, Finished)]
    assert len(finished) == 1 and not finished[0].annealed
    assert {path.suffix for path in tmp_path.iterdir()} == {".seqmodel", ".checkpoint", ".tokens", ".jsonl"}
    assert seqmodel.load(output).score(["anna"])[0].bits > 0
    run_training(request(output, corpus, resume=True))
    assert {path.name for path in tmp_path.iterdir()} == {"m.seqmodel", "m.jsonl"}


def test_a_run_that_is_stopped_before_its_first_step_still_gives_a_model(corpus: Path, tmp_path: Path) -> None:
    output = tmp_path / "m.seqmodel"
    result = run_training(request(output, corpus), should_stop=lambda: True)
    assert result.interrupted and result.header.training.steps == 0
    assert seqmodel.load(output).score(["anna"])[0].bits > 0
    assert read_checkpoint(tmp_path / "m.checkpoint").progress.step == 0


def test_a_stop_that_comes_with_the_last_step_is_no_interruption(corpus: Path, tmp_path: Path) -> None:
    result = run_training(request(tmp_path / "m.seqmodel", corpus), should_stop=stop_after(STEPS))
    assert not result.interrupted and result.header.training.annealed
    assert not (tmp_path / "m.checkpoint").exists()


def test_the_log_goes_on_where_it_stopped(corpus: Path, tmp_path: Path) -> None:
    output = tmp_path / "m.seqmodel"
    run_training(request(output, corpus), should_stop=stop_after(4))
    first = (tmp_path / "m.jsonl").read_text()
    run_training(request(output, corpus, resume=True))
    whole = (tmp_path / "m.jsonl").read_text()
    assert whole.startswith(first) and len(whole) > len(first)
    kinds = [json.loads(line)["event"] for line in whole.splitlines()]
    assert kinds.count("Planned") == kinds.count("Finished") == 2


CONTRADICTIONS: dict[str, dict[str, Any]] = {
    "cell": {"model": {"cell": "rnn"}},
    "width": {"model": {"width": 16}},
    "tied": {"model": {"tied": True}},
    "seed": {"training": {"seed": 9}},
    "lanes": {"training": {"lanes": 8}},
    "unit": {"unit": "word"},
    "sequence": {"sequence": "stream"},
    "ngram is on": {"counts": False},
    "ngram_embeddings is true": {"ngram_embeddings": False},
}


def test_settings_are_those_that_the_run_began_with_and_others_are_refused(corpus: Path, tmp_path: Path) -> None:
    whole, parts = tmp_path / "whole.seqmodel", tmp_path / "parts.seqmodel"
    run_training(request(whole, corpus))
    run_training(request(parts, corpus), should_stop=stop_after(6))
    for name, changes in CONTRADICTIONS.items():
        with pytest.raises(UsageError, match=f"^{name} .*in the checkpoint, not "):
            run_training(request(parts, corpus, resume=True, **_copied(changes)))
    with pytest.raises(UsageError, match="keep_blank is false in the checkpoint, not true"):
        changed = CorpusSettings(keep_blank=True)
        run_training(replace(request(parts, corpus, resume=True), corpus=changed))
    run_training(request(parts, corpus, resume=True, counts=True, ngram_embeddings=True))
    assert parts.read_bytes() == whole.read_bytes()


def test_a_run_of_words_whose_store_is_gone_reads_its_text_again_as_it_did(corpus: Path, tmp_path: Path) -> None:
    whole, parts = tmp_path / "whole.seqmodel", tmp_path / "parts.seqmodel"
    run_training(request(whole, corpus, unit="word"))
    run_training(request(parts, corpus, unit="word"), should_stop=stop_after(6))
    (tmp_path / "parts.tokens").unlink()
    said = request(parts, corpus, resume=True, unit="word")
    run_training(replace(said, tokenizer=TokenizerSettings(), corpus=CorpusSettings()))
    assert parts.read_bytes() == whole.read_bytes()


def test_held_out_text_is_that_which_the_run_began_with(corpus: Path, tmp_path: Path) -> None:
    valid, other, output = tmp_path / "valid.txt", tmp_path / "other.txt", tmp_path / "m.seqmodel"
    valid.write_text(little_text(30, seed=8))
    other.write_text(little_text(30, seed=9))
    run_training(request(output, corpus, valid=str(valid)), should_stop=stop_after(3))
    with pytest.raises(UsageError, match="other held-out text"):
        run_training(request(output, corpus, resume=True, valid=str(other)))
    kept = (tmp_path / "m.valid.tokens").rename(tmp_path / "kept")
    with pytest.raises(UsageError, match="is gone"):
        run_training(request(output, corpus, resume=True))
    kept.rename(tmp_path / "m.valid.tokens")
    assert not run_training(request(output, corpus, resume=True)).interrupted
    run_training(request(output, corpus, force=True), should_stop=stop_after(3))
    with pytest.raises(UsageError, match="other held-out text"):
        run_training(request(output, corpus, resume=True, valid=str(valid)))


def test_a_resumed_run_may_be_given_more_steps(corpus: Path, tmp_path: Path) -> None:
    output = tmp_path / "m.seqmodel"
    run_training(request(output, corpus), should_stop=stop_after(6))
    result = run_training(request(output, corpus, resume=True, training={"steps": STEPS + 7}))
    assert result.header.training.steps == STEPS + 7


BUDGETS: tuple[dict[str, Any], ...] = ({"steps": 10_000}, {"epochs": 500.0}, {"seconds": 900.0})


@pytest.mark.parametrize("began_with", BUDGETS, ids=str)
@pytest.mark.parametrize("goes_on_with", [{"steps": 11}, {"epochs": 0.5}], ids=str)
def test_a_resumed_run_may_be_given_a_budget_of_another_kind(
    began_with: dict[str, Any], goes_on_with: dict[str, Any], corpus: Path, tmp_path: Path
) -> None:
    """The new budget counts, not the one that the checkpoint began with."""
    output = tmp_path / "m.seqmodel"
    run_training(with_budget(output, corpus, began_with), should_stop=stop_after(6))
    result = run_training(with_budget(output, corpus, goes_on_with, resume=True), should_stop=stop_after(60))
    assert not result.interrupted
    assert result.header.training.steps < 60
    assert result.header.training.budget == ("11 steps" if "steps" in goes_on_with else "0.5 epochs")


def with_budget(output: Path, corpus: Path, budget: dict[str, Any], **changes: Any) -> TrainingRequest:
    made = request(output, corpus, **changes)
    return replace(made, training=made.training.model_copy(update={"steps": None, **budget}))


def test_the_same_command_with_resume_goes_on_though_it_wrote_its_held_out_text(corpus: Path, tmp_path: Path) -> None:
    output, held_out = tmp_path / "m.seqmodel", tmp_path / "held-out.txt"
    run_training(request(output, corpus, write_valid=held_out), should_stop=stop_after(3))
    before = held_out.read_bytes()
    result = run_training(request(output, corpus, write_valid=held_out, resume=True))
    assert not result.interrupted
    assert held_out.read_bytes() == before


def test_a_run_with_a_held_out_file_is_resumed_too(corpus: Path, tmp_path: Path) -> None:
    valid = tmp_path / "valid.txt"
    valid.write_text(little_text(30, seed=8))
    whole, parts = tmp_path / "whole.seqmodel", tmp_path / "parts.seqmodel"
    run_training(request(whole, corpus, valid=str(valid)))
    run_in_parts(lambda resume: request(parts, corpus, resume=resume, valid=str(valid)), [5])
    assert parts.read_bytes() == whole.read_bytes()
    assert sorted(path.name for path in tmp_path.glob("*tokens*")) == []


def test_training_leaves_the_arithmetic_of_its_process_as_it_was(corpus: Path, tmp_path: Path) -> None:
    """Flushing denormal numbers to zero is faster, but for the caller's own computations it is a surprise."""
    torch.set_flush_denormal(False)
    smallest = np.array([5e-324, 1e-310])
    assert (smallest * 1.0 > 0).all()
    run_training(request(tmp_path / "m.seqmodel", corpus))
    assert (smallest * 1.0 > 0).all()


# Files that are not the run's own


def test_a_resumed_run_leaves_a_store_that_it_was_given(corpus: Path, tmp_path: Path) -> None:
    output, store = tmp_path / "m.seqmodel", tmp_path / "m.tokens"
    seqmodel.api.verbs.tokenize([str(corpus)], store)
    run_training(request(output, corpus, inputs=(str(store),)), should_stop=stop_after(3))
    before = store.read_bytes()
    assert not run_training(request(output, corpus, inputs=(), resume=True)).interrupted
    assert store.read_bytes() == before


def test_a_resumed_run_takes_no_stray_store_for_its_held_out_text(corpus: Path, tmp_path: Path) -> None:
    output, stray = tmp_path / "m.seqmodel", tmp_path / "m.valid.tokens"
    whole = tmp_path / "whole.seqmodel"
    run_training(request(whole, corpus))
    run_training(request(output, corpus), should_stop=stop_after(3))
    seqmodel.api.verbs.tokenize([str(corpus)], stray)
    run_training(request(output, corpus, resume=True))
    assert output.read_bytes() == whole.read_bytes() and stray.exists()


@pytest.mark.parametrize("kind", ["corpus", "valid", "folder"])
def test_held_out_text_is_not_written_over_an_input(kind: str, corpus: Path, tmp_path: Path) -> None:
    read = {"corpus": corpus, "valid": tmp_path / "valid.txt", "folder": tmp_path / "folder" / "a.txt"}[kind]
    (tmp_path / "folder").mkdir()
    read.write_text(little_text(200, seed=8))
    kinds: dict[str, dict[str, Any]] = {
        "corpus": {},
        "valid": {"valid": str(read)},
        "folder": {"inputs": (str(read.parent),)},
    }
    before = read.read_bytes()
    with pytest.raises(UsageError, match="input"):
        run_training(request(tmp_path / "m.seqmodel", corpus, write_valid=read, force=True, **kinds[kind]))
    assert read.read_bytes() == before


# What is refused


def test_another_store_of_the_same_corpus_is_refused(corpus: Path, tmp_path: Path) -> None:
    output, store = tmp_path / "m.seqmodel", tmp_path / "s.tokens"
    kinds: list[Any] = [{"subword": "unigram"}, {"subword": "bpe"}]
    for resume, kind in enumerate(kinds):
        tokenizer = TokenizerSettings(unit="subword", **kind)
        seqmodel.api.verbs.tokenize([str(corpus)], store, tokenizer=tokenizer, force=True)
        if not resume:
            run_training(request(output, corpus, unit="subword", inputs=(str(store),)), should_stop=stop_after(3))
    with pytest.raises(ModelError, match="another vocabulary"):
        run_training(request(output, corpus, unit="subword", inputs=(str(store),), resume=True))


def test_a_checkpoint_of_another_corpus_is_refused(corpus: Path, tmp_path: Path) -> None:
    output, other = tmp_path / "m.seqmodel", tmp_path / "other.txt"
    other.write_text(little_text(150, seed=77))
    run_training(request(output, corpus), should_stop=stop_after(3))
    (tmp_path / "m.tokens").unlink()
    before = output.read_bytes(), (tmp_path / "m.checkpoint").read_bytes()
    with pytest.raises(ModelError, match="another corpus"):
        run_training(request(output, other, resume=True))
    assert not (tmp_path / "m.tokens").exists()
    assert (output.read_bytes(), (tmp_path / "m.checkpoint").read_bytes()) == before


def test_a_token_store_of_another_corpus_is_refused(corpus: Path, tmp_path: Path) -> None:
    output, other = tmp_path / "m.seqmodel", tmp_path / "other.txt"
    other.write_text(little_text(150, seed=77))
    seqmodel.api.verbs.tokenize([str(other)], tmp_path / "other.tokens")
    run_training(request(output, corpus), should_stop=stop_after(3))
    with pytest.raises(ModelError, match="another corpus"):
        run_training(request(output, corpus, inputs=(str(tmp_path / "other.tokens"),), resume=True))


def test_without_a_checkpoint_there_is_nothing_to_resume(corpus: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no such checkpoint"):
        run_training(request(tmp_path / "m.seqmodel", corpus, resume=True))


@pytest.mark.parametrize("damage", ["cut", "flip", "text", "bundle"])
def test_a_damaged_checkpoint_is_told_as_such(damage: str, corpus: Path, tmp_path: Path) -> None:
    output, checkpoint = tmp_path / "m.seqmodel", tmp_path / "m.checkpoint"
    run_training(request(output, corpus), should_stop=stop_after(3))
    data = checkpoint.read_bytes()
    flipped = data[:-9] + bytes([data[-9] ^ 4]) + data[-8:]
    content = {"cut": data[:-5], "flip": flipped, "text": b"hello\n" * 99, "bundle": output.read_bytes()}
    checkpoint.write_bytes(content[damage])
    with pytest.raises(ModelError):
        run_training(request(output, corpus, resume=True))


def test_an_interrupted_run_is_not_overwritten_without_being_told_to(corpus: Path, tmp_path: Path) -> None:
    output = tmp_path / "m.seqmodel"
    run_training(request(output, corpus), should_stop=stop_after(3))
    with pytest.raises(UsageError):
        run_training(request(output, corpus))
    output.unlink()
    with pytest.raises(UsageError, match="interrupted"):
        run_training(request(output, corpus))
    result = run_training(request(output, corpus, force=True))
    assert result.header.training.steps == STEPS and not result.interrupted


def test_two_budgets_are_one_too_many(corpus: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="more than one budget"):
        run_training(request(tmp_path / "m.seqmodel", corpus, training={"steps": 3, "epochs": 1.0}))


def test_a_run_that_fails_leaves_the_old_model_alone(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "m.seqmodel"
    run_training(request(output, corpus))
    before = output.read_bytes()
    loss = LanguageModel.loss

    def no_number(self: LanguageModel, *args: Any) -> Any:
        found, state = loss(self, *args)
        return found * torch.nan, state

    monkeypatch.setattr(LanguageModel, "loss", no_number)
    with pytest.raises(SeqmodelError, match="loss became"):
        run_training(request(output, corpus, force=True))
    assert output.read_bytes() == before
    assert {path.name for path in tmp_path.iterdir()} <= {"m.seqmodel", "m.jsonl"}


# What a checkpoint holds


def test_a_checkpoint_gives_back_what_was_saved(corpus: Path, tmp_path: Path) -> None:
    output = tmp_path / "m.seqmodel"
    cell: CellKind = "lstm"
    events: list[Event] = []
    run_training(request(output, corpus, model={"cell": cell}), on_event=events.append, should_stop=stop_after(7))
    checkpoint = read_checkpoint(tmp_path / "m.checkpoint")
    assert checkpoint.progress.step == 7
    assert checkpoint.progress.model.cell == cell
    assert checkpoint.progress.settings.steps == STEPS
    validated = [event for event in events if isinstance(event, Validated)]
    assert checkpoint.progress.best_bits == min(event.bits_per_char for event in validated[:-1])
    assert {"weights", "best", "optimizer", "lanes", "random"} <= checkpoint.groups.keys()
    assert (
        checkpoint.groups["weights"]["networks.0.token.weight"].shape
        == checkpoint.groups["best"]["networks.0.token.weight"].shape
    )
    # Shapes survive, those of single numbers too.
    assert all(t.shape == () for name, t in checkpoint.groups["optimizer"].items() if name.endswith(".step"))


def test_a_run_on_a_column_of_some_files_resumes(tmp_path: Path) -> None:
    folder, output = tmp_path / "tables", tmp_path / "m.seqmodel"
    folder.mkdir()
    (folder / "notes.txt").write_text("no table\n")
    (folder / "a.csv").write_text("n,text\n" + "".join(f'{n},"cat {n % 9}, dog"\n' for n in range(300)))
    said = replace(request(output, folder), corpus=CorpusSettings(column="text", include=("*.csv",)))
    run_training(said, should_stop=stop_after(3))
    output.with_suffix(".tokens").unlink()
    result = run_training(replace(said, resume=True, corpus=CorpusSettings()))
    assert not result.interrupted and result.header.corpus == CorpusSettings(column="text", include=("*.csv",))
    assert result.header.provenance.corpus_lines == 300
