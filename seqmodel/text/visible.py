"""Untrusted text made visible: names, samples and scored text must not steer a terminal or break a line of a file.

One rule decides (`str.isprintable`), three ways of writing the rest follow: escapes for messages, signs for pictures,
and `?` for places that must keep to one character. Whatever is printable stays as it is, in any script.
"""

from __future__ import annotations

from collections.abc import Callable

NEWLINE_SIGN = "⏎"
_CONTROLS = {0: "NUL", 9: "TAB", 13: "CR", 27: "ESC"}
_JOINERS = "\u200c\u200d"  # they shape the characters beside them
# Characters that reverse the order of those after them, or begin a line.
TURNING = (0x061C, 0x200E, 0x200F, *range(0x2028, 0x202F), *range(0x2066, 0x206A))


def visible(text: str) -> str:
    """Text with escapes for characters that are not printable; blanks and newlines stay.

    Example: an escape character -> `\\x1b`.
    """
    return _replaced(text, escape, " \n")


def with_signs(text: str) -> str:
    """Text with signs for characters that are not printable; blanks stay, and so do joiners between other characters.

    Examples: ⟨TAB⟩, ⟨ESC⟩, ⟨U+200B⟩, ⏎, or ⟨xFF⟩ for a byte that belongs to no character.
    """
    return _replaced(text, _sign, _JOINERS if len(text) > 1 else "")


def one_line(text: str) -> str:
    """Text with a `?` for each character that is not printable, newlines among them."""
    return _replaced(text, lambda char: "?")


def escape(char: str) -> str:
    """A character's number as an escape of Python's."""
    code = ord(char)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


# Escapes of the characters that steer a terminal, for `str.translate`: data keeps its tabs and line ends.
STEERING: dict[int, str] = {
    **{code: escape(chr(code)) for code in [*range(32), *range(127, 160), *TURNING] if code not in (9, 10, 13)},
    **{0xDC00 + byte: escape(chr(byte)) for byte in range(128, 256)},  # bytes that are no UTF-8
}


def _replaced(text: str, instead: Callable[[str], str], kept: str = "") -> str:
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() or char in kept else instead(char) for char in text)


def _sign(char: str) -> str:
    code = ord(char)
    if char == "\n":
        return NEWLINE_SIGN
    if 0xDC80 <= code < 0xDD00:  # a byte that Python holds as a lone surrogate
        return f"⟨x{code - 0xDC00:02X}⟩"
    return f"⟨{_CONTROLS.get(code, f'U+{code:04X}')}⟩"
