"""`seqmodel generate`: samples that can be repeated, counted, cut and piped."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import seqmodel
from tests.cli.command import Result, run, run_here, told
from tests.conftest import little_text
from tests.model.golden import golden

FIELDS = ["index", "prefix", "text", "bits", "sampling_bits", "tokens", "stop", "seed"]


def samples(result: Result) -> list[dict[str, Any]]:
    assert result.code == 0, result.err
    return [json.loads(line) for line in result.lines]


@pytest.fixture(scope="module")
def barely_trained(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A model that knows next to nothing, so that its samples hold anything at all."""
    folder = tmp_path_factory.mktemp("barely")
    corpus = folder / "corpus.txt"
    corpus.write_text(little_text(), encoding="utf-8")

    @functools.cache
    def train(unit: str) -> Path:
        output = folder / f"{unit}.seqmodel"
        shape = ("--steps", "2", "--width", "16", "--layers", "1", "--threads", "1", "--ngram", "off")
        result = run_here("train", corpus, "-o", output, "-q", "--unit", unit, *shape)
        assert result.code == 0, result.err
        return output

    return train


def test_equal_seeds_give_equal_bytes_and_others_do_not(train_little: Callable[..., Path]) -> None:
    arguments = ("generate", "-m", train_little(), "-n", "3")
    first = run(*arguments, "--seed", "7")
    assert first.code == 0 and first.err == ""
    assert run_here(*arguments, "--seed", "7").out == first.out
    assert run_here(*arguments, "--seed", "8").out != first.out
    assert run_here(*arguments).out != run_here(*arguments).out


def test_a_sample_does_not_depend_on_how_many_are_drawn(train_little: Callable[..., Path]) -> None:
    arguments = ("generate", "-m", train_little(), "--seed", "3", "--format", "jsonl")
    many = samples(run_here(*arguments, "-n", "40"))
    few = samples(run_here(*arguments, "-n", "2"))
    assert [row["index"] for row in many] == list(range(40))
    assert [row["text"] for row in few] == [row["text"] for row in many[:2]]
    assert len({row["text"] for row in many}) > 20


def test_json_rows_hold_what_was_asked_and_what_came(train_little: Callable[..., Path]) -> None:
    result = run_here("generate", "-m", train_little(), "-p", "ca", "-n", "3", "--seed", "5", "--format", "jsonl")
    rows = samples(result)
    assert [list(row) for row in rows] == [FIELDS] * 3
    assert [(row["index"], row["prefix"], row["seed"]) for row in rows] == [(0, "ca", 5), (1, "ca", 5), (2, "ca", 5)]
    assert {row["stop"] for row in rows} <= {"end", "max_tokens", "max_chars"}
    text = run_here("generate", "-m", train_little(), "-p", "ca", "-n", "3", "--seed", "5")
    assert text.text == "".join(f"ca{row['text']}\n" for row in rows)


def test_bits_are_the_models_own_whatever_the_temperature(train_little: Callable[..., Path]) -> None:
    model = seqmodel.load(train_little())
    arguments = ("-m", train_little(), "-p", "ca", "-n", "8", "--seed", "5", "--format", "jsonl")
    for more in ([], ["--temperature", "0.5"], ["--top-k", "3"], ["--top-p", "0.8"]):
        for row in samples(run_here("generate", *arguments, *more)):
            if row["stop"] != "end":
                continue
            (whole,) = model.score(["ca" + row["text"]])
            assert row["tokens"] == len(whole.ids) - 2
            assert row["bits"] == pytest.approx(float(whole.scores.bits[2:].sum()), abs=1e-2)


@pytest.mark.parametrize("unit", ["char", "word", "subword", "byte"])
def test_a_line_model_gives_one_line_a_sample_however_little_it_knows(
    unit: str, barely_trained: Callable[[str], Path]
) -> None:
    result = run_here("generate", "-m", barely_trained(unit), "-n", "64", "--seed", "1", "--max-tokens", "200")
    assert result.code == 0
    assert result.out.count(b"\n") == 64
    assert result.out.endswith(b"\n")


@pytest.mark.parametrize("unit", ["char", "word", "byte"])  # subwords have several spellings
def test_what_is_sampled_is_spelled_as_it_would_be_read(unit: str, barely_trained: Callable[[str], Path]) -> None:
    model = seqmodel.load(barely_trained(unit))
    for sample in model.generate("cat", count=16, seed=2, max_tokens=150):
        if unit != "byte":
            sample.text.encode()  # valid Unicode: no lone surrogates
        if sample.stop == "end":
            (score,) = model.score(["cat" + sample.text])
            prefix = len(model.tokenizer.encode("cat"))
            assert sample.tokens == len(score.ids) - prefix
            assert sample.bits == pytest.approx(float(score.scores.bits[prefix:].sum()), abs=0.05)


def test_greedy_continuations_take_the_most_probable_token_each_time(train_little: Callable[..., Path]) -> None:
    arguments = ("generate", "-m", train_little(), "-p", "c", "--temperature", "0", "--max-tokens", "60")
    greedy = run_here(*arguments)
    assert greedy.out == run_here(*arguments, "--seed", "9").out
    (score,) = seqmodel.load(train_little()).score([greedy.text.removesuffix("\n")], details=True)
    assert score.scores.rank is not None
    assert set(score.scores.rank[1:-1].tolist()) == {1}


def test_a_prefix_in_a_script_never_seen_is_continued(train_little: Callable[..., Path]) -> None:
    for prefix in ("Καλη", "日本", "🐟", "\u2581", "a\x00b", "cat "):
        result = run_here("generate", "-m", train_little(), f"--prefix={prefix}", "--seed", "1", "--format", "jsonl")
        (row,) = samples(result)
        assert row["prefix"] == prefix and row["tokens"] > 0
        text = run_here("generate", "-m", train_little(), f"--prefix={prefix}", "--seed", "1").text
        assert text == prefix + row["text"] + "\n"


def test_length_limits_cut_and_say_so(barely_trained: Callable[[str], Path]) -> None:
    arguments = ("-m", barely_trained("char"), "-n", "20", "--seed", "1", "--format", "jsonl")
    by_tokens = samples(run_here("generate", *arguments, "--max-tokens", "5"))
    assert all(row["tokens"] <= 5 for row in by_tokens)
    assert {row["stop"] for row in by_tokens} >= {"max_tokens"}
    by_chars = samples(run_here("generate", *arguments, "--max-chars", "4"))
    assert all(len(row["text"]) <= 4 for row in by_chars)
    assert all(len(row["text"]) == 4 for row in by_chars if row["stop"] == "max_chars")
    assert {row["stop"] for row in by_chars} >= {"max_chars"}


def test_a_stream_stops_by_itself_and_never_ends(train_little: Callable[..., Path]) -> None:
    model = train_little(sequence="stream", steps=20, width=16)
    rows = samples(run_here("generate", "-m", model, "-n", "2", "--seed", "1", "--format", "jsonl"))
    assert [(row["stop"], len(row["text"])) for row in rows] == [("max_chars", 500)] * 2
    text = run_here("generate", "-m", model, "-n", "2", "--seed", "1").text
    assert text == f"{rows[0]['text']}\n---\n{rows[1]['text']}\n"
    prefix = run_here("generate", "-m", model, "-p", "cat\ndog", "--max-chars", "9", "--seed", "1")
    assert prefix.code == 0 and prefix.text.startswith("cat\ndog")


@pytest.mark.parametrize(
    "option",
    [
        ["--temperature", "101"],
        ["--temperature", "-1"],
        ["--temperature", "nan"],
        ["--temperature", "inf"],
        ["--top-p", "0"],
        ["--top-p", "1.5"],
        ["--top-p", "nan"],
        ["--top-k", "0"],
        ["--count", "0"],
        ["--count", "-3"],
        ["--max-tokens", "0"],
        ["--max-chars", "-1"],
        ["--seed", "-1"],
        ["--seed", str(1 << 63)],
        ["--seed", "x"],
        ["--format", "tsv"],
    ],
    ids=" ".join,
)
def test_settings_that_cannot_be_are_told_in_one_line(option: list[str], train_little: Callable[..., Path]) -> None:
    told(run_here("generate", "-m", train_little(), *option), 2)


def test_a_prefix_with_a_newline_is_refused_by_a_line_model(train_little: Callable[..., Path]) -> None:
    told(run_here("generate", "-m", train_little(), "-p", "Canary\nline"), 2, "newline")


# What is drawn, and where it ends


def test_each_limit_says_that_it_stopped_the_sample(train_little: Callable[..., Path]) -> None:
    stream = train_little(sequence="stream", steps=20, width=16)
    for option, stop in (
        (("--max-chars", "7"), "max_chars"),
        (("--max-tokens", "7"), "max_tokens"),
        (("--max-lines", "2"), "max_lines"),
        (("--stop", "a"), "stop"),
    ):
        rows = samples(run_here("generate", "-m", stream, "-n", "4", "--seed", "2", "--format", "jsonl", *option))
        assert {row["stop"] for row in rows} == {stop}
        assert all("a" not in row["text"] for row in rows if stop == "stop")
        assert all(row["text"].count("\n") == 1 for row in rows if stop == "max_lines")


def test_what_is_banned_does_not_come(train_little: Callable[..., Path]) -> None:
    for model in (train_little(), train_little(unit="subword", steps=20, width=16)):
        free = samples(run_here("generate", "-m", model, "-n", "40", "--seed", "2", "--format", "jsonl"))
        assert any("an" in row["text"] or "o" in row["text"] for row in free)
        rows = samples(
            run_here(
                "generate", "-m", model, "-n", "40", "--seed", "2", "--format", "jsonl", "--ban", "an", "--ban", "o"
            )
        )
        assert not any("an" in row["text"] or "o" in row["text"] for row in rows)
        assert all(row["sampling_bits"] <= row["bits"] + 1e-4 for row in rows)


def test_a_length_is_had_by_every_sample_which_ends(train_little: Callable[..., Path]) -> None:
    arguments = ("generate", "-m", train_little(), "-n", "20", "--seed", "2", "--format", "jsonl")
    rows = samples(run_here(*arguments, "--length", "5..9"))
    assert [row["index"] for row in rows] == list(range(20))
    assert all(row["stop"] == "end" and 5 <= len(row["text"]) <= 9 for row in rows)
    again = samples(run_here(*arguments[:3], "-n", "40", *arguments[5:], "--length", "5..9"))
    assert [row["text"] for row in again[:20]] == [row["text"] for row in rows]


@pytest.mark.parametrize(
    "option",
    [
        ["--length", "9..5"],
        ["--length", "5"],
        ["--length", "5..9", "--max-chars", "7"],
        ["--until-end", "--stop", "a"],
        ["--stop", ""],
        ["--ban", ""],
        ["--length", "90000..90001"],
        ["--prefix", "a", "--prefix-file", "-"],
        ["--show-probs"],
    ],
)
def test_what_cannot_be_is_told_in_one_line(option: list[str], train_little: Callable[..., Path]) -> None:
    told(run_here("generate", "-m", train_little(), *option), 2)


def test_a_stream_has_no_end_to_wait_for(train_little: Callable[..., Path]) -> None:
    stream = train_little(sequence="stream", steps=20, width=16)
    for option in (["--until-end"], ["--length", "1..5"]):
        told(run_here("generate", "-m", stream, *option), 2, "no end")


def test_a_stream_has_a_least_length_where_a_string_ends_it(train_little: Callable[..., Path]) -> None:
    stream = train_little(sequence="stream", steps=20, width=16)
    arguments = ("generate", "-m", stream, "-n", "20", "--seed", "2", "--format", "jsonl", "--length", "5..9")
    for end, name in ((("--stop", "a"), "stop"), (("--max-lines", "1"), "max_lines")):
        rows = samples(run_here(*arguments, *end))
        assert [row["index"] for row in rows] == list(range(20))
        assert all(row["stop"] == name and 5 <= len(row["text"]) <= 9 for row in rows)


def test_a_stop_string_ends_a_line_of_a_length(train_little: Callable[..., Path]) -> None:
    arguments = ("generate", "-m", train_little(), "-n", "40", "--seed", "2", "--format", "jsonl")
    rows = samples(run_here(*arguments, "--length", "4..9", "--stop", "a"))
    assert {row["stop"] for row in rows} == {"end", "stop"}
    assert all(4 <= len(row["text"]) <= 9 and "a" not in row["text"] for row in rows)


def test_everything_banned_leaves_nothing(train_little: Callable[..., Path]) -> None:
    bans = [each for char in map(chr, range(1, 128)) for each in ("--ban", char)]
    model = train_little("ab\nba\n" * 40, steps=5, width=8)
    result = run_here("generate", "-m", model, "-p", "a", "-n", "40", *bans)
    assert result.code == 0 and len(result.lines) == 40  # the end may still come
    assert all(line[0] == "a" and not any(map(str.isascii, line[1:])) for line in result.lines)


def test_prefixes_come_from_a_file_line_by_line(train_little: Callable[..., Path], tmp_path: Path) -> None:
    arguments = ("generate", "-m", train_little(), "-n", "2", "--seed", "4", "--format", "jsonl")
    (tmp_path / "p.txt").write_bytes(b"ca\r\n\nbo")
    rows = samples(run_here(*arguments, "--prefix-file", tmp_path / "p.txt"))
    assert [(row["prefix"], row["index"]) for row in rows] == [(p, i) for p in ("ca", "", "bo") for i in (0, 1)]
    piped = samples(run_here(*arguments, "--prefix-file", "-", stdin=b"ca\r\n\nbo"))
    named = samples(run_here(*arguments, "-p", "ca", "-p", "", "-p", "bo"))
    assert rows == piped == named
    assert len({row["text"] for row in rows if row["prefix"] == ""} | {rows[0]["text"]}) > 1


def test_a_carriage_return_ends_a_line_of_prefixes_and_is_kept_without_a_newline(
    train_little: Callable[..., Path],
) -> None:
    arguments = ("generate", "-m", train_little(sequence="paragraph", steps=2), "--format", "jsonl")
    given = [sample["prefix"] for sample in samples(run_here(*arguments, "--prefix-file", "-", stdin=b"ca\r\nbo\r"))]
    assert given == ["ca", "bo\r"]


def test_a_reproducible_sample_is_made_again_alone_bit_for_bit(train_little: Callable[..., Path]) -> None:
    arguments = ("generate", "-m", train_little(), "--seed", "4", "--format", "jsonl", "--reproducible")
    many = run_here(*arguments, "-n", "5").lines
    alone = [run_here(*arguments, "--first", str(number)).lines[0] for number in range(5)]
    assert alone == many


# Novelty


def test_a_novel_sample_is_no_line_of_the_training_text_and_copies_little(
    train_little: Callable[..., Path],
) -> None:
    text = "\n".join(["anna", "hanna", "johanna", "susanna", "rosanna"] * 20) + "\n"
    model = train_little(text, steps=60, width=24, fingerprint="16kB")
    arguments = ("generate", "-m", model, "-n", "40", "--seed", "3", "--format", "jsonl")
    free = samples(run_here(*arguments))
    assert any(row["text"] in text.split() for row in free)
    assert all(row["copied"] == len(row["text"]) for row in free if row["text"] in text.split())
    novel = samples(run_here(*arguments, "--novel"))
    assert [row["index"] for row in novel] == list(range(40))
    assert not any(row["text"] in text.split() for row in novel)
    assert "n-grams of up to 16 characters" in run_here("info", model).text


@pytest.mark.parametrize(("unit", "most"), [("char", 6), ("byte", 6), ("subword", 8), ("word", 11)])
def test_no_sample_shares_more_characters_in_a_row_with_the_training_text_than_allowed(
    unit: str, most: int, train_little: Callable[..., Path], tmp_path: Path
) -> None:
    text, valid = little_text(), tmp_path / "valid.txt"
    valid.write_text(little_text(60, seed=4))  # so that all of the text is trained on
    model = train_little(text, steps=20, width=16, unit=unit, fingerprint="64kB", valid=valid)
    arguments = ("generate", "-m", model, "-n", "40", "--seed", "3", "--format", "jsonl", "--max-chars", "24")
    copies = [(row["copied"], longest_copy(row["text"], text)) for row in samples(run_here(*arguments))]
    assert max(shared for _, shared in copies) > most
    assert all(told == shared or told > shared >= 16 for told, shared in copies)
    for prefix in ("", "ca"):
        rows = samples(run_here(*arguments, "-p", prefix, "--novel", "--max-copy", str(most)))
        assert [row["index"] for row in rows] == list(range(40))
        assert max(longest_copy(row["text"], text) for row in rows) == most


def longest_copy(text: str, training: str) -> int:
    return max((b - a for b in range(len(text) + 1) for a in range(b) if text[a:b] in training), default=0)


def test_a_fingerprint_of_an_earlier_kind_is_refused_since_it_misses_short_copies() -> None:
    told(run_here("generate", "-m", golden("words_closed"), "--novel"), 2, "an earlier kind", "--fingerprint")
    assert "of an earlier kind" in run_here("info", golden("words_closed")).text
    assert "copied" not in samples(run_here("generate", "-m", golden("words_closed"), "--format", "jsonl"))[0]


def test_without_a_fingerprint_nothing_is_told_of_copies(train_little: Callable[..., Path]) -> None:
    told(run_here("generate", "-m", train_little(), "--novel"), 2, "--fingerprint")
    told(run_here("generate", "-m", train_little(), "--max-copy", "3"), 2, "--novel")
    told(run_here("train", "x.txt", "--fingerprint", "many"), 2, "4MB")


# Search


def test_a_beam_gives_the_best_it_finds_and_draws_nothing(train_little: Callable[..., Path]) -> None:
    arguments = ("generate", "-m", train_little(), "-p", "c", "--format", "jsonl")
    rows = samples(run_here(*arguments, "--beam", "8", "--count", "4"))
    assert [row["index"] for row in rows] == [0, 1, 2, 3]
    bits = [row["bits"] for row in rows]
    assert bits == sorted(bits) and all(row["sampling_bits"] is None and row["stop"] == "end" for row in rows)
    (greedy,) = samples(run_here(*arguments, "--temperature", "0"))
    (one,) = samples(run_here(*arguments, "--beam", "1"))
    assert (one["text"], one["bits"]) == (greedy["text"], pytest.approx(greedy["bits"], abs=1e-4))
    assert bits[0] <= one["bits"] + 1e-4
    long = samples(run_here(*arguments, "--beam", "8", "--count", "4", "--length-normalisation", "per-token"))
    means = [row["bits"] / row["tokens"] for row in long]
    assert means == sorted(means)
    limits = ("--stop", "a", "--max-chars", "6")
    for row in samples(run_here(*arguments, "--beam", "8", "--count", "4", *limits)):
        assert ("a" not in row["text"] and row["stop"] in ("stop", "end")) or len(row["text"]) == 6
    for option in (["--top-k", "3"], ["--ban", "a"], ["--temperature", "0.5"], ["--reproducible"]):
        told(run_here(*arguments, "--beam", "2", *option), 2, "draws nothing")


@pytest.mark.parametrize("search", [[], ["--beam", "40", "--max-chars", "1"]])
def test_what_the_training_text_lacks_comes_only_with_any_text(
    search: list[str], barely_trained: Callable[[str], Path]
) -> None:
    """A model that knows next to nothing would write bytes that spell anything."""
    model = barely_trained("char")
    options = ("-n", "40", "--seed", "1", "--max-chars", "20", "--format", "jsonl", *search)
    seen, wild = (
        {char for row in samples(run_here("generate", "-m", model, *options, *more)) for char in row["text"]}
        for more in ([], ["--any-text"])
    )
    assert seen <= set(little_text()) < wild | set(little_text())


def test_completions_and_the_most_probable_lines_keep_to_the_same_characters(
    barely_trained: Callable[[str], Path],
) -> None:
    model, written = barely_trained("char"), set(little_text()) - {"\n"}
    for command, column in ((["top", "-n", "30", "--effort", "60"], "text"), (["complete", "a", "--next"], "token")):
        found = []
        for more in ([], ["--any-text"]):
            result = run_here(*command, "-m", model, *(["-k", "100"] if "--next" in command else []), *more)
            assert result.code == 0, result.err
            found.append({row[column].replace("▁", " ") for row in result.rows} - {"</s>"})
        seen, wild = found
        assert seen and all(set(text) <= written for text in seen), command
        assert any(not set(text) <= written for text in wild), command
    requests = b'{"prefix": "a", "k": 60}\n'
    for more in ([], ["--any-text"]):
        answer = json.loads(run_here("complete", "-m", model, "--jsonl", *more, stdin=requests).lines[0])
        assert all(set(one["text"]) <= written for one in answer["completions"]) == (not more)
