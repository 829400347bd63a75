"""Which tokens may come next so that what is sampled is valid UTF-8 and spelled as `Tokenizer.encode` would.

A model gives every token some probability, also bytes that would break a character or spell in bytes what has
a token of its own. A `Speller` follows the tokens of one lane and names those that are allowed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from functools import cached_property

import numpy as np
import numpy.typing as npt

from seqmodel.tokens.tokenizer import END, FIRST_BYTE, FIRST_PIECE, START, UNKNOWN, Tokenizer

Mask = npt.NDArray[np.bool_]


class Spelling:
    """What the spellers of one vocabulary share: masks by situation, made once."""

    def __init__(self, tokenizer: Tokenizer, ends: bool, one_line: bool = False) -> None:
        self.tokenizer = tokenizer
        self.never = [START, UNKNOWN, *(tokenizer.newline_ids if one_line else ())]
        self.ends = ends
        self._masks: dict[object, Mask] = {}
        texts = [piece.decode() for piece in tokenizer.piece_bytes[FIRST_PIECE:]]
        self.covered = Counter(
            data[:size]
            for text in texts
            if len(text) == 1
            for data in [text.encode()]
            for size in range(1, len(data) + 1)
        )
        self.longest = max(map(len, texts), default=0)  # characters

    @cached_property
    def anything(self) -> Mask:
        """All but the symbols that are never sampled."""
        mask = np.ones(self.tokenizer.size, bool)
        mask[self.never] = False
        mask[END] = self.ends
        if self.tokenizer.closed:
            mask[FIRST_BYTE:FIRST_PIECE] = False
        return mask

    @cached_property
    def _kinds(self) -> tuple[Mask, Mask, Mask]:
        """Vocabulary entries that are a word after a blank, a word without one, white space."""
        texts = [
            "",
            "",
            "",
            *[""] * 256,
            *(piece.decode() for piece in self.tokenizer.piece_bytes[FIRST_PIECE:]),
        ]
        space = np.array([text.isspace() for text in texts])
        after_blank = np.array([text.startswith(" ") for text in texts]) & ~space
        return after_blank, np.array([bool(text) for text in texts]) & ~space & ~after_blank, space

    @cached_property
    def _blank(self) -> Mask:
        mask = np.zeros(self.tokenizer.size, bool)
        blank = self.tokenizer.id_of(" ")
        if blank is not None:
            mask[blank] = True
        return mask

    def open_count(self, prefix: bytes) -> int:
        """How many characters whose UTF-8 begins with `prefix` have no token of their own."""
        return _characters(prefix) - self.covered[prefix]

    def char_mask(self, pending: bytes) -> Mask:
        """Allowed tokens when characters stand alone (char and subword); `pending` is an unfinished character."""
        if pending not in self._masks:
            mask = np.zeros_like(self.anything) if pending else self.anything.copy()
            for byte in range(256):
                mask[FIRST_BYTE + byte] = self.open_count(pending + bytes([byte])) > 0
            self._masks[pending] = mask & self.anything
        return self._masks[pending]

    def word_mask(self, pending: bytes, may_end: bool, bare: bool, run: bool, owes_blank: bool) -> Mask:
        """Allowed tokens when words are spelled whole: may the segment end here, may a word begin without a
        blank, is one being spelled in bytes, and must a blank follow?"""
        key = (pending, may_end, bare, run, owes_blank)
        if key not in self._masks:
            mask = np.zeros_like(self.anything)
            if not pending and may_end:
                after_blank, without, space = self._kinds
                mask |= after_blank | (self._blank if owes_blank else space) | (without if bare and not run else False)
                mask[END] = self.ends and not owes_blank
            for byte in range(256):
                mask[FIRST_BYTE + byte] = self._byte_fits(pending, bytes([byte]), may_end, bare or run, owes_blank)
            self._masks[key] = mask & self.anything
        return self._masks[key]

    def _byte_fits(self, pending: bytes, byte: bytes, may_end: bool, bare: bool, owes_blank: bool) -> bool:
        data = pending + byte
        if not _characters(data) or (data[0] >= 0x80 and not bare):
            return False
        if len(data) < _length(data[0]):
            return True
        char = data.decode()
        if char == " ":
            return may_end
        return may_end and not owes_blank and self.tokenizer.id_of(char) is None if char.isspace() else bare


def _characters(prefix: bytes) -> int:
    """How many code points (no surrogates) have a UTF-8 spelling that begins with `prefix`."""
    lead = prefix[0]
    if lead < 0x80:
        return int(len(prefix) == 1)
    length = 2 if 0xC2 <= lead < 0xE0 else 3 if 0xE0 <= lead < 0xF0 else 4 if 0xF0 <= lead < 0xF5 else 0
    if len(prefix) > length:
        return 0
    low, high = {0xE0: (0xA0, 0xC0), 0xED: (0x80, 0xA0), 0xF0: (0x90, 0xC0), 0xF4: (0x80, 0x90)}.get(lead, (0x80, 0xC0))
    if len(prefix) == 1:
        return int((high - low) * 64 ** (length - 2))
    if not low <= prefix[1] < high or any(not 0x80 <= byte < 0xC0 for byte in prefix[2:]):
        return 0
    return int(64 ** (length - len(prefix)))


class Speller:
    """Follows one lane: `mask` says what may come next, `push` takes what came and returns its text."""

    def __init__(self, spelling: Spelling) -> None:
        self.spelling = spelling
        self.tokenizer = spelling.tokenizer
        self.at_line_start = True
        self.pending = b""
        self.run: str | None = None  # a word that is being spelled in bytes, or the beginning of a long one
        self.bare = False  # may a word begin without a blank?
        self.owes_blank = False  # a lone blank at a line start is the virtual one: another must follow

    @property
    def mask(self) -> Mask:
        unit = self.tokenizer.unit
        if unit == "byte":
            return self.spelling.anything
        if unit == "word":
            in_run = self.run is not None
            may_end = not in_run or self.tokenizer.id_of(self.run or "") is None
            return self.spelling.word_mask(self.pending, may_end, self.bare, in_run, self.owes_blank)
        return self.spelling.char_mask(self.pending)

    def push(self, token: int) -> str:
        """Take a token; returns the text that is now complete."""
        data = self.pending + self.tokenizer.piece_bytes[token]
        if self.tokenizer.unit == "byte":
            return self._decoded_bytes(data)
        if FIRST_BYTE <= token < FIRST_PIECE and _characters(data) and len(data) < _length(data[0]):
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

    def follow(self, tokens: Iterable[int]) -> None:
        """Take the tokens of a prefix."""
        for token in tokens:
            self.push(token)

    def _decoded_bytes(self, data: bytes) -> str:
        """Any bytes may come; those of an unfinished character wait, broken ones become lone surrogates."""
        if data and len(data) < _length(data[0]) and _characters(data):
            self.pending = data
            return ""
        self.pending = b""
        return data.decode("utf-8", "surrogateescape")

    def finish(self) -> str:
        """What is left when a lane stops inside a character."""
        rest, self.pending = self.pending, b""
        return rest.decode("utf-8", "surrogateescape") if self.tokenizer.unit == "byte" else ""

    def _follow_word(self, token: int, text: str) -> None:
        if self.tokenizer.unit != "word":
            return
        self.owes_blank = text == " " and self.at_line_start
        is_byte = FIRST_BYTE <= token < FIRST_PIECE
        if is_byte and (text == " " or not text.isspace()):
            run = text if text == " " else (self.run or "") + text
            self.run = run[: self.spelling.longest + 1]
            self.bare = False
        else:
            self.run = None
            self.bare = text.isspace() and text not in (" ", "\n")


def _length(lead: int) -> int:
    """Bytes of a character by its first byte."""
    return 1 if lead < 0xC2 else 2 if lead < 0xE0 else 3 if lead < 0xF0 else 4 if lead < 0xF5 else 1
