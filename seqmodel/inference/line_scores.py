"""Lines of text to scores of lines: one row per input line, always, in order.

What a line's score means follows the model's sequence kind. In a line model every line is a sequence. In the
others state is carried from line to line within a sequence, and a line's score is conditional on what precedes it.
A line may also be scored given a text before it in the same sequence: log p(text | given).

A text that stands alone has one score, however it comes: with the end symbol, or in a stream model the newline, after
it. A carriage return before a newline is part of the line end, and is not scored.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import accumulate, groupby, zip_longest
from typing import Any

import numpy as np
import numpy.typing as npt

from seqmodel.inference.scoring import PLAIN, RunningScorer, TokenScores, Wanted, nothing, score_sequences
from seqmodel.inference.sequence_model import SequenceModel
from seqmodel.kinds import SequenceKind
from seqmodel.text.corpus import END_MARK, Line
from seqmodel.tokens.tokenizer import (
    END,
    FIRST_BYTE,
    FIRST_PIECE,
    START,
    UNKNOWN,
    Tokenizer,
    closed_words,
    refuse_end_mark,
)

LINES_AT_ONCE = 1024


def _no_ids() -> npt.NDArray[np.int32]:
    return np.empty(0, np.int32)


@dataclass(frozen=True)
class LineScore:
    """A line, the ids that it is spelled with (its newline or end symbol last) and their scores.

    `before` are the ids of what it was scored given; `shift` characters of those ids' text and the line's together
    come before the line's own. A later part of a line begins `inside` it. The newline that a text of a stream ends
    with when it stands alone is an `end_newline`.
    """

    line: Line
    text: str
    ids: npt.NDArray[Any]
    scores: TokenScores
    before: npt.NDArray[Any] = field(default_factory=_no_ids)
    shift: int = 0
    inside: bool = False
    end_newline: bool = False

    @property
    def bits(self) -> float:
        return self.scores.total

    @cached_property
    def unknown(self) -> int:
        return int((self.ids == UNKNOWN).sum())

    @property
    def ends(self) -> bool:
        """Whether the last token is the end symbol."""
        return bool(len(self.ids)) and int(self.ids[-1]) == END

    def without_end(self) -> LineScore:
        """The same, the end symbol left out, or the newline in its place."""
        if not (self.ends or self.end_newline):
            return self
        scores = self.scores.at(slice(0, len(self.ids) - 1))
        return replace(self, ids=self.ids[:-1], scores=scores, end_newline=False)

    def spans(self, tokenizer: Tokenizer) -> npt.NDArray[np.int64]:
        """Character offsets (start, end) in the text of each token, (tokens, 2); symbols have none (start == end)."""
        if tokenizer.closed:
            return self._closed_spans(tokenizer)
        whole = tokenizer.spans(np.concatenate([self.before, self.ids]), self.inside)
        return np.clip(whole[len(self.before) :] - self.shift, 0, len(self.text))

    def _closed_spans(self, tokenizer: Tokenizer) -> npt.NDArray[np.int64]:
        """What is unknown has the length of what stands in the text."""
        size, many = len(self.text), len(self.ids)
        places = [(at, at + 1) for at in range(size)] if tokenizer.unit == "char" else closed_words(self.text)
        return np.array((places + [(size, size)] * many)[:many], np.int64).reshape(-1, 2)

    def out_of_vocabulary(self, tokenizer: Tokenizer) -> npt.NDArray[np.bool_]:
        """Which tokens are unknown, or bytes of what the vocabulary lacks. The byte unit lacks nothing."""
        return _lacking(self.ids, tokenizer)

    def is_decomposed(self, tokenizer: Tokenizer) -> bool:
        """True if the vocabulary lacks characters of the line only because they are not composed (Unicode's NFC)."""
        if tokenizer.unit == "byte" or unicodedata.is_normalized("NFC", self.text):
            return False
        composed = tokenizer.encode(unicodedata.normalize("NFC", self.text), self.inside)
        return int(_lacking(composed, tokenizer).sum()) < int(self.out_of_vocabulary(tokenizer).sum())


def _lacking(ids: npt.NDArray[Any], tokenizer: Tokenizer) -> npt.NDArray[np.bool_]:
    found: npt.NDArray[np.bool_] = ids == UNKNOWN
    if tokenizer.unit != "byte":
        found |= (ids >= FIRST_BYTE) & (ids < FIRST_PIECE)
    return found


@dataclass(frozen=True)
class Reading:
    """How lines are read: `restart` makes every line a sequence of its own, whatever the kind; `preamble` is a text
    that stands before each line that begins a file or a sequence of its own; `separator` is put between a line and
    what it is given where neither has white space there."""

    kind: SequenceKind
    restart: bool = False
    preamble: str = ""
    separator: str = " "
    wanted: Wanted = PLAIN


def sequence_ids(
    tokenizer: Tokenizer, kind: SequenceKind, text: str, *, inside: bool = False, is_open: bool = False
) -> npt.NDArray[np.int32]:
    """The ids of a text that stands alone, with what ends it: the end symbol, or in a stream the newline. An open one
    has no end yet.

    Raises:
        DataError: if the text holds a lone surrogate.
    """
    if is_open:
        return tokenizer.encode_line(text, inside)
    if kind == "stream":
        return tokenizer.encode_line(text + "\n", inside)
    return np.append(tokenizer.encode_line(text, inside), np.int32(END))


def without_carriage_returns(text: str) -> str:
    """The text with a newline for each line end, as files are read."""
    return text.replace("\r\n", "\n")


def score_lines(
    model: SequenceModel, tokenizer: Tokenizer, reading: Reading, batches: Iterable[list[Line]]
) -> Iterator[list[LineScore]]:
    """Score batches of lines of one file. Of a line in parts, each has a score; it cannot be given a text, nor stand
    where paragraphs carry a state from line to line."""
    if reading.kind == "line" or reading.restart:
        scorer = _Separate(model, tokenizer, reading)
        for batch in batches:
            for at in range(0, len(batch), LINES_AT_ONCE):
                yield scorer.score(batch[at : at + LINES_AT_ONCE])
    else:
        yield from _carried(model, tokenizer, reading, batches)


class _Separate:
    """Scores lines that do not know each other. The state after a text that several are given is computed once."""

    def __init__(self, model: SequenceModel, tokenizer: Tokenizer, reading: Reading) -> None:
        self.model, self.tokenizer, self.reading = model, tokenizer, reading
        self.kind = reading.kind
        self._last: tuple[bytes, tuple[Any, int]] | None = None
        self._begun: RunningScorer | None = None  # of a line that comes in parts

    def score(self, lines: list[Line]) -> list[LineScore]:
        """The rows of some lines."""
        if self._begun is not None or lines[0].open:
            part = self._part(lines[0])
            return [part, *self.score(lines[1:])] if lines[1:] else [part]
        rows = [self._spelled(line) for line in lines]
        done: dict[int, TokenScores] = {}
        order = sorted(range(len(rows)), key=lambda i: rows[i].before.tobytes())
        for _, group in groupby(order, key=lambda i: rows[i].before.tobytes()):
            members = list(group)
            state, first = self._after(rows[members[0]].before)
            firsts = [first] * len(members)
            scores = score_sequences(self.model, [rows[i].ids for i in members], firsts, self.reading.wanted, state)
            done.update(zip(members, scores, strict=True))
        return [replace(row, scores=done[i]) for i, row in enumerate(rows)]

    def _part(self, line: Line) -> LineScore:
        """The row of a part of a line."""
        row = self._spelled(line, inside=self._begun is not None)
        scorer = self._begun or RunningScorer(self.model)
        self._begun = scorer if line.open else None
        return replace(row, scores=scorer.score(row.ids, self.reading.wanted))

    def _after(self, before: npt.NDArray[Any]) -> tuple[Any, int]:
        """The state after all but the last of the ids that a line is given, and that last one."""
        if not len(before):
            return None, START
        key = before.tobytes()
        if self._last is None or self._last[0] != key:
            scorer = RunningScorer(self.model)
            scorer.score(before)
            self._last = key, (scorer.state, scorer.last)
        return self._last[1]

    def _spelled(self, line: Line, inside: bool = False) -> LineScore:
        """A line, or part of one, and its ids, not yet scored."""
        text = without_carriage_returns(line.body)
        given, preamble = without_carriage_returns(line.given or ""), self.reading.preamble
        if preamble:
            given = preamble + self._between(preamble, given) + given
        whole = given + self._between(given, text) + text if given else text
        ids = sequence_ids(self.tokenizer, self.kind, whole, inside=inside, is_open=line.open)
        shared = self._shared(given, whole, ids) if given else 0
        before, ids = ids[:shared], ids[shared:]
        end_newline = self.kind == "stream" and not line.open
        return LineScore(line, text, ids, nothing(PLAIN), before, len(whole) - len(text), inside, end_newline)

    def _between(self, given: str, text: str) -> str:
        """What joins a line to what it is given."""
        apart = given[-1].isspace() or not text or text[0].isspace()
        return "" if apart else self.reading.separator

    def _shared(self, given: str, whole: str, ids: npt.NDArray[Any]) -> int:
        """How many of the ids of the whole belong to what is given. One that crosses into the line is its own."""
        if self.tokenizer.closed and self.tokenizer.unit == "word":
            return sum(end <= len(given) for _, end in closed_words(whole))
        before = self.tokenizer.encode_line(given)
        if np.array_equal(ids[: len(before)], before):
            return len(before)
        ends = self.tokenizer.spans(ids)[:, 1]
        return int(np.searchsorted(ends, len(given), side="right"))


def _carried(
    model: SequenceModel, tokenizer: Tokenizer, reading: Reading, batches: Iterable[list[Line]]
) -> Iterator[list[LineScore]]:
    """Lines that follow each other within sequences."""
    scorer = RunningScorer(model)
    if reading.preamble:
        preamble = reading.preamble.removesuffix("\n") + "\n"
        refuse_end_mark(preamble)
        scorer.score(tokenizer.encode(preamble))
    inside = False
    for lines, terminators in _terminated(batches, reading.kind):
        yield _running(scorer, tokenizer, lines, terminators, reading.wanted, inside)
        inside = lines[-1].open if lines else inside


def _terminated(batches: Iterable[list[Line]], kind: SequenceKind) -> Iterator[tuple[list[Line], list[str | None]]]:
    """Lines with what ends each: a newline, the end of the sequence, or nothing at the end of a stream; None for
    a blank line that separates paragraphs.

    Outside streams a line waits until it is known whether another follows it; after an open part one does.
    """
    if kind == "stream":
        for batch in batches:
            yield batch, ["\n" if line.terminated else "" for line in batch]
        return
    waiting: list[Line] = []
    for batch in batches:
        lines = waiting + batch
        waiting = [line for line in lines[-1:] if not line.open]
        done = lines[: len(lines) - len(waiting)]
        yield done, [_terminator(a, b, kind) for a, b in zip_longest(done, lines[1:][: len(done)])]
    if waiting:
        yield waiting, [_terminator(waiting[0], None, kind)]


def _terminator(line: Line, following: Line | None, kind: SequenceKind) -> str | None:
    if line.open:
        return ""
    separates = kind == "paragraph"
    if separates and not line.text.strip():
        return None
    if following is None or (separates and not following.text.strip()):
        return END_MARK
    return "\n"


def _running(
    scorer: RunningScorer,
    tokenizer: Tokenizer,
    lines: list[Line],
    terminators: list[str | None],
    wanted: Wanted,
    inside: bool,
) -> list[LineScore]:
    """The rows of lines, an open one last; the first may begin inside a line."""
    begins = [inside, *[False] * len(lines)]
    spelled = []
    for line, end, begun in zip(lines, terminators, begins, strict=False):
        refuse_end_mark(line.text)
        # Line by line, since a closed vocabulary may lack the newline: no token tells where a line ends.
        spelled.append(_no_ids() if end is None else tokenizer.encode(line.body + end, begun))
    scores = scorer.score(np.concatenate([_no_ids(), *spelled]), wanted)
    stops = list(accumulate(map(len, spelled)))
    return [
        LineScore(line, line.body, ids, scores.at(slice(stop - len(ids), stop)), inside=begun)
        for line, ids, stop, begun in zip(lines, spelled, stops, begins, strict=False)
    ]
