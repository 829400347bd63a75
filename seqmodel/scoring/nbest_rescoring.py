"""N-best lists scored by a model, ranked by a combination of scores, and the weights of that fitted to references.

Knows hypotheses and their scores; not the model, which is a function from texts to ln p. Writes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from seqmodel.errors import DataError
from seqmodel.scoring.error_rate_tuning import JudgedLists, tuned
from seqmodel.scoring.rescoring import Combination, Numbers, features
from seqmodel.text.nbest import NbestList, References
from seqmodel.text.nbest_inputs import NbestInputs

HYPOTHESES_AT_ONCE = 1024

LogProbabilities = Callable[[Sequence[str]], list[float]]  # texts -> ln p of each


@dataclass(frozen=True)
class RankedList:
    """The hypotheses of an utterance in the order given, with ln p and total of each."""

    hypotheses: NbestList
    lm_scores: list[float]
    totals: list[float]

    @property
    def ranking(self) -> list[int]:
        """Positions of the hypotheses from the highest total to the lowest; equal totals keep their order."""
        return sorted(range(len(self.totals)), key=lambda i: -self.totals[i])


@dataclass(frozen=True)
class ScoredList:
    """The hypotheses of an utterance and their features (N, F), as `rescoring.features` orders them."""

    hypotheses: NbestList
    features: Numbers

    @property
    def texts(self) -> list[str]:
        """The text of each hypothesis."""
        return [hypothesis.text for hypothesis in self.hypotheses]

    def ranked(self, combination: Combination) -> RankedList:
        """The list with its totals under some weights.

        Raises:
            DataError: if a total is beyond all numbers.
        """
        return RankedList(self.hypotheses, self.features[:, 0].tolist(), combination.totals(self.features).tolist())


@dataclass(frozen=True)
class WeightFit:
    """Fitted weights, and word errors of the first hypotheses, of the given and the fitted weights, and of the best
    choices possible (`oracle`), over `words` words of references."""

    weights: Combination
    words: int
    first: int
    given: int
    fitted: int
    oracle: int


def score_lists(
    log_probabilities: LogProbabilities, batches: Iterable[Sequence[NbestList]]
) -> Iterator[list[ScoredList]]:
    """Yield the lists of each batch with the model's scores, some HYPOTHESES_AT_ONCE hypotheses at once.

    Lists that are scored together share the computation of common prefixes.
    """
    for batch in batches:
        waiting: list[NbestList] = []
        size = 0
        for one in batch:
            waiting.append(one)
            size += len(one)
            if size >= HYPOTHESES_AT_ONCE:
                yield _scored_together(log_probabilities, waiting)
                waiting, size = [], 0
        yield _scored_together(log_probabilities, waiting)


def _scored_together(log_probabilities: LogProbabilities, lists: list[NbestList]) -> list[ScoredList]:
    texts = [[one.text for one in hypotheses] for hypotheses in lists]
    scores = iter(log_probabilities([text for those in texts for text in those]))
    return [
        ScoredList(
            hypotheses,
            features([next(scores) for _ in those], those, list(zip(*(one.scores for one in hypotheses), strict=True))),
        )
        for hypotheses, those in zip(lists, texts, strict=True)
    ]


def fit_weights(lists: Sequence[ScoredList], references: Sequence[str], given: Combination) -> WeightFit:
    """Fit weights to the word error rate against `references`, one for each list, starting from those given.

    Raises:
        DataError: if the references hold no word, or a total is beyond all numbers.
    """
    judged = JudgedLists.of([one.features for one in lists], [one.texts for one in lists], references)
    weights = tuned(judged, given)
    return WeightFit(
        weights, judged.words, judged.first, judged.with_weights(given), judged.with_weights(weights), judged.oracle
    )


@dataclass
class RescoredLists:
    """The n-best lists of a file, ranked: iterate over them, or over `batches`. Counts grow as the file is read.

    `changed` counts lists whose first hypothesis is not the best. With `references`, a file of utterances and words,
    all lists are read first and the weights are fitted; `fit` tells with what result.
    """

    inputs: NbestInputs
    log_probabilities: LogProbabilities
    weights: Combination
    references: str | None = None
    fit: WeightFit | None = None
    lists: int = 0
    hypotheses: int = 0
    changed: int = 0

    def __iter__(self) -> Iterator[RankedList]:
        for batch in self.batches():
            yield from batch

    def batches(self) -> Iterator[list[RankedList]]:
        """Yield ranked lists in batches as they are read.

        Raises:
            DataError: if lists, scores or references cannot be read, or a total is beyond all numbers.
        """
        if self.references is None:
            scored = score_lists(self.log_probabilities, self.inputs.lists())
        else:
            scored = iter([self._fitted(self.references)])
        for batch in scored:
            ranked: list[RankedList] = []
            try:
                for one in batch:
                    ranked.append(self._counted(one.ranked(self.weights)))
            except DataError:
                yield ranked  # lists before a bad one come before the error
                raise
            yield ranked

    def _counted(self, ranked: RankedList) -> RankedList:
        self.lists += 1
        self.hypotheses += len(ranked.hypotheses)
        self.changed += ranked.ranking[0] > 0
        return ranked

    def _fitted(self, name: str) -> list[ScoredList]:
        """All lists, scored; fits the weights to the references of a file."""
        references = References.read(name, self.inputs.corpus, self.inputs.any_bytes)
        lists = [one for batch in self.inputs.lists() for one in batch]
        said = references.of(lists)
        scored = [one for batch in score_lists(self.log_probabilities, [lists]) for one in batch]
        self.fit = fit_weights(scored, said, self.weights)
        self.weights = self.fit.weights
        return scored
