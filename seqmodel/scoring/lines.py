"""Scores of lines: one row per input line, in order.

The model's sequence kind decides what a line's score means. In a line model every line is a sequence. In the others
state is carried from line to line within a sequence, and a line's score is conditional on the lines before it. A line
may also be scored given a text before it in the same sequence: log p(text | given).

A text that stands alone is always scored with what ends it: the end symbol, or in a stream model the newline. A
carriage return before a newline is part of the line end and is not scored.
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

from seqmodel.choices import SequenceKind
from seqmodel.inference.sequence_model import SequenceModel
from seqmodel.scoring.tokens import PLAIN, RunningScorer, ScoreFields, TokenScores, nothing, score_sequences
from seqmodel.text.corpus import END_MARK, Line
from seqmodel.tokens.tokenizer import END, START, UNKNOWN, Tokenizer, closed_words, is_byte, refuse_end_mark

LINES_AT_ONCE = 1024


def _no_ids() -> npt.NDArray[np.int32]:
    return np.empty(0, np.int32)


@dataclass(frozen=True)
class LineScore:
    """A line, its ids (newline or end symbol last) and their scores.

    `before`: ids of the text that it was scored given. `shift`: characters of the whole decoded text that come before
    the line. `inside`: this is a later part of a line. `end_newline`: the last token is the newline that ends a text
    of a stream that stands alone.
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
        """True if the last token is the end symbol."""
        return bool(len(self.ids)) and int(self.ids[-1]) == END

    def without_end(self) -> LineScore:
        """A copy without the end symbol, or without the newline that stands for it."""
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
        """As `spans`, for a closed vocabulary: an unknown token spans the characters or the word in its place."""
        size, many = len(self.text), len(self.ids)
        places = [(at, at + 1) for at in range(size)] if tokenizer.unit == "char" else closed_words(self.text)
        return np.array((places + [(size, size)] * many)[:many], np.int64).reshape(-1, 2)

    def out_of_vocabulary(self, tokenizer: Tokenizer) -> npt.NDArray[np.bool_]:
        """Mask (tokens,) of unknown tokens and of bytes that spell what the vocabulary lacks; none in the byte unit."""
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
        found |= is_byte(ids)
    return found


@dataclass(frozen=True)
class LineContext:
    """Settings of how lines become sequences.

    `restart` makes every line a sequence of its own, whatever the kind. `preamble` is a text before the first line of
    a file, or before every line that is a sequence of its own. `separator` joins a line to the text that it is given,
    if neither has white space there.
    """

    kind: SequenceKind
    restart: bool = False
    preamble: str = ""
    separator: str = " "
    fields: ScoreFields = PLAIN


def sequence_ids(
    tokenizer: Tokenizer, kind: SequenceKind, text: str, *, inside: bool = False, is_open: bool = False
) -> npt.NDArray[np.int32]:
    """Ids of a text that stands alone, with the end symbol, or in a stream the newline, after it.

    Nothing follows an `is_open` text, whose end is still to come; an `inside` text is a later part of a line.

    Raises:
        DataError: if the text holds a lone surrogate.
    """
    if is_open:
        return tokenizer.encode_line(text, inside)
    if kind == "stream":
        return tokenizer.encode_line(text + "\n", inside)
    return np.append(tokenizer.encode_line(text, inside), np.int32(END))


def without_carriage_returns(text: str) -> str:
    """The text with each CRLF replaced by a newline, as files are read."""
    return text.replace("\r\n", "\n")


def score_lines(
    model: SequenceModel, tokenizer: Tokenizer, reading: LineContext, batches: Iterable[list[Line]]
) -> Iterator[list[LineScore]]:
    """Score batches of lines of one file.

    Each part of a line in parts has its own score. Such a line cannot be given a text, nor belong to a paragraph.
    """
    if reading.kind == "line" or reading.restart:
        scorer = _Separate(model, tokenizer, reading)
        for batch in batches:
            for at in range(0, len(batch), LINES_AT_ONCE):
                yield scorer.score(batch[at : at + LINES_AT_ONCE])
    else:
        yield from _carried(model, tokenizer, reading, batches)


class _Separate:
    """Scores lines as separate sequences; neighbours given the same text share the state after it."""

    def __init__(self, model: SequenceModel, tokenizer: Tokenizer, reading: LineContext) -> None:
        self.model, self.tokenizer, self.reading = model, tokenizer, reading
        self.kind = reading.kind
        self._last: tuple[bytes, tuple[Any, int]] | None = None
        self._open: RunningScorer | None = None  # of a line whose end is still to come

    def score(self, lines: list[Line]) -> list[LineScore]:
        """Score lines, one row each."""
        if self._open is not None or lines[0].open:
            part = self._part(lines[0])
            return [part, *self.score(lines[1:])] if lines[1:] else [part]
        rows = [self._spelled(line) for line in lines]
        done: dict[int, TokenScores] = {}
        order = sorted(range(len(rows)), key=lambda i: rows[i].before.tobytes())
        for _, group in groupby(order, key=lambda i: rows[i].before.tobytes()):
            members = list(group)
            state, first = self._after(rows[members[0]].before)
            firsts = [first] * len(members)
            scores = score_sequences(self.model, [rows[i].ids for i in members], firsts, self.reading.fields, state)
            done.update(zip(members, scores, strict=True))
        return [replace(row, scores=done[i]) for i, row in enumerate(rows)]

    def _part(self, line: Line) -> LineScore:
        """Score a part of a line."""
        row = self._spelled(line, inside=self._open is not None)
        scorer = self._open or RunningScorer(self.model)
        self._open = scorer if line.open else None
        return replace(row, scores=scorer.score(row.ids, self.reading.fields))

    def _after(self, before: npt.NDArray[Any]) -> tuple[Any, int]:
        """State after all but the last of the ids that a line is given, and the last id."""
        if not len(before):
            return None, START
        key = before.tobytes()
        if self._last is None or self._last[0] != key:
            scorer = RunningScorer(self.model)
            scorer.score(before)
            self._last = key, (scorer.state, scorer.last)
        return self._last[1]

    def _spelled(self, line: Line, inside: bool = False) -> LineScore:
        """Row of a line, or of a part of one, with its ids but not yet its scores."""
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
        """The separator between a given text and a line: none if white space is there, or no line."""
        apart = given[-1].isspace() or not text or text[0].isspace()
        return "" if apart else self.reading.separator

    def _shared(self, given: str, whole: str, ids: npt.NDArray[Any]) -> int:
        """Number of first ids that belong to the given text; a token that crosses into the line is the line's."""
        if self.tokenizer.closed and self.tokenizer.unit == "word":
            return sum(end <= len(given) for _, end in closed_words(whole))
        before = self.tokenizer.encode_line(given)
        if np.array_equal(ids[: len(before)], before):
            return len(before)
        ends = self.tokenizer.spans(ids)[:, 1]
        return int(np.searchsorted(ends, len(given), side="right"))


def _carried(
    model: SequenceModel, tokenizer: Tokenizer, reading: LineContext, batches: Iterable[list[Line]]
) -> Iterator[list[LineScore]]:
    """Score lines with state carried from line to line within a sequence."""
    scorer = RunningScorer(model)
    if reading.preamble:
        preamble = reading.preamble.removesuffix("\n") + "\n"
        refuse_end_mark(preamble)
        scorer.score(tokenizer.encode(preamble))
    inside = False
    for lines, terminators in _terminated(batches, reading.kind):
        yield _running(scorer, tokenizer, lines, terminators, reading.fields, inside)
        inside = lines[-1].open if lines else inside


def _terminated(batches: Iterable[list[Line]], kind: SequenceKind) -> Iterator[tuple[list[Line], list[str | None]]]:
    """Pair lines with their terminators: a newline, END_MARK, "" if nothing follows, None for a blank separator line.

    Outside streams a line is held back until the next one shows whether its sequence goes on.
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
    fields: ScoreFields,
    inside: bool,
) -> list[LineScore]:
    """Score lines, of which only the last may be open; with `inside` the first is a later part of a line."""
    begins = [inside, *[False] * len(lines)]
    spelled = []
    for line, end, begun in zip(lines, terminators, begins, strict=False):
        refuse_end_mark(line.text)
        # Encoded line by line: a closed vocabulary may lack the newline, so no token would tell where a line ends.
        spelled.append(_no_ids() if end is None else tokenizer.encode(line.body + end, begun))
    scores = scorer.score(np.concatenate([_no_ids(), *spelled]), fields)
    stops = list(accumulate(map(len, spelled)))
    return [
        LineScore(line, line.body, ids, scores.at(slice(stop - len(ids), stop)), inside=begun)
        for line, ids, stop, begun in zip(lines, spelled, stops, begins, strict=False)
    ]
