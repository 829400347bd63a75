"""Bits per character after a given time: python tests/benchmarks/quality.py TEXT --time 60s --seeds 3

The first int(0.9 * n) characters are given to `seqmodel train` (which holds out its own part), the last tenth is
scored once with `seqmodel score --by corpus`. Wall-clock time is that of the whole `train` command. Run it alone.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def run(*arguments: str) -> str:
    command = [sys.executable, "-m", "seqmodel", *arguments]
    return subprocess.run(command, check=True, text=True, stdout=subprocess.PIPE).stdout


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("text", type=Path)
    parser.add_argument("--time", default="60s")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--sequence", default="stream")
    given, options = parser.parse_known_args()  # the rest goes to `seqmodel train`
    text = given.text.read_text(encoding="utf-8")
    cut = int(0.9 * len(text))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "head.txt").write_text(text[:cut], encoding="utf-8")
        (folder / "tail.txt").write_text(text[cut:], encoding="utf-8")
        model = str(folder / "m.seqmodel")
        for seed in range(given.seeds):
            began = time.monotonic()
            train = ["train", str(folder / "head.txt"), "--sequence", given.sequence, "--time", given.time]
            run(*train, "-o", model, "--seed", str(seed), "--force", *options)
            wall = time.monotonic() - began
            row = json.loads(run("score", "-m", model, "--by", "corpus", "--format", "jsonl", str(folder / "tail.txt")))
            bits = row["bits_per_char"]
            size = Path(model).stat().st_size / 1e6
            print(
                f"seed {seed}: {bits:.4f} bits = {bits * math.log(2):.4f} nats per char over {row['chars']:,} chars, "
                f"{wall:.1f} s wall, bundle {size:.1f} MB"
            )


if __name__ == "__main__":
    main()
