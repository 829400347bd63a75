"""Files that were made to do harm are refused, or do none: a part of what tests/benchmarks/fuzz_files.py tries."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.cli.command import environment

CASES = {"bundle": 120, "store": 200, "tokenizer": 200, "checkpoint": 40}


@pytest.mark.parametrize("kind", CASES)
def test_no_file_crashes_the_process_or_gives_improper_probabilities(kind: str) -> None:
    command = [sys.executable, "-m", "tests.benchmarks.fuzz_files", "--kind", kind, "--cases", str(CASES[kind])]
    done = subprocess.run(command, capture_output=True, text=True, env=environment(), timeout=300)
    assert (done.returncode, done.stdout) == (0, ""), done.stdout + done.stderr
    assert f"{CASES[kind]} cases of each kind, 0 findings" in done.stderr
