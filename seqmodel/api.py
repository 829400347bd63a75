"""The verbs as plain functions: what the command line calls, and what Python users call.

    model = seqmodel.load("model.seqmodel")
    model.score(["a line", "another"])
    model.generate("Once upon", count=3)
    seqmodel.train(["corpus.txt"], "model.seqmodel", time="60s")
    seqmodel.compare(["a.seqmodel", "b.seqmodel"], "test.txt").models[1].per_char

Torch is imported by `train` alone.
"""

from __future__ import annotations

import os
import time as clock
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seqmodel.config import CorpusSettings, SamplingSettings, TokenizerSettings, checked
from seqmodel.errors import ModelError, UsageError
from seqmodel.files import exclusive, refuse_existing
from seqmodel.kinds import Over
from seqmodel.model.bundle import DEFAULT_NAME, Bundle, BundleHeader, HeldOutLines, read_bundle
from seqmodel.training.request import TrainingRequest, TrainingResult

if TYPE_CHECKING:
    from seqmodel.inference.comparison import Comparison
    from seqmodel.inference.generation import Piece, Sample
    from seqmodel.inference.line_mixture import LineMixture
    from seqmodel.inference.line_scores import LineScore, Reading
    from seqmodel.inference.oddness import Span
    from seqmodel.inference.rescoring import Rescored
    from seqmodel.inference.words import WordScore
    from seqmodel.text.corpus import Line
    from seqmodel.tokens.store import TokenStore
    from seqmodel.tokens.tokenizer import Tokenizer
    from seqmodel.training.events import Event

STREAM_MAX_CHARS = 500
MOST_COMPARED = 1_000_000  # lines told of, or bootstrap samples
LONGEST_SAMPLE = 1 << 20  # tokens of a sample that may go on until its end


def model_path(name: str | Path | None = None) -> Path:
    """The bundle that a user means: the one named, else `$SEQMODEL_MODEL`, else `./model.seqmodel`."""
    return Path(name or os.environ.get("SEQMODEL_MODEL") or DEFAULT_NAME)


def load(path: str | Path | None = None) -> Model:
    """Load a bundle.

    Raises:
        ModelError: if it is missing, damaged, or no bundle.
    """
    return Model(read_bundle(model_path(path)))


class Model:
    """A loaded model: scores sequences and samples continuations on the CPU, without torch."""

    def __init__(self, bundle: Bundle) -> None:
        from seqmodel.inference.mixture import sequence_model

        self.header: BundleHeader = bundle.header
        self.tokenizer = bundle.tokenizer
        self.runtime = sequence_model(bundle)

    def score(
        self, texts: Sequence[str], details: bool = False, *, given: str | Sequence[str] = "", separator: str = " "
    ) -> list[LineScore]:
        """Score each text as a sequence of its own, whatever the model's sequence kind.

        A score's `bits` is −log2 p of the text, its end symbol included (in a stream model there is none). With
        `given`, one text or one for each, it is −log2 p(text | given), where both stand in one sequence, `separator`
        between them where neither has white space there. With `details`, `scores` also holds entropy (bits) and rank
        per token.
        """
        from seqmodel.inference.scoring import Wanted
        from seqmodel.inference.words import boundary_tokens
        from seqmodel.text.corpus import Line

        before = [given] * len(texts) if isinstance(given, str) else given
        lines = [
            Line(number, text, False, one)
            for number, (text, one) in enumerate(zip(texts, before, strict=True), start=1)
        ]
        wanted = Wanted(ranks=details, boundary=boundary_tokens(self.tokenizer) if details else None)
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
        vocabulary): 0 to 100 = more surprising than any; NaN if it is empty."""
        from seqmodel.inference.oddness import length_of, percentile

        return percentile(self.held_out_lines, score.bits, length_of(score, self.header.closed))

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
        if until_end or "length" in given:
            given["max_tokens"] = LONGEST_SAMPLE
        elif self.header.sequence == "stream" and not limits:
            given["max_chars"] = STREAM_MAX_CHARS
        return checked(SamplingSettings, **given)

    def stream(self, prefix: str, settings: SamplingSettings, prefix_index: int = 0) -> Iterator[Piece]:
        """Sample continuations piece by piece; a sample's last piece is `done`.

        Raises:
            UsageError: if a line model is given a prefix with a newline in it.
        """
        from seqmodel.inference.generation import generate

        if self.header.sequence == "line" and "\n" in prefix:
            raise UsageError("the prefix holds a newline", "A line model knows single lines; give the last one only.")
        ends = self.header.model.ends
        one_line = self.header.sequence == "line"
        return generate(
            self.runtime, self.tokenizer, prefix, settings, ends=ends, one_line=one_line, prefix_index=prefix_index
        )


class MixedModel(Model):
    """Models that share a vocabulary as one, p = Σ w_i p_i at every token: it scores and samples as any model does."""

    def __init__(self, models: Sequence[Model], weights: Sequence[float]) -> None:
        from seqmodel.inference.model_mixture import ModelMixture

        self.header, self.tokenizer = models[0].header, models[0].tokenizer
        self.runtime = ModelMixture([model.runtime for model in models], weights)


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


Paths = Sequence[str | os.PathLike[str]] | str | os.PathLike[str]


def _names(inputs: Paths) -> tuple[str, ...]:
    return (os.fspath(inputs),) if isinstance(inputs, str | os.PathLike) else tuple(os.fspath(name) for name in inputs)


# Tokenising


def tokenize(
    inputs: Paths,
    output: str | Path,
    *,
    tokenizer: TokenizerSettings | None = None,
    corpus: CorpusSettings | None = None,
    model: Tokenizer | None = None,
    force: bool = False,
) -> TokenStore:
    """Learn a vocabulary (or use a model's) and encode a corpus into a token store.

    Raises:
        DataError: if the corpus cannot be read or holds no text.
        UsageError: if the output exists, or the vocabulary size does not fit.
    """
    from seqmodel.tokens.store import make_store, open_store

    path = Path(output)
    with exclusive(path):
        refuse_existing(path, force)
        make_store(path, _names(inputs), tokenizer or TokenizerSettings(), corpus or CorpusSettings(), model)
    return open_store(path)


# Training


def train(
    inputs: Paths = (),
    output: str | Path | None = None,
    *,
    config: str | Path | None = None,
    resume: bool = False,
    force: bool = False,
    on_event: Callable[[Event], None] = lambda event: None,
    **options: Any,
) -> TrainingResult:
    """Train a model on text files, folders or a token store, and write the bundle to `output`.

    The options have the names and values that they have in a TOML file, which `config` may name (README, "Settings in
    a file"): `time` ("10m" or seconds), `steps` or `epochs`, `unit`, `sequence`, `valid`, `size`, `cell`, `width`,
    `layers`, `seed` … Returns the result, whose header holds the held-out figures.

    Raises:
        SeqmodelError: as the command line does; see `seqmodel.errors`.
    """
    from seqmodel.training.options import checked_options, merged, read_options, request_of

    places = {"inputs": _names(inputs) or None, "output": None if output is None else os.fspath(output)}
    given = checked_options(places | options)
    request = request_of(merged(read_options(config) if config is not None else {}, given), resume=resume, force=force)
    return run_training(request, on_event=on_event)


def run_training(
    request: TrainingRequest,
    *,
    on_event: Callable[[Event], None] = lambda event: None,
    should_stop: Callable[[], bool] = lambda: False,
    started: float | None = None,
) -> TrainingResult:
    """Carry out a request; `started` is the clock reading at which a `--time` budget began to run.

    In several processes under `torchrun` each calls this; the first alone writes and tells of events.
    """
    from seqmodel.training.distributed import process_group
    from seqmodel.training.following import FollowingRun
    from seqmodel.training.run import TrainingRun

    started = clock.monotonic() if started is None else started
    given = [name for name in ("seconds", "steps", "epochs") if request.training.get(name) is not None]
    if len(given) > 1:
        raise UsageError("more than one budget is given", "Give one of --time, --steps and --epochs.")
    with process_group() as group:
        if not group.leads:
            return FollowingRun(request, started, lambda event: None, should_stop, group).carry_out()
        with exclusive(request.output):
            return TrainingRun(request, started, on_event, should_stop, group).carry_out()


# Comparing


def compare(
    models: Paths,
    inputs: Paths,
    *,
    worst: int = 5,
    resamples: int = 1000,
    seed: int = 0,
    corpus: CorpusSettings | None = None,
) -> Comparison:
    """Score the same text with several bundles and tell how they differ from the first.

    Every model reads the text as its own kind of sequence does, and what is compared is lines. `worst` lines are kept
    on which each model is worse, and better, than the first; intervals come from `resamples` bootstrap samples.

    Raises:
        DataError: if a text cannot be read, or there is none.
        UsageError: if there are fewer than two models, or they cannot be compared.
    """
    from seqmodel.inference.comparison import Gathering, check_comparable
    from seqmodel.inference.line_mixture import scored_by_each
    from seqmodel.text.inputs import LineInputs

    names = _names(models)
    if len(names) < 2:
        raise UsageError("fewer than two models are named", "Name two or more; the first is the baseline.")
    if worst < 0 or resamples < 1 or seed < 0:
        raise UsageError("a number of lines or resamples, or the seed, is too small", "Give a larger one.")
    if max(worst, resamples) > MOST_COMPARED:
        raise UsageError(f"more than {MOST_COMPARED:,} lines or resamples are asked for", "Give a smaller number.")
    loaded = [load(name) for name in names]
    check_comparable(loaded)
    gathered = Gathering(names, loaded, worst)
    any_bytes = all(model.header.unit == "byte" for model in loaded)
    for name, batches in LineInputs.of(_names(inputs), (), corpus or CorpusSettings(), any_bytes).streams():
        for rows in scored_by_each(loaded, batches):
            gathered.add(name, rows)
        gathered.end_file()
    return gathered.comparison(resamples, seed)


# Pictures


def plot(
    logs: Paths,
    output: str | os.PathLike[str],
    *,
    over: Over = "time",
    force: bool = False,
) -> Path:
    """Draw the runs whose `.jsonl` logs are given as a figure, .svg or .png; needs matplotlib.

    Raises:
        DataError: if a log is missing, damaged or empty.
        UsageError: if the output exists or is of another kind, or the runs cannot share an axis.
    """
    from seqmodel.reports.history import read_history
    from seqmodel.reports.picture import picture
    from seqmodel.reports.plots import check_ending, save_figure

    path = Path(output)
    check_ending(path)
    refuse_existing(path, force)
    histories = [read_history(Path(name)) for name in _names(logs)]
    save_figure(picture(histories, over), path)
    return path
