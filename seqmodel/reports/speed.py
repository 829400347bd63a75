"""This machine's speed: tokens a second in training, scoring and generation, as shares of its matrix-product peak.

Knows the trainer, the sequence models and a made-up corpus; not the screen. Each figure is that of the fastest of
several short runs, since other work on the machine can only slow them down. Arithmetic counts the multiply-adds of the
dense weights alone: two operations each, and three times as many in training.
"""

from __future__ import annotations

import dataclasses
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from threadpoolctl import threadpool_info, threadpool_limits

from seqmodel.arrays import Array
from seqmodel.choices import CellKind, Precision, SequenceKind, Size
from seqmodel.command_settings import SamplingSettings
from seqmodel.decoding.generation import generate
from seqmodel.decoding.token_masks import SequenceForm
from seqmodel.inference.experts import UNFITTED_WEIGHT, Mixture, sequence_model
from seqmodel.inference.runtime import Runtime
from seqmodel.inference.sequence_model import SequenceModel
from seqmodel.model.bundle import Bundle, stored_precision, weight_shapes
from seqmodel.model.kneser_ney import CountModel, estimate
from seqmodel.model.ngram_embeddings import NgramIndex, build_index
from seqmodel.scoring.tokens import RunningScorer, TokenScores, score_sequences
from seqmodel.settings import CorpusSettings, ModelSettings, NetworkSettings, TokenizerSettings, TrainingSettings
from seqmodel.tokens.batches import whole_store
from seqmodel.tokens.store import TokenStore, make_store, open_store
from seqmodel.tokens.tokenizer import END, Tokenizer
from seqmodel.training.devices import native_precision
from seqmodel.training.loop import Trainer
from seqmodel.training.optimization import fast_arithmetic, usable_cores
from seqmodel.training.planning import SIZES, Task, plan_model, plan_ngrams, plan_order, plan_training
from seqmodel.training.training_data import TrainingData

Action = Callable[[], int]
Job = Literal["train", "score_lines", "score_text", "generate_1", "generate_32", "tokenize"]

CORPUS_CHARS = 1_000_000
PLANNED_SECONDS = 180.0  # training is planned as for a run of this length
CHUNK_SECONDS = 0.2  # the least training time that gives a rate
LINES, LINE_TOKENS = 128, 64
BURST_SECONDS = 0.02  # the least time of products that gives a rate, against lucky moments of the scheduler
STREAM_TOKENS = {1: 256, 32: 64}  # streams sampled side by side -> tokens of each
SCORED_ROWS = 2048  # of the product that measures NumPy's peak
_SYMBOLS = b"\n abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ,.;:'!?-&3"


@dataclass(frozen=True)
class Speed:
    """The speed of one job.

    `peak_gflops` is the fp32 peak of its library (torch in training, NumPy in scoring), `share` its own arithmetic's
    share of that; both are None for jobs that matrix products do not limit. `precision` is that of training's products,
    which in bf16 can exceed the fp32 peak.
    """

    what: Job
    cell: CellKind
    size: Size | None  # None for a bundle
    layers: int
    width: int
    threads: int
    tokens_per_second: float
    peak_gflops: float | None = None
    share: float | None = None
    precision: Precision | None = None


def preset_speeds(
    cells: Sequence[CellKind], sizes: Sequence[Size], *, seconds: float, threads: int | None = None
) -> Iterator[Speed]:
    """Yield speeds of networks of the preset sizes on a made-up corpus, each measured for about `seconds`."""
    corpus = made_up_corpus()
    for cell in cells:
        for size in sizes:
            speed, jobs = _training(corpus, cell, size, seconds, threads)
            yield speed
            yield from jobs.speeds(corpus.lines, seconds, threads)


def bundle_speeds(bundle: Bundle, *, seconds: float, threads: int | None = None) -> Iterator[Speed]:
    """Yield speeds of a bundle in scoring and generation, on text that it samples itself."""
    header = bundle.header
    jobs = _Jobs(header.model, None, header.sequence, sequence_model(bundle), bundle.tokenizer)
    yield from jobs.speeds(jobs.sampled_lines(), seconds, threads)


# Corpus


@dataclass(frozen=True)
class Corpus:
    """A made-up stream in memory, its n-gram index and counts for all networks, and some of its lines."""

    data: TrainingData
    index: NgramIndex
    counts: CountModel
    lines: list[str]


def made_up_text(chars: int, seed: int = 0) -> str:
    """Text from a random Markov source, in lines of some forty characters; equal seeds give equal texts."""
    random = np.random.Generator(np.random.Philox(key=seed))
    symbols = np.frombuffer(_SYMBOLS, np.uint8)
    moves = random.dirichlet(np.full(len(symbols), 0.1), len(symbols)) * (1 - 1 / 40)
    moves[:, 0] += 1 / 40
    edges = np.cumsum(moves, axis=1)[:, :-1]
    walks = max(1, chars // 1000)  # drawn side by side, joined end to end
    state = np.zeros(walks, np.int64)
    text = np.empty((chars // walks, walks), np.uint8)
    for row in text:
        state = (edges[state] < random.random((walks, 1))).sum(axis=1)
        row[:] = symbols[state]
    return text.T.tobytes().decode("ascii")


def made_up_corpus() -> Corpus:
    """A corpus of CORPUS_CHARS made-up characters, indexed and counted."""
    text = made_up_text(CORPUS_CHARS)
    store = _in_memory(text)
    ranges = whole_store(store)
    orders, rows = plan_ngrams(_task(store), 1)
    return Corpus(
        TrainingData(store, ranges, store, np.empty((0, 2), np.int64)),
        build_index(store, ranges, orders, rows),
        estimate(store, ranges, plan_order(_task(store))),
        text.split("\n")[:LINES],
    )


def _task(store: TokenStore, budget: TrainingSettings = TrainingSettings()) -> Task:  # noqa: B008
    header = store.header
    return Task(header.unit, header.closed, False, header.vocabulary, header.tokens, budget)


def _in_memory(text: str) -> TokenStore:
    """A token store of a text, in memory; its temporary files are removed."""
    with tempfile.TemporaryDirectory(prefix="seqmodel-bench-") as folder:
        source, path = Path(folder, "corpus.txt"), Path(folder, "corpus.tokens")
        source.write_text(text, encoding="utf-8")
        make_store(path, [str(source)], TokenizerSettings(), CorpusSettings(sequence="stream"))
        store = open_store(path)
        return dataclasses.replace(store, ids=np.array(store.ids), ends=np.array(store.ends))


# Training


def _training(corpus: Corpus, cell: CellKind, size: Size, seconds: float, threads: int | None) -> tuple[Speed, _Jobs]:
    """Measure the training of a network. Returns its speed and the jobs of the trained model, stored as in a bundle."""
    layers, width = SIZES[size]
    header, index = corpus.data.store.header, corpus.index
    listed = tuple((order, len(keys)) for order, keys in zip(index.orders, index.keys, strict=True))
    shape = NetworkSettings(cell=cell, layers=layers, width=width, networks=1)
    chosen = TrainingSettings(seconds=PLANNED_SECONDS, threads=threads, precision=native_precision())
    task = _task(corpus.data.store, chosen)
    settings = plan_model(task, shape).model_copy(update={"ngram_rows": listed})
    plan = plan_training(task, settings, chosen)
    with _threads(threads), fast_arithmetic():
        trainer = Trainer(corpus.data, settings, plan, index)
        used, rows = torch.get_num_threads(), plan.lanes * plan.segment
        rate, *products = best_rates([_training_chunk(trainer), *torch_products(rows, width)], 2 * seconds)
        peak = max(products)
    weights = {name: stored_precision(array) for name, array in trainer.kept_weights().items()}
    shares = np.full(corpus.counts.situations, UNFITTED_WEIGHT, np.float32)
    model = Mixture(Runtime(settings, weights, index, header.closed), corpus.counts, shares)
    share = 3 * 2 * dense_weights(settings) * rate / peak
    speed = Speed("train", cell, size, layers, width, used, rate, peak / 1e9, share, plan.precision)
    return speed, _Jobs(settings, size, header.sequence, model, corpus.data.store.tokenizer)


def _training_chunk(trainer: Trainer) -> Action:
    """An action that runs some steps of the trainer's loop, after a warm-up."""
    steps = trainer.events(trainer.clock() + PLANNED_SECONDS)

    def chunk() -> int:
        began, before = time.perf_counter(), trainer.tokens
        for _ in steps:
            if time.perf_counter() - began >= CHUNK_SECONDS:
                break
        return trainer.tokens - before

    chunk()
    return chunk


# Scoring, generation, tokenising


@dataclass(frozen=True)
class _Jobs:
    """The jobs of a trained model."""

    settings: ModelSettings
    size: Size | None
    sequence: SequenceKind
    model: SequenceModel
    tokenizer: Tokenizer

    def speeds(self, lines: list[str], seconds: float, threads: int | None) -> Iterator[Speed]:
        with _threads(threads):
            found = self._scoring(lines, seconds)
        yield from found
        for streams in STREAM_TOKENS:
            with _threads(threads):
                speed = self._generating(streams, seconds)
            yield speed
        text = "\n".join(lines)
        (rate,) = best_rates([lambda: len(self.tokenizer.encode(text))], seconds / 10)
        yield self._speed("tokenize", 1, rate)

    def _speed(self, what: Job, threads: int, rate: float, peak: float | None = None) -> Speed:
        made = self.settings
        share = None if peak is None else 2 * dense_weights(made) * rate / peak
        gflops = None if peak is None else peak / 1e9
        return Speed(what, made.cell, self.size, made.layers, made.width, threads, rate, gflops, share)

    def _scoring(self, lines: list[str], seconds: float) -> list[Speed]:
        """Measure scoring of many short sequences, and of the same lines as one long text."""
        end = [] if self.sequence == "stream" else [END]
        short = [np.append(self.tokenizer.encode_line(line), end).astype(np.int64) for line in lines]
        long = np.concatenate(short)
        long = long[long != END]
        jobs: list[Action] = [
            lambda: _tokens(score_sequences(self.model, short)),
            lambda: _tokens([RunningScorer(self.model).score(long)]),
        ]
        many, one, *products = best_rates([*jobs, *numpy_products(SCORED_ROWS, self.settings.width)], 2 * seconds)
        threads, peak = numpy_threads(), max(products)
        return [self._speed("score_lines", threads, many, peak), self._speed("score_text", threads, one, peak)]

    def _generating(self, streams: int, seconds: float) -> Speed:
        what: Job = "generate_1" if streams == 1 else "generate_32"
        run = partial(self._sample, streams, STREAM_TOKENS[streams])
        (rate,) = best_rates([lambda: sum(tokens for tokens, _ in run())], seconds)
        return self._speed(what, numpy_threads(), rate)

    def sampled_lines(self) -> list[str]:
        return [line for _, text in self._sample(LINES, LINE_TOKENS) for line in text.split("\n")]

    def _sample(self, count: int, tokens: int) -> list[tuple[int, str]]:
        """Draw `count` samples of exactly `tokens` tokens. Returns number of tokens and text of each."""
        settings = SamplingSettings(count=count, max_tokens=tokens)
        form = SequenceForm(ends=False, one_line=self.sequence == "line")
        pieces = generate(self.model, self.tokenizer, "", settings, form=form)
        return [(piece.sample.tokens, piece.sample.text) for piece in pieces if piece.done]


def _tokens(scores: list[TokenScores]) -> int:
    return sum(len(score.bits) for score in scores)


# Rates


def best_rates(actions: Sequence[Action], seconds: float) -> list[float]:
    """The highest rate of each action, in units of what the action returns, a second.

    The actions take turns, in two rounds or more until `seconds` are over, so that a slow spell of the machine slows
    all of them.
    """
    best, rounds, end = [0.0] * len(actions), 0, time.perf_counter() + seconds
    while rounds < 2 or time.perf_counter() < end:
        for number, action in enumerate(actions):
            began = time.perf_counter()
            done = action()
            best[number] = max(best[number], done / max(1e-9, time.perf_counter() - began))
        rounds += 1
    return best


def torch_products(rows: int, width: int) -> list[Action]:
    """Actions that multiply with torch the shapes of a training step; each returns its number of operations."""

    def multiply(a: Array, b: Array, out: Array) -> object:
        return torch.mm(torch.from_numpy(a), torch.from_numpy(b), out=torch.from_numpy(out))

    return _products(multiply, rows, width)


def numpy_products(rows: int, width: int) -> list[Action]:
    """The same with NumPy."""
    return _products(np.matmul, rows, width)


def _products(multiply: Callable[[Array, Array, Array], object], rows: int, width: int) -> list[Action]:
    """Products of the gates' shapes: forward, and backward to the inputs and to the weights."""
    shapes = ((rows, width, 3 * width), (rows, 3 * width, width), (3 * width, rows, width))
    return [partial(_burst, multiply, *shape) for shape in shapes]


def _burst(multiply: Callable[[Array, Array, Array], object], rows: int, inner: int, columns: int) -> int:
    a, b, out = _operands(rows, inner, columns)
    end, times = time.perf_counter() + BURST_SECONDS, 0
    while not times or time.perf_counter() < end:
        multiply(a, b, out)
        times += 1
    return times * 2 * rows * inner * columns


@lru_cache(maxsize=6)
def _operands(rows: int, inner: int, columns: int) -> tuple[Array, Array, Array]:
    random = np.random.Generator(np.random.Philox(key=0))
    a, b = (random.standard_normal(shape, np.float32) for shape in ((rows, inner), (inner, columns)))
    return a, b, np.empty((rows, columns), np.float32)


def dense_weights(settings: ModelSettings) -> int:
    """The number of weights that multiply every token: all matrices but those that are looked up by row."""
    looked_up = (".table.weight",) if settings.tied else (".table.weight", ".token.weight")
    shapes = weight_shapes(settings)
    return sum(
        shape[0] * shape[1] for name, shape in shapes.items() if len(shape) == 2 and not name.endswith(looked_up)
    )


def numpy_threads() -> int:
    """The number of threads of NumPy's matrix products."""
    pools: list[int] = [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]
    return max(pools, default=usable_cores())


@contextmanager
def _threads(count: int | None) -> Iterator[None]:
    """Use `count` threads in NumPy, if given; restores torch's number afterwards."""
    before = torch.get_num_threads()
    try:
        with threadpool_limits(count, "blas"):
            yield
    finally:
        torch.set_num_threads(before)
