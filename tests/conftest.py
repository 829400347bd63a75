"""Small corpora and models that many tests share, made once per run."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Callable, Iterator
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest

import seqmodel
from seqmodel.api.model import Model
from tests.dying import SERVER

os.environ["CUDA_VISIBLE_DEVICES"] = ""  # what is promised bit for bit is promised on a CPU
for number, action in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
    if signal.getsignal(number) is signal.SIG_IGN:  # in a script's background, which commands inherit
        signal.signal(number, action)

WORDS = "anna boil cat dog eat far good hill into jam kite long".split()


def little_text(lines: int = 300, seed: int = 3) -> str:
    """Short lines of a few words, with structure that a small model learns at once."""
    random_ = random.Random(seed)
    return "".join(" ".join(random_.choices(WORDS, k=random_.randint(1, 5))) + "\n" for _ in range(lines))


@pytest.fixture(scope="session")
def train_little(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Train a tiny model on some text (once for equal arguments) and give its path."""
    made: dict[str, Path] = {}

    def train(text: str | None = None, **settings: Any) -> Path:
        key = repr((text, sorted(settings.items())))
        if key not in made:
            folder = tmp_path_factory.mktemp("model")
            corpus = folder / "corpus.txt"
            corpus.write_bytes((little_text() if text is None else text).encode())
            defaults = {"steps": 60, "width": 24, "layers": 2, "seed": 1}
            output = folder / "model.seqmodel"
            seqmodel.train(str(corpus), output, **(defaults | settings))
            made[key] = output
        return made[key]

    return train


@pytest.fixture(scope="session")
def little_model(train_little: Callable[..., Path]) -> Model:
    """A tiny char model of lines."""
    return seqmodel.load(train_little())


@pytest.fixture
def start() -> Iterator[Callable[..., BaseProcess]]:
    """Call a function of a test module in a process of its own."""
    started: list[BaseProcess] = []

    def begin(target: Callable[..., None], *arguments: Any) -> BaseProcess:
        process = SERVER.Process(target=target, args=arguments)
        process.start()
        started.append(process)
        return process

    yield begin
    for process in started:
        process.kill()
        process.join()
