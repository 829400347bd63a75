"""N-best lists: whose each hypothesis is, and where a list ends."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seqmodel.errors import DataError
from seqmodel.settings import CorpusSettings
from seqmodel.text.corpus import Line
from seqmodel.text.nbest import NbestList, References, kaldi_hypotheses, layout_of, moses_hypotheses, nbest_lists


def one_by_one(lines: list[str]) -> list[list[Line]]:
    return [[Line(number, text, True)] for number, text in enumerate(lines, start=1)]


def lists_of(*lines: str, whole_ids: bool = False) -> list[NbestList]:
    hypotheses = kaldi_hypotheses(one_by_one(list(lines)), "x", whole_ids)
    return [one for batch in nbest_lists(hypotheses, "x") for one in batch]


def shown(lists: list[NbestList]) -> list[tuple[str, list[str]]]:
    return [(one[0].utterance, [hypothesis.text for hypothesis in one]) for one in lists]


def test_ids_name_the_utterance_and_number_its_hypotheses() -> None:
    assert shown(lists_of("a-1 x y", "a-2", "a-10\tx  y ", "b-0 z\r", "c w", "c v")) == [
        ("a", ["x y", "", "x y"]),
        ("b", ["z"]),
        ("c", ["w", "v"]),
    ]


@pytest.mark.parametrize(
    ("key", "utterance"),
    [
        ("1089-134686-0007", "1089-134686-0007"),
        ("1089-134686-0007-2", "1089-134686-0007"),
        ("a-b", "a-b"),
        ("-1", "-1"),
        ("a-1-1", "a-1"),
        ("a-²", "a-²"),
    ],
)
def test_a_number_has_no_leading_zero_and_does_not_stand_alone(key: str, utterance: str) -> None:
    assert lists_of(f"{key} x")[0][0].utterance == utterance
    assert lists_of(f"{key} x", whole_ids=True)[0][0].utterance == key


def test_white_space_that_is_not_ascii_belongs_to_a_word() -> None:
    assert lists_of("a-1 x\u00a0y \u3000z")[0][0].text == "x\u00a0y \u3000z"


@given(st.lists(st.tuples(st.integers(1, 4), st.integers(0, 3)), max_size=8), st.data())
def test_lists_are_whole_however_their_lines_come(sizes: list[tuple[int, int]], data: st.DataObject) -> None:
    lines = [
        Line(0, f"u{number}-{place} {'w ' * words}", True)
        for number, (many, words) in enumerate(sizes)
        for place in range(1, many + 1)
    ]
    cuts = sorted(data.draw(st.lists(st.integers(0, len(lines)), max_size=4)))
    batches = [lines[a:b] for a, b in zip([0, *cuts], [*cuts, len(lines)], strict=True)]
    found = [one for batch in nbest_lists(kaldi_hypotheses(batches, "x"), "x") for one in batch]
    assert [(one[0].utterance, len(one)) for one in found] == [(f"u{i}", many) for i, (many, _) in enumerate(sizes)]


def test_a_list_is_given_as_soon_as_the_next_one_begins() -> None:
    lists = nbest_lists(kaldi_hypotheses(one_by_one(["a-1 x", "a-2 y", "b-1 z", "c-1 w"]), "x"), "x")
    assert [[one[0].utterance for one in batch] for batch in lists] == [[], [], ["a"], ["b"], ["c"]]


@pytest.mark.parametrize(
    ("lines", "what"),
    [
        (["a-1 x", "b-1 y", "a-2 z"], "line 3: an utterance whose list has ended"),
        (["a-1 x", "a-1 y"], "line 2: a hypothesis of that number"),
        (["a-1 x", "  "], "line 2: a blank line"),
    ],
)
def test_what_is_no_list_is_told_with_its_line(lines: list[str], what: str) -> None:
    with pytest.raises(DataError, match=what):
        lists_of(*lines)


def test_with_whole_ids_a_number_may_come_again() -> None:
    assert shown(lists_of("a-1 x", "a-1 y", "a-2 z", whole_ids=True)) == [("a-1", ["x", "y"]), ("a-2", ["z"])]


def test_every_list_has_a_reference_and_every_reference_a_list(tmp_path: Path) -> None:
    path = tmp_path / "ref"
    path.write_text("b  y  z\na\n")
    references = References.read(str(path), CorpusSettings())
    assert references.of(lists_of("a-1 x", "b-1 y")) == ["", "y z"]
    with pytest.raises(DataError, match=r"no reference for 2 of 3 n-best lists, the first in line 2"):
        references.of(lists_of("a-1 x", "c-1 y", "d-1 y"))
    with pytest.raises(DataError, match=r"no n-best list for 1 of 2 references, the first in line 1"):
        references.of(lists_of("a-1 x"))
    path.write_text("a x\nb y\na z\n")
    with pytest.raises(DataError, match="line 3: the id of line 1 again"):
        References.read(str(path), CorpusSettings())


# Moses' layout


def moses(*lines: str, scores: tuple[str, ...] = ()) -> list[tuple[str, str, tuple[float, ...]]]:
    batches = moses_hypotheses([[Line(number, text, True) for number, text in enumerate(lines, 1)]], "x", scores)
    return [(one.utterance, one.text, one.scores) for batch in batches for one in batch]


FULL = "0 ||| a  b ||| LM0= -1.5 TM0= -2 .5 d=3 ||| -7.25 ||| 0-0 1-1"


def test_moses_lines_have_the_total_or_the_features_named() -> None:
    assert moses(FULL, "0 ||| ||| ||| 1e1", "12 ||| x ||| -3") == [
        ("0", "a b", (-7.25,)),
        ("0", "", (10.0,)),
        ("12", "x", (-3.0,)),
    ]
    assert moses(FULL, scores=("TM0.2", "LM0", "total", "d")) == [("0", "a b", (0.5, -1.5, -7.25, 3.0))]
    assert moses("0 ||| a ||| lm: -1 tm: -2 -3 ||| 4", scores=("lm", "tm.1")) == [("0", "a", (-1.0, -2.0))]


@pytest.mark.parametrize(
    ("line", "scores", "parts"),
    [
        ("0 ||| a", (), ["line 1: no total"]),
        ("0 ||| a ||| LM0= -1", (), ["line 1: no total", "LM0"]),
        ("0 ||| a ||| LM0= x ||| 1", ("LM0",), ["line 1: a score that is no finite number"]),
        (FULL, ("TM0",), ["line 1: no score of the name", "TM0.1, TM0.2"]),
        ("a b", (), ["line 1: not in Moses' layout"]),
        ("||| a ||| ||| 1", (), ["line 1: not in Moses' layout"]),
    ],
)
def test_a_line_of_moses_that_lacks_what_is_needed_is_told(
    line: str, scores: tuple[str, ...], parts: list[str]
) -> None:
    with pytest.raises(DataError) as caught:
        moses(line, scores=scores)
    told = f"{caught.value.message}. {caught.value.hint}"
    assert all(part in told for part in parts), told


# Layouts that are guessed


def test_the_first_line_tells_the_layout_and_is_not_lost() -> None:
    for line, layout in ((FULL, "moses"), ("u-1 a ||| b", "moses"), ("u-1 a", "kaldi"), ("u|||v", "kaldi")):
        found, batches = layout_of(iter(one_by_one([line, "more"])))
        assert (found, [one.text for batch in batches for one in batch]) == (layout, [line, "more"])
    assert layout_of(iter([]))[0] == "kaldi"


@pytest.mark.parametrize(
    ("lines", "what"),
    [
        (["cat dog\t-12.5"], "line 1: a score after a tab"),
        (["cat1\t-12.5"], "line 1: a score after a tab"),
        (["u-1 a", "cat dog\t7"], "line 2: a score after a tab"),
        (["-12.5\tcat dog"], "line 1: a score where an id should be"),
        (["-2145.7 -12.5 2 cat dog"], "line 1: a score where an id should be"),
        (["NBestList2.0", "(-12) cat"], "line 1: SRILM"),
        (["(-12.5) cat dog"], "line 1: SRILM"),
        (["cat dog", "cat xqz"], "line 1: it begins with no id"),
        (["utt,hyp,am", "1,cat,2"], "line 1: it begins with no id"),
        (["u-1 a", "0 ||| a ||| ||| 1"], r"line 2: \|\|\| as in Moses"),
    ],
)
def test_lines_of_other_layouts_are_refused_where_the_layout_is_guessed(lines: list[str], what: str) -> None:
    with pytest.raises(DataError, match=what) as caught:
        list(kaldi_hypotheses(one_by_one(lines), "x", guessed=True))
    assert "Expected: `utt-1 words…`" in caught.value.hint and "--input kaldi" in caught.value.hint
    assert list(kaldi_hypotheses(one_by_one(lines), "x"))


def test_usual_ids_are_taken_where_the_layout_is_guessed() -> None:
    lines = ["u-1 x", "u-2\tcat 3", "7 b", "10-11 c", "4k0c0301 d 1.5", "abc e"]
    assert len(list(kaldi_hypotheses(one_by_one(lines), "x", guessed=True))) == len(lines)


def test_lists_before_a_bad_line_come_before_the_error() -> None:
    lines = ["a-1 x", "a-2 y", "b-1 z", " ", "c-1 w"]
    batches = nbest_lists(kaldi_hypotheses([[Line(i, text, True) for i, text in enumerate(lines, 1)]], "x"), "x")
    assert shown(next(batches)) == [("a", ["x", "y"])]
    with pytest.raises(DataError, match="line 4: a blank line"):
        next(batches)
