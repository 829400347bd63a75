"""The house keeps its rules: imports point one way, the library prints nothing, and nothing is unpickled.

The order of the rooms and the owners of packages stand in pyproject.toml, where `lint-imports` reads them.
"""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from importlinter.cli import lint_imports

from seqmodel.cli.app import GROUPS

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "seqmodel"
MODULES = sorted(PACKAGE.rglob("*.py"))
MAY_PRINT = ("cli", "console", "__main__")


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def called(tree: ast.Module) -> set[str]:
    return {ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}


def test_imports_point_one_way_and_packages_have_owners() -> None:
    assert lint_imports(config_filename=str(ROOT / "pyproject.toml"), no_cache=True) == 0


@pytest.mark.parametrize("path", MODULES, ids=module_name)
def test_the_library_prints_nothing_and_never_exits(path: Path) -> None:
    if module_name(path).split(".")[1:2] and module_name(path).split(".")[1] in MAY_PRINT:
        return
    tree = parsed(path)
    raised = [ast.unparse(node.exc) for node in ast.walk(tree) if isinstance(node, ast.Raise) and node.exc is not None]
    assert not {"print", "pprint", "exit", "sys.exit", "os._exit", "quit", "breakpoint"} & called(tree)
    assert not [text for text in raised if text.startswith("SystemExit")]
    streams = ("sys.stdout.write", "sys.stderr.write", "warnings.warn")
    assert not [text for text in called(tree) if text.startswith(streams)]


@pytest.mark.parametrize("path", MODULES, ids=module_name)
def test_nothing_is_pickled_evaluated_or_run_in_a_shell(path: Path) -> None:
    tree = parsed(path)
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
    names = {alias.name for node in imports for alias in node.names} | {
        node.module for node in imports if isinstance(node, ast.ImportFrom) and node.module
    }
    banned = {"pickle", "cPickle", "dill", "joblib", "shelve", "marshal", "cloudpickle"}
    assert not {name.split(".")[0] for name in names} & banned
    assert not called(tree) & {"eval", "exec", "torch.load", "torch.save", "os.system"}
    calls = (node for node in ast.walk(tree) if isinstance(node, ast.Call))
    allowed = [ast.unparse(word.value) for node in calls for word in node.keywords if word.arg == "allow_pickle"]
    assert set(allowed) <= {"False"}


@pytest.mark.parametrize("path", MODULES, ids=module_name)
def test_a_module_says_what_it_is_and_no_file_is_a_box_for_odds_and_ends(path: Path) -> None:
    docstring = ast.get_docstring(parsed(path))
    assert docstring
    assert path.stem not in {"utils", "util", "helpers", "misc", "common"}


def docstrings(path: Path) -> list[str]:
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    return [ast.get_docstring(node) or "" for node in ast.walk(parsed(path)) if isinstance(node, documented)]


@pytest.mark.parametrize("path", MODULES, ids=module_name)
def test_docstrings_say_what_something_does_or_returns(path: Path) -> None:
    riddles = ("What ", "How ", "Whether ", "Where ", "Which ")
    assert not [text.splitlines()[0] for text in docstrings(path) if text.startswith(riddles)]


def test_every_command_has_a_file_of_its_own_and_every_folder_of_tests_mirrors_a_folder() -> None:
    commands = {name for group in GROUPS.values() for name in group}
    assert commands <= {path.stem for path in (PACKAGE / "cli").glob("*.py")}
    folders = {path.name for path in PACKAGE.iterdir() if path.is_dir()}
    mirrored = {path.name for path in (ROOT / "tests").iterdir() if path.is_dir()}
    assert mirrored - {"benchmarks", "data", "__pycache__"} <= folders
