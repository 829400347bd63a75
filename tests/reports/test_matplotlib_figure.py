"""The figure: a file of the kind its name says, with what it is about in it, and nothing read out of a file's name."""

from __future__ import annotations

import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from seqmodel.api.verbs import plot
from seqmodel.errors import SeqmodelError, UsageError
from tests.reports.logs import EVALUATED, falling, write_log

STRANGE = "a$x_1$ <b>&\x1b[31m"


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return write_log(tmp_path / "first.jsonl", [*falling(), EVALUATED])


def texts(path: Path) -> set[str]:
    root = ElementTree.parse(path).getroot()
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    return {"".join(element.itertext()).removesuffix(" ↑") for element in root.iter("{http://www.w3.org/2000/svg}text")}


@pytest.mark.parametrize("over", ["time", "tokens"])
def test_an_svg_holds_axes_labels_and_the_name_of_the_run(over: str, log: Path, tmp_path: Path) -> None:
    found = texts(plot(log, tmp_path / "x.svg", over="time" if over == "time" else "tokens"))
    axis = "seconds" if over == "time" else "training tokens"
    assert found >= {"bits per char", axis, "first", "held-out", "train", "final figures"}
    assert found >= {"unigram 4.500", "counts 2.750", "recurrence 2.500", "together 2.250"}


def test_every_run_is_named_as_its_file_is_and_nothing_in_a_name_is_markup(log: Path, tmp_path: Path) -> None:
    other = write_log(tmp_path / f"{STRANGE}.jsonl", falling())
    assert texts(plot([log, other], tmp_path / "x.svg")) >= {"first", "a$x_1$ <b>&?[31m"}


def test_equal_pictures_are_equal_files(log: Path, tmp_path: Path) -> None:
    first, second = plot(log, tmp_path / "1.svg"), plot(log, tmp_path / "2.svg")
    assert first.read_bytes() == second.read_bytes()


def test_a_png_is_one(log: Path, tmp_path: Path) -> None:
    data = plot(log, tmp_path / "x.PNG").read_bytes()
    assert data.startswith(b"\x89PNG\r\n\x1a\n") and len(data) > 10_000


def test_many_runs_are_drawn(log: Path, tmp_path: Path) -> None:
    logs = [write_log(tmp_path / f"run{number}.jsonl", [*falling(), EVALUATED]) for number in range(12)]
    assert texts(plot(logs, tmp_path / "x.svg")) >= {f"run{number}" for number in range(12)}


@pytest.mark.parametrize("name", ["x.pdf", "x", "svg", "x.svg.txt", "-"])
def test_another_ending_is_refused(name: str, log: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no figure"):
        plot(log, tmp_path / name)


def test_what_exists_is_kept_unless_told_otherwise(log: Path, tmp_path: Path) -> None:
    (tmp_path / "x.svg").write_text("mine")
    with pytest.raises(UsageError, match="exists"):
        plot(log, tmp_path / "x.svg")
    assert (tmp_path / "x.svg").read_text() == "mine"
    assert "held-out" in texts(plot(log, tmp_path / "x.svg", force=True))


def test_without_matplotlib_it_says_what_to_install(log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(SeqmodelError, match="matplotlib") as caught:
        plot(log, tmp_path / "x.svg")
    assert "pip install matplotlib" in caught.value.hint
    assert not (tmp_path / "x.svg").exists()


def test_settings_of_the_user_do_not_change_the_figure(log: Path, tmp_path: Path) -> None:
    import matplotlib

    plain = plot(log, tmp_path / "1.svg").read_bytes()
    with matplotlib.rc_context({"font.size": 20.0, "svg.fonttype": "path"}):
        assert plot(log, tmp_path / "2.svg").read_bytes() == plain
        assert matplotlib.rcParams["font.size"] == 20.0
