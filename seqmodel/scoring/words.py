"""Surprisal of words, from that of tokens.

White space (or Unicode's word boundaries) divides a line into words; a token belongs to the word where it stands. A
token that begins with the blank before a word carries two pieces of information: the word before has ended, and this
word comes. Counting the first to the wrong word biases surprisal, so it is corrected (Pimentel & Meister 2024; Oh &
Schuler 2024):

    bits(word) = Σ bits of its tokens + b(after) − b(before),   b = −log2 P(white space or the end comes next)

with b(before) = 0 for the first word, and the end symbol's (or the newline's) bits in place of b(after) for the
last. Characters and bytes need no correction: the white space after a word counts to that word. In both cases the
words of a line sum to the line.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from seqmodel.arrays import Mask
from seqmodel.errors import UsageError
from seqmodel.scoring.lines import LineScore
from seqmodel.tokens.tokenizer import END, UNKNOWN, Tokenizer

WordKind = Literal["space", "unicode"]
WordBoundary = Literal["corrected", "naive"]

_WORD = re.compile(r"\S+")
_WHITE_SPACE = "".join(char for char in map(chr, range(0x3001)) if char.isspace())  # there is none beyond U+3000


@dataclass(frozen=True)
class WordScore:
    """A word of a line: its characters (start, end), tokens (first, last) and bits; `is_oov` if any part is unknown,
    white space left out; `head` is its first token that is no white space."""

    start: int
    end: int
    first: int
    last: int
    bits: float
    is_oov: bool
    head: int


def boundary_tokens(tokenizer: Tokenizer) -> Mask:
    """Mask (V,) of the tokens that count as white space or the end in b.

    These are `word_ends` and the first bytes of white space that is spelled in bytes. Such a byte may also begin
    another character (0xE2: U+2003 or ’). Counting it keeps b at or below the bits of any token after a word, so that
    no word has negative bits.
    """
    mask = word_ends(tokenizer)
    if not tokenizer.closed:
        mask[[int(tokenizer.encode(char, inside=True)[0]) for char in _WHITE_SPACE]] = True
    return mask


def word_ends(tokenizer: Tokenizer) -> Mask:
    """Mask (V,) of the tokens that surely end the word before: the end symbol and tokens that begin with white space.

    In a closed word vocabulary every token is a whole word or a newline, so all do.
    """
    if tokenizer.closed and tokenizer.unit == "word":
        return np.ones(tokenizer.size, bool)
    mask = np.array([_begins_with_space(data) for data in tokenizer.piece_bytes])
    mask[END] = True
    mask[UNKNOWN] = False
    return mask


def _begins_with_space(data: bytes) -> bool:
    return data.decode("utf-8", "replace")[:1].isspace()


def word_scores(
    row: LineScore, tokenizer: Tokenizer, kind: WordKind = "space", boundary: WordBoundary = "corrected"
) -> list[WordScore]:
    """Words of a line, whose bits sum to the line's. A line without words gives one empty word.

    Words that share a token (possible with `unicode`) are merged.

    Raises:
        UsageError: if the scores lack the boundaries that a correction needs.
    """
    spans = row.spans(tokenizer)
    places = _places(row.text, kind) or [(0, 0)]
    starts, ends = np.array(places).T
    whole_characters = not tokenizer.has_virtual_blanks
    if boundary == "corrected" and whole_characters:
        owner = np.searchsorted(starts, spans[:, 0], side="right") - 1  # white space counts to the word before it
    else:
        owner = np.searchsorted(ends, spans[:, 0], side="right")  # white space counts to the word after it
        within = owner[owner < len(places)]
        owner = np.minimum(owner, within.max(initial=0))  # what follows the last word counts to it
    owner = np.maximum(owner, 0)
    bits = np.bincount(owner, row.scores.bits, minlength=len(places)).astype(np.float64)
    owned = np.bincount(owner, minlength=len(places))
    if boundary == "corrected" and not whole_characters:
        bits += _correction(row, starts, ends, spans, owner)
    spells = (spans[:, 1] > starts[owner]) & (spans[:, 0] < ends[owner])  # a part of the word, no white space beside it
    oov = row.out_of_vocabulary(tokenizer) & spells
    firsts = np.searchsorted(owner, np.arange(len(places) + 1))
    out: list[WordScore] = []
    for i, (start, end) in enumerate(places):
        if not owned[i] and i:
            merged = out.pop()
            start, first, total = merged.start, merged.first, merged.bits + float(bits[i])
        else:
            first, total = int(firsts[i]), float(bits[i])
        last = int(firsts[i + 1])
        is_oov = bool(oov[first:last].any()) and not _is_known(tokenizer, row.text[start:end])
        head = first + int(spells[first:last].argmax()) if last > first else first
        out.append(WordScore(start, end, first, last, total, is_oov, head))
    return out


def _is_known(tokenizer: Tokenizer, word: str) -> bool:
    """True for a word of the vocabulary, which is spelled in bytes where no blank stands before it."""
    return tokenizer.unit == "word" and tokenizer.id_of(f" {word}") is not None


def _correction(
    row: LineScore,
    starts: npt.NDArray[np.int64],
    ends: npt.NDArray[np.int64],
    spans: npt.NDArray[np.int64],
    owner: npt.NDArray[np.int64],
) -> npt.NDArray[np.float64]:
    """b(after) − b(before) of each word (words,). b is taken at the first token after a word.

    Words that touch (possible with `unicode`) have no white space between them and need no correction.
    """
    if row.scores.boundary is None:
        raise UsageError("word scores need details", "Call score(texts, details=True).")
    after = np.zeros(len(starts))
    nexts = np.searchsorted(owner, np.arange(1, len(starts)))  # the first token of each word but the first
    apart = (starts[1:] > ends[:-1]) & (nexts < len(owner))
    after[:-1][apart] = row.scores.boundary[nexts[apart]]
    after[1:] -= after[:-1].copy()
    return after


def _places(text: str, kind: WordKind) -> list[tuple[int, int]]:
    if kind == "space":
        return [match.span() for match in _WORD.finditer(text)]
    import regex

    pieces = regex.finditer(r"(?w)\b.+?\b", text, flags=regex.DOTALL | regex.VERSION1)
    return [match.span() for match in pieces if not match.group().isspace()]
