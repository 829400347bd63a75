"""`seqmodel tokenize`: a filter that loses nothing, and stores that train takes instead of text."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import seqmodel
from seqmodel.tokens.store import open_store
from tests.cli.command import command, environment, run, run_here, told
from tests.conftest import little_text

UNITS = ["char", "word", "subword", "byte"]
WEIRD = [
    "cat dog",
    "",
    " ",
    "   leading and  double ",
    "tab\there",
    "\r",
    "ends in cr\r",
    "\x00 nul \x00",
    "\u2581 \u2585 \u2581cat",
    "<s> </s> <unk> <0x41> <0x0A> \u2581<s>",
    "日本語 עברית 🐟",
    "\u00a0\u2003\u3000 white",
    "\x85\u2028\x0b\x0c\x1c",
    "é e\u0301",
    "\ufeffcat",
    "a\u200bb\u00ad",
    "\\n \\t",
    "0 1 2",
]
weird_lines = st.lists(
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\n"), max_size=10)
    | st.lists(st.sampled_from([" ", "cat", "\t", "\u2581", "<0x41>", "é", "\r", "\x00", "dog"])).map("".join),
    max_size=6,
)


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A token store of each unit, whose vocabulary the filter uses."""
    folder = tmp_path_factory.mktemp("stores")
    corpus = folder / "corpus.txt"
    corpus.write_text(little_text() + "<s> <0x41> odd\tline\n" * 3, encoding="utf-8")
    made = {}
    for unit in UNITS:
        made[unit] = folder / f"{unit}.tokens"
        result = run_here("tokenize", corpus, "-o", made[unit], "--unit", unit)
        assert (result.code, result.text) == (0, f"{made[unit]}\n"), result.err
        assert result.err.startswith(f"{unit} vocabulary of ")
    return made


@pytest.mark.parametrize("ids", [[], ["--ids"]], ids=["pieces", "ids"])
@pytest.mark.parametrize("unit", UNITS)
def test_decoding_gives_every_line_back(unit: str, ids: list[str], stores: dict[str, Path]) -> None:
    text = "".join(line + "\n" for line in WEIRD).encode()
    encoded = run_here("tokenize", "-m", stores[unit], *ids, stdin=text)
    assert encoded.code == 0, encoded.err
    assert encoded.out.count(b"\n") == len(WEIRD)
    decoded = run_here("tokenize", "-m", stores[unit], *ids, "--decode", stdin=encoded.out)
    assert decoded.code == 0, decoded.err
    assert decoded.out == text


@settings(deadline=None, max_examples=30)
@given(lines=weird_lines)
@pytest.mark.parametrize("unit", UNITS)
def test_decoding_gives_any_lines_back(unit: str, lines: list[str], stores: dict[str, Path]) -> None:
    text = "".join(line + "\n" for line in ["", *lines]).encode()  # a byte order mark would be no text
    for ids in ([], ["--ids"]):
        encoded = run_here("tokenize", "-m", stores[unit], *ids, stdin=text)
        assert run_here("tokenize", "-m", stores[unit], *ids, "--decode", stdin=encoded.out).out == text


def test_any_bytes_come_back_in_the_byte_unit(stores: dict[str, Path]) -> None:
    data = bytes(b for b in range(256) if b != 10) + b"\n\xff\xfe\n\xe2\x82\n"
    encoded = run_here("tokenize", "-m", stores["byte"], stdin=b"\n" + data)
    assert run_here("tokenize", "-m", stores["byte"], "--decode", stdin=encoded.out).out == b"\n" + data


def test_pieces_and_ids_are_the_tokenizers_own(stores: dict[str, Path]) -> None:
    tokenizer = open_store(stores["word"]).tokenizer
    result = run("tokenize", "-m", stores["word"], stdin=b"cat dog\nZ")
    assert result.lines == ["\u2581cat \u2581dog", "<0x20> <0x5A>"]
    ids = run("tokenize", "-m", stores["word"], "--ids", stdin=b"cat dog\n")
    assert ids.lines == [" ".join(map(str, tokenizer.encode("cat dog").tolist()))]
    assert ids.err == ""


def test_the_filter_answers_each_line_before_the_next_is_given(stores: dict[str, Path]) -> None:
    process = subprocess.Popen(
        command("tokenize", "-m", stores["char"]), stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment()
    )
    assert process.stdin is not None and process.stdout is not None
    with process:
        for line, pieces in ((b"cat\n", b"c a t\n"), (b"\n", b"\n"), (b"a b\n", b"a \xe2\x96\x81 b\n")):
            process.stdin.write(line)
            process.stdin.flush()
            assert process.stdout.readline() == pieces
    assert process.returncode == 0


@pytest.mark.parametrize(
    ("given", "options"),
    [
        (b"999999\n", ["--ids"]),
        (b"-1\n", ["--ids"]),
        (b"3.5\n", ["--ids"]),
        (b"canary\n", ["--ids"]),
        (b"5  6\n", ["--ids"]),
        (b"9" * 5000 + b"\n", ["--ids"]),
        (b"canary\n", []),
        (b"<0xE2> a\n", []),  # bytes that spell no character
        (b"a  b\n", []),
    ],
)
def test_what_cannot_be_decoded_is_told_without_its_text(
    given: bytes, options: list[str], stores: dict[str, Path]
) -> None:
    result = run_here("tokenize", "-m", stores["char"], "--decode", *options, stdin=b"\n" + given)
    told(result, 3, "<stdin>, line 2")
    assert "canary" not in result.err


def test_ids_may_come_from_windows(stores: dict[str, Path]) -> None:
    assert run_here("tokenize", "-m", stores["char"], "--decode", "--ids", stdin=b"102 100\r\n\r\n").text == "ca\n\n"


def test_a_store_is_trained_on_as_its_text_would_be(tmp_path: Path) -> None:
    corpus = tmp_path / "corpus.txt"
    corpus.write_text(little_text(), encoding="utf-8")
    budget = ("--steps", "8", "--width", "16", "--threads", "1", "-q")
    assert run_here("tokenize", corpus, "-o", tmp_path / "c.tokens", "-q").code == 0
    from_store = run_here("train", tmp_path / "c.tokens", "-o", tmp_path / "a.seqmodel", *budget)
    from_text = run_here("train", corpus, "-o", tmp_path / "b.seqmodel", *budget)
    assert from_store.lines == [str(tmp_path / "a.seqmodel")], from_store.err
    assert from_text.code == 0
    assert (tmp_path / "a.seqmodel").read_bytes() == (tmp_path / "b.seqmodel").read_bytes()
    assert (tmp_path / "c.tokens").exists(), "the user's own store is no leftover"


def test_with_a_model_a_corpus_is_encoded_in_its_vocabulary(train_little: Callable[..., Path], tmp_path: Path) -> None:
    model = seqmodel.load(train_little())
    store = tmp_path / "new.tokens"
    result = run_here("tokenize", "-m", train_little(), "-o", store, stdin="zebra Ω\n".encode())
    assert result.code == 0, result.err
    opened = open_store(store)
    assert opened.tokenizer.proto == model.tokenizer.proto
    assert opened.ids[:].tolist() == [*model.tokenizer.encode("zebra Ω").tolist(), 2]


def test_the_statistics_count_the_corpus(tmp_path: Path) -> None:
    result = run_here("tokenize", "-o", tmp_path / "x.tokens", stdin=b"aab aab\n\nab\n")
    assert "12 chars, 3 words, 2 sequences, 11 tokens" in result.err
    assert run_here("tokenize", "-o", tmp_path / "y.tokens", "-q", stdin=b"aab\n").err == ""


def test_a_store_leaves_nothing_beside_it(tmp_path: Path) -> None:
    assert run_here("tokenize", "-o", tmp_path / "x.tokens", stdin=b"aab aab\n").code == 0
    assert run_here("tokenize", "-o", tmp_path / "y.tokens", stdin=b"\xff").code == 3
    assert [path.name for path in tmp_path.iterdir()] == ["x.tokens"]


def test_a_store_that_exists_is_overwritten_by_force_alone(tmp_path: Path) -> None:
    store = tmp_path / "x.tokens"
    assert run_here("tokenize", "-o", store, stdin=b"aab aab\n").code == 0
    before = store.read_bytes()
    told(run_here("tokenize", "-o", store, stdin=b"other\n"), 2, "exists", "--force")
    assert store.read_bytes() == before
    assert run_here("tokenize", "-o", store, "--force", stdin=b"other\n").code == 0
    assert store.read_bytes() != before


def test_a_closed_vocabulary_knows_unknown_words_by_one_name(tmp_path: Path) -> None:
    store = tmp_path / "x.tokens"
    result = run_here("tokenize", "-o", store, "--unit", "word", "--closed-vocab", stdin=b"cat dog cat dog\n")
    assert result.code == 0 and "unknown" in result.err
    assert run_here("tokenize", "-m", store, stdin=b"cat zebra dog\n").text == "\u2581cat <unk> \u2581dog\n"


@pytest.mark.parametrize(
    "options",
    [[], ["--decode"], ["-o", "x.tokens", "--ids"], ["-o", "x.tokens", "--decode"]],
    ids=lambda options: " ".join(options) or "none",
)
def test_options_that_go_nowhere_are_refused(
    options: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    told(run_here("tokenize", *options, stdin=b"cat\n"), 2)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("options", [["--ids"], ["--decode", "--ids"]])
def test_ids_without_a_vocabulary_are_refused(options: list[str]) -> None:
    told(run_here("tokenize", *options, stdin=b"cat\n"), 2, "-m")


def test_an_output_is_no_input_and_no_standard_output(tmp_path: Path) -> None:
    corpus = tmp_path / "c.txt"
    corpus.write_text("cat dog\n")
    told(run_here("tokenize", corpus, "-o", corpus, "--force"), 2, "is an input")
    assert corpus.read_text() == "cat dog\n"
    told(run_here("tokenize", corpus, "-o", "-"), 2, "must be a file")


def test_a_models_vocabulary_is_not_learned_again(train_little: Callable[..., Path], tmp_path: Path) -> None:
    corpus = tmp_path / "c.txt"
    corpus.write_text("cat dog\n")
    for option in (["--unit", "word"], ["--vocab-size", "300"], ["--closed-vocab"]):
        told(run_here("tokenize", corpus, "-m", train_little(), "-o", tmp_path / "c.tokens", *option), 2, option[0])


def test_a_word_vocabulary_of_text_without_blanks_is_told_of(tmp_path: Path) -> None:
    lines = "".join("".join(chr(0x4E00 + (i * k) % 97) for k in range(3, 11)) + f"{i}\n" for i in range(400))
    (tmp_path / "corpus.txt").write_text(lines, encoding="utf-8")
    result = run_here("tokenize", tmp_path / "corpus.txt", "-o", tmp_path / "a.tokens", "--unit", "word")
    assert "note: 100% of the held-out text is words that the vocabulary lacks" in result.err
    result = run_here("tokenize", tmp_path / "corpus.txt", "-o", tmp_path / "b.tokens", "--unit", "char")
    assert result.code == 0 and "note:" not in result.err
