"""N-best lists: the hypotheses of a recogniser or translator for each utterance, best first.

Kaldi's layout is a line `id words…` per hypothesis; the id is the utterance's, optionally followed by the hypothesis's
number: `-1`, `-2` … A number has no leading zero: `1089-134686-0007` is an utterance, `1089-134686-0007-2` its second
hypothesis. ASCII white space separates words; a line with only an id is an empty hypothesis.

Moses' layout is a line `number ||| words ||| features ||| total`, with features such as `LM0= -1.5 TM0= -2 -3`; fields
after the total are kept. A line may have a total and no features.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Literal, TypeVar

from seqmodel.errors import DataError
from seqmodel.settings import CorpusSettings
from seqmodel.text.corpus import Line, read_lines
from seqmodel.text.sources import only_source
from seqmodel.text.tables import TableRow

_FIELD = re.compile(r"[^ \t\n\r\f\v]+")
_NUMBERED = re.compile(r"(.+)-(?:0|[1-9][0-9]*)")
_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_FEATURE = re.compile(r"[\w.]{1,40}")  # a feature's name
_DIGIT = re.compile("[0-9]")
BAR = "|||"  # between Moses' fields
TOTAL = "total"  # Moses' own score of a hypothesis

_EXPECTED = (
    "Expected: `utt-1 words…` (Kaldi) or `0 ||| words ||| features ||| total` (Moses); for a table name --utterance "
    "and --hypothesis. If these lines are ids and words, use --input kaldi."
)

T = TypeVar("T")
U = TypeVar("U")


@dataclass(frozen=True)
class Hypothesis:
    """A hypothesis of an utterance: its text, the scores that came with it, and the line that it was read from.

    `id` names the hypothesis; it is empty in tables.
    """

    utterance: str
    text: str
    line: Line
    scores: tuple[float, ...] = ()
    id: str = ""


NbestList = list[Hypothesis]


def fields(text: str) -> list[str]:
    """Split a text at ASCII white space."""
    return _FIELD.findall(text)


def _each(batches: Iterable[list[T]], made: Callable[[T], U]) -> Iterator[list[U]]:
    """Apply `made` to each item, batch by batch; the items before a bad one are yielded before its error is raised."""
    for batch in batches:
        out = []
        try:
            for one in batch:
                out.append(made(one))
        except DataError:
            yield out
            raise
        yield out


def layout_of(batches: Iterator[list[Line]]) -> tuple[Literal["kaldi", "moses"], Iterator[list[Line]]]:
    """The layout of n-best lists, told by their first line, and the batches with that line still in them."""
    first = next(batches, [])
    is_moses = bool(first) and BAR in fields(first[0].text)
    return "moses" if is_moses else "kaldi", chain([first], batches)


def kaldi_hypotheses(
    batches: Iterable[list[Line]], name: str, whole_ids: bool = False, guessed: bool = False
) -> Iterator[NbestList]:
    """Yield the hypotheses of lines in Kaldi's layout, in the same batches.

    With `whole_ids` the whole id names the utterance, even if it ends in a number. If the layout was `guessed`, lines
    that look like another layout are refused.

    Raises:
        DataError: if a line is blank or has another layout.
    """

    def made(line: Line) -> Hypothesis:
        key, words = _keyed(line, name)
        if guessed and (what := _other_layout(line, key)):
            raise DataError(f"{name}, line {line.number}: {what}", _EXPECTED)
        match = None if whole_ids else _NUMBERED.fullmatch(key)
        return Hypothesis(match.group(1) if match else key, " ".join(words), line, id=key)

    return _each(batches, made)


def _other_layout(line: Line, key: str) -> str:
    """A description of the other layout that a line seems to have; empty if it may be Kaldi's."""
    before, tab, after = line.body.rpartition("\t")
    if BAR in line.body:
        return f"{BAR} as in Moses' layout, which line 1 has not"
    if key.startswith(("NBestList", "(")):
        return "SRILM's layout, which names no utterances; make a table of it"
    if _NUMBER.fullmatch(key) and not key.isdigit():
        return "a score where an id should be"
    if tab and before and _NUMBER.fullmatch(after.strip()):
        return "a score after a tab"
    if line.number == 1 and not _DIGIT.search(key):
        return "it begins with no id that a digit shows to be one"
    return ""


def moses_hypotheses(batches: Iterable[list[Line]], name: str, scores: Sequence[str] = ()) -> Iterator[NbestList]:
    """Yield the hypotheses of lines in Moses' layout, in the same batches.

    `scores` names the features to read, `TM0.2` being the second number of `TM0`; by default the total is the score.

    Raises:
        DataError: if a line has another layout, or lacks a score.
    """

    def made(line: Line) -> Hypothesis:
        one = MosesLine.of(line, name)
        return Hypothesis(one.utterance, one.text, line, tuple(one.score(score, name) for score in scores or (TOTAL,)))

    return _each(batches, made)


@dataclass(frozen=True)
class MosesLine:
    """The fields of a line in Moses' layout; `rest` is the text after the total."""

    line: Line
    utterance: str
    text: str
    features: str = ""
    total: str = ""
    rest: tuple[str, ...] = ()

    @classmethod
    def of(cls, line: Line, name: str) -> MosesLine:
        """Parse a line of the file `name`.

        Raises:
            DataError: if the fields or the sentence's number are missing.
        """
        utterance, *parts = (part.strip(" \t") for part in line.body.split(BAR))
        if not parts or fields(utterance) != [utterance]:
            raise DataError(
                f"{name}, line {line.number}: not in Moses' layout", f"Write: 0 {BAR} words {BAR} features {BAR} total"
            )
        text = " ".join(fields(parts[0]))
        if len(parts) == 2 and _NUMBER.fullmatch(parts[1]):
            return cls(line, utterance, text, total=parts[1])
        features, total, *rest = [*parts[1:], "", ""][:2] + parts[3:]
        return cls(line, utterance, text, features, total, tuple(rest))

    def score(self, wanted: str, name: str) -> float:
        """The number of a feature, or the total.

        Raises:
            DataError: if the line lacks it.
        """
        found = self._named()
        if wanted not in found:
            which = "total as a fourth field" if wanted == TOTAL else "score of the name asked for"
            names = ", ".join(key for key in found if _FEATURE.fullmatch(key)) or "none"
            raise DataError(
                f"{name}, line {self.line.number}: no {which}",
                f"Mend the line, or name others by --score; found: {names}.",
            )
        return _number(found[wanted], name, self.line.number)

    def _named(self) -> dict[str, str]:
        """All numbers by their names."""
        values: dict[str, list[str]] = {}
        feature = ""
        for field in fields(self.features):
            key, sign, value = field.rpartition("=") if "=" in field else field.rpartition(":")
            feature = key if sign else feature
            values.setdefault(feature, []).extend([value] if value else [])
        named: dict[str, str] = {}
        for key, numbers in values.items():
            if key and len(numbers) == 1:
                named[key] = numbers[0]
            elif key:
                named |= {f"{key}.{i}": number for i, number in enumerate(numbers, start=1)}
        return named | ({TOTAL: self.total} if self.total else {})


def _keyed(line: Line, name: str) -> tuple[str, list[str]]:
    key, *rest = fields(line.text) or [""]
    if not key:
        raise DataError(f"{name}, line {line.number}: a blank line, not an id and words", "Write: id words…")
    return key, rest


def table_hypotheses(
    batches: Iterable[list[Line]], name: str, skip: Callable[[DataError], None] | None = None
) -> Iterator[NbestList]:
    """Yield the hypotheses of a table's rows, whose `others` are the utterance and the scores.

    `skip` is called with the error of a row whose score is not a finite number; it may raise it.

    Raises:
        DataError: if a score is not a finite number and there is no `skip`.
    """

    def made(line: Line) -> Hypothesis | None:
        assert isinstance(line, TableRow)
        utterance, *scores = line.others
        try:
            numbers = tuple(_number(score, name, line.number) for score in scores)
        except DataError as error:
            if skip is None:
                raise
            skip(error)
            return None
        return Hypothesis(utterance, line.text, line, numbers)

    for batch in _each(batches, made):
        yield [one for one in batch if one is not None]


def _number(text: str, name: str, line: int) -> float:
    value = float(text) if _NUMBER.fullmatch(text.strip()) else math.nan
    if not math.isfinite(value):
        raise DataError(f"{name}, line {line}: a score that is no finite number", "Mend the score, or drop the list.")
    return value


class ScoreFile:
    """A file of scores, `id score`, with the ids of the hypotheses in the same order."""

    def __init__(self, name: str, settings: CorpusSettings, any_bytes: bool = False) -> None:
        self.name = name
        self._lines = _lines(name, settings, any_bytes)

    def score(self, hypothesis: Hypothesis) -> float:
        """Read the score of the next hypothesis.

        Raises:
            DataError: if the next line has another id, or its score is not a finite number.
        """
        line = next(self._lines, None)
        if line is None:
            at = hypothesis.line.number
            raise DataError(f"{self.name}: ends before line {at} of the n-best lists", "Give a score for each.")
        key, rest = _keyed(line, self.name)
        if key != hypothesis.id:
            raise DataError(
                f"{self.name}, line {line.number}: not the id of line {hypothesis.line.number} of the n-best lists",
                "Give the scores in the order of the hypotheses.",
            )
        return _number(" ".join(rest), self.name, line.number)

    def finish(self) -> None:
        """Check that no scores are left.

        Raises:
            DataError: if there are more scores than hypotheses.
        """
        line = next(self._lines, None)
        if line is not None:
            raise DataError(
                f"{self.name}, line {line.number}: more scores than hypotheses", "Give one for each hypothesis."
            )


def with_scores(batches: Iterable[NbestList], files: Sequence[ScoreFile]) -> Iterator[NbestList]:
    """Yield the hypotheses with the scores of other files appended."""
    yield from _each(batches, lambda one: replace(one, scores=tuple(file.score(one) for file in files)))
    for file in files:
        file.finish()


def nbest_lists(batches: Iterable[NbestList], name: str) -> Iterator[list[NbestList]]:
    """Group hypotheses into one list per utterance, in batches; a list ends where the next one begins.

    Lists that are complete before a bad line are yielded before its error is raised.

    Raises:
        DataError: if a list continues after another has begun, or has two hypotheses with the same id.
    """
    done, current, ids = set[str](), NbestList(), set[str]()

    def ended(one: Hypothesis) -> list[NbestList]:
        nonlocal current, ids
        goes_on = not current or one.utterance == current[0].utterance
        _check_place(one, name, done, ids if goes_on else set())
        complete = []
        if not goes_on:
            done.add(current[0].utterance)
            complete, current, ids = [current], [], set()
        ids |= {one.id} - {""}
        current.append(one)
        return complete

    for several in _each(batches, ended):
        yield [one for complete in several for one in complete]
    if current:
        yield [current]


def _check_place(one: Hypothesis, name: str, done: set[str], ids: set[str]) -> None:
    """Check a hypothesis against the lists in `done` and the `ids` of its own list.

    Raises:
        DataError: if its list has ended, or has a hypothesis of the same id.
    """
    if one.utterance in done:
        raise DataError(
            f"{name}, line {one.line.number}: an utterance whose list has ended before",
            "Put the hypotheses of an utterance one after the other.",
        )
    if one.id != one.utterance and one.id in ids:
        raise DataError(
            f"{name}, line {one.line.number}: a hypothesis of that number stands before",
            "Number them, or use --whole-ids if these are ids of utterances.",
        )


@dataclass(frozen=True)
class References:
    """The reference transcript of each utterance, and its line."""

    name: str
    texts: dict[str, str]
    lines: dict[str, int]

    @classmethod
    def read(cls, name: str, settings: CorpusSettings, any_bytes: bool = False) -> References:
        """Read references in Kaldi's layout, `id words…`.

        Raises:
            DataError: if an id occurs twice, or a line is blank.
        """
        texts: dict[str, str] = {}
        lines: dict[str, int] = {}
        for line in _lines(name, settings, any_bytes):
            key, words = _keyed(line, name)
            if key in texts:
                raise DataError(f"{name}, line {line.number}: the id of line {lines[key]} again", "Give one reference.")
            texts[key], lines[key] = " ".join(words), line.number
        return cls(name, texts, lines)

    def of(self, lists: Sequence[NbestList]) -> list[str]:
        """The references of the lists, in the same order.

        Raises:
            DataError: if an utterance has no reference, or a reference has no list.
        """
        utterances = {one[0].utterance for one in lists}
        without = [one[0].line.number for one in lists if one[0].utterance not in self.texts]
        if without:
            raise DataError(
                f"{self.name}: no reference for {len(without)} of {len(lists)} n-best lists, the first in line "
                f"{without[0]} of theirs",
                "Give a line with the id of each utterance.",
            )
        unused = [line for key, line in self.lines.items() if key not in utterances]
        if unused:
            raise DataError(
                f"{self.name}: no n-best list for {len(unused)} of {len(self.lines)} references, the first in line "
                f"{unused[0]}",
                "Give the lists of all, or fewer references.",
            )
        return [self.texts[one[0].utterance] for one in lists]


def _lines(name: str, settings: CorpusSettings, any_bytes: bool) -> Iterator[Line]:
    """Yield the lines of one file."""
    for batch in read_lines(only_source(name), settings, any_bytes):
        yield from batch
