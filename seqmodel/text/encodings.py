"""Detects, from its first bytes, text that must be converted first: UTF-16, UTF-32, and CR line ends."""

from __future__ import annotations

from seqmodel.errors import DataError

_LOOKED_AT = 1 << 12
_LEAST = 32  # bytes that are needed to detect an encoding without a byte order mark
_CONTROLS = bytes(code for code in range(32) if code not in b"\t\n\r\f")
_MARKS = {  # UTF-32 first, because its mark begins with that of UTF-16
    b"\xff\xfe\0\0": "UTF-32",
    b"\0\0\xfe\xff": "UTF-32",
    b"\xff\xfe": "UTF-16",
    b"\xfe\xff": "UTF-16",
}


def wide_encoding(start: bytes) -> str | None:
    """The encoding, by its `iconv` name, if the text has two or four bytes per character; else None.

    Without a byte order mark, the position of zeros tells: one of every two bytes, or two of every four.
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
    """Refuse UTF-16 and UTF-32, by the first bytes of a file.

    Raises:
        DataError: if the file is in one of them.
    """
    if wide := wide_encoding(start):
        raise DataError(f"{name}: the text is {wide}", f"Convert it first: iconv -f {wide} -t UTF-8.")


def refuse_lone_returns(name: str, start: bytes) -> None:
    """Refuse line ends of CR alone, by the first bytes of a file.

    Raises:
        DataError: if the file has them.
    """
    if b"\n" not in start and start.rstrip(b"\r").count(b"\r") > 3:
        raise DataError(
            f"{name}: the lines end in CR alone, so that the file is one line", "Convert it first: tr '\\r' '\\n'."
        )


def _two_bytes(start: bytes) -> str | None:
    """The UTF-16 byte order of a text, or None if it is not UTF-16.

    ASCII and Cyrillic in UTF-16 are valid UTF-8 too, and are recognised by their many control codes; other scripts by
    the zeros of their blanks and line ends.
    """
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
    return odd <= 0.02 * len(text) + 1  # one more, as a surrogate pair may be cut at the end


def _is_foreign(text: str) -> bool:
    """True for a text in a non-Latin script with some blanks and line ends.

    UTF-8 read as UTF-16 by mistake consists of characters that are made of two ASCII codes instead.
    """
    ascii_pairs = sum(0x80 > ord(char) & 0xFF >= 9 and 0x8000 > ord(char) >= 0x900 for char in text)
    narrow = [char for char in text if ord(char) < 0x100]
    return ascii_pairs <= len(text) / 2 and len(narrow) >= 3 and all(map(str.isascii, narrow))


def _share(data: bytes, codes: bytes) -> float:
    """The share of `data` that consists of the bytes in `codes`."""
    return 1 - len(data.translate(None, codes)) / max(1, len(data))


def _is_utf8(start: bytes) -> bool:
    try:
        start.decode()
    except UnicodeDecodeError as error:
        return len(start) == _LOOKED_AT and error.start >= len(start) - 3  # only the last character is cut
    return True
