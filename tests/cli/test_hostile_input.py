"""Any bytes, on any input of any command, give a result or one clear line: never a traceback, never a hang."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import random
import resource
import signal
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from seqmodel.settings import CorpusSettings
from seqmodel.text import corpus, line_blocks
from seqmodel.text.archives import COMPRESSED
from seqmodel.text.sources import Source
from seqmodel.tokens import store
from seqmodel.tokens.fitting import fit
from tests.cli.command import Result, run, run_here, told
from tests.cli.sweep import READING, arguments, result_or_one_line
from tests.conftest import little_text

CONTROLS = "".join(map(chr, [*range(32), *range(127, 160), 0x202E, 0x2028, 0xFEFF, 0xFFFE, 0x1F600]))
DEEP = '{"text": "cat", "id": "u", "more": ' + "[" * 3_000 + "]" * 3_000 + "}\n"
LONG = 4 << 20  # a line, in bytes; --max-line is half of that where there is such a limit

INPUTS: dict[str, tuple[str, bytes]] = {
    "empty": ("empty.txt", b""),
    "one byte": ("byte.txt", b"a"),
    "high byte": ("high.txt", b"\xff"),
    "invalid UTF-8": ("invalid.txt", b"cat dog\ntext\n\xf0\x9f dog\n"),
    "UTF-16": ("utf16.txt", "cat dog\neat\n".encode("utf-16")),
    "UTF-16 without a mark": ("utf16le.txt", "cat dog\neat\n".encode("utf-16-le")),
    "NULs": ("nuls.txt", b"\0" * 900 + b"\n" + b"text\0cat\n"),
    "controls": ("controls.txt", f"text\n{CONTROLS}\n".encode()),
    "blank lines": ("blank.txt", b"\n" * 200),
    "CRLF": ("crlf.txt", b"text\r\ncat dog\r\n\r\neat"),
    "CR": ("cr.txt", b"text\rcat dog\r\reat\r"),
    "mark": ("mark.txt", b"\xef\xbb\xbftext\ncat\n"),
    "mark alone": ("only.txt", b"\xef\xbb\xbf"),
    "two marks": ("marks.txt", b"\xef\xbb\xbf\xef\xbb\xbftext\ncat\n"),
    "quotation marks": ("quotes.csv", b'text,b\n"cat,1\ndog"x,2\n' + b'"' * 99),
    "JSON that is none": ("bad.jsonl", b'{"text": 1}\n[]\n{"text": "\\ud800", "id": "\\udfff"}\nNaN\n'),
    "half a character": ("half.jsonl", b'{"text": "cat \\ud800", "id": "u"}\n'),
    "half a character in an id": ("id.jsonl", b'{"text": "cat", "id": "\\udc80"}\n'),
    "deep": ("deep.jsonl", DEEP.encode()),
    "large numbers": ("large.jsonl", b'{"text": "cat", "id": ' + b"9" * 5_000 + b', "x": 1e999}\n'),
    "noise": ("noise.bin", random.Random(1).randbytes(5_000)),
    "long line": ("long.txt", b"cat dog " * (LONG // 8)),
    "cut gzip": ("cut.txt.gz", gzip.compress(random.Random(2).randbytes(4_000).hex().encode())[:1_500]),
    "bzip2 and noise": ("rest.txt.bz2", bz2.compress(b"cat\n") + b"noise"),
    "empty gzip": ("empty.txt.gz", b""),
    "damaged xz": ("damaged.txt.xz", lzma.compress(b"cat dog\n" * 100)[:-9] + b"\0" * 9),
    "bomb": ("bomb.txt.gz", gzip.compress(b"cat dog " * (LONG // 8))),
}
PLAIN = [kind for kind, (name, data) in INPUTS.items() if len(data) < 1 << 13 and not name.endswith(COMPRESSED)]
NO_LIMIT = ("plot", "info", "--config", "score -m", "compare -m")  # have no --max-line


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("inputs")
    (made / "corpus.txt").write_text(little_text(), encoding="utf-8")
    (made / "lists.txt").write_text("u-1 cat\nu-2 dog\n", encoding="utf-8")
    for name, data in INPUTS.values():
        (made / name).write_bytes(data)
    (made / "two").mkdir()
    for name in ("a.txt", "b.txt"):
        (made / "two" / name).write_bytes(b"cat dog\n")
    (made / "loop").symlink_to("loop")
    (made / "dangling").symlink_to("nowhere")
    return made


@pytest.fixture(autouse=True)
def _here(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)


@pytest.fixture(scope="module")
def model(train_little: Callable[..., Path]) -> Path:
    return train_little(steps=2, width=8, layers=1, ngram="off", ngram_embeddings=False)


def ended(command: str, name: str, model: Path, *more: str) -> Result:
    """A command on an input. It must end as users can expect, and leave nothing but its output, which is removed."""
    limit = () if any(part in command for part in NO_LIMIT) else ("--max-line", str(LONG >> 21))
    before = set(Path().iterdir())
    result = run_here(*arguments(command, name, model), *limit, *more)
    result_or_one_line(result)
    for path in set(Path().iterdir()) - before:
        assert result.code == 0 and path.name.startswith("out"), f"{path} is left"
        path.unlink()
    return result


@pytest.mark.parametrize("kind", INPUTS)
@pytest.mark.parametrize("command", READING)
def test_any_bytes_give_a_result_or_one_line(command: str, kind: str, model: Path) -> None:
    name, data = INPUTS[kind]
    if command == "generate" and len(data) > 1 << 12:
        pytest.skip("it continues any line")
    result = ended(command, name, model)
    if result.code == 3:
        assert name in result.err or "no text" in result.err or "--tune" in result.err


@pytest.mark.parametrize(
    "kind", [kind for kind, (name, data) in INPUTS.items() if len(data) < 1 << 13 and "z" not in name]
)
def test_what_can_be_read_is_scored_line_by_line(kind: str, model: Path) -> None:
    name, data = INPUTS[kind]
    result = ended("score", name, model)
    try:
        text = data.decode().removeprefix("\ufeff")
    except UnicodeDecodeError:
        assert result.code == 3
        return
    lines = text.split("\n")
    expected = [line.removesuffix("\r") for line in lines[:-1]] + lines[-1:] * bool(lines[-1])
    assert [row["text"] for row in result.rows] == expected
    assert [row["line"] for row in result.rows] == [str(number) for number in range(1, len(expected) + 1)]


# What is no regular file, or does not stay as it is


@pytest.mark.parametrize("name", ["two", "loop", "loop/x", "dangling", "/dev/null"])
@pytest.mark.parametrize("command", READING)
def test_what_is_no_regular_file_gives_a_result_or_one_line(command: str, name: str, model: Path) -> None:
    result = ended(command, name, model)
    if name in ("loop", "loop/x", "dangling"):
        assert result.code > 0 and name in result.err, result.err


@pytest.fixture
def _little_memory() -> Iterator[None]:
    """What would take all memory fails instead."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    taken = Path("/proc/self/statm")
    if taken.exists():
        size = int(taken.read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (size + (512 << 20), before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


@pytest.mark.usefixtures("_little_memory")
@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="needs /dev/zero")
@pytest.mark.parametrize("command", READING)
def test_what_never_ends_is_given_up(command: str, model: Path) -> None:
    result = ended(command, "/dev/zero", model)
    assert result.code > 0 and "/dev/zero" in result.err, result.err


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
@pytest.mark.parametrize("command", READING)
def test_what_may_not_be_read_is_told(command: str, model: Path, folder: Path) -> None:
    secret = folder / "secret.txt"
    secret.write_bytes(b"cat\n")
    secret.chmod(0)
    result = ended(command, "secret.txt", model)
    secret.unlink()
    assert result.code > 0 and "secret.txt" in result.err and "Permission denied" in result.err


@pytest.fixture
def _alarm() -> Iterator[None]:
    """A test that would wait for ever fails instead."""

    def give_up(number: int, frame: object) -> None:
        raise SystemExit(99)

    before = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(30)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def outcome(command: str, name: Path, model: Path) -> tuple[int, bytes, list[bytes]]:
    """The exit code, standard output and files but logs of a command."""
    result = run_here(*arguments(command, name, model))
    made = sorted(Path().glob("out.*"))
    contents = [path.read_bytes() for path in made if path.suffix != ".jsonl"]
    for path in made:
        path.unlink()
    return result.code, result.out, contents


@pytest.mark.usefixtures("_alarm")
@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize(
    "command", ["train", "train --valid", "tokenize -o", "score", "compare", "rescore", "generate"]
)
def test_a_pipe_is_read_as_a_file_is(command: str, suffix: str, model: Path, tmp_path: Path) -> None:
    data = little_text(20).encode()
    pipe, file = tmp_path / f"pipe.txt{suffix}", tmp_path / f"file.txt{suffix}"
    file.write_bytes(gzip.compress(data) if suffix else data)
    os.mkfifo(pipe)
    writing = threading.Thread(target=lambda: pipe.write_bytes(file.read_bytes()), daemon=True)
    writing.start()
    assert outcome(command, pipe, model) == outcome(command, file, model)
    writing.join()


@pytest.mark.parametrize(
    ("change", "code"), [(lambda data: data * 3 + b"zebra \xe2\x82\xac\n", 0), (lambda data: data[:99], 0), (None, 3)]
)
def test_a_corpus_may_change_between_its_two_readings(
    change: Callable[[bytes], bytes] | None, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "changing.txt"
    path.write_text(little_text(), encoding="utf-8")

    def changing(*arguments: Any) -> Any:
        found = fit(*arguments)
        path.unlink() if change is None else path.write_bytes(change(path.read_bytes()))
        return found

    monkeypatch.setattr(store, "fit", changing)
    monkeypatch.chdir(tmp_path)
    result = run_here("tokenize", path, "-o", "out.tokens", "-q")
    if code:
        told(result, code, "changing.txt")
        return
    assert result.code == 0, result.err
    opened = store.open_store(Path("out.tokens"))
    assert opened.tokenizer.decode(opened.ids[:].tolist()).encode() == path.read_bytes().replace(b"\n", b"")


@pytest.mark.parametrize("size", [0, 12, 1 << 20])
def test_a_file_may_grow_or_shrink_while_it_is_read(size: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(line_blocks, "READ_SIZE", 8)
    path = tmp_path / "changing.txt"
    path.write_bytes(b"cat dog\n" * 4)
    batches = corpus.read_lines(Source("changing.txt", path), CorpusSettings(max_line=1 << 21))
    texts = [line.text for line in next(batches)]
    os.truncate(path, size)
    texts += [line.text for batch in batches for line in batch]
    assert texts == (path.read_bytes()).decode().split("\n") if size > 8 else texts == ["cat dog"]


# Memory


def peak(*arguments: str | Path) -> tuple[Result, float]:
    """A command's result, and the most memory that it took, in MB."""
    tracemalloc.start()
    try:
        result = run_here(*arguments)
        return result, tracemalloc.get_traced_memory()[1] / 1e6
    finally:
        tracemalloc.stop()


@pytest.mark.usefixtures("_little_memory")
@pytest.mark.parametrize("suffix", ["gz", "bz2", "xz"])
def test_what_unpacks_to_very_much_takes_little_memory(suffix: str, model: Path, tmp_path: Path) -> None:
    bomb = tmp_path / f"bomb.{suffix}"
    packings: dict[str, Callable[[bytes], bytes]] = {"gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress}
    bomb.write_bytes(packings[suffix](b"a" * (16 << 20)) * 64)  # 1 GiB in one line
    assert bomb.stat().st_size < 2 << 20
    result, most = peak("score", bomb, "-m", model, "--max-line", "32")
    told(result, 3, f"bomb.{suffix}, line 1", "longer than")
    assert most < 100


def test_the_rows_of_a_long_line_take_little_memory(model: Path, tmp_path: Path) -> None:
    path = tmp_path / "long.txt"
    path.write_bytes(b"cat dog " * (1 << 13))
    result, most = peak("score", path, "-m", model, "--by", "token", "--no-text", "-q")
    assert len(result.lines) == 2 + (8 << 13)
    assert most < 18


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="needs /dev/zero")
def test_a_prefix_that_never_ends_takes_little_memory(model: Path) -> None:
    result, most = peak("generate", "--prefix-file", "/dev/zero", "-m", model)
    told(result, 3, "/dev/zero, line 1", "--max-line")
    assert most < 50


def test_a_line_that_does_not_fit_into_memory_is_told(model: Path, tmp_path: Path) -> None:
    path = tmp_path / "long.txt"
    with path.open("wb") as file:
        file.truncate(700 << 20)  # zeros, which take no space
    limit = (resource.RLIMIT_AS, (2 << 30, 2 << 30))
    result = run(
        "score", path, "-m", model, "--by", "word", "--max-line", "1000", preexec_fn=lambda: resource.setrlimit(*limit)
    )
    told(result, 5, "out of memory")
