"""Text of two and four bytes a character is told from UTF-8, with a byte order mark and without."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seqmodel.text.encodings import wide_encoding

TEXTS = {
    "English": "One morning the harbour was still.\nNo boat went out, and none came in.\n",
    "Russian": "Утром в гавани было тихо.\nНи одна лодка не вышла в море.\n",
    "Greek": "Το πρωί το λιμάνι ήταν ήσυχο.\nΚανένα καΐκι δεν βγήκε.\n",
    "Chinese": "早晨港口很安静。\n没有船出海，也没有船回来。\n" * 3,
    "Thai": "ตอนเช้าท่าเรือเงียบสงบ\nไม่มีเรือออกทะเล\n" * 2,
    "emoji": "so quiet 😀😀 today\nno boat 🐟\n" * 2,
}


@pytest.mark.parametrize("name", TEXTS)
@pytest.mark.parametrize("encoding", ["UTF-16LE", "UTF-16BE", "UTF-32LE", "UTF-32BE"])
def test_an_encoding_without_a_mark_is_named(name: str, encoding: str) -> None:
    data = TEXTS[name].encode(encoding)
    assert wide_encoding(data) == encoding
    assert wide_encoding((TEXTS[name] * 200).encode(encoding)) == encoding


@pytest.mark.parametrize("name", TEXTS)
def test_a_mark_names_the_kind_and_utf32_is_not_called_utf16(name: str) -> None:
    for encoding in ("utf-16", "utf-32"):
        assert wide_encoding(TEXTS[name].encode(encoding)) == encoding.upper()
    assert wide_encoding("\ufeff".encode("utf-32-be") + b"\0\0\0a") == "UTF-32"


@pytest.mark.parametrize("name", TEXTS)
def test_utf8_is_none_of_them(name: str) -> None:
    assert wide_encoding(TEXTS[name].encode()) is None
    assert wide_encoding(("\ufeff" + TEXTS[name]).encode()) is None


def test_names_between_zeros_and_bytes_of_all_kinds_are_none_of_them() -> None:
    names = "\0".join(["harbour.txt", "a.txt", "visits/b.txt"] * 30)
    assert wide_encoding(names.encode()) is None
    assert wide_encoding(bytes(range(256)) * 20) is None
    assert wide_encoding(bytes(4096)) is None


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from(["a", "b c", "\0", "\n", "é", "日本", "x y z, and more"]), max_size=60).map("".join))
def test_utf8_with_zeros_here_and_there_is_none_of_them(text: str) -> None:
    if text.count("\0") * 8 < len(text):
        assert wide_encoding(text.encode()) is None
