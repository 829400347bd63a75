"""Detection of running text: lines that continue each other (prose, plays, verse, code, tunes), not separate records.

Judges lines as strings. When in doubt, lines are separate.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from seqmodel.tokens.store import TokenStore

LEAST_LINES = 50
LINES_LOOKED_AT = 400

_SENTENCE_END = ".!?…\"'”’)]。！？」』）"
_PAUSE = ",;:—–-，、；："
_MARKS = re.compile(r"[,;:!?，、；：！？。]|\.(?=\s|$)")
_LABEL = re.compile(r"\[?[A-Za-z]{1,12}[:=]|\[[A-Za-z]+ ")
_WIDE = re.compile(r"[\u0e00-\u0eff\u3040-\u30ff\u3400-\u9fff\U00020000-\U0003ffff]")  # scripts without blanks
_RUNS = ((re.compile(r"[^\W\d_]+"), "a"), (re.compile(r"\d+"), "0"))


def looks_like_running_text(store: TokenStore) -> bool:
    """True if a store's sequences are lines of one running text."""
    if store.header.sequence != "line" or store.header.sequences < LEAST_LINES:
        return False
    count = min(store.header.sequences - 1, LINES_LOOKED_AT)
    middle = (store.header.sequences - count) // 2
    begins = store.ends[middle : middle + count]
    parts = np.split(np.asarray(store.ids[begins[0] : begins[-1]]), (begins[1:-1] - begins[0]).astype(np.int64))
    return lines_run_on([store.tokenizer.decode(part[:-1].tolist()) for part in parts])


def lines_run_on(lines: Sequence[str]) -> bool:
    """True if consecutive lines of a file, without the blank ones, are parts of one text."""
    lines = [line for line in lines if line.strip()]
    if len(lines) < LEAST_LINES or _are_rows(lines):
        return False
    return _alternate(lines) or _are_indented(lines) or _are_wrapped(lines)


def _are_rows(lines: Sequence[str]) -> bool:
    """True for tables, JSON objects, and lines that begin with the same kind of number, as in logs and move lists."""
    most = 0.9 * len(lines)
    tabs, commas = (Counter(line.count(mark) for line in lines).most_common(1)[0] for mark in "\t,")
    if (tabs[0] and tabs[1] >= most) or (commas[0] >= 2 and commas[1] >= most):
        return True
    if sum(line.lstrip().startswith("{") and line.rstrip().endswith("}") for line in lines) >= most:
        return True
    heads = Counter(_shape(line.split(maxsplit=1)[0]) for line in lines)
    (head, count) = heads.most_common(1)[0]
    return "0" in head and count >= 0.6 * len(lines)


def _shape(text: str) -> str:
    """Replace each run of letters by `a` and of digits by `0`. Example: `12:30,` -> `0:0,`."""
    for pattern, kind in _RUNS:
        text = pattern.sub(kind, text)
    return text[:12]


def _alternate(lines: Sequence[str]) -> bool:
    """True if some frequent kind of line hardly ever follows itself.

    Such are the first lines of tunes, subtitles and FASTA records, and the speakers' names in a play; separate lines
    of a kind follow each other by chance.
    """
    kinds = [_kind(line) for line in lines]
    counts = Counter(kinds)
    follows = Counter(kind for before, kind in pairwise(kinds) if kind == before)
    for kind, count in counts.items():
        by_chance = count * count / len(lines)
        if by_chance >= 5 and follows[kind] <= by_chance / 10:
            return True
    # Many kinds that alternate, as the fields of tunes do, may each be too rare to judge alone.
    by_chance = sum(count * count for kind, count in counts.items() if _LABEL.match(kind)) / len(lines)
    return by_chance >= 8 and sum(follows[kind] for kind in counts if _LABEL.match(kind)) <= by_chance / 4


def _kind(line: str) -> str:
    """Classify a line by its beginning: a label such as `T:`, a name alone on its line, or its first word's shape."""
    label = _LABEL.match(line)
    if label:
        return label[0]
    head = line.split(maxsplit=1)[0]
    alone = line.strip().endswith(":") and len(line) < 40
    return "name:" if alone else _shape(head) if not head[0].isalpha() else "a"


def _are_indented(lines: Sequence[str]) -> bool:
    """True for code and other text in which some lines are indented."""
    inside = sum(line.startswith(("  ", "\t")) for line in lines)
    return 0.15 * len(lines) <= inside <= 0.95 * len(lines)


def _are_wrapped(lines: Sequence[str]) -> bool:
    """True for punctuated lines of words, many of which end within a sentence."""
    words = [line for line in lines if _words(line) >= 3]
    if len(words) < len(lines) / 2:
        return False
    ends = [line.rstrip()[-1] for line in words]
    marked = sum(_MARKS.search(line) is not None for line in words) / len(words)
    unfinished = sum(end not in _SENTENCE_END for end in ends) / len(words)
    paused = sum(end in _PAUSE for end in ends) / len(words)
    if marked < 0.3 or unfinished < 0.4:
        return False
    return 0.1 < paused < 0.9 or _go_on(lines)


def _go_on(lines: Sequence[str]) -> bool:
    """True if the lines after an unfinished sentence begin in lower case, or in a script without case and blanks."""
    nexts = [after for line, after in pairwise(lines) if line.rstrip()[-1] not in _SENTENCE_END]
    begins = [after.lstrip()[0] for after in nexts]
    return sum(char.islower() or _WIDE.match(char) is not None for char in begins) > 0.4 * len(begins)


def _words(line: str) -> int:
    """Count words by blanks; in scripts without blanks two characters count as one."""
    return max(len(line.split()), (len(_WIDE.findall(line)) + 1) // 2)
