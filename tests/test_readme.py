"""The README's commands are run, and its set-up commands are what the project's own check runs."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from seqmodel.training.run.options import OPTIONS

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.DOTALL | re.MULTILINE)


def quickly(text: str) -> str:
    """The same commands with a few steps instead of minutes."""
    return re.sub(r'time( ?= ?)"\w+"', r"steps\g<1>20", re.sub(r"--time \w+", "--steps 20", text))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("readme")
    (path / "sample_corpora").symlink_to(ROOT / "sample_corpora")
    return path


def run(command: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def test_the_shell_commands_work(folder: Path) -> None:
    commands = [block for block in blocks("sh") if "venv" not in block]
    assert len(commands) >= 4
    for block in commands:
        done = run(["bash", "-euo", "pipefail", "-c", quickly(block)], folder)
        assert done.returncode == 0, done.stderr
        assert done.stdout


def test_the_main_job_of_the_set_up_works(folder: Path) -> None:
    block = next(block for block in blocks("sh") if "venv" in block and "seqmodel train" in block)
    job = block[block.index("seqmodel train") :]
    done = run(["bash", "-euo", "pipefail", "-c", quickly(job)], folder)
    assert done.returncode == 0, done.stderr


def test_the_python_example_works(folder: Path) -> None:
    (block,) = blocks("python")
    done = run([sys.executable, "-c", quickly(block)], folder)
    assert done.returncode == 0, done.stderr


def test_every_option_stands_in_the_table_of_its_own() -> None:
    for table in ("", "text", "model", "training"):
        label = f"`[{table}]`" if table else "(none)"
        (row,) = [line for line in README.splitlines() if line.startswith(f"| {label} |")]
        names = {name for name, option in OPTIONS.items() if option.table == table}
        assert set(re.findall(r"`(\w+)`", row)) == names, table


def test_the_check_runs_what_the_readme_says() -> None:
    check = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    block = next(block for block in blocks("sh") if "venv" in block and "pytest" in block)
    parts = [part.strip() for part in block.replace("\n", " ").split("&&")][2:]
    assert "pytest" in parts
    for part in parts:
        assert part.replace("pip install", "pip install --quiet") in check, part
