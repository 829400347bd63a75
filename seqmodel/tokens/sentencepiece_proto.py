"""The wire format of sentencepiece_model.proto, as much of it as a list of pieces needs."""

from __future__ import annotations

import struct


def field(number: int, value: int | float | bytes) -> bytes:
    """One field of a protocol-buffer message: varint, 32-bit float, or length-delimited."""
    if isinstance(value, bytes):
        return _varint(number << 3 | 2) + _varint(len(value)) + value
    if isinstance(value, float):
        return _varint(number << 3 | 5) + struct.pack("<f", value)
    return _varint(number << 3) + _varint(value)


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


IDENTITY = field(1, b"identity") + field(3, 0) + field(4, 0) + field(5, 1)  # a normalizer that changes nothing
_NO_RULES = IDENTITY + field(2, b"") + field(6, b"")

# After a whole message: of fields that come twice the last counts. What a file from elsewhere asks to be done to a text
# before it is cut, or after it is joined, is not done: a rule can make a text a thousand times as long.
AS_IT_STANDS = field(2, field(24, 0)) + field(3, _NO_RULES) + field(5, _NO_RULES)
