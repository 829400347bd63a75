"""What may come inside a word that is spelled in bytes depends on all of it, and is known from its beginning."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from seqmodel.decoding.token_masks import Speller, Spelling
from seqmodel.tokens.fitting import vocabulary_proto
from seqmodel.tokens.tokenizer import FIRST_BYTE, FIRST_PIECE, Tokenizer

TOKENIZER = Tokenizer(vocabulary_proto([" ", "\n", " ab", " a", "b\u00e9", "a"], word=True), "word")
SPELLING = Spelling(TOKENIZER)


class Remembering(Speller):
    """Keeps all of a word."""

    def _follow_word(self, token: int, text: str) -> None:
        run = self.run
        super()._follow_word(token, text)
        if self.run is not None:
            self.run = text if text == " " else (run or "") + text


@settings(max_examples=300, deadline=None)
@given(st.lists(st.integers(0, 300), max_size=40))
def test_the_beginning_of_a_word_tells_what_may_come(choices: list[int]) -> None:
    short, long = Speller(SPELLING), Remembering(SPELLING)
    letters = [FIRST_BYTE + byte for byte in " ab\u00e9\n".encode()] + list(range(FIRST_PIECE, TOKENIZER.size))
    for choice in choices:
        np.testing.assert_array_equal(short.mask, long.mask)
        allowed = [token for token in letters if long.mask[token]]
        token = allowed[choice % len(allowed)]
        assert short.push(token) == long.push(token)


def test_a_long_word_is_followed_in_little_steps() -> None:
    speller, sizes = Speller(SPELLING), []
    for token in TOKENIZER.encode("x" * 500).tolist():
        speller.push(token)
        sizes.append(len(speller.run or ""))
    assert max(sizes) <= len(" ab") + 1
