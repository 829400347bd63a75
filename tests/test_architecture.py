"""Imports point one way, heavy packages have owners, and nothing is printed or unpickled in the library."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "seqmodel"
MODULES = sorted(PACKAGE.rglob("*.py"))

# From below to above. A module imports from its own layer and from those below it.
LAYERS = (
    ("config", "errors", "files", "kinds"),
    ("text",),
    ("tokens",),
    ("model",),
    ("inference",),
    ("training",),
    ("reports",),
    ("api",),
    ("console",),
    ("cli",),
)
LEVELS = {name: level for level, names in enumerate(LAYERS) for name in names}
ENTRY = ("__init__", "__main__")  # the package's front doors stand outside the order

# What a run is asked for and what happens in it: values, known to those who ask and those who watch.
TORCHLESS_TRAINING = tuple(
    f"seqmodel.training.{name}" for name in ("agreement", "events", "options", "request", "run_config")
)
TORCH_OWNERS = (
    "seqmodel.model.cells",
    "seqmodel.model.kernels",
    "seqmodel.model.language_model",
    "seqmodel.training",
)
TOP_LEVEL = {
    *(".ci", ".github", ".gitignore", "CHANGELOG.md", "LICENSE", "README.md", "constraints.txt", "pyproject.toml"),
    *("sample_corpora", "seqmodel", "tests"),
}
LEFT_BY_TOOLS = {
    *(".git", ".mypy_cache", ".pytest_cache", ".ruff_cache", ".hypothesis", "__pycache__", "dist", "build"),
    *(".idea", ".vscode", ".coverage", ".benchmarks"),
}


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def layer(name: str) -> str:
    """`seqmodel.text.corpus` -> `text`; the package itself -> `__init__`."""
    return name.split(".")[1] if "." in name else "__init__"


def for_types_only(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"


def imported(path: Path, *, types_too: bool = True, module_level_only: bool = False) -> Iterator[tuple[str, int]]:
    """Every name that a module imports (dotted, as far as it is known), with its line."""

    def walk(node: ast.AST) -> Iterator[tuple[str, int]]:
        if for_types_only(node) and not types_too:
            return
        if module_level_only and isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            return
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import"
            yield from ((f"{node.module}.{alias.name}", node.lineno) for alias in node.names)
        for child in ast.iter_child_nodes(node):
            yield from walk(child)

    yield from walk(ast.parse(path.read_text(encoding="utf-8")))


def own_modules(path: Path, *, types_too: bool = True, module_level_only: bool = False) -> Iterator[tuple[str, int]]:
    """The modules of ours that a module imports; `from seqmodel.x import y` names x, or x.y where that is one."""
    known = {module_name(module) for module in MODULES}
    for name, line in imported(path, types_too=types_too, module_level_only=module_level_only):
        if name.split(".")[0] == "seqmodel":
            yield (name if name in known else name.rpartition(".")[0]), line


def external(name: str) -> str:
    return name.split(".")[0]


@pytest.mark.parametrize("path", MODULES, ids=module_name)
def test_imports_point_one_way(path: Path) -> None:
    here = layer(module_name(path))
    if here in ENTRY:
        return
    assert here in LEVELS, f"{path}: the folder {here} has no place in the order"
    found = [(name, line) for name, line in own_modules(path) if name != "seqmodel" or here != "cli"]  # its version
    wrong = [f"{path}:{line}: imports {name}" for name, line in found if LEVELS.get(layer(name), 99) > LEVELS[here]]
    assert not wrong, "\n".join(wrong)


def own_layers(path: Path) -> set[str]:
    return {layer(name) for name, _ in own_modules(path)} - {"__init__"}


def test_the_order_covers_every_folder_and_module_of_the_package() -> None:
    found = {layer(module_name(path)) for path in MODULES} - set(ENTRY)
    assert found <= set(LEVELS), found - set(LEVELS)


@pytest.mark.parametrize("path", MODULES, ids=module_name)
def test_the_three_lowest_modules_import_nothing_above_and_errors_nothing_at_all(path: Path) -> None:
    name = module_name(path)
    if name == "seqmodel.errors":
        assert not list(own_modules(path))
    if name == "seqmodel.settings":
        assert own_layers(path) <= {"errors", "kinds"}
    if name == "seqmodel.files":
        assert own_layers(path) <= {"errors", "config", "kinds"}


def test_nothing_imports_the_command_line_but_the_front_door() -> None:
    users = {module_name(path) for path in MODULES if "cli" in own_layers(path)}
    assert {name for name in users if layer(name) != "cli"} == {"seqmodel.__main__"}


def test_the_console_is_imported_by_the_command_line_alone() -> None:
    users = {module_name(path) for path in MODULES if "console" in own_layers(path)}
    assert {layer(name) for name in users} <= {"cli", "console"}, users


@pytest.mark.parametrize(
    ("package", "owners"),
    [
        ("rich", ("seqmodel.console",)),
        ("typer", ("seqmodel.cli",)),
        ("torch", TORCH_OWNERS),
        ("sentencepiece", ("seqmodel.tokens",)),
        ("filelock", ("seqmodel.files",)),
        ("rapidfuzz", ("seqmodel.scoring.error_rate_tuning",)),
        ("xopen", ("seqmodel.text",)),
        ("jinja2", ("seqmodel.reports.html_page",)),
        ("matplotlib", ("seqmodel.reports.matplotlib_figure",)),
    ],
)
def test_a_package_is_imported_by_its_owner_alone(package: str, owners: tuple[str, ...]) -> None:
    users = {module_name(path) for path in MODULES for name, _ in imported(path) if external(name) == package}
    assert users, f"nobody imports {package}: a name is wrong here"
    strangers = {user for user in users if not any(user == owner or user.startswith(owner + ".") for owner in owners)}
    assert not strangers


@pytest.mark.parametrize("name", TORCHLESS_TRAINING)
def test_requests_and_events_know_no_torch_however_far_their_imports_reach(name: str) -> None:
    by_name = {module_name(path): path for path in MODULES}
    reached, waiting = set[str](), [name]
    while waiting:
        module = waiting.pop()
        if module in reached:
            continue
        reached.add(module)
        waiting += [found for found, _ in own_modules(by_name[module], types_too=False, module_level_only=True)]
    heavy = {m for m in reached for found, _ in imported(by_name[m], types_too=False) if external(found) == "torch"}
    assert not heavy


@pytest.mark.parametrize("layer_above", ["api", "console"])
def test_those_who_watch_a_run_import_values_of_training_alone_at_module_level(layer_above: str) -> None:
    paths = [path for path in MODULES if layer(module_name(path)) == layer_above]
    found = {
        name
        for path in paths
        for name, _ in own_modules(path, types_too=False, module_level_only=True)
        if layer(name) == "training"
    }
    assert found <= set(TORCHLESS_TRAINING)


@pytest.mark.parametrize("path", MODULES, ids=module_name)
def test_the_library_prints_nothing_and_never_exits(path: Path) -> None:
    name = module_name(path)
    if layer(name) in ("cli", "console", *ENTRY):
        return
    tree = ast.parse(path.read_text(encoding="utf-8"))
    calls = [ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)]
    raised = [ast.unparse(node.exc) for node in ast.walk(tree) if isinstance(node, ast.Raise) and node.exc is not None]
    assert not {"print", "pprint", "exit", "sys.exit", "os._exit", "quit", "breakpoint"} & set(calls)
    assert not [text for text in raised if text.startswith("SystemExit")]
    assert not [text for text in calls if text.startswith(("sys.stdout.write", "sys.stderr.write", "warnings.warn"))]


@pytest.mark.parametrize("path", MODULES, ids=module_name)
def test_nothing_is_pickled_evaluated_or_run_in_a_shell(path: Path) -> None:
    banned = {"pickle", "cPickle", "dill", "joblib", "shelve", "marshal", "cloudpickle"}
    assert not {external(name) for name, _ in imported(path)} & banned
    tree = ast.parse(path.read_text(encoding="utf-8"))
    calls = {ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    assert not calls & {"eval", "exec", "torch.load", "torch.save", "os.system"}
    keywords = {
        keyword.arg: ast.unparse(keyword.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        for keyword in node.keywords
    }
    assert keywords.get("allow_pickle", "False") == "False"


@pytest.mark.parametrize("path", MODULES, ids=module_name)
def test_a_module_says_what_it_is_and_no_file_is_a_box_for_odds_and_ends(path: Path) -> None:
    assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    assert path.stem not in {"utils", "util", "helpers", "misc", "common"}


def test_the_top_level_holds_only_what_the_project_names() -> None:
    if not (ROOT / "pyproject.toml").exists():
        pytest.skip("not a checkout of the project")
    found = {path.name for path in ROOT.iterdir()} - LEFT_BY_TOOLS
    strangers = {name for name in found if not name.endswith(".egg-info") and not name.startswith(".venv")}
    assert strangers <= TOP_LEVEL, strangers - TOP_LEVEL


def test_every_command_has_one_file_and_every_folder_of_tests_mirrors_a_folder() -> None:
    commands = {path.stem for path in (PACKAGE / "cli").glob("*.py")} - {"__init__", "app", "options"}
    assert commands >= {
        *("train", "score", "compare", "rescore", "filter", "generate", "complete", "top"),
        *("tokenize", "info", "bench", "plot"),
    }
    folders = {path.name for path in PACKAGE.iterdir() if path.is_dir() and path.name != "__pycache__"}
    mirrored = {path.name for path in (ROOT / "tests").iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert mirrored - {"benchmarks", "data"} <= folders
