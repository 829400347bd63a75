"""Lines scored by several models at once, and as one mixture, whatever the units."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

import seqmodel
from seqmodel.api.model import MixedModel, Model, mix
from seqmodel.choices import SequenceKind
from seqmodel.errors import DataError, UsageError
from seqmodel.scoring.line_mixture import LineMixture, fit_mixture, scored_by_each
from seqmodel.settings import CorpusSettings
from seqmodel.text.corpus import Line
from seqmodel.text.inputs import LineInputs
from tests.conftest import WORDS, little_text

TEXT = ["cat dog", "", "Zürich", "anna boil cat", " ", "kite"]
KINDS: tuple[SequenceKind, ...] = ("line", "paragraph", "document", "stream")


@pytest.fixture(scope="module")
def two(train_little: Callable[..., Path]) -> Callable[[SequenceKind], list[Model]]:
    """A model of characters and one of words, of the same kind."""

    def load(kind: SequenceKind) -> list[Model]:
        common = {"sequence": kind, "steps": 20, "width": 16}
        return [seqmodel.load(train_little(**common)), seqmodel.load(train_little(unit="word", **common))]

    return load


def batches(texts: list[str], size: int) -> Iterator[list[Line]]:
    lines = [Line(number, text, True) for number, text in enumerate(texts, start=1)]
    yield from (lines[at : at + size] for at in range(0, len(lines), size))


@pytest.mark.parametrize("kind", KINDS)
def test_a_line_has_the_weighted_sum_of_its_probabilities(
    kind: SequenceKind, two: Callable[[SequenceKind], list[Model]]
) -> None:
    models = two(kind)
    mixture = mix(models, [1, 3])
    assert isinstance(mixture, LineMixture)
    each = [[row for rows in model.score_lines(batches(TEXT, 2)) for row in rows] for model in models]
    found = [row for rows in mixture.score_lines(batches(TEXT, 2)) for row in rows]
    assert [row.text for row in found] == TEXT
    for row, one, other in zip(found, *each, strict=True):
        assert row.bits == pytest.approx(-np.logaddexp2(-2 - one.bits, np.log2(0.75) - other.bits))
        assert (row.ids == one.ids).all() and row.ends == one.ends
        bare = [part.without_end().bits for part in (one, other)]
        assert row.without_end().bits == pytest.approx(-np.logaddexp2(-2 - bare[0], np.log2(0.75) - bare[1]))


def test_rows_come_before_the_next_batch_is_asked_for(two: Callable[[SequenceKind], list[Model]]) -> None:
    asked: list[int] = []

    def lines() -> Iterator[list[Line]]:
        for number in range(1, 4):
            asked.append(number)
            yield [Line(number, "cat", True)]

    for number, rows in enumerate(mix(two("line")).score_lines(lines()), start=1):
        assert [row.line.number for row in rows] == [number] and asked[-1] == number


def test_models_of_different_kinds_meet_line_by_line(two: Callable[[SequenceKind], list[Model]]) -> None:
    models = [two(kind)[0] for kind in KINDS]
    texts = TEXT * 500  # more than are scored at once
    rows = list(scored_by_each(models, batches(texts, 1900)))
    assert [{row.line.number for row in each} for each in rows] == [{n} for n in range(1, len(texts) + 1)]
    for number, model in enumerate(models):
        alone = [row.bits for part in model.score_lines(batches(texts, len(texts))) for row in part]
        assert [each[number].bits for each in rows] == pytest.approx(alone, abs=1e-3)


def test_models_of_one_vocabulary_mix_by_tokens_and_sample_too(two: Callable[[SequenceKind], list[Model]]) -> None:
    one = two("line")[0]
    mixture = mix([one, one])
    assert isinstance(mixture, MixedModel)
    assert [row.bits for row in mixture.score(TEXT)] == pytest.approx([row.bits for row in one.score(TEXT)], abs=1e-4)
    assert mixture.generate(seed=1)[0].text


def test_what_cannot_be_mixed_is_refused(
    two: Callable[[SequenceKind], list[Model]], train_little: Callable[..., Path]
) -> None:
    closed = seqmodel.load(train_little(unit="word", closed_vocab=True, steps=20, width=16))
    assert isinstance(mix([closed, closed]), MixedModel)
    for models in ([two("line")[0], two("stream")[0]], [two("line")[0], closed], [closed, two("line")[0]]):
        with pytest.raises(UsageError):
            mix(models)


def test_weights_are_fitted_to_tokens_or_to_lines(
    train_little: Callable[..., Path], two: Callable[[SequenceKind], list[Model]], tmp_path: Path
) -> None:
    text = little_text(60, seed=8)
    (tmp_path / "tune.txt").write_text(text + "".join(word[::-1] + "\n" for word in WORDS))
    inputs = LineInputs.of([str(tmp_path / "tune.txt")], (), CorpusSettings(), False)
    char, word = two("line")
    better = seqmodel.load(train_little())
    for models, by_tokens in (([char, better], True), ([char, word], False)):
        fit = fit_mixture(models, inputs, char.reading(), by_tokens)
        mixture = mix(models, fit.weights)
        assert isinstance(mixture, MixedModel) == by_tokens
        rows = [row for each in scored_by_each([*models, mixture], next(inputs.streams())[1]) for row in each]
        totals = [sum(row.bits for row in rows[number::3]) for number in range(3)]
        assert [*fit.bits, fit.mixture_bits] == pytest.approx(totals, rel=1e-5)
        assert fit.events == (sum(len(row.ids) for row in rows[::3]) if by_tokens else 72)
        assert fit.chars == len(text) + sum(len(word) + 1 for word in WORDS)
        for weights in ([1.0, 1e-4], [1e-4, 1.0], [1.0, 1.0]):
            beside = [row for rows in mix(models, weights).score_lines(next(inputs.streams())[1]) for row in rows]
            assert fit.mixture_bits <= sum(row.bits for row in beside) + 1.5


def test_weights_cannot_be_fitted_to_nothing(two: Callable[[SequenceKind], list[Model]], tmp_path: Path) -> None:
    (tmp_path / "empty.txt").touch()
    inputs = LineInputs.of([str(tmp_path / "empty.txt")], (), CorpusSettings(), False)
    with pytest.raises(DataError):
        fit_mixture(two("line"), inputs, two("line")[0].reading(), False)
