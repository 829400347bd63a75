"""The count model against a plain dictionary implementation of interpolated modified Kneser–Ney."""

from __future__ import annotations

from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seqmodel.model.kneser_ney import FALLBACK_DISCOUNTS, CountModel, estimate
from seqmodel.settings import CorpusSettings, TokenizerSettings
from seqmodel.tokens.batches import inputs_and_targets, whole_store
from seqmodel.tokens.store import TokenStore, make_store, open_store
from seqmodel.tokens.tokenizer import END, START, UNKNOWN

Gram = tuple[int, ...]


def store_of(folder: Path, text: str, sequence: str = "line") -> TokenStore:
    corpus = folder / "corpus.txt"
    corpus.write_text(text)
    path = folder / "corpus.tokens"
    path.unlink(missing_ok=True)
    corpus_settings = CorpusSettings.model_validate({"sequence": sequence})
    make_store(path, [str(corpus)], TokenizerSettings(), corpus_settings)
    return open_store(path)


class Reference:
    """Chen & Goodman's formulas, gram by gram, as `lmplz` counts them."""

    def __init__(self, sequences: list[list[int]], order: int, predicted: int) -> None:
        self.order, self.predicted = order, predicted
        raw: dict[int, Counter[Gram]] = {n: Counter() for n in range(1, order + 1)}
        for sequence in sequences:
            padded = [START, *sequence]
            for end in range(1, len(padded)):
                for n in range(1, min(order, end + 1) + 1):
                    raw[n][tuple(padded[end - n + 1 : end + 1])] += 1
        self.counts: dict[int, Counter[Gram]] = {order: raw[order]}
        for n in range(1, order):
            kinds = Counter(gram[1:] for gram in raw[n + 1])
            self.counts[n] = Counter({g: raw[n][g] if g[0] == START else kinds[g] for g in raw[n]})
        self.discounts = {n: self._discounts(self.counts[n]) for n in self.counts}
        self.followers: dict[Gram, Counter[int]] = defaultdict(Counter)
        for n in self.counts:
            for gram, count in self.counts[n].items():
                self.followers[gram[:-1]][gram[-1]] = count

    @staticmethod
    def _discounts(counts: Counter[Gram]) -> tuple[float, ...]:
        n = [sum(1 for c in counts.values() if c == k) for k in (1, 2, 3, 4)]
        if 0 in n:
            return FALLBACK_DISCOUNTS
        y = n[0] / (n[0] + 2 * n[1])
        found = tuple(k - (k + 1) * y * n[k] / n[k - 1] for k in (1, 2, 3))
        return found if all(0 <= d <= k for k, d in enumerate(found, 1)) else FALLBACK_DISCOUNTS

    def probability(self, context: Gram, token: int) -> float:
        lower = self.probability(context[1:], token) if context else 1 / self.predicted
        after = self.followers.get(context)
        if not after:
            return lower
        discounts = self.discounts[len(context) + 1]
        total = sum(after.values())
        taken = {w: discounts[min(c, 3) - 1] for w, c in after.items()}
        own = (after[token] - taken[token]) / total if token in after else 0.0
        return own + sum(taken.values()) / total * lower


def contexts_of(sequences: list[list[int]], order: int) -> list[tuple[Gram, int]]:
    pairs = []
    for sequence in sequences:
        padded = [START, *sequence]
        pairs += [(tuple(padded[max(0, end - order + 1) : end]), padded[end]) for end in range(1, len(padded))]
    return pairs


def split_ids(ids: np.ndarray) -> list[list[int]]:
    cuts = np.flatnonzero(ids == END) + 1
    return [part.tolist() for part in np.split(ids, cuts) if len(part)]


def scored(model: CountModel, ids: np.ndarray) -> np.ndarray:
    inputs, targets = inputs_and_targets(ids, np.arange(len(ids)))
    rows = [row[:, 0] for row in model.find(inputs[:, None], np.full((model.history, 1), UNKNOWN))]
    return model.probabilities(rows, targets)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.text("abc", min_size=1, max_size=8), min_size=1, max_size=30), st.integers(1, 5))
def test_equals_the_textbook_formulas(tmp_path_factory: pytest.TempPathFactory, lines: list[str], order: int) -> None:
    store = store_of(tmp_path_factory.mktemp("kn"), "\n".join(lines) + "\n")
    model = estimate(store, whole_store(store), order)
    ids = np.asarray(store.ids)
    sequences = split_ids(ids)
    reference = Reference(sequences, order, int(model.predicted.sum()))
    expected = [reference.probability(context, token) for context, token in contexts_of(sequences, order)]
    np.testing.assert_allclose(scored(model, ids), expected, rtol=2e-5)


def test_unseen_contexts_fall_back_to_shorter_ones(tmp_path: Path) -> None:
    store = store_of(tmp_path, "abab\nabc\ncab\n" * 5)
    model = estimate(store, whole_store(store), 4)
    sequences = split_ids(np.asarray(store.ids))
    reference = Reference(sequences, 4, int(model.predicted.sum()))
    new = np.append(store.tokenizer.encode("ccbbaacb"), END)
    expected = [reference.probability(context, token) for context, token in contexts_of([new.tolist()], 4)]
    np.testing.assert_allclose(scored(model, new), expected, rtol=2e-5)


@pytest.mark.parametrize("sequence", ["line", "stream"])
def test_every_context_gives_a_distribution(tmp_path: Path, sequence: str) -> None:
    store = store_of(tmp_path, "the cat\nthe dog sat\na cat sat\n" * 7, sequence)
    model = estimate(store, whole_store(store), 5)
    ids = np.asarray(store.ids)
    inputs, targets = inputs_and_targets(ids, np.arange(len(ids)))
    rows = [row[:, 0] for row in model.find(inputs[:, None], np.full((model.history, 1), UNKNOWN))]
    p = model.distributions(rows, len(ids))
    np.testing.assert_allclose(p.sum(axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(p[np.arange(len(ids)), targets], model.probabilities(rows, targets), rtol=1e-6)
    assert (p[:, [START, UNKNOWN]] == 0).all()
    assert (p[:, END] == 0).all() == (sequence == "stream")


def test_the_history_carries_over_a_cut(tmp_path: Path) -> None:
    store = store_of(tmp_path, "abcabcabd\n" * 9)
    model = estimate(store, whole_store(store), 5)
    inputs = np.concatenate([[START], store.tokenizer.encode("abcabd")]).astype(np.int64)[:, None]
    history = np.full((model.history, 1), UNKNOWN)
    whole = model.find(inputs, history)
    first = model.find(inputs[:3], history)
    after = np.concatenate([history, inputs[:3]])[-model.history :]
    second = model.find(inputs[3:], after)
    for a, b, c in zip(whole, first, second, strict=True):
        np.testing.assert_array_equal(a, np.concatenate([b, c]))
