"""Chooses the held-out part of a corpus from its text, before a vocabulary is learned from the rest.

Positions count characters and end marks. The choice is a pure function of the text and its sequences. Memory does not
grow with the corpus. Knows nothing of tokens.
"""

from __future__ import annotations

import re
import sys
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
import numpy.typing as npt

from seqmodel.choices import SequenceKind, Unit
from seqmodel.text.corpus import END_MARK
from seqmodel.tokens.stored_array import Stored, StoredArray
from seqmodel.tokens.tokenizer import text_parts

HELD_OUT_SHARE = 0.05
HELD_OUT_BYTES = 200_000
LEAST_HELD_OUT = 8  # units; if it would be less, nothing is held out
FEW_SEQUENCES = 40  # with fewer, the end of the text is held out rather than whole sequences
LEAST_STRETCH, MOST_STRETCH = 256, 2048  # units of a stretch of a stream
LINE_SEARCH = 4096  # units in which a line start is looked for
_LONG_UNITS = 4  # factor for stretches of words and subwords, so that they have about as many tokens
_LINE_END = re.compile(f"[\n{END_MARK}]")

Positions = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Places:
    """The places and lengths of held-out spans, (spans,) each, ascending and without overlap.

    A span begins at the first line start within `reach` of its place, or else at the place. With `reach` 0 the spans
    are whole sequences.
    """

    begins: Positions
    lengths: Positions
    reach: int = 0

    @property
    def spans(self) -> Positions:
        """The spans as (begin, end), shape (spans, 2), each beginning exactly at its place."""
        return np.stack([self.begins, self.begins + self.lengths], 1)


NOTHING = Places(np.empty(0, np.int64), np.empty(0, np.int64))


@dataclass(frozen=True)
class TextPart:
    """A part of a corpus; `inside` is True if it begins inside a line."""

    text: str
    inside: bool
    held_out: bool


def choose_places(kind: SequenceKind, total: int, ends: Stored, wanted: int, seed: int = 0, longer: int = 1) -> Places:
    """Choose whole sequences, or stretches of a stream, spread evenly; the end of the text if there are few sequences.

    `total`: units of the corpus; `ends` (sequences,): the position after each sequence; `wanted`: the most units to
    hold out; `longer`: a factor for the length of stretches.
    """
    if wanted < LEAST_HELD_OUT:
        return NOTHING
    if kind == "stream":
        return _stretches(total, wanted, seed, longer)
    if len(ends) >= FEW_SEQUENCES:
        places = _sequences(total, ends, wanted, seed)
        if len(places.begins):
            return places
    cut = np.array([total - wanted], np.int64)
    return Places(cut, np.array([wanted], np.int64), min(LINE_SEARCH, wanted - 1))


def _sequences(total: int, ends: Stored, wanted: int, seed: int) -> Places:
    """Choose whole sequences, one at random from each of equal parts, as many as `wanted` units allow."""
    count = len(ends)
    number = max(1, int(count * wanted / total))
    draws = np.random.Generator(np.random.Philox(key=seed)).random(number)
    chosen = np.unique(((np.arange(number) + draws) * (count / number)).astype(np.int64))
    begins = np.where(chosen, ends[np.maximum(chosen - 1, 0)], 0).astype(np.int64)
    lengths = ends[chosen].astype(np.int64) - begins
    fits = np.cumsum(np.where(lengths <= wanted, lengths, 0)) <= wanted
    fits &= lengths <= wanted
    return Places(begins[fits], lengths[fits])


def _stretches(total: int, wanted: int, seed: int, longer: int) -> Places:
    """Choose stretches of a stream, one at a random place in each of equal parts.

    The end of the text would be simpler, but it is often unlike the rest: on the last 5 % of a play of 1.1 MB (another
    scene) a recurrent model's loss was 0.04 nats per character higher than on spread stretches, a count model's 0.16.
    """
    least, most = LEAST_STRETCH * longer, MOST_STRETCH * longer
    length = max(1, min(wanted, max(least, min(most, wanted // 8))))
    number = max(1, wanted // length)
    part = total // number
    draws = np.random.Generator(np.random.Philox(key=seed)).random(number)
    begins = [k * part + int(draw * max(0, part - 2 * length)) for k, draw in enumerate(draws)]
    return Places(np.array(begins, np.int64), np.full(number, length, np.int64), min(length, part - length))


def plan_held_out(blocks: Iterable[str], kind: SequenceKind, unit: Unit, folder: Path) -> Places:
    """Choose the held-out places of a corpus, reading its blocks (`END_MARK` between sequences) once.

    A temporary file in `folder` keeps the ends of the sequences.
    """
    total = size = count = 0
    with tempfile.TemporaryFile(dir=folder) as index:
        for part, _ in chain.from_iterable(text_parts(block, "characters") for block in blocks):
            size += len(part.encode("utf-8", "replace"))  # an end mark counts as one byte
            ends = _end_marks(part) + (total + 1)
            index.write(ends.astype("<i8").tobytes())
            count += len(ends)
            total += len(part)
        index.flush()
        wanted = int(min(HELD_OUT_SHARE * total, HELD_OUT_BYTES * total / max(1, size)))
        stored = StoredArray(folder, index, "<i8", 0, count)
        return choose_places(kind, total, stored, wanted, longer=_LONG_UNITS if unit in ("word", "subword") else 1)


def _end_marks(text: str) -> Positions:
    codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
    return np.flatnonzero(codes == ord(END_MARK)).astype(np.int64)


def held_apart(blocks: Iterable[str], places: Places) -> Iterator[TextPart]:
    """Yield the text of a corpus in parts, each held out or not.

    Cutting the parts does not change their tokens, unless there is no line end or blank near the place.
    """
    if not len(places.begins):
        yield from (TextPart(block, False, False) for block in blocks)
        return
    window = _Window(blocks)
    for begin, length in zip(places.begins.tolist(), places.lengths.tolist(), strict=True):
        if not places.reach:
            yield from window.take(begin, False)
            yield from window.take(begin + length, True)
            continue
        yield from window.take_blocks(begin)
        window.fill(begin + places.reach)
        start = window.start_near(begin, places.reach)
        yield from window.take(start, False)
        window.fill(start + length + 1)
        yield from window.take(window.end_near(start, start + length), True)
    yield from window.take(sys.maxsize, False)


class _Window:
    """The part of a text in blocks that is in memory.

    `base` is its first position, `before` the character before that, `at` the index up to which it has been taken.
    """

    def __init__(self, blocks: Iterable[str]) -> None:
        self.blocks = iter(blocks)
        self.text, self.base, self.at, self.before = "", 0, 0, "\n"

    def _read(self) -> bool:
        """Read another block and drop the part already taken; returns False at the end."""
        block = next(self.blocks, None)
        if block is None:
            return False
        if self.at:
            self.before = self.text[self.at - 1]
        self.base, rest = self.base + self.at, self.text[self.at :]
        self.text, self.at = rest + block if rest else block, 0
        return True

    def fill(self, upto: int) -> None:
        """Read blocks up to a position, or to the end of the text."""
        while self.base + len(self.text) < upto and self._read():
            pass

    def take(self, upto: int, held_out: bool) -> Iterator[TextPart]:
        """Yield the text up to a position, block by block."""
        while True:
            stop = min(upto - self.base, len(self.text))
            if stop > self.at:
                before = self.text[self.at - 1] if self.at else self.before
                part, self.at = self.text[self.at : stop], stop
                yield TextPart(part, before not in ("\n", END_MARK), held_out)
            if self.base + len(self.text) >= upto or not self._read():
                return

    def take_blocks(self, upto: int) -> Iterator[TextPart]:
        """Yield the blocks that end at or before a position."""
        while self.base + len(self.text) <= upto:
            yield from self.take(self.base + len(self.text), False)
            if not self._read():
                return

    def start_near(self, place: int, reach: int) -> int:
        """The first line start within `reach` of a place, else the first blank, else the place itself."""
        at = place - self.base
        if (self.text[at - 1] if at else self.before) in ("\n", END_MARK):
            return place
        found = _LINE_END.search(self.text, at, at - 1 + reach)
        if found is not None:
            return self.base + found.end()
        blank = self.text.find(" ", at, at + reach)
        return self.base + blank if blank >= 0 else place

    def end_near(self, start: int, end: int) -> int:
        """The last position in (start, end] before a blank or after a line end; `end` if there is none."""
        first, at = start - self.base, end - self.base
        if at >= len(self.text) or self.text[at] == " ":
            return end
        near = [self.text.rfind(mark, first, at) + 1 for mark in ("\n", END_MARK)]
        best = max(*near, self.text.rfind(" ", first + 1, at))
        return self.base + best if best > first else end
