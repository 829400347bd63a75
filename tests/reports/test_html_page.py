"""The page of scored text: whole, safe, bounded, and nothing in it that is fetched from elsewhere."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import seqmodel
from seqmodel.api.model import Model
from seqmodel.reports.highlight import END_SIGN, Marking
from seqmodel.reports.html_page import ALTERNATIVES, MOST_TOKENS, Heading, ScorePage
from seqmodel.scoring.lines import LineScore
from seqmodel.scoring.tokens import ScoreFields
from seqmodel.text.corpus import Line
from seqmodel.text.visible import with_signs

HEADING = Heading("m.seqmodel", "char tokens", (("bits per char", "1.234"),), ("A note.",))
HOSTILE = "<script>alert(1)</script> \"'&amp; {{ 7*7 }} {% x %} http://example.com/x.js </p></title></style>"
VOID = {"meta"}
lines_of_text = st.lists(
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\n"), max_size=10)
    | st.lists(st.sampled_from([*"<>&\"'\x00\x1b\t\r\x0c\u2028", "cat", "<!--", "]]>", "&lt;"]), max_size=6).map(
        "".join
    ),
    min_size=1,
    max_size=4,
)


class Parsed(HTMLParser):
    """What a browser sees: the text of each line, the marks' classes and details, all tags and attributes."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[tuple[str, str]] = []
        self.texts: list[str] = []
        self.marks: list[tuple[str, str]] = []  # class, details
        self.attributes: list[tuple[str, str, str]] = []
        self.inside: dict[str, list[str]] = {}
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.attributes += [(tag, name, value) for name, value in given.items()]
        if tag not in VOID:
            self.open.append((tag, given.get("class", "")))
        if (tag, given.get("class")) == ("p", "text"):
            self.texts.append("")
        if tag == "span" and "title" in given:
            self.marks.append((given["class"], given["title"]))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop()[0] == tag

    def handle_data(self, data: str) -> None:
        if ("p", "text") in self.open:
            self.texts[-1] += data
        if self.open:
            self.inside.setdefault(self.open[-1][0], []).append(data)


def scored(model: Model, texts: list[str]) -> list[LineScore]:
    wanted = ScoreFields(ranks=True, alternatives=ALTERNATIVES)
    lines = [Line(number, text, False) for number, text in enumerate(texts, start=1)]
    return [row for rows in model.score_lines([lines], model.reading(restart=True, fields=wanted)) for row in rows]


def made(
    model: Model,
    texts: list[str],
    heading: Heading = HEADING,
    *,
    worst_first: bool = False,
    most_tokens: int = MOST_TOKENS,
) -> str:
    page = ScorePage(Marking(model.tokenizer), worst_first, most_tokens)
    for row in scored(model, texts):
        page.add("a.txt", row)
    return "".join(page.html(heading))


@settings(deadline=None, max_examples=40)
@given(texts=lines_of_text)
def test_every_line_is_there_visibly_and_its_marks_tell_what_was_scored(little_model: Model, texts: list[str]) -> None:
    parsed = Parsed(made(little_model, texts))
    assert parsed.texts == ["".join(map(with_signs, text)) + END_SIGN for text in texts]
    rows = scored(little_model, texts)
    expected = [mark for row in rows for mark in Marking(little_model.tokenizer).marks(row)]
    assert len(parsed.marks) == len(expected)
    for (style, details), mark in zip(parsed.marks, expected, strict=True):
        assert mark.bits is not None
        lines = details.split("\n")
        assert lines[0] == f"{mark.text}: {mark.bits:.2f} bits"
        assert len([line for line in lines if line.endswith("%")]) == ALTERNATIVES
        assert style.split()[0] == f"s{Marking(little_model.tokenizer).shade(mark.bits)}"


def test_details_name_the_most_probable_tokens_rank_and_entropy(little_model: Model) -> None:
    (row,) = scored(little_model, ["cat"])
    assert row.scores.best is not None and row.scores.best_bits is not None
    assert row.scores.rank is not None and row.scores.entropy is not None
    _, details = Parsed(made(little_model, ["cat"])).marks[1]
    best = [little_model.tokenizer.piece(token) for token in row.scores.best[1].tolist()]
    shown = [name.replace("\u2581", "␣").replace("</s>", END_SIGN) for name in best]
    chances = [f"{100 * 2**-bits:.1f}%" for bits in row.scores.best_bits[1].tolist()]
    assert details.split("\n") == [
        f"a: {row.scores.bits[1]:.2f} bits",
        f"p {2 ** -row.scores.bits[1]:.3g}, rank {row.scores.rank[1]}, entropy {row.scores.entropy[1]:.2f} bits",
        "most probable:",
        *(f"{name} {chance.replace('0.0%', '<0.1%')}" for name, chance in zip(shown, chances, strict=True)),
    ]


def test_nothing_is_fetched_and_no_text_becomes_markup(little_model: Model) -> None:
    page = made(little_model, [HOSTILE], Heading(HOSTILE, HOSTILE, ((HOSTILE, HOSTILE),), (HOSTILE,)))
    parsed = Parsed(page)
    assert parsed.texts == [HOSTILE + END_SIGN]
    assert not {tag for tag, _, _ in parsed.attributes} & {"link", "img", "iframe", "base", "object", "embed", "form"}
    for _, name, value in parsed.attributes:
        assert name not in ("src", "srcset", "data", "style") and not name.startswith("on")
        assert name != "href" or re.fullmatch(r"#L\d+", value)
    (style,), (script,) = parsed.inside["style"], parsed.inside["script"]
    assert not re.search(r"url\(|@import|@font-face", style)
    assert not re.search(r"https?:|fetch|import|XMLHttp|WebSocket|innerHTML|eval", script)
    (policy,) = [value for tag, name, value in parsed.attributes if name == "content" and "default-src" in value]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert policy == f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"


def test_each_shade_of_a_mark_has_a_colour_in_both_schemes(little_model: Model) -> None:
    (style,) = Parsed(made(little_model, ["cat ☃"])).inside["style"]
    for number in range(17):
        assert f".s{number} {{ background: var(--s{number}); }}" in style
        assert len(re.findall(rf"--s{number}: #[0-9a-f]{{6}};", style)) == 2
    assert "prefers-color-scheme: dark" in style


def test_bytes_that_are_no_characters_are_shown_by_their_value(train_little: Callable[..., Path]) -> None:
    model = seqmodel.load(train_little(unit="byte", steps=5, width=16))
    page = made(model, [b"a\xff\xc3\xa9\xf0".decode("utf-8", "surrogateescape")])
    page.encode()
    assert Parsed(page).texts == [f"a⟨xFF⟩é⟨xF0⟩{END_SIGN}"]


def test_words_tell_their_tokens(little_model: Model) -> None:
    page = ScorePage(Marking(little_model.tokenizer, by_word=True))
    (row,) = little_model.score(["cat dog"])
    page.add("", row)
    parsed = Parsed("".join(page.html(HEADING)))
    bits = row.scores.bits
    assert parsed.texts == ["cat dog"]
    assert [details for _, details in parsed.marks] == [
        f"cat: {bits[:4].sum():.2f} bits\ntokens: c {bits[0]:.2f}, a {bits[1]:.2f}, t {bits[2]:.2f}, ␣ {bits[3]:.2f}",
        f"dog: {bits[4:].sum():.2f} bits\ntokens: d {bits[4]:.2f}, o {bits[5]:.2f}, g {bits[6]:.2f}, "
        f"{END_SIGN} {bits[7]:.2f}",
    ]


# Limits and order

TEXTS = ["cat", "zebra ☃", "", "anna boil", "qqqq", "cat dog"]


def test_the_worst_come_first_and_lines_without_characters_last(little_model: Model) -> None:
    rates = {row.text: row.bits / len(row.text) for row in little_model.score(TEXTS) if row.text}
    parsed = Parsed(made(little_model, TEXTS, worst_first=True))
    assert parsed.texts == [text + END_SIGN for text in [*sorted(rates, key=lambda text: -rates[text]), ""]]


@pytest.mark.parametrize("worst_first", [False, True])
@pytest.mark.parametrize("most", [100, 130, 200])
def test_as_many_lines_are_shown_as_fit(little_model: Model, worst_first: bool, most: int) -> None:
    texts = TEXTS * 5
    whole = Parsed(made(little_model, texts, worst_first=worst_first)).texts
    shown = Parsed(made(little_model, texts, worst_first=worst_first, most_tokens=most)).texts
    assert shown == whole[: len(shown)]
    costs = [1 + len(row.ids) for text in whole for row in little_model.score([text.removesuffix(END_SIGN)])]
    assert sum(costs[: len(shown)]) <= most < sum(costs[: len(shown) + 1])


def test_it_is_said_how_many_lines_are_shown(little_model: Model) -> None:
    few = made(little_model, ["cat"] * 50, most_tokens=50)
    assert "The first 10 of 50 lines are shown" in few
    assert Parsed(few).texts == [f"cat{END_SIGN}"] * 10
    assert "lines are shown" not in made(little_model, ["cat"] * 50)
    assert "The worst 10 of 50 lines" in made(little_model, ["cat"] * 50, most_tokens=50, worst_first=True)


def test_a_long_line_is_cut_and_it_is_said(little_model: Model) -> None:
    parsed = Parsed(made(little_model, ["cat dog boil"], most_tokens=50))
    assert parsed.texts == ["cat d… 8 more tokens"]


def test_files_are_named_where_there_are_several(little_model: Model) -> None:
    page = ScorePage(Marking(little_model.tokenizer))
    for name, row in zip(["a<b>.txt", "a<b>.txt", "c.txt"], scored(little_model, ["cat", "dog", "cat"]), strict=True):
        page.add(name, row)
    assert Parsed("".join(page.html(HEADING))).inside["h2"] == ["a<b>.txt", "c.txt"]
    assert "h2" not in Parsed(made(little_model, ["cat", "dog"])).inside
