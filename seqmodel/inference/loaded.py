"""A loaded model, or several as one: everything that can be asked of it, on the CPU and without torch.

What each method does stands in a module of its own, imported when it is first asked for.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from seqmodel.config import CompletionSettings, SamplingSettings, SearchSettings, checked
from seqmodel.errors import ModelError, UsageError
from seqmodel.model.bundle import Bundle, BundleHeader, HeldOutLines

if TYPE_CHECKING:
    from seqmodel.inference.best_first import TopSearch
    from seqmodel.inference.completion import Completer, Completion, Completions, NextTokens
    from seqmodel.inference.generation import Piece, Sample
    from seqmodel.inference.line_mixture import LineMixture
    from seqmodel.inference.line_scores import LineScore, Reading
    from seqmodel.inference.oddness import Span
    from seqmodel.inference.rescoring import Rescored
    from seqmodel.inference.search import LengthNormalisation
    from seqmodel.inference.words import WordScore
    from seqmodel.text.corpus import Line

STREAM_MAX_CHARS = 500
LONGEST_SAMPLE = 1 << 20  # tokens of a sample that may go on until its end


class Model:
    """A loaded model: scores sequences and samples continuations on the CPU, without torch."""

    def __init__(self, bundle: Bundle) -> None:
        from seqmodel.inference.mixture import sequence_model

        self.header: BundleHeader = bundle.header
        self.tokenizer = bundle.tokenizer
        self.fingerprint = bundle.fingerprint
        self.runtime = sequence_model(bundle)

    def score(
        self, texts: Sequence[str], details: bool = False, *, given: str | Sequence[str] = "", separator: str = " "
    ) -> list[LineScore]:
        """Score each text as a sequence of its own, whatever the model's sequence kind.

        A score's `bits` is −log2 p of the text, its end symbol included, or in a stream model the newline that ends
        it: the same as the text's in a file by itself, in a column or with `rescore`. With `given`, one text or one
        for each, it is −log2 p(text | given), where both stand in one sequence, `separator` between them where neither
        has white space there. With `details`, `scores` also holds entropy (bits) and rank per token.
        """
        from seqmodel.inference.oddness import line_ends
        from seqmodel.inference.scoring import Wanted
        from seqmodel.inference.words import boundary_tokens
        from seqmodel.text.corpus import Line

        before = [given] * len(texts) if isinstance(given, str) else given
        lines = [
            Line(number, text, False, one)
            for number, (text, one) in enumerate(zip(texts, before, strict=True), start=1)
        ]
        boundary = boundary_tokens(self.tokenizer) if details else None
        wanted = Wanted(ranks=details, boundary=boundary, line_ends=line_ends(self.tokenizer))
        reading = self.reading(restart=True, separator=separator, wanted=wanted)
        return [row for rows in self.score_lines([lines], reading) for row in rows]

    def reading(self, **settings: Any) -> Reading:
        """How lines are read; keywords as in `Reading`."""
        from seqmodel.inference.line_scores import Reading

        return Reading(self.header.sequence, **settings)

    def score_lines(self, batches: Iterable[list[Line]], reading: Reading | None = None) -> Iterator[list[LineScore]]:
        """Score the lines of one file, batch by batch; see `inference.line_scores`."""
        from seqmodel.inference.line_scores import score_lines

        return score_lines(self.runtime, self.tokenizer, reading or self.reading(), batches)

    def words(self, score: LineScore) -> list[WordScore]:
        """The surprisal of a scored text's words; for word and subword models `details` must have been asked for."""
        from seqmodel.inference.words import word_scores

        return word_scores(score, self.tokenizer)

    def log_probabilities(self, texts: Sequence[str]) -> list[float]:
        """ln p of each text as a sequence of its own, with its end symbol, or in a stream model the newline that ends
        it. What texts begin with in common is computed once.
        """
        from seqmodel.inference.rescoring import log_probabilities

        return log_probabilities(self.runtime, self.tokenizer, self.header.sequence, texts)

    def rescore(
        self,
        hypotheses: Sequence[str],
        *scores: Sequence[float],
        weight: float | None = None,
        score_weights: Sequence[float] = (),
        length_penalty: float = 0.0,
    ) -> list[Rescored]:
        """Hypotheses of one utterance, the best first: by the total of `weight` times ln p, other scores (each for all
        hypotheses) times theirs, and `length_penalty` times the number of words. Weights that are not given are 1, the
        model's own beside other scores 0.5.
        """
        from seqmodel.inference.rescoring import Combination, Rescored, features

        combination = Combination.of(len(scores), weight, score_weights, length_penalty)
        lm_scores = self.log_probabilities(hypotheses)
        totals = combination.totals(features(lm_scores, hypotheses, scores)).tolist()
        rescored = [Rescored(*cells) for cells in zip(hypotheses, lm_scores, totals, strict=True)]
        return sorted(rescored, key=lambda one: -one.total)

    @cached_property
    def held_out_lines(self) -> HeldOutLines:
        """How held-out lines scored, by their length.

        Raises:
            ModelError: if that was not kept, or there were too few.
        """
        held_out = self.header.held_out
        if held_out is not None and held_out.lines is None:
            raise ModelError("the model was made before held-out lines were kept", "Train it again.")
        if held_out is None or held_out.lines is None or not held_out.lines.bins:
            raise ModelError(
                "the model has too few held-out lines to rank others among",
                "Train it on more text, or bring held-out text with train --valid.",
            )
        return held_out.lines

    @cached_property
    def mean_bits(self) -> float:
        """Bits per token of the held-out text.

        Raises:
            ModelError: if there was none.
        """
        held_out = self.header.held_out
        if held_out is None:
            raise ModelError("the model has no held-out figures to compare with", "Train it on more text.")
        return held_out.bits / max(1, held_out.tokens)

    def percentile(self, score: LineScore) -> float:
        """Where a line stands among held-out lines of like length, by bits per char (per token in a closed
        vocabulary): 0 to 100 = more surprising than any; NaN if it is empty. White space at its end makes a line of
        a word or subword model no odder."""
        from seqmodel.inference.oddness import percentile, rated

        return percentile(self.held_out_lines, *rated(score, self.tokenizer))

    def worst_span(self, score: LineScore) -> Span | None:
        """The most surprising span of a line, by excess over the mean bits of a token; None if it is empty."""
        from seqmodel.inference.oddness import worst_span

        return worst_span(score, self.tokenizer, self.mean_bits)

    def generate(self, prefix: str = "", **settings: Any) -> list[Sample]:
        """Sample continuations of a prefix; keywords as in `SamplingSettings` (count, temperature, seed …)."""
        done = [piece.sample for piece in self.stream(prefix, self.sampling(**settings)) if piece.done]
        return sorted(done, key=lambda sample: sample.index)

    def sampling(self, *, until_end: bool = False, **settings: Any) -> SamplingSettings:
        """Sampling settings, with this model's own limit on length where none is given.

        Raises:
            UsageError: if settings contradict each other, or ask for an end of a model without one.
        """
        given = {name: value for name, value in settings.items() if value is not None}
        limits = {"max_chars", "max_tokens", "max_lines", "stop"} & {name for name, value in given.items() if value}
        for name, wanted in (("--until-end", until_end), ("--length", "length" in given)):
            if wanted and self.header.sequence == "stream":
                raise UsageError(f"a stream has no end, so {name} asks for nothing", "Limit its length: --max-chars.")
            if wanted and limits:
                raise UsageError(f"{name} and other limits contradict each other", "Give one of them.")
        if "max_copy" in given and self.fingerprint is None:
            raise UsageError("the model has no fingerprint of its training text", "Train it with --fingerprint 4MB.")
        if until_end or "length" in given:
            given["max_tokens"] = LONGEST_SAMPLE
        elif self.header.sequence == "stream" and not limits:
            given["max_chars"] = STREAM_MAX_CHARS
        return checked(SamplingSettings, **given)

    def beam(
        self,
        prefix: str = "",
        width: int = 10,
        *,
        length_normalisation: LengthNormalisation = "none",
        **settings: Any,
    ) -> list[Sample]:
        """The most probable continuations of a prefix that a beam search of so many open ones finds, best first; see
        `inference.search.beam`. Keywords as in `SamplingSettings`, of which the limits count.

        Raises:
            UsageError: if a line model is given a prefix with a newline in it.
        """
        from seqmodel.inference.search import beam

        self._refuse_lines(prefix)
        return beam(
            *(self.runtime, self.tokenizer, prefix, width, self.sampling(**settings)),
            ends=self.header.model.ends,
            one_line=self.header.sequence == "line",
            length_normalisation=length_normalisation,
        )

    def stream(self, prefix: str, settings: SamplingSettings, prefix_index: int = 0) -> Iterator[Piece]:
        """Sample continuations piece by piece; a sample's last piece is `done`.

        Raises:
            UsageError: if a line model is given a prefix with a newline in it.
        """
        from seqmodel.inference.generation import generate

        self._refuse_lines(prefix)
        ends = self.header.model.ends
        one_line = self.header.sequence == "line"
        return generate(
            *(self.runtime, self.tokenizer, prefix, settings),
            ends=ends,
            one_line=one_line,
            prefix_index=prefix_index,
            fingerprint=self.fingerprint,
        )

    def complete(self, prefix: str = "", k: int = 5, **settings: Any) -> list[Completion]:
        """The k most probable ways to finish the last word of a text or, after white space, to say the next one.

        Best first; the `probability` of each is that of its `text`, and then a word's end, given the prefix. Keywords
        as in `CompletionSettings` (effort). Errors as `completions`.
        """
        return list(self.completions(prefix, k, **settings).best)

    def completions(self, prefix: str = "", k: int = 5, **settings: Any) -> Completions:
        """As `complete`, with what the search left out. States are kept: a text much like the last one is read quickly.

        Raises:
            DataError: if the prefix holds a lone surrogate.
            UsageError: if a line model is given a prefix with a newline in it, or a setting cannot be.
        """
        self._refuse_lines(prefix)
        return self._completer.complete(prefix, checked(CompletionSettings, k=k, **settings))

    def next_tokens(self, prefix: str = "", k: int = 5) -> NextTokens:
        """The k most probable next tokens; where the prefix ends inside a token, of those that cover its end.

        Errors as `completions`.
        """
        self._refuse_lines(prefix)
        return self._completer.next_tokens(prefix, checked(CompletionSettings, k=k).k)

    @cached_property
    def _completer(self) -> Completer:
        from seqmodel.inference.completion import Completer

        one_line = self.header.sequence == "line"
        return Completer(self.runtime, self.tokenizer, ends=self.header.model.ends, one_line=one_line)

    def top(self, n: int = 10, prefix: str = "", **settings: Any) -> TopSearch:
        """The n most probable whole sequences, best first: an iterator of `TopSequence`.

        With a prefix: those whose tokens begin with its tokens, and their probabilities given the prefix. Keywords as
        in `SearchSettings` (max_bits, effort, frontier, memory); what the search did stands in the iterator.

        Raises:
            UsageError: if the model is one of a stream, or the prefix cannot begin what is looked for.
        """
        from seqmodel.inference.best_first import TopSearch

        if not self.header.model.ends:
            raise UsageError("a stream has no end, so it has no whole sequences", "Use a line or paragraph model.")
        if self.tokenizer.has_virtual_blanks and prefix.endswith(" "):
            raise UsageError("the prefix ends with a blank, which belongs to the word after it", "Leave it out.")
        self._refuse_lines(prefix)
        wanted = checked(SearchSettings, count=n, **settings)
        return TopSearch(self.runtime, self.tokenizer, prefix, wanted, one_line=self.header.sequence == "line")

    def _refuse_lines(self, prefix: str) -> None:
        if self.header.sequence == "line" and "\n" in prefix:
            raise UsageError("the prefix holds a newline", "A line model knows single lines; give the last one only.")


class MixedModel(Model):
    """Models that share a vocabulary as one, p = Σ w_i p_i at every token: it scores and samples as any model does."""

    def __init__(self, models: Sequence[Model], weights: Sequence[float]) -> None:
        from seqmodel.inference.model_mixture import ModelMixture

        self.header, self.tokenizer = models[0].header, models[0].tokenizer
        self.runtime = ModelMixture([model.runtime for model in models], weights)
        self.fingerprint = None


def mix(models: Sequence[Model], weights: Sequence[float] = ()) -> MixedModel | LineMixture:
    """Several models as one, with equal weights where none are given; they need not sum to one.

    Models of different vocabularies mix by lines: every line has Σ w_i p_i(line), and tokens have no scores.

    Raises:
        UsageError: if the weights do not fit, the models' sequences differ in kind, or one leaves out what its closed
            vocabulary lacks and another does not.
    """
    from seqmodel.inference.line_mixture import LineMixture
    from seqmodel.inference.model_mixture import shares

    share = shares(weights or [1.0] * len(models), len(models))
    first = models[0]
    if any(model.header.sequence != first.header.sequence for model in models):
        raise UsageError("the models' sequences differ in kind", "Mix models that were trained with one --sequence.")
    if all(model.tokenizer.spells_as(first.tokenizer) for model in models):
        return MixedModel(models, share)
    if any(model.header.closed for model in models):
        raise UsageError(
            "a closed vocabulary leaves out of its score what it does not know",
            "Mix it with models of the same closed vocabulary.",
        )
    return LineMixture(models, share)
