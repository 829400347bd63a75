"""Where a sample ends, and what it may not say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from seqmodel.config import SamplingSettings
from seqmodel.tokens.tokenizer import Tokenizer

Mask = npt.NDArray[np.bool_]


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
        stops = [at for string in self.settings.stop if (at := text.find(string)) >= 0]
        return [(min(stops, default=None), "stop"), (self._last_line_end(text), "max_lines"), (over, "max_chars")]

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


@dataclass
class Bans:
    """Strings that no sample may contain, whichever tokens would spell them."""

    tokenizer: Tokenizer
    strings: Sequence[bytes]
    _pieces: list[bytes] = field(init=False)
    never: Mask = field(init=False)  # (V,) tokens that hold a banned string by themselves

    def __post_init__(self) -> None:
        self._pieces = self.tokenizer.piece_bytes
        self.never = np.array([any(string in piece for string in self.strings) for piece in self._pieces])
        starts: dict[bytes, list[int]] = {}
        for string in self.strings:
            for at in range(1, len(string)):
                starts.setdefault(string[at:], [])
        for token, piece in enumerate(self._pieces):
            for rest in starts:
                if piece and piece.startswith(rest):
                    starts[rest].append(token)
        self._completing = {rest: np.array(tokens, np.int64) for rest, tokens in starts.items()}

    def after(self, said: bytes) -> Mask:
        """Tokens (V,) that may not follow what was said: they would complete a banned string."""
        mask = self.never
        for string in self.strings:
            for at in range(1, len(string)):
                tokens = self._completing[string[at:]]
                if len(tokens) and said.endswith(string[:at]):
                    mask = mask.copy()
                    mask[tokens] = True
        return mask
