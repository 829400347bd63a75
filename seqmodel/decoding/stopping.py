"""Where a sample ends, and what it may not say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from seqmodel.arrays import Mask
from seqmodel.settings import SamplingSettings
from seqmodel.tokens.tokenizer import Tokenizer


@dataclass
class Limiter:
    """Follows the text of one sample and cuts it where the first limit stands.

    Text that may turn out to be the beginning of a stop string is held back until that is known.
    """

    settings: SamplingSettings
    chars: int = 0  # given out so far
    lines: int = 0
    held: str = ""
    stop: str = ""

    def __post_init__(self) -> None:
        self.is_plain = not self.settings.stop and self.settings.max_lines is None  # but for a number of characters

    def take(self, text: str) -> str:
        """Add text; returns what may be shown. `stop` then says whether a limit was met, and which."""
        most = self.settings.max_chars
        if self.is_plain and (most is None or self.chars + len(text) < most):
            self.chars += len(text)
            return text
        text = self.held + text
        self.held = ""
        cuts = [(at, name) for at, name in self._cuts(text) if at is not None]
        if cuts:
            at, self.stop = min(cuts, key=lambda cut: cut[0])
            return self._given(text[:at])
        keep = self._undecided(text)
        self.held = text[len(text) - keep :]
        return self._given(text[: len(text) - keep])

    def take_last(self, text: str) -> str:
        """As `take`, when nothing more comes."""
        text = self.take(text)
        held, self.held = self.held, ""
        return text + self._given(held)

    def _given(self, text: str) -> str:
        self.chars += len(text)
        self.lines += text.count("\n")
        return text

    def _cuts(self, text: str) -> list[tuple[int | None, str]]:
        """Where each limit would cut this text; what lies beyond the last character allowed does not count."""
        most = self.settings.max_chars
        over = None if most is None or self.chars + len(text) < most else most - self.chars
        text = text[:over]
        line_end = self._last_line_end(text)
        text = text if line_end is None else text[: line_end + 1]  # what would follow is never drawn
        stops = [at for string in self.settings.stop if (at := text.find(string)) >= 0]
        return [(min(stops, default=None), "stop"), (line_end, "max_lines"), (over, "max_chars")]

    def _last_line_end(self, text: str) -> int | None:
        if self.settings.max_lines is None:
            return None
        at = -1
        for _ in range(self.settings.max_lines - self.lines):
            at = text.find("\n", at + 1)
            if at < 0:
                return None
        return at

    def _undecided(self, text: str) -> int:
        """How many characters at the end may begin a stop string."""
        return max((_overlap(text, string) for string in self.settings.stop), default=0)


def _overlap(text: str, string: str) -> int:
    """The longest end of `text` that is a beginning of `string`."""
    return next((n for n in range(min(len(text), len(string) - 1), 0, -1) if text.endswith(string[:n])), 0)


class Bans:
    """Strings that no sample may contain, whichever tokens would spell them. What was said is the bytes of the text, in
    which virtual blanks do not stand."""

    def __init__(self, tokenizer: Tokenizer, strings: Sequence[bytes]) -> None:
        self.strings = strings
        self.reach = max(map(len, strings)) - 1  # how far back a ban looks
        # In words a lone blank at a line start is one that another must follow, so that it is as good as said.
        self._owing = tokenizer.id_of(" ") if tokenizer.unit == "word" else None
        self._inside = self._at_line_start = _Completing(strings, tokenizer.piece_bytes)
        if tokenizer.has_virtual_blanks:
            pieces = [data.removeprefix(b" ") for data in tokenizer.piece_bytes]
            if self._owing is not None:
                pieces[self._owing] = b" "
            self._at_line_start = _Completing(strings, pieces)

    def said(self, token: int, at_line_start: bool) -> bytes:
        """What a token adds to the text."""
        return b"" if at_line_start and token == self._owing else self._of(at_line_start).pieces[token]

    def implied(self, token: int, at_line_start: bool) -> bytes:
        """What a token adds to the text, by itself or by what must follow it."""
        return self._of(at_line_start).pieces[token]

    def after(self, said: bytes, at_line_start: bool) -> Mask:
        """Tokens (V,) that may not follow what was said: they would complete a banned string."""
        return self._of(at_line_start).after(said)

    def _of(self, at_line_start: bool) -> _Completing:
        return self._at_line_start if at_line_start else self._inside


class _Completing:
    """Which tokens, given what each adds to the text, complete a banned string."""

    def __init__(self, strings: Sequence[bytes], pieces: Sequence[bytes]) -> None:
        self.strings, self.pieces = strings, pieces
        # (V,) tokens that hold a banned string by themselves
        self.never = np.array([any(string in piece for string in strings) for piece in pieces])
        starts: dict[bytes, list[int]] = {string[at:]: [] for string in strings for at in range(1, len(string))}
        for token, piece in enumerate(pieces):
            for rest in starts:
                if piece and piece.startswith(rest):
                    starts[rest].append(token)
        self.completing = {rest: np.array(tokens, np.int64) for rest, tokens in starts.items()}

    def after(self, said: bytes) -> Mask:
        mask = self.never
        for string in self.strings:
            for at in range(1, len(string)):
                tokens = self.completing[string[at:]]
                if len(tokens) and said.endswith(string[:at]):
                    mask = mask.copy()
                    mask[tokens] = True
        return mask
