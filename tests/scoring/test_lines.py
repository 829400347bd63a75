"""One row per input line, which together are the sequences that training would have read."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from seqmodel.api.model import Model
from seqmodel.choices import SequenceKind, Unit
from seqmodel.errors import DataError
from seqmodel.scoring import lines as line_scores
from seqmodel.scoring.lines import LineContext, LineScore, score_lines
from seqmodel.scoring.tokens import ScoreFields
from seqmodel.settings import CorpusSettings, TokenizerSettings
from seqmodel.text.corpus import END_MARK, Line, read_blocks, read_lines
from seqmodel.text.sources import Source
from seqmodel.tokens.fitting import fit
from seqmodel.tokens.tokenizer import END, START, Tokenizer
from tests.scoring.test_tokens import Remembering

KINDS: tuple[SequenceKind, ...] = ("line", "paragraph", "document", "stream")
UNITS: tuple[Unit, ...] = ("char", "word", "subword", "byte")
CORPUS = "ab ba\nabab b a\n\nba  ab\n\tb\n" * 30


@pytest.fixture(scope="module")
def tokenizers() -> dict[Unit, Tokenizer]:
    return {unit: fit([CORPUS], TokenizerSettings(unit=unit)) for unit in UNITS}


def model_for(tokenizer: Tokenizer, kind: SequenceKind) -> Remembering:
    return Remembering(tokenizer.size, (START, END) if kind == "stream" else (START,))


def batches_of(text: str, cuts: list[int]) -> list[list[Line]]:
    """The lines of a text in batches that are cut after the given lines."""
    parts = text.split("\n")
    last = parts.pop()
    lines = [Line(number, part, True) for number, part in enumerate(parts, start=1)]
    if last:
        lines.append(Line(len(parts) + 1, last, False))
    bounds = [0, *sorted(cut for cut in set(cuts) if cut < len(lines)), len(lines)]
    return [lines[a:b] for a, b in pairwise(bounds)]


def rows_of(
    tokenizer: Tokenizer, kind: SequenceKind, batches: list[list[Line]], *, restart: bool = False, details: bool = False
) -> list[LineScore]:
    model = model_for(tokenizer, kind)
    reading = LineContext(kind, restart, fields=ScoreFields(ranks=details))
    return [row for rows in score_lines(model, tokenizer, reading, batches) for row in rows]


def training_ids(tokenizer: Tokenizer, kind: SequenceKind, text: str, folder: Path) -> list[int]:
    """What training would read of the same file, blank lines kept."""
    path = folder / "corpus.txt"
    path.write_bytes(text.encode())
    blocks = read_blocks([Source("corpus.txt", path)], CorpusSettings(sequence=kind, keep_blank=True))
    return [token for block in blocks for token in tokenizer.encode(block).tolist()]


lines = st.lists(st.sampled_from(["", "a", "ab b", " ", "\t", " b", "a ", "ba\r", "\r", "zé", "b  a"]), max_size=8)
texts = st.builds(lambda parts, end: "\n".join(parts) + end, lines, st.sampled_from(["", "\n", "\n\n"]))


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("kind", KINDS)
def test_rows_are_lines_and_their_tokens_are_what_training_reads(
    kind: SequenceKind, unit: Unit, tokenizers: dict[Unit, Tokenizer], tmp_path: Path
) -> None:
    tokenizer = tokenizers[unit]

    @given(texts, st.lists(st.integers(1, 6), max_size=3))
    @settings(max_examples=35, deadline=None)
    @example("ab\n   ", [])
    @example("ab\n\n", [])
    @example("\n\nab\n\n\nb", [2])
    @example("ab\r\n\r\nb\r\n", [])
    @example("ab\r", [])
    def check(text: str, cuts: list[int]) -> None:
        batches = batches_of(text, cuts)
        rows = rows_of(tokenizer, kind, batches)
        assert [row.line for row in rows] == [line for batch in batches for line in batch]
        assert all(len(row.ids) == len(row.scores.bits) for row in rows)
        found = [token for row in rows for token in row.ids.tolist()]
        expected = training_ids(tokenizer, kind, text, tmp_path) if text else []
        if kind == "stream":  # its one end symbol tells training where a file stops, and is not scored
            expected = [token for token in expected if token != END]
        assert found == expected
        # The state is carried inside a sequence and nowhere else.
        bits = [b for row in rows for b in row.scores.bits]
        assert bits == pytest.approx(model_for(tokenizer, kind).oracle(found), abs=1e-5)

    check()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("restart", [True, False])
def test_batches_cut_anywhere_give_the_same_rows(
    kind: SequenceKind, restart: bool, tokenizers: dict[Unit, Tokenizer]
) -> None:
    text = "ab ba\n\n  \nb\r\n" + "a" * 50 + "\n\nlast"
    whole = rows_of(tokenizers["word"], kind, batches_of(text, []), restart=restart, details=True)
    assert len(whole) == 7
    for cuts in [[1], [2], [3], [1, 2, 3, 4, 5, 6], [4], [5, 6]]:
        rows = rows_of(tokenizers["word"], kind, batches_of(text, cuts), restart=restart, details=True)
        for a, b in zip(rows, whole, strict=True):
            assert (a.line, a.text, a.ids.tolist()) == (b.line, b.text, b.ids.tolist())
            assert a.scores.bits.tolist() == pytest.approx(b.scores.bits.tolist(), abs=1e-6)
            for mine, other in ((a.scores.rank, b.scores.rank), (a.scores.entropy, b.scores.entropy)):
                assert mine is not None and other is not None
                np.testing.assert_allclose(mine, other, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("unit", UNITS)
def test_with_restart_every_line_is_a_sequence_whatever_the_kind(
    kind: SequenceKind, unit: Unit, tokenizers: dict[Unit, Tokenizer]
) -> None:
    tokenizer = tokenizers[unit]
    rows = rows_of(tokenizer, kind, batches_of("ab ba\n\nab ba\n b", [2]), restart=True)
    model = model_for(tokenizer, kind)
    for row in rows:
        ended = "\n" * (kind == "stream")  # the last line has none of its own: a text has one score, however it comes
        ids = [*tokenizer.encode(row.line.text + ended).tolist(), *([] if kind == "stream" else [END])]
        assert row.ids.tolist() == ids
        assert row.scores.bits.tolist() == pytest.approx(model.oracle(ids), abs=1e-5)
    assert rows[0].bits == rows[2].bits


def test_without_restart_a_line_is_conditional_on_the_lines_before_it(tokenizers: dict[Unit, Tokenizer]) -> None:
    for kind, same in {"line": True, "paragraph": False, "document": False, "stream": False}.items():
        first, second = rows_of(tokenizers["char"], kind, batches_of("ab\nab\n", []))  # type: ignore[arg-type]
        assert (first.bits == second.bits) is same
    first, _, second = rows_of(tokenizers["char"], "paragraph", batches_of("ab\n\nab\n", []))
    assert first.bits == second.bits


def test_a_line_ends_with_the_end_symbol_or_its_newline(tokenizers: dict[Unit, Tokenizer]) -> None:
    tokenizer = tokenizers["char"]
    newline = tokenizer.id_of("\n")
    expected: dict[SequenceKind, list[int | None]] = {
        "line": [END, END, END, END],
        "paragraph": [newline, END, None, END],
        "document": [newline, newline, newline, END],
        "stream": [newline, newline, newline, tokenizer.id_of("a")],
    }
    for kind, lasts in expected.items():
        rows = rows_of(tokenizer, kind, batches_of("a\nb\n\nba", []))
        assert [row.ids[-1] if len(row.ids) else None for row in rows] == lasts


@pytest.mark.parametrize("unit", ["char", "word"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_closed_vocabulary_that_never_saw_a_newline_scores_lines_one_by_one(kind: SequenceKind, unit: Unit) -> None:
    tokenizer = fit(["ab ba a b" + END_MARK] * 3, TokenizerSettings(unit=unit, closed=True))
    assert tokenizer.id_of("\n") is None
    rows = rows_of(tokenizer, kind, batches_of("ab\nba a\n\nzz\nb\n", [2]))
    assert [row.text for row in rows] == ["ab", "ba a", "", "zz", "b"]
    own = [len(tokenizer.encode(row.text)) for row in rows]
    ends = [1, 1, 0 if kind == "paragraph" else 1, 1, 1]
    assert [len(row.ids) for row in rows] == [size + end for size, end in zip(own, ends, strict=True)]
    found = [token for row in rows for token in row.ids.tolist()]
    bits = [b for row in rows for b in row.scores.bits]
    assert bits == pytest.approx(model_for(tokenizer, kind).oracle(found), abs=1e-5)


@pytest.mark.parametrize("restart", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_a_carriage_return_before_a_newline_is_part_of_the_line_end(
    kind: SequenceKind, restart: bool, tokenizers: dict[Unit, Tokenizer]
) -> None:
    text = "ab\n\n\rba\r \n a\n"
    expected = rows_of(tokenizers["byte"], kind, batches_of(text, [2]), restart=restart)
    rows = rows_of(tokenizers["byte"], kind, batches_of(text.replace("\n", "\r\n"), [2]), restart=restart)
    assert [row.text for row in rows] == ["ab", "", "\rba\r ", " a"]
    assert [row.ids.tolist() for row in rows] == [row.ids.tolist() for row in expected]
    assert [row.bits for row in rows] == [row.bits for row in expected]


def test_a_blank_line_has_a_row_with_a_score_in_line_models(tokenizers: dict[Unit, Tokenizer]) -> None:
    rows = rows_of(tokenizers["char"], "line", batches_of("\na\n\n", []))
    assert [len(row.ids) for row in rows] == [1, 2, 1]
    assert rows[0].bits == rows[2].bits > 0


def test_a_white_line_that_ends_the_file_separates_paragraphs_as_others_do(
    tokenizers: dict[Unit, Tokenizer],
) -> None:
    """Terminated or not: it belongs to no sequence."""
    for end in ("\n", ""):
        rows = rows_of(tokenizers["char"], "paragraph", batches_of("ab\n  " + end, []))
        assert [len(row.ids) for row in rows] == [3, 0]
        assert rows[1].bits == 0


@pytest.mark.parametrize("kind", KINDS)
def test_no_lines_have_no_rows(kind: SequenceKind, tokenizers: dict[Unit, Tokenizer]) -> None:
    assert rows_of(tokenizers["char"], kind, []) == []
    assert rows_of(tokenizers["char"], kind, [[]]) == []


@pytest.mark.parametrize("kind", KINDS)
def test_rows_come_before_the_next_batch_is_asked_for(kind: SequenceKind, tokenizers: dict[Unit, Tokenizer]) -> None:
    """All but the last line of what was read, which in paragraphs and documents waits for what follows."""
    tokenizer = tokenizers["char"]
    asked = []

    def batches() -> object:
        for number in range(4):
            asked.append(number)
            yield [Line(2 * number + 1, "ab", True), Line(2 * number + 2, "b", True)]

    done = 0
    for rows in score_lines(model_for(tokenizer, kind), tokenizer, LineContext(kind), batches()):  # type: ignore[arg-type]
        done += len(rows)
        waiting = 2 * len(asked) - done
        assert waiting == (0 if kind in ("line", "stream") or done == 8 else 1)
    assert done == 8


def test_many_lines_at_once_keep_their_order(
    tokenizers: dict[Unit, Tokenizer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(line_scores, "LINES_AT_ONCE", 7)
    text = "".join("ab"[i % 2] * (i * 37 % 23) + "\n" for i in range(60))
    rows = rows_of(tokenizers["char"], "line", batches_of(text, [20]))
    assert [row.line.number for row in rows] == list(range(1, 61))
    assert [row.text for row in rows] == text.split("\n")[:-1]


# Through a trained model


def test_lines_read_from_a_file_add_up(train_little: Callable[..., Path], tmp_path: Path) -> None:
    path = tmp_path / "lines.txt"
    path.write_text("anna boil\ncat dog\n\neat far\nunseen ✓ line\nkite")
    for kind in KINDS:
        model = _load(train_little, kind)
        batches = list(read_lines(Source("lines.txt", path), CorpusSettings(sequence=kind)))
        rows = [row for rows in model.score_lines(batches) for row in rows]
        assert len(rows) == 6
        ids = np.concatenate([row.ids for row in rows])
        from seqmodel.scoring.tokens import RunningScorer

        whole = RunningScorer(model.runtime).score(ids)
        assert sum(row.bits for row in rows) == pytest.approx(whole.total, abs=1e-3)


def _load(train_little: Callable[..., Path], kind: SequenceKind) -> Model:
    import seqmodel

    return seqmodel.load(train_little(steps=5, width=16, sequence=kind))


def test_a_score_is_that_of_the_line_with_its_end(little_model: Model) -> None:
    one, two = little_model.score(["anna boil", ""])
    assert one.ids[-1] == END and two.ids.tolist() == [END]
    again = little_model.score(["", "x" * 600, "anna boil"], details=True)
    assert again[2].bits == pytest.approx(one.bits, abs=1e-4)
    assert again[0].bits == pytest.approx(two.bits, abs=1e-4)


def test_a_lone_surrogate_is_an_error_and_no_end_of_a_sequence(little_model: Model) -> None:
    for text in ("a\ud800b", "a\udfffb", "\ud800"):
        with pytest.raises(DataError):
            little_model.score([text])


def test_what_is_given_and_a_line_that_run_into_one_unknown_word_are_the_lines_own() -> None:
    tokenizer = fit([CORPUS], TokenizerSettings(unit="word", closed=True))
    reading = LineContext("line", separator="")
    lines = [Line(1, "xab ba", True, given) for given in ("q", "ab q", "ab ")]
    (rows,) = score_lines(model_for(tokenizer, "line"), tokenizer, reading, [lines])
    assert [(row.before.tolist(), len(row.ids)) for row in rows] == [
        ([], 3),
        (tokenizer.encode("ab").tolist(), 3),
        (tokenizer.encode("ab").tolist(), 3),
    ]


def test_a_preamble_is_joined_to_what_is_given_as_that_is_to_the_line(tokenizers: dict[Unit, Tokenizer]) -> None:
    tokenizer = tokenizers["char"]
    (rows,) = score_lines(
        model_for(tokenizer, "line"), tokenizer, LineContext("line", preamble="ab"), [[Line(1, "a", True, "ba")]]
    )
    assert tokenizer.decode([*rows[0].before, *rows[0].ids]) == "ab ba a"
