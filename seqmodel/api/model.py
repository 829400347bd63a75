"""A loaded model, or several as one: everything that can be asked of it, on the CPU and without torch.

What each method does stands in a module of its own, imported when it is first asked for.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property, reduce
from typing import TYPE_CHECKING, Any

from seqmodel.command_settings import CompletionSettings, SamplingSettings, SearchSettings
from seqmodel.errors import ModelError, UsageError
from seqmodel.model.bundle import Bundle, BundleHeader, HeldOutLines
from seqmodel.settings import checked
from seqmodel.tokens.characters import union

if TYPE_CHECKING:
    from seqmodel.decoding.beam import LengthNormalisation
    from seqmodel.decoding.best_first import TopSearch
    from seqmodel.decoding.completion import Completer, Completion, Completions, NextTokens
    from seqmodel.decoding.generation import Piece, Sample
    from seqmodel.decoding.token_masks import SequenceForm
    from seqmodel.scoring.anomaly import Span
    from seqmodel.scoring.line_mixture import LineMixture
    from seqmodel.scoring.lines import LineContext, LineScore
    from seqmodel.scoring.rescoring import Rescored
    from seqmodel.scoring.words import WordScore
    from seqmodel.text.corpus import Line

STREAM_MAX_CHARS = 500
LONGEST_SAMPLE = 1 << 20  # tokens of a sample that may go on until its end


class Model:
    """A loaded model: scores sequences and samples continuations on the CPU, without torch."""

    def __init__(self, bundle: Bundle) -> None:
        from seqmodel.inference.experts import sequence_model

        self.header: BundleHeader = bundle.header
        self.tokenizer = bundle.tokenizer
        self.fingerprint = bundle.fingerprint
        self.characters = bundle.written_characters
        self.runtime = sequence_model(bundle)

    def score(
        self, texts: Sequence[str], details: bool = False, *, given: str | Sequence[str] = "", separator: str = " "
    ) -> list[LineScore]:
        """Score each text as a sequence of its own, whatever the model's sequence kind; `texts` is a list.

        A score's `bits` is −log2 p of the text, its end symbol included, or in a stream model the newline that ends
        it: the same as the text's in a file by itself, in a column or with `rescore`. With `given`, one text or one
        for each, it is −log2 p(text | given), where both stand in one sequence, `separator` between them where neither
        has white space there. With `details`, `scores` also holds entropy (bits) and rank per token.

        Raises:
            DataError: if a text holds a lone surrogate.
            UsageError: if `texts` is a string, or texts are given for more or fewer.
        """
        from seqmodel.scoring.anomaly import line_ends
        from seqmodel.scoring.tokens import ScoreFields
        from seqmodel.scoring.words import boundary_tokens
        from seqmodel.text.corpus import Line

        texts = listed(texts)
        before = [given] * len(texts) if isinstance(given, str) else listed(given)
        if len(before) != len(texts):
            raise UsageError(f"{len(before)} texts are given for {len(texts)} texts", "Give one, or one for each.")
        lines = [
            Line(number, text, False, one)
            for number, (text, one) in enumerate(zip(texts, before, strict=True), start=1)
        ]
        boundary = boundary_tokens(self.tokenizer) if details else None
        wanted = ScoreFields(ranks=details, boundary=boundary, line_ends=line_ends(self.tokenizer))
        reading = self.reading(restart=True, separator=separator, fields=wanted)
        return [row for rows in self.score_lines([lines], reading) for row in rows]

    def reading(self, **settings: Any) -> LineContext:
        """A context in which lines are read; keywords as in `LineContext`."""
        from seqmodel.scoring.lines import LineContext

        return LineContext(self.header.sequence, **settings)

    def score_lines(
        self, batches: Iterable[list[Line]], reading: LineContext | None = None
    ) -> Iterator[list[LineScore]]:
        """Score the lines of one file, batch by batch; see `scoring.lines`."""
        from seqmodel.scoring.lines import score_lines

        return score_lines(self.runtime, self.tokenizer, reading or self.reading(), batches)

    def words(self, score: LineScore) -> list[WordScore]:
        """The surprisal of a scored text's words; for word and subword models `details` must have been asked for."""
        from seqmodel.scoring.words import word_scores

        return word_scores(score, self.tokenizer)

    def log_probabilities(self, texts: Sequence[str]) -> list[float]:
        """ln p of each text as a sequence of its own, with its end symbol, or in a stream model the newline that ends
        it. What texts begin with in common is computed once.
        """
        from seqmodel.scoring.rescoring import log_probabilities

        return log_probabilities(self.runtime, self.tokenizer, self.header.sequence, listed(texts))

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
        from seqmodel.scoring.rescoring import Combination, Rescored, features

        hypotheses = listed(hypotheses)
        if any(len(one) != len(hypotheses) for one in scores):
            raise UsageError("there are more or fewer scores than hypotheses", "Give one for each hypothesis.")
        combination = Combination.of(len(scores), weight, score_weights, length_penalty)
        lm_scores = self.log_probabilities(hypotheses)
        totals = combination.totals(features(lm_scores, hypotheses, scores)).tolist()
        rescored = [Rescored(*cells) for cells in zip(hypotheses, lm_scores, totals, strict=True)]
        return sorted(rescored, key=lambda one: -one.total)

    @cached_property
    def held_out_lines(self) -> HeldOutLines:
        """The distribution of held-out lines' scores, by their length.

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
        """The place of a line among held-out lines of like length, by bits per char (per token in a closed
        vocabulary): 0 to 100 = more surprising than any; NaN if it is empty. White space at its end makes a line of
        a word or subword model no odder."""
        from seqmodel.scoring.anomaly import percentile, rated

        return percentile(self.held_out_lines, *rated(score, self.tokenizer))

    def worst_span(self, score: LineScore) -> Span | None:
        """The most surprising span of a line, by excess over the mean bits of a token; None if it is empty."""
        from seqmodel.scoring.anomaly import worst_span

        return worst_span(score, self.tokenizer, self.mean_bits)

    def generate(self, prefix: str = "", **settings: Any) -> list[Sample]:
        """Sample continuations of a prefix; keywords as in `SamplingSettings` (count, temperature, seed …). Without a
        `seed` other ones come at each call.

        They hold only characters of the training text and, in a word model where truncation or a temperature below 1
        makes the probable more so, only words of its vocabulary; `any_text=True` opens both.
        """
        done = [piece.sample for piece in self.stream(prefix, self.sampling(**settings)) if piece.done]
        return sorted(done, key=lambda sample: sample.index)

    def sampling(self, *, until_end: bool = False, **settings: Any) -> SamplingSettings:
        """Sampling settings, with this model's own limit on length, and a random seed, where none is given.

        Raises:
            UsageError: if settings contradict each other, or ask for an end of a model without one.
        """
        given = {name: value for name, value in settings.items() if value is not None}
        return self.limited(checked(SamplingSettings, **given), until_end=until_end)

    def limited(self, settings: SamplingSettings, *, until_end: bool = False) -> SamplingSettings:
        """As `sampling`, of settings in which those that were not given are not set."""
        import secrets

        given = settings.model_fields_set
        ends = [name for name in ("max_lines", "stop") if name in given and getattr(settings, name)]
        cuts = [name for name in ("max_chars", "max_tokens") if name in given]
        limits = [*cuts, *ends]
        is_stream = self.header.sequence == "stream"
        if until_end and is_stream:
            raise UsageError("--until-end: a stream has no end", "Limit its length with --max-chars.")
        if "length" in given and is_stream and not ends:
            raise UsageError("--length: a stream has no end", "Say where a sample ends with --stop or --max-lines.")
        against = limits if until_end else cuts if "length" in given else []
        if against or (until_end and "length" in given):
            name, other = "until-end" if until_end else "length", (against or ["length"])[0].replace("_", "-")
            raise UsageError(f"--{name} and --{other} contradict each other", "Leave one of them out.")
        if "max_copy" in given and self.fingerprint is None:
            earlier = self.header.fingerprint is not None and self.header.fingerprint.longest is None
            kind = "an earlier kind of fingerprint, which misses copies" if earlier else "no fingerprint"
            raise UsageError(f"the model has {kind} of its training text", "Train it with --fingerprint 4MB.")
        own: dict[str, Any] = {} if "seed" in given else {"seed": secrets.randbelow(1 << 32)}
        if until_end or "length" in given:
            own["max_tokens"] = LONGEST_SAMPLE
        elif self.header.sequence == "stream" and not limits:
            own["max_chars"] = STREAM_MAX_CHARS
        return settings.model_copy(update=own)

    def beam(
        self,
        prefix: str = "",
        width: int = 10,
        *,
        length_normalisation: LengthNormalisation = "none",
        **settings: Any,
    ) -> list[Sample]:
        """The most probable continuations of a prefix that a beam search of so many open ones finds, best first; see
        `decoding.beam.beam`. Keywords as in `SamplingSettings`, of which the limits and `any_text` count.

        Raises:
            UsageError: if a line model is given a prefix with a newline in it.
        """
        from seqmodel.decoding.beam import beam

        self._refuse_lines(prefix)
        return beam(
            self.runtime,
            self.tokenizer,
            prefix,
            width,
            self.sampling(**settings),
            form=self._form,
            length_normalisation=length_normalisation,
            characters=self.characters,
        )

    def stream(self, prefix: str, settings: SamplingSettings, prefix_index: int = 0) -> Iterator[Piece]:
        """Sample continuations piece by piece; a sample's last piece is `done`.

        Raises:
            UsageError: if a line model is given a prefix with a newline in it.
        """
        from seqmodel.decoding.generation import generate

        self._refuse_lines(prefix)
        return generate(
            self.runtime,
            self.tokenizer,
            prefix,
            settings,
            form=self._form,
            prefix_index=prefix_index,
            fingerprint=self.fingerprint,
            characters=self.characters,
        )

    def complete(self, prefix: str = "", k: int = 5, **settings: Any) -> list[Completion]:
        """The k most probable ways to finish the last word of a text or, after white space, to say the next one.

        Best first; the `probability` of each is that of its `text`, and then a word's end, given the prefix. Keywords
        as in `CompletionSettings` (effort, any_text). Errors as `completions`.
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

    def next_tokens(self, prefix: str = "", k: int = 5, *, any_text: bool = False) -> NextTokens:
        """The k most probable next tokens; where the prefix ends inside a token, of those that cover its end.

        Errors as `completions`.
        """
        self._refuse_lines(prefix)
        return self._completer.next_tokens(prefix, checked(CompletionSettings, k=k, any_text=any_text))

    @property
    def _form(self) -> SequenceForm:
        """Form of the model's sequences: with an end or without, of one line or more."""
        from seqmodel.decoding.token_masks import SequenceForm

        return SequenceForm.of(self.header.sequence)

    @cached_property
    def _completer(self) -> Completer:
        from seqmodel.decoding.completion import Completer

        return Completer(
            self.runtime,
            self.tokenizer,
            form=self._form,
            characters=self.characters,
        )

    def top(self, n: int = 10, prefix: str = "", **settings: Any) -> TopSearch:
        """The n most probable whole sequences, best first: an iterator of `TopSequence`.

        With a prefix: those whose tokens begin with its tokens, and their probabilities given the prefix. Keywords as
        in `SearchSettings` (max_bits, effort, frontier, memory, any_text); what the search did stands in the iterator.

        Raises:
            UsageError: if the model is one of a stream, or the prefix cannot begin what is looked for.
        """
        from seqmodel.decoding.best_first import TopSearch

        if not self.header.model.ends:
            raise UsageError(
                "a stream has no end, so it has no whole sequences", "Use a model of lines, paragraphs or documents."
            )
        if self.tokenizer.has_virtual_blanks and prefix.endswith(" "):
            raise UsageError("the prefix ends with a blank, which belongs to the next word", "Leave the blank out.")
        self._refuse_lines(prefix)
        wanted = checked(SearchSettings, count=n, **settings)
        return TopSearch(
            self.runtime,
            self.tokenizer,
            prefix,
            wanted,
            form=self._form,
            characters=self.characters,
        )

    def _refuse_lines(self, prefix: str) -> None:
        if self.header.sequence == "line" and "\n" in prefix:
            raise UsageError(
                "the prefix holds a newline, and a line model has single lines", "Give its last line only."
            )


class MixedModel(Model):
    """Models that share a vocabulary as one, p = Σ w_i p_i at every token: it scores and samples as any model does."""

    def __init__(self, models: Sequence[Model], weights: Sequence[float]) -> None:
        from seqmodel.inference.ensemble import ModelMixture

        self.header, self.tokenizer = models[0].header, models[0].tokenizer
        self.runtime = ModelMixture([model.runtime for model in models], weights)
        self.fingerprint = None
        self.characters = reduce(union, [model.characters for model in models])

    @cached_property
    def held_out_lines(self) -> HeldOutLines:
        raise UsageError("a mixture has no held-out lines to compare with", "Ask one of its models.")

    @cached_property
    def mean_bits(self) -> float:
        raise UsageError("a mixture has no held-out figures to compare with", "Ask one of its models.")


def listed(texts: Sequence[str]) -> list[str]:
    """The texts as a list.

    Raises:
        UsageError: if they are a single string, whose characters would be taken for texts, or no strings at all.
    """
    if isinstance(texts, str | bytes) or not isinstance(texts, Iterable):
        raise UsageError("texts must be a list of strings", "Put a single text into brackets: [text].")
    given = list(texts)
    if not all(isinstance(text, str) for text in given):
        raise UsageError("texts must be a list of strings", "Read what is no string as one first.")
    return given


def mix(models: Sequence[Model], weights: Sequence[float] = ()) -> MixedModel | LineMixture:
    """Several models as one, with equal weights where none are given; they need not sum to one.

    Models of different vocabularies mix by lines: every line has Σ w_i p_i(line), and tokens have no scores.

    Raises:
        UsageError: if there are no models, the weights do not fit, the models' sequences differ in kind, or one leaves
            out what its closed vocabulary lacks and another does not.
    """
    from seqmodel.inference.ensemble import shares
    from seqmodel.scoring.line_mixture import LineMixture

    if not models:
        raise UsageError("no models are given to be mixed", "Give two or more.")
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
