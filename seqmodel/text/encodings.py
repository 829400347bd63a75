"""Tells by its first bytes a text that must be converted: UTF-16 and UTF-32, line ends of old Macs."""

from __future__ import annotations

from seqmodel.errors import DataError

_LOOKED_AT = 1 << 12
_LEAST = 32  # bytes without a mark from which an encoding is told
_CONTROLS = bytes(code for code in range(32) if code not in b"\t\n\r\f")
_MARKS = {  # UTF-32's first: that of UTF-16 is the beginning of one
    b"\xff\xfe\0\0": "UTF-32",
    b"\0\0\xfe\xff": "UTF-32",
    b"\xff\xfe": "UTF-16",
    b"\xfe\xff": "UTF-16",
}


def wide_encoding(start: bytes) -> str | None:
    """The encoding, as `iconv` names it, of a text of two or four bytes a character.

    Without a mark it is told by where the zeros stand: at one place of two, or at two of four.
    """
    for mark, name in _MARKS.items():
        if start.startswith(mark):
            return name
    start = start[:_LOOKED_AT]
    if len(start) < _LEAST or b"\0" not in start:
        return None
    zeros = [_share(start[place::4], b"\0") for place in range(4)]
    for name, (first, second, third, last) in (("UTF-32LE", zeros), ("UTF-32BE", zeros[::-1])):
        if last > 0.95 and third > 0.6 and min(first, second) < 0.5:
            return name
    return _two_bytes(start)


def refuse_wide_encoding(name: str, start: bytes) -> None:
    """
    Raises:
        DataError: if the file of that name, which begins with these bytes, is UTF-16 or UTF-32.
    """
    if wide := wide_encoding(start):
        raise DataError(f"{name}: the text is {wide}", f"Convert it first: iconv -f {wide} -t UTF-8.")


def refuse_lone_returns(name: str, start: bytes) -> None:
    """
    Raises:
        DataError: if the lines of the file of that name, which begins with these bytes, end in CR alone.
    """
    if b"\n" not in start and start.rstrip(b"\r").count(b"\r") > 3:
        raise DataError(
            f"{name}: the lines end in CR alone, so that the file is one line", "Convert it first: tr '\\r' '\\n'."
        )


def _two_bytes(start: bytes) -> str | None:
    """The encoding of a text of two bytes a character. ASCII and Cyrillic are valid UTF-8 in it, and known by how many
    bytes are control codes; other scripts by the zeros of their blanks and line ends alone."""
    is_utf8 = _is_utf8(start)
    codes, least = (_CONTROLS, 0.3) if is_utf8 else (b"\0", 0.005)
    even, odd = _share(start[0::2], codes), _share(start[1::2], codes)
    if max(even, odd) < least or min(even, odd) > max(even, odd) / 3:
        return None
    name = "UTF-16BE" if even > odd else "UTF-16LE"
    text = start[: len(start) // 2 * 2].decode(name, "replace")
    return name if _is_text(text) and (is_utf8 or _is_foreign(text)) else None


def _is_text(text: str) -> bool:
    odd = sum(not (char.isprintable() or char.isspace()) or char == "\ufffd" for char in text)
    return odd <= 0.02 * len(text) + 1  # a pair of surrogates may be cut at the end


def _is_foreign(text: str) -> bool:
    """True for a text in another script with some blanks and line ends. UTF-8 that was read as pairs of bytes is a text
    of characters that are made of two ASCII codes."""
    ascii_pairs = sum(0x80 > ord(char) & 0xFF >= 9 and 0x8000 > ord(char) >= 0x900 for char in text)
    narrow = [char for char in text if ord(char) < 0x100]
    return ascii_pairs <= len(text) / 2 and len(narrow) >= 3 and all(map(str.isascii, narrow))


def _share(data: bytes, codes: bytes) -> float:
    """The share of bytes that are one of these."""
    return 1 - len(data.translate(None, codes)) / max(1, len(data))


def _is_utf8(start: bytes) -> bool:
    try:
        start.decode()
    except UnicodeDecodeError as error:
        return len(start) == _LOOKED_AT and error.start >= len(start) - 3  # the last character is cut
    return True
