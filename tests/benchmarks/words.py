"""Perplexity of closed word models: python tests/benchmarks/words.py TRAIN TEST --time 30m

Trains with `--unit word --closed-vocab --sequence stream`, newline being the end-of-line token, and scores TEST once:
the mixture by `seqmodel score --by corpus`, then each expert alone. On WikiText-2 the published perplexities are over
245,569 tokens of the test text; that count is checked where TEST has as many words as it has. Run it alone.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

import numpy as np

from seqmodel.inference.experts import CountRuntime
from seqmodel.inference.runtime import Runtime
from seqmodel.model.bundle import read_bundle
from seqmodel.scoring.tokens import RunningScorer
from tests.benchmarks.quality import run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("train", type=Path)
    parser.add_argument("test", type=Path)
    parser.add_argument("--time", default="30m")
    given, options = parser.parse_known_args()  # the rest goes to `seqmodel train`
    text = given.test.read_text(encoding="utf-8")
    with tempfile.TemporaryDirectory() as name:
        model = Path(name) / "m.seqmodel"
        began = time.monotonic()
        words = ("--unit", "word", "--closed-vocab", "--sequence", "stream")
        run("train", str(given.train), *words, "--time", given.time, "-o", str(model), *options)
        wall = time.monotonic() - began
        row = json.loads(run("score", "-m", str(model), "--by", "corpus", "--format", "jsonl", str(given.test)))
        assert row["tokens"] == len(text.split()) + text.count("\n")
        print(f"{row['tokens']:,} tokens, perplexity {row['perplexity']:.2f}, {wall:.0f} s wall", flush=True)
        bundle = read_bundle(model)
        ids = bundle.tokenizer.encode(text)
        experts = {"recurrence": Runtime.of(bundle), "counts": CountRuntime(bundle.counts) if bundle.counts else None}
        for label, expert in experts.items():
            if expert is not None:
                bits = RunningScorer(expert).score(ids).total
                print(f"{label} alone: perplexity {np.exp2(bits / len(ids)):.2f}", flush=True)
        print(f"bundle {model.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
