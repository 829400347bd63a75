"""Lines of text to scores of lines: one row per input line, always, in order.

What a line's score means follows the model's sequence kind. In a line model every line is a sequence. In the
others state is carried from line to line within a sequence, and a line's score is conditional on what precedes it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from seqmodel.inference.scoring import RunningScorer, TokenScores, score_sequences
from seqmodel.inference.sequence_model import SequenceModel
from seqmodel.kinds import SequenceKind
from seqmodel.text.corpus import END_MARK, Line
from seqmodel.tokens.tokenizer import END, Tokenizer, refuse_end_mark

LINES_AT_ONCE = 1024
_NONE = TokenScores(np.empty(0), np.empty(0), np.empty(0, np.int64))


@dataclass(frozen=True)
class LineScore:
    """A line, the ids that it is spelled with (its newline or end symbol last) and their scores."""

    line: Line
    text: str
    ids: npt.NDArray[Any]
    scores: TokenScores

    @property
    def bits(self) -> float:
        return self.scores.total


def score_lines(
    model: SequenceModel,
    tokenizer: Tokenizer,
    kind: SequenceKind,
    batches: Iterable[list[Line]],
    *,
    details: bool = False,
    restart: bool = False,
) -> Iterator[list[LineScore]]:
    """Score batches of lines of one file; `restart` makes every line a sequence of its own, whatever the kind."""
    if kind == "line" or restart:
        for batch in batches:
            for at in range(0, len(batch), LINES_AT_ONCE):
                yield _independent(model, tokenizer, kind, batch[at : at + LINES_AT_ONCE], details)
    else:
        scorer = RunningScorer(model)
        for lines, terminators in _terminated(batches, kind):
            yield _running(scorer, tokenizer, lines, terminators, details)


def _independent(
    model: SequenceModel, tokenizer: Tokenizer, kind: SequenceKind, lines: list[Line], details: bool
) -> list[LineScore]:
    texts = [line.text.removesuffix("\r") if kind == "line" and line.terminated else line.text for line in lines]
    if kind == "stream":
        spelled = [
            tokenizer.encode_line(text + "\n" * line.terminated) for text, line in zip(texts, lines, strict=True)
        ]
    else:
        spelled = [np.append(tokenizer.encode_line(text), np.int32(END)) for text in texts]
    scores = score_sequences(model, spelled, details=details)
    return [LineScore(*row) for row in zip(lines, texts, spelled, scores, strict=True)]


def _terminated(batches: Iterable[list[Line]], kind: SequenceKind) -> Iterator[tuple[list[Line], list[str | None]]]:
    """Lines with what ends each: a newline, the end of the sequence, or nothing at the end of a stream; None for
    a blank line that separates paragraphs.

    Outside streams a line waits until it is known whether another follows it.
    """
    if kind == "stream":
        for batch in batches:
            yield batch, ["\n" if line.terminated else "" for line in batch]
        return
    waiting: list[Line] = []
    for batch in batches:
        lines = waiting + batch
        waiting = lines[-1:]
        yield lines[:-1], [_terminator(a, b, kind) for a, b in pairwise(lines)]
    if waiting:
        yield waiting, [_terminator(waiting[0], None, kind)]


def _terminator(line: Line, following: Line | None, kind: SequenceKind) -> str | None:
    separates = kind == "paragraph"
    if separates and not line.text.strip():
        return None
    if following is None or (separates and not following.text.strip()):
        return END_MARK
    return "\n"


def _running(
    scorer: RunningScorer, tokenizer: Tokenizer, lines: list[Line], terminators: list[str | None], details: bool
) -> list[LineScore]:
    parts = [(line.text, end) for line, end in zip(lines, terminators, strict=True) if end is not None]
    for text, _ in parts:
        refuse_end_mark(text)
    ids = tokenizer.encode("".join(text + end for text, end in parts))
    scores = scorer.score(ids, details) if len(ids) else _NONE
    cuts = np.flatnonzero(np.isin(ids, [*tokenizer.newline_ids, END])) + 1
    bounds = iter(zip([0, *cuts], [*cuts, len(ids)], strict=True))
    rows = []
    for line, terminator in zip(lines, terminators, strict=True):
        begin, end = (0, 0) if terminator is None else next(bounds)
        rows.append(LineScore(line, line.text, ids[begin:end], _slice(scores, begin, end)))
    return rows


def _slice(scores: TokenScores, begin: int, end: int) -> TokenScores:
    part = slice(begin, end)
    columns = (scores.bits, scores.entropy, scores.rank)
    bits, entropy, rank = (None if column is None else column[part] for column in columns)
    assert bits is not None
    return TokenScores(bits, entropy, rank)  # type: ignore[arg-type]
