"""The part of a corpus that is held out, chosen on its text before a vocabulary is learned from the rest.

Positions count characters and marks of ends. The choice is a pure function of the text and of how it is cut into
sequences. Memory does not grow with the corpus. Knows nothing of tokens.
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
LEAST_HELD_OUT = 8  # units; with less nothing is held out
FEW_SEQUENCES = 40  # with fewer, the end of the text is held out rather than whole sequences
LEAST_STRETCH, MOST_STRETCH = 256, 2048  # units of a stretch of a stream
LINE_SEARCH = 4096  # units in which a line start is looked for
_LONG_UNITS = 4  # stretches of words and subwords are so many times as long: about as many tokens as of characters
_LINE_END = re.compile(f"[\n{END_MARK}]")

Positions = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Places:
    """Where held-out spans are sought, and their lengths, (spans,) each; ascending, without overlap.

    A span begins at the first line start within `reach` of its place, if there is one. With `reach` 0 the spans are
    whole sequences.
    """

    begins: Positions
    lengths: Positions
    reach: int = 0

    @property
    def spans(self) -> Positions:
        """Begin and end (spans, 2) of spans that begin at their places."""
        return np.stack([self.begins, self.begins + self.lengths], 1)


NOTHING = Places(np.empty(0, np.int64), np.empty(0, np.int64))


@dataclass(frozen=True)
class TextPart:
    """A part of a corpus. One that begins `inside` a line has no line start at its beginning."""

    text: str
    inside: bool
    held_out: bool


def choose_places(kind: SequenceKind, total: int, ends: Stored, wanted: int, seed: int = 0, longer: int = 1) -> Places:
    """Choose whole sequences, or stretches of a stream, spread evenly; of few sequences the end.

    `total` units, `ends` (sequences,) the position after each sequence, at most `wanted` units are held out. Stretches
    are `longer` times as long as usual.
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
    """Whole sequences, one at random of each of as many equal parts, as long as they are not more than is wanted."""
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
    """Stretches of a stream, one at a random place in each of as many equal parts.

    The end of a text would be easier to explain, but it is often unlike the rest: without the last 5 % of a
    play of 1.1 MB (another scene) a recurrent model gave 0.04 nats per character more than on spread stretches, a
    count model 0.16 nats per character more.
    """
    least, most = LEAST_STRETCH * longer, MOST_STRETCH * longer
    length = max(1, min(wanted, max(least, min(most, wanted // 8))))
    number = max(1, wanted // length)
    part = total // number
    draws = np.random.Generator(np.random.Philox(key=seed)).random(number)
    begins = [k * part + int(draw * max(0, part - 2 * length)) for k, draw in enumerate(draws)]
    return Places(np.array(begins, np.int64), np.full(number, length, np.int64), min(length, part - length))


def plan_held_out(blocks: Iterable[str], kind: SequenceKind, unit: Unit, folder: Path) -> Places:
    """Choose what is held out of a corpus, from one reading of its blocks (`END_MARK` between sequences).

    Where its sequences end is kept in a temporary file in `folder`.
    """
    total = size = count = 0
    with tempfile.TemporaryFile(dir=folder) as index:
        for part, _ in chain.from_iterable(text_parts(block, "characters") for block in blocks):
            size += len(part.encode("utf-8", "replace"))  # a mark of an end, as an escaped byte, counts as one byte
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
    """The text of a corpus in parts, those held out apart. Where a part is cut its tokens stay those of the whole,
    but for a text without line ends and blanks near the place."""
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
    """What is in sight of a text that comes in blocks: from `base` on, `before` it a character, taken up to the index
    `at`."""

    def __init__(self, blocks: Iterable[str]) -> None:
        self.blocks = iter(blocks)
        self.text, self.base, self.at, self.before = "", 0, 0, "\n"

    def _read(self) -> bool:
        """Put another block in sight, and what is taken out of it. False at the end."""
        block = next(self.blocks, None)
        if block is None:
            return False
        if self.at:
            self.before = self.text[self.at - 1]
        self.base, rest = self.base + self.at, self.text[self.at :]
        self.text, self.at = rest + block if rest else block, 0
        return True

    def fill(self, upto: int) -> None:
        """Put the text up to a position in sight, if there is so much."""
        while self.base + len(self.text) < upto and self._read():
            pass

    def take(self, upto: int, held_out: bool) -> Iterator[TextPart]:
        """Take the text up to a position, block by block."""
        while True:
            stop = min(upto - self.base, len(self.text))
            if stop > self.at:
                before = self.text[self.at - 1] if self.at else self.before
                part, self.at = self.text[self.at : stop], stop
                yield TextPart(part, before not in ("\n", END_MARK), held_out)
            if self.base + len(self.text) >= upto or not self._read():
                return

    def take_blocks(self, upto: int) -> Iterator[TextPart]:
        """Take the blocks that end at or before a position."""
        while self.base + len(self.text) <= upto:
            yield from self.take(self.base + len(self.text), False)
            if not self._read():
                return

    def start_near(self, place: int, reach: int) -> int:
        """The first line start at or after a place, if one is near; else the first blank; else the place itself."""
        at = place - self.base
        if (self.text[at - 1] if at else self.before) in ("\n", END_MARK):
            return place
        found = _LINE_END.search(self.text, at, at - 1 + reach)
        if found is not None:
            return self.base + found.end()
        blank = self.text.find(" ", at, at + reach)
        return self.base + blank if blank >= 0 else place

    def end_near(self, start: int, end: int) -> int:
        """The last position up to `end` before a blank or after a line end, if one is after `start`; else `end`."""
        first, at = start - self.base, end - self.base
        if at >= len(self.text) or self.text[at] == " ":
            return end
        near = [self.text.rfind(mark, first, at) + 1 for mark in ("\n", END_MARK)]
        best = max(*near, self.text.rfind(" ", first + 1, at))
        return self.base + best if best > first else end
