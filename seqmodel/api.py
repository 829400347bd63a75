"""The verbs as plain functions: what the command line calls, and what Python users call.

    model = seqmodel.load("model.seqmodel")
    model.score(["a line", "another"])
    model.generate("Once upon", count=3)
    seqmodel.train(["corpus.txt"], "model.seqmodel", time="60s")

Torch is imported by `train` alone.
"""

from __future__ import annotations

import os
import time as clock
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seqmodel.config import CorpusSettings, SamplingSettings, SearchSettings, TokenizerSettings, checked
from seqmodel.errors import UsageError
from seqmodel.files import exclusive, refuse_existing
from seqmodel.kinds import Over
from seqmodel.model.bundle import DEFAULT_NAME, Bundle, BundleHeader, read_bundle
from seqmodel.training.request import TrainingRequest, TrainingResult

if TYPE_CHECKING:
    from seqmodel.inference.best_first import TopSearch
    from seqmodel.inference.generation import Piece, Sample
    from seqmodel.inference.line_scores import LineScore, Reading
    from seqmodel.inference.words import WordScore
    from seqmodel.text.corpus import Line
    from seqmodel.tokens.store import TokenStore
    from seqmodel.tokens.tokenizer import Tokenizer
    from seqmodel.training.events import Event

STREAM_MAX_CHARS = 500


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

    def generate(self, prefix: str = "", **settings: Any) -> list[Sample]:
        """Sample continuations of a prefix; keywords as in `SamplingSettings` (count, temperature, seed …)."""
        done = [piece.sample for piece in self.stream(prefix, self.sampling(**settings)) if piece.done]
        return sorted(done, key=lambda sample: sample.index)

    def sampling(self, **settings: Any) -> SamplingSettings:
        """Sampling settings, with this model's own limit on length where none is given."""
        if self.header.sequence == "stream" and not settings.get("max_chars") and not settings.get("max_tokens"):
            settings["max_chars"] = STREAM_MAX_CHARS
        return checked(SamplingSettings, **{name: value for name, value in settings.items() if value is not None})

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
            self.runtime, self.tokenizer, prefix, settings, ends=ends, one_line=one_line, prefix_index=prefix_index
        )

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
