"""N-best lists scored by a table of log-probabilities, ranked and tuned against orders worked out by hand."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from seqmodel.command_settings import NbestSettings
from seqmodel.errors import DataError
from seqmodel.scoring import nbest_rescoring
from seqmodel.scoring.nbest_rescoring import RescoredLists, fit_weights, score_lists
from seqmodel.scoring.rescoring import Combination
from seqmodel.settings import CorpusSettings
from seqmodel.text.corpus import Line
from seqmodel.text.nbest import Hypothesis, NbestList
from seqmodel.text.nbest_inputs import NbestInputs

KNOWN = {"the cat": -2.0, "the cot": -6.0, "a dog": -3.0, "a dock": -1.0}


def known(texts: Sequence[str]) -> list[float]:
    return [KNOWN[text] for text in texts]


def nbest(utterance: str, *scored: tuple[str, float]) -> NbestList:
    return [Hypothesis(utterance, text, Line(1, text, True), (score,)) for text, score in scored]


LISTS = [nbest("u1", ("the cot", -1.0), ("the cat", -2.0)), nbest("u2", ("a dog", -1.0), ("a dock", -2.0))]


def test_a_list_is_ranked_by_its_totals() -> None:
    ((one, two),) = score_lists(known, [LISTS])
    ranked = one.ranked(Combination(0.5, 0.0, (1.0,)))
    assert ranked.lm_scores == [-6.0, -2.0]
    assert ranked.totals == [-4.0, -3.0]
    assert ranked.ranking == [1, 0]
    assert two.ranked(Combination(0.5, 0.0, (1.0,))).totals == [-2.5, -2.5]


def test_equal_totals_keep_their_order() -> None:
    ((_, two),) = score_lists(known, [LISTS])
    assert two.ranked(Combination(0.5, 0.0, (1.0,))).ranking == [0, 1]


def test_lists_come_in_order_however_many_are_scored_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nbest_rescoring, "HYPOTHESES_AT_ONCE", 2)
    asked: list[list[str]] = []

    def remembered(texts: Sequence[str]) -> list[float]:
        asked.append([*texts])
        return known(texts)

    batches = list(score_lists(remembered, [LISTS]))
    assert [one.hypotheses for batch in batches for one in batch] == LISTS
    assert [texts for texts in asked if texts] == [["the cot", "the cat"], ["a dog", "a dock"]]


def test_fitted_weights_make_fewer_errors_and_all_counts_are_told() -> None:
    ((one, two),) = score_lists(known, [LISTS])
    fit = fit_weights([one, two], ["the cat", "a dog"], Combination(1.0, 0.0, (1.0,)))
    # "the cat" wins with a weight above 1/4, "a dog" with one below 1/2.
    assert (fit.words, fit.first, fit.given, fit.fitted, fit.oracle) == (4, 1, 1, 0, 0)
    assert 0.25 < fit.weights.weight < 0.5


def test_lists_before_one_whose_total_overflows_are_ranked_before_the_error(tmp_path: Path) -> None:
    nbest = tmp_path / "nbest.tsv"
    nbest.write_text("u\tt\ts\n1\tthe cat\t-1\n2\ta dog\t-1e300\n2\ta dock\t1\n3\tthe cot\t0\n")
    settings = NbestSettings(utterance="u", hypothesis="t", score=("s",))
    inputs = NbestInputs.of(str(nbest), settings, CorpusSettings(), any_bytes=False)
    rescored = RescoredLists(inputs, known, Combination(1.0, 0.0, (1e10,)))
    ranked = iter(rescored)
    assert next(ranked).totals == [-2.0 - 1e10]
    with pytest.raises(DataError, match="too large"):
        next(ranked)
    assert rescored.lists == 1


def test_references_without_words_are_refused() -> None:
    ((one, _),) = score_lists(known, [LISTS])
    with pytest.raises(DataError, match="no word"):
        fit_weights([one], [""], Combination())
