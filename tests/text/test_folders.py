"""What is taken of a folder: all that holds text, once, and what is left out is told."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import pytest

import seqmodel
from seqmodel.errors import DataError
from seqmodel.settings import CorpusSettings
from seqmodel.text.sources import find_sources
from tests.cli.command import run_here

PNG = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + bytes(range(256))


def put(folder: Path, **files: bytes) -> None:
    """Write files; in their names `__` stands for a full stop, `___` for a slash."""
    for name, data in files.items():
        path = folder / name.replace("___", "/").replace("__", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def taken(folder: Path, **patterns: tuple[str, ...]) -> tuple[list[str], str]:
    """The names that are taken, and the note."""
    notes: list[str] = []
    found = find_sources([str(folder)], CorpusSettings.model_validate(patterns), notes.append)
    (note,) = notes
    return [Path(source.name).relative_to(folder).as_posix() for source in found], note.replace(f"{folder}", "F")


def test_a_folder_of_tunes_is_more_than_its_readme(tmp_path: Path) -> None:
    put(tmp_path, README__md=b"# Tunes\n", a__abc=b"X:1\nK:D\n", b__abc=b"X:2\nK:G\n", deep___c__ABC=b"X:3\nK:C\n")
    names, note = taken(tmp_path)
    assert names == ["README.md", "a.abc", "b.abc", "deep/c.ABC"]
    assert note == "F: 4 files taken (2 .abc, 1 .md, 1 .ABC)"


def test_content_tells_what_is_text_and_the_others_are_named(tmp_path: Path) -> None:
    put(tmp_path, poem=b"one\n", cover__txt=PNG, empty__txt=b"", paper__pdf=b"%PDF-1.4\nobj\n", packed__gz=b"")
    (tmp_path / "packed.gz").write_bytes(gzip.compress(PNG))
    (tmp_path / "b.gz").write_bytes(gzip.compress(b"two\n"))
    names, note = taken(tmp_path)
    assert names == ["b.gz", "poem"]
    assert note.startswith("F: 2 files taken (1 .gz, 1 poem); 4 left out: cover.txt (no text), empty.txt (empty)")
    assert note.endswith("packed.gz (no text), 1 more")


def test_text_in_another_encoding_is_not_left_out_but_an_error(tmp_path: Path) -> None:
    put(tmp_path, a__txt=b"one\n", latin__txt="déjà\n".encode("latin-1"), wide__txt="one two\n".encode("utf-16"))
    assert taken(tmp_path)[0] == ["a.txt", "latin.txt", "wide.txt"]


def test_a_file_with_several_names_is_taken_once(tmp_path: Path) -> None:
    put(tmp_path, z__txt=b"one\n", more___y__txt=b"two\n")
    (tmp_path / "a.txt").symlink_to(tmp_path / "z.txt")
    os.link(tmp_path / "more/y.txt", tmp_path / "more/x.txt")
    (tmp_path / "more/to-nothing").symlink_to(tmp_path / "nothing")
    (tmp_path / "folder").symlink_to(tmp_path / "more")
    names, note = taken(tmp_path)
    assert names == ["more/x.txt", "z.txt"]
    assert "4 left out: a.txt (a second name of a file), folder (a link to a folder), " in note


def test_a_folder_named_twice_is_no_twice_the_text(tmp_path: Path) -> None:
    put(tmp_path, a__txt=b"one\n", in___b__txt=b"two\n")
    sources = find_sources([str(tmp_path / "in"), str(tmp_path)])
    assert [Path(source.name).name for source in sources] == ["b.txt", "a.txt"]


def test_hidden_files_version_control_and_logs_of_training_are_no_text(tmp_path: Path) -> None:
    put(tmp_path, a__txt=b"one\n", CVS___Root=b"x\n")
    put(tmp_path / ".git", HEAD=b"ref\n")
    (tmp_path / ".hidden").write_bytes(b"x\n")
    seqmodel.train(str(tmp_path / "a.txt"), tmp_path / "m.seqmodel", steps=1, width=4, layers=1, ngram="off")
    names, note = taken(tmp_path)
    assert names == ["a.txt"]
    assert "2 left out: m.jsonl (a log of training), m.seqmodel (no text)" in note


def test_patterns_choose_by_name_and_by_path(tmp_path: Path) -> None:
    put(tmp_path, README__md=b"# Tunes\n", a__abc=b"X:1\n", old___b__abc=b"X:2\n", c__abc=PNG)
    assert taken(tmp_path, include=("*.abc",))[0] == ["a.abc", "c.abc", "old/b.abc"]
    assert taken(tmp_path, include=("*.abc", "*.md"), exclude=("old/*", "c.*"))[0] == ["README.md", "a.abc"]
    names, note = taken(tmp_path, exclude=("*.md",))
    assert names == ["a.abc", "old/b.abc"]
    assert note.endswith("2 left out: README.md (excluded), c.abc (no text)")
    with pytest.raises(DataError, match=r"0 files taken; 4 left out: .* the folder holds no text"):
        taken(tmp_path, include=("*.tex",))


def test_the_commands_take_patterns_tell_the_files_and_resume_by_them(tmp_path: Path) -> None:
    put(tmp_path, README__md=b"# Tunes\n", a__abc=b"X:1\nK:D\n" * 20)
    small = ("--width", "4", "--layers", "1", "--ngram", "off", "--steps", "1")
    output = tmp_path.parent / f"{tmp_path.name}.seqmodel"
    for options in (("train", *small, "-o", output), ("tokenize", "-o", output.with_suffix(".tokens"))):
        result = run_here(*options, tmp_path, "--exclude", "*.md")
        assert result.code == 0, result.err
        assert f"{tmp_path}: 1 file taken (1 .abc); 1 left out: README.md (excluded)" in result.err
    config = run_here("info", "--config", output)
    assert 'exclude = ["*.md"]' in config.text
    (tmp_path / "run.toml").write_bytes(config.out)
    again = run_here(
        "train", tmp_path, "--config", tmp_path / "run.toml", "-o", output, "--force", "--include", "*.abc"
    )
    assert again.code == 0 and "1 file taken" in again.err


def test_a_bundle_tells_by_which_patterns_its_files_were_taken(tmp_path: Path) -> None:
    put(tmp_path, README__md=b"# Tunes\n", a__abc=b"X:1\nK:D\n" * 20)
    output = tmp_path.parent / f"{tmp_path.name}.seqmodel"
    result = seqmodel.train(str(tmp_path), output, steps=2, exclude="*.md", width=4, layers=1, ngram="off")
    assert result.header.corpus is not None and result.header.corpus.exclude == ("*.md",)
    assert result.header.provenance.corpus_bytes == 160
