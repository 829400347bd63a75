"""N-best lists: the hypotheses that a recogniser or translator gives for each utterance, best first.

Kaldi's layout has a line `id words…` for each; the id is the utterance's, with `-1`, `-2` … after it that number its
hypotheses, or without. A number has no leading zero: `1089-134686-0007` is an utterance, `1089-134686-0007-2` its
second hypothesis. Words are what ASCII white space divides; an id alone is an empty hypothesis.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from seqmodel.config import CorpusSettings
from seqmodel.errors import DataError
from seqmodel.text.corpus import Line, only_source, read_lines
from seqmodel.text.tables import TableRow

_FIELD = re.compile(r"[^ \t\n\r\f\v]+")
_NUMBERED = re.compile(r"(.+)-(?:0|[1-9][0-9]*)")
_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")


@dataclass(frozen=True)
class Hypothesis:
    """One of an utterance's: its text, the scores that others gave it, and the line that it was read from.

    `id` names it; in a table, where it has no name, that is empty.
    """

    utterance: str
    text: str
    line: Line
    scores: tuple[float, ...] = ()
    id: str = ""


NbestList = list[Hypothesis]


def fields(text: str) -> list[str]:
    """What stands between ASCII white space."""
    return _FIELD.findall(text)


def kaldi_hypotheses(batches: Iterable[list[Line]], name: str, whole_ids: bool = False) -> Iterator[NbestList]:
    """The hypotheses of Kaldi's layout, in the batches that its lines come in. With `whole_ids` an id names its
    utterance, whatever it ends with.

    Raises:
        DataError: if a line is blank.
    """
    for batch in batches:
        out = []
        for line in batch:
            key, words = _keyed(line, name)
            match = None if whole_ids else _NUMBERED.fullmatch(key)
            out.append(Hypothesis(match.group(1) if match else key, " ".join(words), line, id=key))
        yield out


def _keyed(line: Line, name: str) -> tuple[str, list[str]]:
    key, *rest = fields(line.text) or [""]
    if not key:
        raise DataError(f"{name}, line {line.number}: a blank line, not an id and words", "Write: id words…")
    return key, rest


def table_hypotheses(batches: Iterable[list[Line]], name: str) -> Iterator[NbestList]:
    """The hypotheses of a table's rows; a row's `others` are its utterance and the scores.

    Raises:
        DataError: if a score is no finite number.
    """
    for batch in batches:
        out = []
        for line in batch:
            assert isinstance(line, TableRow)
            utterance, *scores = line.others
            numbers = tuple(_number(score, name, line.number) for score in scores)
            out.append(Hypothesis(utterance, line.text, line, numbers))
        yield out


def _number(text: str, name: str, line: int) -> float:
    value = float(text) if _NUMBER.fullmatch(text.strip()) else math.nan
    if not math.isfinite(value):
        raise DataError(f"{name}, line {line}: a score that is no finite number", "Mend the score, or drop the list.")
    return value


class ScoreFile:
    """Scores of the hypotheses in Kaldi's layout, `id score`, read beside them: the same ids in the same order."""

    def __init__(self, name: str, settings: CorpusSettings, any_bytes: bool = False) -> None:
        self.name = name
        self._lines = _lines(name, settings, any_bytes)

    def score(self, hypothesis: Hypothesis) -> float:
        """The score of the next hypothesis.

        Raises:
            DataError: if the next line has another id, or no finite number.
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
        """
        Raises:
            DataError: if there are more scores than hypotheses.
        """
        line = next(self._lines, None)
        if line is not None:
            raise DataError(
                f"{self.name}, line {line.number}: more scores than hypotheses", "Give one for each hypothesis."
            )


def with_scores(batches: Iterable[NbestList], files: Sequence[ScoreFile]) -> Iterator[NbestList]:
    """Hypotheses with the scores that stand in other files."""
    for batch in batches:
        yield [replace(one, scores=tuple(file.score(one) for file in files)) for one in batch] if files else batch
    for file in files:
        file.finish()


def nbest_lists(batches: Iterable[NbestList], name: str) -> Iterator[list[NbestList]]:
    """The lists of utterances, in batches: a list is complete when that of another begins, or the input ends.

    Raises:
        DataError: if a list goes on after another has begun, or names a numbered hypothesis twice.
    """
    done = set[str]()
    current: NbestList = []
    ids = set[str]()
    for batch in batches:
        complete = []
        for one in batch:
            if current and one.utterance != current[0].utterance:
                done.add(current[0].utterance)
                complete.append(current)
                current, ids = [], set()
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
            if one.id:
                ids.add(one.id)
            current.append(one)
        yield complete
    if current:
        yield [current]


@dataclass(frozen=True)
class References:
    """What was really said: the text of each utterance, and the line that it stands in."""

    name: str
    texts: dict[str, str]
    lines: dict[str, int]

    @classmethod
    def read(cls, name: str, settings: CorpusSettings, any_bytes: bool = False) -> References:
        """Read Kaldi's layout, `id words…`.

        Raises:
            DataError: if an id stands there twice, or a line is blank.
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
        """The references of all lists, in their order.

        Raises:
            DataError: if an utterance has no reference, or a reference no list.
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
    """The lines of one file."""
    for batch in read_lines(only_source(name), settings, any_bytes):
        yield from batch
