"""Random models of known probabilities, and all their sequences down to a bound: the oracle of every search."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

import numpy as np

from seqmodel.choices import Unit
from seqmodel.errors import DataError
from seqmodel.tokens.tokenizer import END, FIRST_BYTE, START, Tokenizer
from tests.decoding.test_generation import tokenizer_for
from tests.scoring.test_tokens import Table

# A few tokens of each unit that spell some texts in several ways, others in none.
PIECES: dict[Unit, tuple[str, ...]] = {
    "char": ("a", "b"),
    "word": (" the", " cat", " ", "\t"),
    "subword": (" the", " t", "h", "e"),
    "byte": (),
}
BYTES: dict[Unit, tuple[int, ...]] = {
    "char": (0xC3, 0xA9, 0xAA, ord("a")),
    "word": (ord(" "), ord("x"), 0xC2, 0xA0),
    "subword": (0xC3, 0xAA, ord("e")),
    "byte": (ord("a"), 0xC3, 0xA9, 0xFF),
}
PREFIXES: dict[Unit, tuple[str, ...]] = {
    "char": ("", "a", "abê"),
    "word": ("", "the", "x"),
    "subword": ("", "the", "t"),
    "byte": ("", "aé", "é\udcc3"),
}

tokenizer_of = cache(tokenizer_for)


def random_table(unit: Unit, seed: int, ends: bool = True) -> tuple[Tokenizer, Table]:
    """A first-order chain over the tokens above; every row gives the end at least a tenth, if there is one."""
    tokenizer = tokenizer_of(unit)
    pieces = [token for token in map(tokenizer.id_of, PIECES[unit]) if token is not None]
    assert len(pieces) >= min(2, len(PIECES[unit]))
    tokens = [*pieces, *(FIRST_BYTE + byte for byte in BYTES[unit])]
    random = np.random.default_rng(seed)
    p = np.zeros((tokenizer.size, tokenizer.size))
    for row in range(tokenizer.size) if seed % 2 else [START, *tokens]:
        p[row, tokens] = random.dirichlet(np.full(len(tokens), 0.4)) * (0.9 if ends else 1)
        p[row, tokens] *= 1 - (part := random.uniform(0, 0.8) if ends else 0)
        p[row, END] = 0.1 + 0.9 * part if ends else 0
    return tokenizer, Table(p)


def paths(model: Table, before: int, floor: float, longest: int) -> Iterator[tuple[tuple[int, ...], float]]:
    """Every sequence of at most `longest` tokens that ends, at least as probable as `floor`, and its probability."""

    def walk(path: tuple[int, ...], p: float) -> Iterator[tuple[tuple[int, ...], float]]:
        row = model.p[path[-1] if path else before]
        for token in np.flatnonzero(p * row >= floor).tolist():
            if token == END:
                yield path, p * float(row[END])
            elif len(path) < longest:
                yield from walk((*path, token), p * float(row[token]))

    yield from walk((), 1.0)


def sequences(
    tokenizer: Tokenizer, model: Table, prefix: str, floor: float = 1e-30, longest: int = 1000
) -> dict[str, float]:
    """Every text that begins with a prefix and is spelled as `encode` would, and its probability given the prefix."""
    given = tokenizer.encode(prefix).tolist()
    found = {}
    for path, p in paths(model, given[-1] if given else START, floor, longest):
        try:
            text = tokenizer.decode([*given, *path])
        except DataError:
            continue
        if tokenizer.encode(text).tolist() == [*given, *path]:
            assert text not in found
            found[text] = p
    return found
