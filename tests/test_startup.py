"""What is imported by which command, in a fresh process: importing torch would be most of our start-up time."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.command import environment

# Runs the command line, then writes which of the named modules it imported to standard error.
PROBE = """
import sys
from seqmodel.cli.app import main
sys.argv = ["seqmodel", *sys.argv[1:]]
code = 0
try:
    main()
except SystemExit as stop:
    code = stop.code
heavy = ("torch", "numpy", "matplotlib", "sentencepiece", "safetensors", "xopen", "filelock", "jinja2", "rapidfuzz")
print("IMPORTED", code or 0, *[name for name in heavy if name in sys.modules], file=sys.stderr)
"""


def imported(*arguments: str | Path, stdin: bytes = b"") -> set[str]:
    """The heavy packages that a command imports; it must succeed."""
    command = [sys.executable, "-c", PROBE, *map(str, arguments)]
    done = subprocess.run(command, input=stdin, capture_output=True, env=environment(), timeout=120, check=True)
    last = done.stderr.decode().splitlines()[-1].split()
    assert last[:2] == ["IMPORTED", "0"], done.stderr.decode()
    return set(last[2:])


COMMANDS = (
    *("train", "score", "compare", "rescore", "filter", "generate", "complete", "top"),
    *("tokenize", "info", "bench", "plot"),
)


@pytest.mark.parametrize("command", [[], *([name] for name in COMMANDS)])
def test_help_imports_neither_torch_nor_numpy(command: list[str]) -> None:
    assert not imported(*command, "--help") & {"torch", "numpy", "sentencepiece", "xopen"}


def test_version_imports_nothing_heavy() -> None:
    assert not imported("--version")


def test_scoring_never_imports_torch(train_little: Callable[..., Path]) -> None:
    for by in ("line", "token", "corpus"):
        assert not {"torch", "jinja2"} & imported("score", "-m", train_little(), "--by", by, stdin=b"cat dog\n")
    for picture in (["--html", "-"], ["--explain"]):
        assert "torch" not in imported("score", "-m", train_little(), *picture, stdin=b"cat dog\n")


def test_comparing_and_mixing_never_import_torch(train_little: Callable[..., Path]) -> None:
    model = train_little()
    assert "torch" not in imported("compare", model, model, stdin=b"cat dog\n")
    assert "torch" not in imported("score", "-m", model, "-m", model, stdin=b"cat dog\n")


def test_rescoring_never_imports_torch_nor_what_measures_errors(train_little: Callable[..., Path]) -> None:
    assert not imported("rescore", "-m", train_little(), stdin=b"u-1 cat dog\n") & {"torch", "rapidfuzz"}


def test_filtering_never_imports_torch(train_little: Callable[..., Path]) -> None:
    assert "torch" not in imported("filter", "-m", train_little(), "--above", "0", stdin=b"cat dog\n")


def test_generating_never_imports_torch(train_little: Callable[..., Path]) -> None:
    assert "torch" not in imported("generate", "-m", train_little(), "-n", "2", "--max-tokens", "5")


def test_completing_never_imports_torch(train_little: Callable[..., Path]) -> None:
    assert "torch" not in imported("complete", "-m", train_little(), "cat d")
    assert "torch" not in imported("complete", "-m", train_little(), "--jsonl", stdin=b'{"prefix": "cat d"}\n')


def test_the_most_probable_sequences_are_found_without_torch(train_little: Callable[..., Path]) -> None:
    assert "torch" not in imported("top", "-m", train_little(), "-n", "2")


def test_info_never_imports_torch(train_little: Callable[..., Path]) -> None:
    assert "torch" not in imported("info", train_little(), "--verify")


def test_tokenizing_never_imports_torch(train_little: Callable[..., Path], tmp_path: Path) -> None:
    assert "torch" not in imported("tokenize", "-m", train_little(), stdin=b"cat dog\n")
    assert "torch" not in imported("tokenize", "-o", tmp_path / "x.tokens", "--unit", "word", stdin=b"cat dog\n" * 9)


def test_a_curve_in_the_terminal_imports_next_to_nothing(train_little: Callable[..., Path]) -> None:
    assert not imported("plot", train_little().with_suffix(".jsonl"))


def run_python(code: str) -> str:
    command = [sys.executable, "-c", code]
    return subprocess.run(command, capture_output=True, env=environment(), timeout=120, check=True, text=True).stdout


def test_importing_the_package_imports_nothing_heavy() -> None:
    heavy = "{'torch', 'numpy', 'sentencepiece', 'pydantic', 'rich', 'typer', 'safetensors'}"
    assert run_python(f"import sys, seqmodel; print(sorted({heavy} & set(sys.modules)))") == "[]\n"


# What other systems lack, hidden once the packages that we use are loaded.
ELSEWHERE = """
import os, pkgutil, signal, sys
import filelock, jinja2, matplotlib, numpy, pydantic, rich, torch, torch.distributed, typer, xopen
del signal.SIGHUP, os.pread, os.sysconf, os.sched_getaffinity
sys.modules.update(dict.fromkeys(("fcntl", "grp", "pwd", "resource", "termios", "tty")))
"""


def test_every_module_is_imported_on_systems_without_posix() -> None:
    code = "import seqmodel\nfor one in pkgutil.walk_packages(seqmodel.__path__, 'seqmodel.'):\n"
    code += "    if not one.name.endswith('__main__'):\n        __import__(one.name)\n"
    assert run_python(ELSEWHERE + code + "print('cli' in vars(seqmodel))") == "True\n"


def test_help_and_scores_come_on_systems_without_posix(train_little: Callable[..., Path]) -> None:
    code = "from seqmodel.cli.app import main\nsys.argv = ['seqmodel', *{}]\nmain()"
    assert "Usage" in run_python(ELSEWHERE + code.format(["--help"]))
    scored = run_python(ELSEWHERE + code.format(["score", "-m", str(train_little()), "--text", "cat"]))
    assert len(scored.splitlines()) == 2


def test_the_errors_are_had_without_anything_heavy() -> None:
    code = "import sys, seqmodel; seqmodel.ModelError; print(sorted({'torch', 'numpy', 'pydantic'} & set(sys.modules)))"
    assert run_python(code) == "[]\n"


def test_loading_and_scoring_from_python_never_imports_torch(train_little: Callable[..., Path]) -> None:
    code = f"import sys, seqmodel; m = seqmodel.load({str(train_little())!r}); m.score(['cat']); m.generate('c')"
    assert run_python(code + "; print('torch' in sys.modules)") == "False\n"


def test_every_public_name_is_there_and_others_are_not() -> None:
    import seqmodel

    assert set(seqmodel.__all__) >= {"Model", "compare", "load", "train", "tokenize", "plot", "SeqmodelError"}
    for name in seqmodel.__all__:
        assert getattr(seqmodel, name).__name__ == name
    with pytest.raises(AttributeError, match="nonsense"):
        _ = seqmodel.nonsense
