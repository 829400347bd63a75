"""Options by name: the same from flags, a file and Python; what is none or cannot be is told in one line."""

from __future__ import annotations

import inspect
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from seqmodel.cli import train
from seqmodel.errors import UsageError
from seqmodel.settings import ModelSettings, TrainingSettings
from seqmodel.training.planning import SIZES, Task, describe, plan_model
from seqmodel.training.run.options import OPTIONS, checked_options, merged, options_of, read_options, request_of

ALL = """
inputs = ["a.txt", "b"]
output = "m.seqmodel"
valid = "v.txt"
write_valid = "w.txt"
init = "old.seqmodel"

[text]
unit = "subword"
sequence = "document"
vocab_size = 600
subword = "bpe"
closed_vocab = false
keep_blank = true
errors = "replace"
max_line = 3
include = ["*.csv"]
exclude = "old/*"
column = "text"
input = "csv"

[model]
size = "l"
cell = "lstm"
width = 40
layers = 3
networks = 2
feed_forward = 0
tied = true
ngram_embeddings = false
ngram = "off"

[training]
time = "1h30m"
lanes = 4
segment = 20
learning_rate = 1e-3
table_learning_rate = 1
warmup_steps = 0
weight_decay = 0.0
clip = 0.5
dropout = 0.1
ngram_dropout = 0.2
unseen_rate = 0.001
negatives = 50
precision = "fp32"
seed = 7
threads = 1
fingerprint = "4MB"
device = "cpu"
"""

Write = Callable[[str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def written(text: str) -> Path:
        path = tmp_path / "run.toml"
        path.write_text(text, encoding="utf-8")
        return path

    return written


def test_every_option_can_stand_in_a_file(write: Write) -> None:
    options = read_options(write(ALL))
    assert options.keys() == OPTIONS.keys() - {"steps", "epochs", "record_separator"}  # beside others
    request = request_of(options, force=True)
    assert request.inputs == ("a.txt", "b") and request.valid == "v.txt" and request.force and not request.resume
    assert (request.output, request.write_valid) == (Path("m.seqmodel"), Path("w.txt"))
    assert request.init == Path("old.seqmodel")
    assert (request.tokenizer.vocabulary_size, request.tokenizer.subword) == (600, "bpe")
    assert (request.corpus.max_line, request.corpus.keep_blank, request.corpus.errors) == (3 << 20, True, "replace")
    assert (request.corpus.include, request.corpus.exclude) == (("*.csv",), ("old/*",))
    assert (request.corpus.column, request.corpus.table) == ("text", "csv")
    assert request.training["seconds"] == 5400.0 and request.training["table_learning_rate"] == 1.0
    assert (request.size, request.counts, request.ngram_embeddings) == ("l", False, False)
    ModelSettings(vocabulary=300, **request.model)
    TrainingSettings(**request.training)


def test_a_request_gives_back_what_it_was_told_and_no_defaults(write: Write) -> None:
    options = read_options(write(ALL))
    places = {name for name, option in OPTIONS.items() if not option.table}
    assert options_of(request_of(options)) == {name: value for name, value in options.items() if name not in places}
    assert options_of(request_of({})) == {}
    some = {"unit": "word", "seed": 0, "ngram": "on", "keep_blank": False, "layers": 2}
    assert options_of(request_of(some)) == some


def test_what_the_command_takes_are_options_or_about_the_call_itself() -> None:
    names = set(inspect.signature(train.command).parameters)
    assert names - OPTIONS.keys() == {"context", "config", "resume", "force", "quiet", "debug"}
    only_in_files = {"tied", "table_learning_rate", "warmup_steps", "weight_decay", "clip", "ngram_dropout"}
    assert OPTIONS.keys() - names == only_in_files | {"unseen_rate", "negatives", "precision"}


def test_an_empty_file_says_nothing_and_one_input_needs_no_list(write: Write) -> None:
    assert read_options(write("")) == {} == read_options(write("# nothing\n[text]\n[model]\n"))
    assert read_options(write('inputs = "a.txt"')) == {"inputs": ("a.txt",)}
    assert read_options(write('\ufeffinputs = "a.txt"')) == {"inputs": ("a.txt",)}  # as some editors begin a file


def test_flags_win_over_the_file_and_the_file_over_defaults(write: Write) -> None:
    file = read_options(write('[text]\nunit = "word"\n[model]\nwidth = 40\n[training]\nseed = 3\n'))
    request = request_of(merged(file, checked_options({"unit": "byte", "seed": None})))
    assert (request.tokenizer.unit, request.model["width"], request.training["seed"]) == ("byte", 40, 3)
    assert request.corpus.sequence == "line" and request.output == Path("model.seqmodel")


@pytest.mark.parametrize("mine", [{"steps": 3}, {"epochs": 1.5}, {"time": "2s"}], ids=str)
@pytest.mark.parametrize("other", ["steps = 9", "epochs = 9.0", 'time = "9s"', "time = 9"])
def test_a_budget_takes_the_place_of_the_files_whatever_its_kind(
    mine: dict[str, Any], other: str, write: Write
) -> None:
    options = merged(read_options(write(f"[training]\n{other}\n")), checked_options(mine))
    assert options == {name: 2.0 if name == "time" else value for name, value in mine.items()}


def test_a_size_takes_the_place_of_the_files_shape_but_not_of_a_shape_given_with_it() -> None:
    file = {"width": 40, "layers": 3, "cell": "gru"}
    assert merged(file, {"size": "s"}) == {"size": "s", "cell": "gru"}
    assert merged({"size": "l", "layers": 1}, {"width": 9}) == {"size": "l", "layers": 1, "width": 9}
    assert merged(file, {"size": "s", "width": 8}) == {"size": "s", "width": 8, "cell": "gru"}


@pytest.mark.parametrize("size", SIZES)
def test_a_size_is_layers_and_width_and_is_told(size: Any) -> None:
    task = Task("char", False, True, 300, 1000, {"steps": 10})
    model = plan_model(task, {}, size)
    assert (model.layers, model.width) == SIZES[size]
    assert f"(size {size})" in describe(model, TrainingSettings(steps=1), 0, "char", 300)
    other = plan_model(task, {"width": 77}, size)
    assert (other.layers, other.width) == (SIZES[size][0], 77)
    assert "size" not in describe(other, TrainingSettings(steps=1), 0, "char", 300)


@pytest.mark.parametrize(
    ("text", "where", "reasons"),
    [
        ("[training]\nlerning_rate = 1", "[training] lerning_rate", ["learning_rate, "]),
        ("[model]\nvocabulary = 300", "[model] vocabulary", ["cell, width"]),
        ("widht = 3", "widht", ["inputs, output", "[model]"]),
        ("[modle]\nwidth = 3", "modle", ["[model]"]),
        ("[model]\nunit = 'char'", "[model] unit", ["under [text]"]),
        ("seed = 3", "seed", ["under [training]"]),
        ("[text]\nvalid = 'x'", "[text] valid", ["above the first table"]),
        ("text = 3", "[text] is no table", []),
        ("[[text]]\nunit = 'char'", "[text] is no table", []),
        ("[text]\nunit = 'letter'", "[text] unit", ["takes char, word, subword or byte"]),
        ("[text]\nunit = 3", "[text] unit", ["takes char, word"]),
        ("[text]\nkeep_blank = 1", "[text] keep_blank", ["takes true or false, not 1"]),
        ("[text]\nmax_line = 0", "[text] max_line", ["takes a whole number of 1 or more, not 0"]),
        ("[text]\nmax_line = 1.5", "[text] max_line", ["takes a whole number"]),
        ("[text]\nmax_line = true", "[text] max_line", ["takes a whole number"]),
        ("[text]\nvocab_size = 99999999", "[text] vocab_size", ["1048576"]),
        ("[model]\nwidth = 0", "[model] width", ["takes a whole number from 1 to 8192, not 0"]),
        ("[model]\nwidth = '256'", "[model] width", ["takes a whole number"]),
        ("[model]\nwidth = 1979-05-27", "[model] width", ["takes a whole number"]),
        ("[model]\nwidth = {a = 1}", "[model] width", ["takes a whole number"]),
        ("[model]\nngram = true", "[model] ngram", ["takes on or off"]),
        ("[model]\nsize = 'xl'", "[model] size", ["takes s, m or l"]),
        ("[training]\ndropout = 1.0", "[training] dropout", ["takes a number of 0 or more and below 1, not 1"]),
        ("[training]\nclip = nan", "[training] clip", ["takes a number above 0, not nan"]),
        ("[training]\nepochs = inf", "[training] epochs", ["takes a number above 0 and at most 1000000, not inf"]),
        ("[training]\ntime = 'soon'", "[training] time", ["10m"]),
        ("[training]\ntime = -1", "[training] time", ["takes a number above 0, not -1"]),
        ("[training]\ntime = true", "[training] time", ["takes a number above 0"]),
        ("[training]\nsteps = 3\ntime = 4", "[training] more than one budget", []),
        ("inputs = [3]", "inputs", ["takes a file's name"]),
        ("inputs = {}", "inputs", ["takes a list of texts"]),
        ("output = ''", "output", ["not empty"]),
        ("init = 3", "init", ["takes a file's name"]),
        ('valid = "a\\u0000b"', "valid", ["NUL"]),
    ],
)
def test_what_cannot_be_is_told_with_file_key_and_what_can(
    text: str, where: str, reasons: list[str], write: Write
) -> None:
    path = write(text)
    with pytest.raises(UsageError) as caught:
        read_options(path)
    told = f"{caught.value.message}. {caught.value.hint}"
    assert told.startswith(f"{path}: {where}"), told
    assert all(reason in told for reason in reasons), told
    assert "\n" not in told


@pytest.mark.parametrize(
    ("data", "line"),
    [
        (b"[text]\n\nunit = char\n", 3),
        (b"[text\n", 1),
        (b"[text]\nunit = 'a'\nunit = 'b'\n", 3),
        (b"x = [\n1,\n2", 3),
        (b"[text]\nunit = '\xff'\n", 2),
        (b"\n\nx = " + b"[" * 5000, 3),
        (b"x = " + b"9" * 5000, 1),
        (b"a = 1\r\nb = \x00\r\n", 2),
    ],
)
def test_a_syntax_error_is_told_with_its_line(data: bytes, line: int, tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    path.write_bytes(data)
    with pytest.raises(UsageError) as caught:
        read_options(path)
    assert caught.value.message.startswith(f"{path}, line {line}: ")


def test_a_file_that_is_not_there_or_too_large_is_told(tmp_path: Path) -> None:
    (tmp_path / "large.toml").write_bytes(b"#" * (1 << 20) + b"\n")
    for name, reason in (("nowhere.toml", "No such file"), (".", "directory"), ("large.toml", "larger")):
        with pytest.raises(UsageError, match=reason):
            read_options(tmp_path / name)


def test_no_bytes_give_anything_but_options_or_a_usage_error(tmp_path: Path) -> None:
    random_ = random.Random(5)
    path = tmp_path / "run.toml"
    told = 0
    for _ in range(300):
        data = bytearray(ALL.encode())
        for _ in range(random_.randint(1, 4)):
            data[random_.randrange(len(data))] = random_.choice(b"\"'[]=.#\n 0a\xc3\x00\\{")
        path.write_bytes(data)
        try:
            request_of(read_options(path))
        except UsageError:
            told += 1
    assert told > 200


def test_an_option_that_is_none_is_told_with_one_that_is_like_it() -> None:
    with pytest.raises(UsageError, match="widht is no option") as caught:
        checked_options({"widht": 3})
    assert "width" in caught.value.hint


@pytest.mark.parametrize(
    ("text", "size"),
    [("4MB", 4_000_000), ("4MiB", 4 << 20), ("64k", 64_000), ("64Ki", 64 << 10), ("1.5 KiB", 1536), ("2000b", 2000)],
)
def test_binary_sizes_are_multiples_of_1024(text: str, size: int) -> None:
    assert checked_options({"fingerprint": text}) == {"fingerprint": size}


@pytest.mark.parametrize("text", ["4ib", "4Mii", "M", "9" * 400, "9" * 400 + "MB", "9" * 300])
def test_sizes_that_cannot_be_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="fingerprint"):
        checked_options({"fingerprint": text})


@pytest.mark.parametrize("text", ["9" * 400, "9" * 307 + "d", "0." + "0" * 400 + "1"])
def test_durations_beyond_all_numbers_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="takes a duration above zero"):
        checked_options({"time": text})
