"""Limits of samples: where they end, and the strings that they may not contain."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from seqmodel.arrays import Mask
from seqmodel.command_settings import SamplingSettings
from seqmodel.decoding.token_masks import Speller
from seqmodel.tokens.tokenizer import Tokenizer


@dataclass
class Limiter:
    """Follows the text of one sample and cuts it at the first limit.

    Text that may begin a stop string is held back until the next text shows whether it does.
    """

    settings: SamplingSettings
    chars: int = 0  # given out so far
    lines: int = 0
    held: str = ""
    stop: str = ""

    def __post_init__(self) -> None:
        self.is_plain = not self.settings.stop and self.settings.max_lines is None  # no limit but max_chars

    def advance(self, text: str, speller: Speller, *, is_end: bool, tokens: int) -> str:
        """Add the text of the token that makes `tokens` of them; returns what may be shown.

        `speller` has followed the tokens; `is_end` marks the end symbol. If the sample ends here, `stop` becomes the
        reason: the name of a limit, or "end".
        """
        shown = self.take(text)
        if not self.stop and (is_end or tokens >= self.settings.max_tokens):
            shown += self.take_last(speller.finish())
            self.stop = self.stop or ("end" if is_end else "max_tokens")
        return shown

    def take(self, text: str) -> str:
        """Add text; returns the part that may be shown. If a limit is met, `stop` becomes its name."""
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
        """Add the last text; as `take`, but nothing is held back."""
        text = self.take(text)
        held, self.held = self.held, ""
        return text + self._given(held)

    def _given(self, text: str) -> str:
        self.chars += len(text)
        self.lines += text.count("\n")
        return text

    def _cuts(self, text: str) -> list[tuple[int | None, str]]:
        """Place where each limit cuts this text, None if it does not; text beyond max_chars is not looked at."""
        most = self.settings.max_chars
        over = None if most is None or self.chars + len(text) < most else most - self.chars
        text = text[:over]
        line_end = self._last_line_end(text)
        text = text if line_end is None else text[: line_end + 1]  # the rest would never have been drawn
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
        """Number of characters at the end that may begin a stop string."""
        return max((_overlap(text, string) for string in self.settings.stop), default=0)


def _overlap(text: str, string: str) -> int:
    """Length of the longest end of `text` that is a proper beginning of `string`."""
    return next((n for n in range(min(len(text), len(string) - 1), 0, -1) if text.endswith(string[:n])), 0)


class Bans:
    """Strings that no sample may contain, whichever tokens spell them.

    `said` are the bytes of the text so far, without virtual blanks.
    """

    def __init__(self, tokenizer: Tokenizer, strings: Sequence[bytes]) -> None:
        self.strings = strings
        self.reach = max(map(len, strings)) - 1  # bytes before a token that a ban looks at
        # In words, another blank must follow a lone blank at a line start, so that blank is implied.
        self._owing = tokenizer.id_of(" ") if tokenizer.unit == "word" else None
        self._inside = self._at_line_start = _Completing(strings, tokenizer.piece_bytes)
        if tokenizer.has_virtual_blanks:
            pieces = [data.removeprefix(b" ") for data in tokenizer.piece_bytes]
            if self._owing is not None:
                pieces[self._owing] = b" "
            self._at_line_start = _Completing(strings, pieces)

    def said(self, token: int, at_line_start: bool) -> bytes:
        """Bytes that a token adds to the text."""
        return b"" if at_line_start and token == self._owing else self._of(at_line_start).pieces[token]

    def implied(self, token: int, at_line_start: bool) -> bytes:
        """Bytes that a token adds to the text, with those that must follow it."""
        return self._of(at_line_start).pieces[token]

    def after(self, said: bytes, at_line_start: bool) -> Mask:
        """Mask (V,) of the tokens that would complete a banned string after `said`."""
        return self._of(at_line_start).after(said)

    def _of(self, at_line_start: bool) -> _Completing:
        return self._at_line_start if at_line_start else self._inside


class _Completing:
    """Finds the tokens that complete a banned string, given the bytes that each adds."""

    def __init__(self, strings: Sequence[bytes], pieces: Sequence[bytes]) -> None:
        self.strings, self.pieces = strings, pieces
        # (V,) tokens that contain a banned string
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
