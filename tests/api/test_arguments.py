"""What the shell can do, Python can: the same options, by the same names and with the same defaults."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path

import pytest

import seqmodel
from seqmodel.api.arguments import verb
from seqmodel.cli.app import load_command
from seqmodel.command_settings import FilterSettings, ReadingSettings
from seqmodel.errors import UsageError
from tests.cli.command import run_here

VERBS = {"filter": seqmodel.filter, "rescore": seqmodel.rescore}
SHELL_ALONE = {"quiet", "debug", "help"}  # what is written, and where
SHELL_ALONE |= {"count", "output", "style", "header", "column_prefix"}


@pytest.mark.parametrize("name", VERBS)
def test_a_verb_has_the_options_of_its_command(name: str) -> None:
    command = {param.name: param.default for param in load_command(name).params}
    python = {p.name: p.default for p in inspect.signature(VERBS[name]).parameters.values()}
    shared = command.keys() - SHELL_ALONE
    assert shared <= python.keys()
    assert {one: command[one] or None for one in shared} == {one: python[one] or None for one in shared}


@verb
def both(first: int, *, rule: FilterSettings, reading: ReadingSettings) -> tuple[int, FilterSettings, ReadingSettings]:
    """A verb of two kinds of settings."""
    return first, rule, reading


def test_options_and_settings_are_taken_alike() -> None:
    rule = FilterSettings(below=2.0)
    assert both(1, below=2.0, max_line=3) == (1, rule, ReadingSettings(max_line=3))
    assert both(1, rule=rule) == (1, rule, ReadingSettings())
    assert both(1, percentiles="95..")[1].percentiles == (95, 100)


def test_a_wrong_option_or_value_is_an_error_of_ours() -> None:
    with pytest.raises(UsageError, match="belw is no option") as caught:
        both(1, belw=2.0)
    assert "below" in caught.value.hint
    with pytest.raises(UsageError, match="max_line takes a whole number of 1 or more, not 0"):
        both(1, max_line=0)


def test_filter_gives_the_lines_that_the_command_prints(train_little: Callable[..., Path], tmp_path: Path) -> None:
    model, text = train_little(), tmp_path / "text.txt"
    text.write_text("cat dog\nzzz qqq\n\nfar good hill\n")
    printed = run_here("filter", "-m", model, "--below", "4", "--keep-blank", text).lines
    lines = seqmodel.filter(text, model, below=4.0, keep_blank=True)
    assert [line.text for line in lines] == printed
    assert 0 < lines.kept == len(printed) < lines.read == 4
    assert [line.text for line in seqmodel.filter(text, seqmodel.load(model), below=4.0, invert=True)] == ["zzz qqq"]


def test_rescore_gives_the_lists_that_the_command_prints(train_little: Callable[..., Path], tmp_path: Path) -> None:
    model, nbest, reference = train_little(), tmp_path / "nbest.txt", tmp_path / "reference.txt"
    nbest.write_text("u1-1 cat xqz\nu1-2 cat dog\nu2-1 anna\nu2-2 zzz\n")
    reference.write_text("u1 cat dog\nu2 anna\n")
    printed = run_here("rescore", "-m", model, nbest, "--output", "reranked", "--length-penalty", "0.5").lines
    lists = seqmodel.rescore(nbest, model, length_penalty=0.5)
    ranked = [[one.hypotheses[place] for place in one.ranking] for one in lists]
    assert [f"{hypothesis.id} {hypothesis.text}" for best in ranked for hypothesis in best] == printed
    assert (lists.lists, lists.hypotheses, lists.changed) == (2, 4, 1)
    fitted = seqmodel.rescore(nbest, model, tune=str(reference))
    assert [one.hypotheses[one.ranking[0]].text for one in fitted] == ["cat dog", "anna"]
    assert fitted.fit is not None and (fitted.fit.words, fitted.fit.first, fitted.fit.fitted) == (3, 1, 0)
