"""Masks of the next token, so that samples are valid UTF-8 and spelled as `Tokenizer.encode` would.

A model gives every token some probability, even bytes that would break a character or spell what has a token of its
own. A `Speller` follows the tokens of one lane and masks those that may not come. A `Spelling` may be narrowed to a set
of characters, and to known words; where that leaves no token, as after some prefixes, the wider one applies.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from copy import copy
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from seqmodel.arrays import Mask
from seqmodel.choices import SequenceKind
from seqmodel.tokens.characters import EVERYTHING, Characters, utf8_length
from seqmodel.tokens.tokenizer import END, FIRST_BYTE, FIRST_PIECE, START, UNKNOWN, Tokenizer, is_byte


@dataclass(frozen=True)
class SequenceForm:
    """Form of a sequence: `ends` if it has an end symbol, `one_line` if it holds no newline."""

    ends: bool = True
    one_line: bool = False

    @classmethod
    def of(cls, kind: SequenceKind) -> SequenceForm:
        return cls(ends=kind != "stream", one_line=kind == "line")


TEXT = SequenceForm()  # of any number of lines, with an end


class Situation(NamedTuple):
    """State of a lane that decides its next token.

    `pending`: bytes of an unfinished character. `at_line_start`: a blank here would be virtual. In words also
    `may_end`: the segment may end here; `bare`: a word may begin without a blank; `run`: a word is spelled in
    bytes; `owes_blank`: a blank must follow.
    """

    pending: bytes = b""
    at_line_start: bool = True
    may_end: bool = True
    bare: bool = False
    run: bool = False
    owes_blank: bool = False


class Spelling:
    """Masks of one vocabulary by situation, each made once; shared by its spellers."""

    def __init__(
        self,
        tokenizer: Tokenizer,
        form: SequenceForm = TEXT,
        *,
        characters: Characters | None = None,
        known_words: bool = False,
        wider: Spelling | None = None,
    ) -> None:
        self.tokenizer, self.form = tokenizer, form
        self.characters, self.known_words, self.wider = characters, known_words, wider
        self.never = [START, UNKNOWN, *(tokenizer.newline_ids if form.one_line else ())]
        self._writable = EVERYTHING if characters is None else characters
        self.has_blank = " " in self._writable
        self._masks: dict[Situation, Mask] = {}
        pieces = tokenizer.piece_bytes[FIRST_PIECE:]
        self._texts: list[str] = [piece.decode() for piece in pieces] if wider is None else wider._texts
        self._covered = _beginnings(text for text in self._texts if len(text) == 1 and text in self._writable)
        self.longest = max(map(len, self._texts), default=0)  # characters

    def narrowed(self, characters: Characters | None, known_words: bool = False) -> Spelling:
        """A spelling that writes only these characters (default: all).

        With `known_words` that of a word model begins no unknown word; one begun by a prefix may go on.
        """
        narrow = self
        if characters is not None:
            narrow = Spelling(self.tokenizer, self.form, characters=characters, wider=narrow)
        if known_words and self.tokenizer.unit == "word":
            narrow = Spelling(self.tokenizer, self.form, characters=characters, known_words=True, wider=narrow)
        return narrow

    def mask(self, situation: Situation) -> Mask:
        """Mask (V,) of the tokens that may come."""
        mask = self._masks.get(situation)
        if mask is None:
            make = {"byte": self._byte_mask, "word": self._word_mask}.get(self.tokenizer.unit, self._char_mask)
            mask = make(situation) & self.anything
            if self.wider is not None and not mask.any():
                mask = self.wider.mask(situation)
            self._masks[situation] = mask
        return mask

    @cached_property
    def anything(self) -> Mask:
        """Mask (V,) of the tokens that may come in any situation.

        Leaves out symbols that are never sampled, and pieces with characters outside the set. The blank before a word
        does not count: it may be virtual.
        """
        mask = np.ones(self.tokenizer.size, bool)
        if self.characters is not None:
            virtual = " " if self.tokenizer.has_virtual_blanks else ""
            mask[FIRST_PIECE:] = self.characters.has_all_of([text.removeprefix(virtual) for text in self._texts])
        mask[self.never] = False
        mask[END] = self.form.ends
        if self.tokenizer.closed:
            mask[FIRST_BYTE:FIRST_PIECE] = False
        return mask

    @cached_property
    def _kinds(self) -> tuple[Mask, Mask, Mask]:
        """Masks (V,) of pieces: words with a blank before, words without one, white space."""
        if self.wider is not None:
            return self.wider._kinds
        texts = [*[""] * FIRST_PIECE, *self._texts]
        space = np.array([text.isspace() for text in texts])
        after_blank = self._begins_blank & ~space
        return after_blank, np.array([bool(text) for text in texts]) & ~space & ~after_blank, space

    @cached_property
    def _begins_blank(self) -> Mask:
        if self.wider is not None:
            return self.wider._begins_blank
        return np.array([False] * FIRST_PIECE + [text.startswith(" ") for text in self._texts])

    @cached_property
    def _blank(self) -> Mask:
        mask = np.zeros(self.tokenizer.size, bool)
        blank = self.tokenizer.id_of(" ")
        if blank is not None:
            mask[blank] = True
        return mask

    # Characters and subwords

    def _char_mask(self, situation: Situation) -> Mask:
        """Mask for characters and subwords: a character without a token is spelled in bytes."""
        pending = situation.pending
        mask = np.full(self.tokenizer.size, not pending)
        if not (self.has_blank or situation.at_line_start):
            mask &= ~self._begins_blank
        for byte in range(256):
            data = pending + bytes([byte])
            mask[FIRST_BYTE + byte] = self._writable.count(data) > self._covered[data]
        return mask

    # Words

    def _word_mask(self, situation: Situation) -> Mask:
        """Mask for words: a word without a token is spelled in bytes, whole."""
        pending, at_line_start, may_end, bare, run, owes_blank = situation
        mask = np.zeros(self.tokenizer.size, bool)
        if not pending and may_end:
            after_blank, without, space = self._kinds
            space = space if self.has_blank else space & ~self._blank
            mask |= after_blank if self.has_blank or at_line_start else False
            mask |= self._blank & space if owes_blank else space
            mask |= without if bare and not run else False
            mask[END] = self.form.ends and not owes_blank
        if run or not self.known_words:
            for byte in range(256):
                mask[FIRST_BYTE + byte] = self._byte_fits(pending + bytes([byte]), situation)
        return mask

    def _byte_fits(self, data: bytes, situation: Situation) -> bool:
        """True if these first bytes of a character may begin or continue a word or white space spelled in bytes."""
        bare, may_end = situation.bare or situation.run, situation.may_end and not self.known_words
        if data == b" ":
            return may_end and (self.has_blank or situation.at_line_start)
        if data[0] >= 0x80 and not bare:
            return False
        spaces, spelled_spaces = self._spaces
        if bare and self._writable.count(data) > spaces[data]:
            return True
        return may_end and not situation.owes_blank and spelled_spaces[data] > 0

    @cached_property
    def _spaces(self) -> tuple[Counter[bytes], Counter[bytes]]:
        """Counts by first bytes: of white-space characters, and of those but the blank that have no token."""
        spaces = [char for char in map(chr, range(_LAST_SPACE + 1)) if char.isspace() and char in self._writable]
        return _beginnings(spaces), _beginnings(
            char for char in spaces if char != " " and self.tokenizer.id_of(char) is None
        )

    # Bytes

    def _byte_mask(self, situation: Situation) -> Mask:
        """Mask for bytes: those that lead to a character of the set, and stray bytes of the set."""
        if self.characters is None:
            return self.anything
        mask = np.ones(self.tokenizer.size, bool)
        mask[END] = self._may_break(situation.pending)
        for byte in range(256):
            mask[FIRST_BYTE + byte] = self._may_follow(situation.pending, byte)
        return mask

    def _may_follow(self, pending: bytes, byte: int) -> bool:
        data = pending + bytes([byte])
        if EVERYTHING.count(data):
            return self._writable.count(data) > 0 or (_is_unfinished(data) and self._writable.strays.issuperset(data))
        if pending:
            return self._may_break(pending) and self._may_follow(b"", byte)
        return byte in self._writable.strays

    def _may_break(self, pending: bytes) -> bool:
        """True if an unfinished character may stay so; one that a prefix began outside the set has to."""
        return self._writable.strays.issuperset(pending) or not self._writable.count(pending)


_LAST_SPACE = 0x3000  # of Unicode


def _beginnings(chars: Iterable[str]) -> Counter[bytes]:
    """Number of these characters that begin with each byte string."""
    return Counter(data[:size] for char in chars for data in [char.encode()] for size in range(1, len(data) + 1))


def _is_unfinished(data: bytes) -> bool:
    """True for the first bytes of a character that lacks some."""
    return bool(data) and len(data) < utf8_length(data[0]) and EVERYTHING.count(data) > 0


class Speller:
    """Follows one lane: `mask` is that of the next token, `push` takes a token and returns its text."""

    def __init__(self, spelling: Spelling) -> None:
        self.spelling = spelling
        self.tokenizer = spelling.tokenizer
        self.at_line_start = True
        self.pending = b""
        self.written = 0  # number of pending bytes that the prefix holds, if it ends inside a character
        self.run: str | None = None  # a word that is being spelled in bytes, or the beginning of a long one
        self.bare = False  # True where a word may begin without a blank
        self.owes_blank = False  # a lone blank at a line start is the virtual one: another must follow

    @property
    def mask(self) -> Mask:
        at_line_start = self.at_line_start or self.spelling.has_blank  # matters without a blank only
        if self.tokenizer.unit != "word":
            return self.spelling.mask(Situation(self.pending, at_line_start))
        in_run = self.run is not None
        may_end = not in_run or self.tokenizer.id_of(self.run or "") is None
        return self.spelling.mask(Situation(self.pending, at_line_start, may_end, self.bare, in_run, self.owes_blank))

    def push(self, token: int) -> str:
        """Take a token; returns the text that is now complete."""
        data = self.pending + self.tokenizer.piece_bytes[token]
        if self.tokenizer.unit == "byte":
            return self._decoded_bytes(data)
        if is_byte(token) and _is_unfinished(data):
            self.pending = data
            if self.tokenizer.unit == "word" and self.run is None:
                self.run = ""
            return ""
        self.pending = b""
        text = data.decode()
        self._follow_word(token, text)
        if self.at_line_start and self.tokenizer.has_virtual_blanks:
            shown = text.removeprefix(" ")
        else:
            shown = text
        if text:
            self.at_line_start = text.endswith("\n")
        return shown

    def narrowed(self, spelling: Spelling) -> Speller:
        """A copy that goes on with another spelling of the vocabulary; pending bytes count as written."""
        speller = copy(self)
        speller.spelling, speller.written = spelling, len(self.pending)
        return speller

    def follow(self, tokens: Iterable[int]) -> None:
        """Take the tokens of a prefix."""
        for token in tokens:
            self.push(token)

    def _decoded_bytes(self, data: bytes) -> str:
        """Decode bytes: those of an unfinished character wait, those of no character become lone surrogates."""
        if _is_unfinished(data):
            self.pending = data
            return ""
        broken = b"" if EVERYTHING.count(data) else self.pending
        text = (broken or data)[self.written :].decode("utf-8", "surrogateescape")
        self.pending, self.written = b"", 0
        return text + self._decoded_bytes(data[len(broken) :]) if broken else text

    def finish(self) -> str:
        """Text of the bytes left when a lane stops inside a character."""
        rest, self.pending, self.written = self.pending[self.written :], b"", 0
        return rest.decode("utf-8", "surrogateescape") if self.tokenizer.unit == "byte" else ""

    def _follow_word(self, token: int, text: str) -> None:
        if self.tokenizer.unit != "word":
            return
        self.owes_blank = text == " " and self.at_line_start
        if is_byte(token) and (text == " " or not text.isspace()):
            run = text if text == " " else (self.run or "") + text
            self.run = run[: self.spelling.longest + 1]
            self.bare = False
        else:
            self.run = None
            self.bare = text.isspace() and text not in (" ", "\n")
