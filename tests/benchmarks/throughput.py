"""Speed of this machine beside its own peak: python tests/benchmarks/throughput.py MODEL TEXT

Prints the sgemm rate, then scoring (many lines; one long text), generation (1 and 32 at once) and tokenising.
Scoring's share of the peak counts the dense weights' multiply-adds alone, two operations each. Run it alone;
OPENBLAS_CORETYPE, where it is set, slows NumPy.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

import seqmodel
from seqmodel.inference.runtime import Runtime
from seqmodel.inference.scoring import RunningScorer, score_sequences
from seqmodel.inference.sequence_model import SequenceModel
from seqmodel.model.bundle import read_bundle


def fastest(action: Callable[[], object], times: int = 3) -> float:
    seconds = []
    for _ in range(times):
        began = time.perf_counter()
        action()
        seconds.append(time.perf_counter() - began)
    return min(seconds)


def score_text(runtime: SequenceModel, ids: npt.NDArray[np.int32]) -> float:
    return RunningScorer(runtime).score(ids).total


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("text", type=Path)
    given = parser.parse_args()
    if "OPENBLAS_CORETYPE" in os.environ:
        print(f"OPENBLAS_CORETYPE={os.environ['OPENBLAS_CORETYPE']}")
    bundle, model = read_bundle(given.model), seqmodel.load(given.model)
    text = given.text.read_text(encoding="utf-8")[:100_000]
    lines = [model.tokenizer.encode(line) for line in text.split("\n")]
    ids = model.tokenizer.encode(text)
    a, b = np.ones((2048, 256), np.float32), np.ones((256, 768), np.float32)
    peak = 2 * 2048 * 256 * 768 * 20 / fastest(lambda: [a @ b for _ in range(20)])
    skipped = ("token.weight", "table.weight") if not bundle.header.model.tied else ("table.weight",)
    dense = sum(w.size for name, w in bundle.weights.items() if w.ndim == 2 and name not in skipped)
    print(f"sgemm {peak / 1e9:.0f} GFLOP/s; dense weights {dense / 1e6:.2f} M")
    for name, runtime in (("recurrence", Runtime.of(bundle)), ("as stored", model.runtime)):
        many = len(ids) / fastest(partial(score_sequences, runtime, lines))
        one = len(ids) / fastest(partial(score_text, runtime, ids))
        for what, rate in (("lines", many), ("one text", one)):
            print(f"score, {name}, {what}: {rate:,.0f} tokens/s, {2 * dense * rate / peak:.0%} of the peak")
    for count, length in ((1, 2000), (32, 500)):
        seconds = fastest(partial(model.generate, count=count, max_tokens=length, max_chars=length, seed=1), 2)
        print(f"generate, {count} at once: {count * length / seconds:,.0f} tokens/s")
    print(f"tokenize: {len(text.encode()) / 1e6 / fastest(lambda: model.tokenizer.encode(text)):.1f} MB/s")


if __name__ == "__main__":
    main()
