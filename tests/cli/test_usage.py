"""Every command line that cannot be understood is answered with the option as typed, what it takes, and what to do."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from seqmodel.cli.app import GROUPS, load_command
from tests.cli.command import run_here, told

COMMANDS = {name: load_command(name) for group in GROUPS.values() for name in group}
FOREIGN = ("Input should", "Value error", "Invalid value", "No such option", "No such command", "argument(s)", "?.")

# What is typed, and all that is said of it. No model is read.
SAID = {
    "trian x.txt": "there is no command trian. Did you mean train?",
    "perplexity": "there is no command perplexity. Did you mean score?",
    "sample": "there is no command sample. Did you mean generate?",
    "names.txt": "names.txt is no command. Begin with one, such as: seqmodel train names.txt",
    "help": "there is no command help. Write seqmodel --help, or seqmodel score --help.",
    "--nonsense": "there is no option --nonsense. See seqmodel --help.",
    "-m x score": "-m stands before the command. Write it after: seqmodel score -m …",
    "score --modle x": "there is no option --modle. Did you mean --model?",
    "generate --prefx x": "there is no option --prefx. Did you mean --prefix?",
    "score -by line": "there is no option -by. Did you mean --by?",
    "score --top-k 3": "score has no option --top-k. It belongs to generate. See seqmodel score --help.",
    "score --nope": "there is no option --nope. See seqmodel score --help.",
    "score --by lines": "--by takes token, word, line, document or corpus, not lines. Did you mean --by line?",
    "score --by page": "--by takes token, word, line, document or corpus, not page. See seqmodel score --help.",
    "score --by": "--by needs a value: token, word, line, document or corpus. See seqmodel score --help.",
    "score -m": "-m needs a value: a file's name. See seqmodel score --help.",
    "score --model=": "--model needs a file's name, and is given an empty one. See seqmodel score --help.",
    "generate Ska": "generate takes no argument, but 1 is given. Give a text to continue by -p and a model by -m.",
    "generate a b": "generate takes no argument, but 2 are given. Give a text to continue by -p and a model by -m.",
    "generate a.seqmodel": "generate takes no argument, but a.seqmodel is given. "
    "Give a text to continue by -p and a model by -m.",
    "complete a b": "complete takes 1 argument, but 2 are given. Put a text of several words in quotes. "
    "Give a model by -m.",
    "info a b": "info takes 1 argument, but 2 are given. See seqmodel info --help.",
    "compare a": "an argument is missing. Write seqmodel compare MODEL MODEL.",
    "plot": "an argument is missing. Write seqmodel plot LOG….",
    "complete --next=3 x": "--next takes no value. Write --next alone.",
    "generate -n 0": "-n takes a whole number of 1 or more, not 0. See seqmodel generate --help.",
    "generate --beam 9999": "--beam takes a whole number from 1 to 1000, not 9999. See seqmodel generate --help.",
    "train --width 100000": "--width takes a whole number from 1 to 8192, not 100000.",
    "train --dropout 1": "--dropout takes a number of 0 or more and below 1, not 1.",
    "train --time soon": "--time takes a duration above zero, such as 90s, 10m or 1h30m.",
    "train --fingerprint x": "--fingerprint takes a size such as 4MB, 4MiB or 4000000.",
    "train --steps 2 --time 3": "more than one budget is given. Give one of --time, --steps and --epochs.",
    "tokenize -o x --vocab-size 9999999": "--vocab-size takes a whole number from 1 to 1048576, not 9999999.",
}
# The same where a model is read first.
SAID_OF_MODEL = {
    "generate --top-p 0": "--top-p takes a number above 0 and at most 1, not 0.",
    "generate --min-p 1.5": "--min-p takes a number above 0 and at most 1, not 1.5.",
    "generate --temperature inf": "--temperature takes a number from 0 to 100, not inf.",
    "generate --length 8..5": "--length 8..5: the minimum exceeds the maximum.",
    "generate --length 5": "--length takes two numbers of characters, such as 5..8.",
    "generate --stop=": "--stop needs at least one character.",
    "generate --ban=": "--ban needs at least one character.",
    "generate --until-end --max-chars 3": "--until-end and --max-chars contradict each other. Leave one of them out.",
    "generate --length 2..3 --max-tokens 3": "--length and --max-tokens contradict each other. Leave one of them out.",
    "generate --max-copy 3": "--max-copy goes with --novel. Give both, or neither.",
    "filter --percentiles 9..5": "--percentiles takes a range within 0..100, such as 95.., ..95 or 5..95.",
    "filter --below nan": "--below takes a number, not nan.",
    "filter --above 3 --below 2": "no score is above 3 and below 2. Swap the two; --invert passes what lies outside.",
    "top --max-bits inf": "--max-bits takes a number of 0 or more, not inf.",
}


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SEQMODEL_MODEL", raising=False)


@pytest.mark.parametrize("line", SAID)
def test_what_is_mistyped_is_told(line: str) -> None:
    result = run_here(*line.split())
    assert (result.code, result.err) == (2, f"seqmodel: error: {SAID[line]}\n")


@pytest.mark.parametrize("line", SAID_OF_MODEL)
def test_what_settings_do_not_take_is_told(line: str, train_little: Callable[..., Path]) -> None:
    result = run_here(*line.split(), "-m", train_little())
    assert (result.code, result.err) == (2, f"seqmodel: error: {SAID_OF_MODEL[line]}\n")


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_says_what_it_takes(name: str) -> None:
    """A value of no kind that any option takes is refused by those that list values or take numbers."""
    refused = 0
    for param in COMMANDS[name].params:
        if param.param_type_name != "option":
            continue
        option = max(param.opts, key=len)
        result = run_here(name, f"{option}=x!")
        assert not any(phrase in result.err for phrase in FOREIGN), result.err
        assert "internal error" not in result.err and "Traceback" not in result.err, result.err
        if param.is_flag:
            told(result, 2, f"{option} takes no value")
        elif any(kind in str(param.type_descriptor.annotation) for kind in ("Literal", "int", "float", "enum")):
            told(result, 2, f"{option} takes ")
        refused += result.code == 2
    assert refused


ESCAPES = {
    "generate --seed 1 --stop": "--stop",
    "generate --seed 1 --ban": "--ban",
    "generate --seed 1 -p": "--prefix",
    "top -n 1 --effort 20 -p": "--prefix",
    "complete": "the text",
    "score -t": "--text",
}


@pytest.mark.parametrize("line", ESCAPES)
def test_an_escape_is_taken_as_typed_and_told(line: str, train_little: Callable[..., Path]) -> None:
    model = train_little()
    arguments: tuple[str | Path, ...] = (*line.split(), r"cat\n", "-m", model)
    note = rf"{ESCAPES[line]}: \n is a backslash and an n; for a newline write $'\n' in bash or zsh"
    result = run_here(*arguments)
    assert result.code == 0 and note in result.err.splitlines()
    assert run_here(*arguments, "-q").err == ""
    assert note not in run_here(*line.split(), "cat", "-m", model).err


def test_an_escape_is_no_news_to_a_model_of_backslashes(train_little: Callable[..., Path]) -> None:
    model = train_little("\\newline and \\nabla\n" * 40, steps=3, width=8, layers=1)
    result = run_here("generate", "--seed", "1", "-p", r"\n", "-m", model)
    assert (result.code, result.err) == (0, "") and result.text.startswith(r"\n")


def test_python_names_the_setting(train_little: Callable[..., Path]) -> None:
    import seqmodel

    model = seqmodel.load(train_little())
    with pytest.raises(seqmodel.UsageError) as caught:
        model.generate("cat", top_p=2.0)
    assert str(caught.value) == "top_p takes a number above 0 and at most 1, not 2"
    with pytest.raises(seqmodel.UsageError) as caught:
        model.generate("cat", temprature=2.0)
    assert (str(caught.value), caught.value.hint) == ("temprature is no setting", "Did you mean temperature?")
