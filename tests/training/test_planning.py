"""Defaults that follow the corpus and the budget."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from seqmodel.choices import Unit
from seqmodel.settings import NetworkSettings, TrainingSettings
from seqmodel.training.planning import MOST_NETWORKS, Task, plan_model, plan_ngrams, plan_order, plan_training

ANY = NetworkSettings()


def task(unit: Unit = "char", tokens: int = 1_000_000, vocabulary: int = 320, **budget: Any) -> Task:
    return Task(unit, False, True, vocabulary, tokens, TrainingSettings(**budget))


def test_more_time_buys_more_networks_and_never_fewer() -> None:
    networks = [plan_model(task(seconds=seconds), ANY).networks for seconds in (10, 60, 180, 600, 7200)]
    assert networks[0] == networks[1] == 1 and networks[2] == 2 and networks[-1] == MOST_NETWORKS
    assert networks == sorted(networks)


def test_a_slow_machine_gets_no_more_networks_than_it_can_train() -> None:
    quick = task(seconds=600)
    assert plan_model(quick, ANY).networks == MOST_NETWORKS
    assert [plan_model(replace(quick, speed=speed), ANY).networks for speed in (3000.0, 14_000.0, 1e9)] == [1, 2, 3]


def test_a_slow_machine_reads_a_text_less_often_and_so_with_less_noise() -> None:
    model = plan_model(task(seconds=180), NetworkSettings(networks=1))
    slow, quick = (
        plan_training(replace(task(seconds=180), speed=s), model, TrainingSettings(seconds=180.0)) for s in (5e3, 1e9)
    )
    assert (slow.dropout, slow.ngram_dropout) < (quick.dropout, quick.ngram_dropout)


def test_a_large_corpus_is_read_by_one_network_and_so_is_one_whose_passes_are_counted() -> None:
    assert plan_model(task(tokens=100_000_000, seconds=7200), ANY).networks == 1
    assert plan_model(task("word", tokens=2_000_000, seconds=180), ANY).networks == 1
    assert plan_model(task(epochs=50), ANY).networks == plan_model(task(steps=50_000), ANY).networks == 1


def test_the_tables_of_all_networks_are_as_large_as_that_of_one() -> None:
    (orders, one), (_, each) = (plan_ngrams(task(), networks) for networks in (1, 2))
    assert orders == (2, 3, 4) and 2 * each == one


def test_what_the_user_says_wins() -> None:
    model = plan_model(task(seconds=600), NetworkSettings(networks=1, width=77))
    assert (model.networks, model.width) == (1, 77)
    training = plan_training(task(seconds=600), model, TrainingSettings(dropout=0.4, negatives=None, seconds=600.0))
    assert training.dropout == 0.4


def test_the_more_often_a_text_is_read_the_more_noise() -> None:
    model = plan_model(task(seconds=10), ANY)
    plans = [plan_training(task(seconds=s), model, TrainingSettings(seconds=float(s))) for s in (10, 60, 180, 3600)]
    noise = [(plan.dropout, plan.ngram_dropout, plan.weight_decay) for plan in plans]
    assert noise == sorted(noise) and noise[0] < noise[-1]
    # Two networks read it half as often each.
    two = model.model_copy(update={"networks": 2})
    assert task(seconds=180).epochs(2) == task(seconds=180).epochs() / 2
    assert plan_training(task(seconds=90), model, TrainingSettings(seconds=90.0)).dropout == (
        plan_training(task(seconds=180), two, TrainingSettings(seconds=180.0)).dropout
    )


@pytest.mark.parametrize(("vocabulary", "partial"), [(3000, False), (30_000, True)])
def test_a_large_vocabulary_is_trained_on_in_part(vocabulary: int, partial: bool) -> None:
    words = task("word", vocabulary=vocabulary, seconds=60)
    training = plan_training(words, plan_model(words, ANY), TrainingSettings(seconds=60.0))
    assert (training.negatives is not None) == partial


def test_the_count_models_order_follows_the_unit_and_the_size() -> None:
    assert plan_order(task()) == 7 and plan_order(task(tokens=100_000_000)) == 6
    assert plan_order(task("word")) < 6
