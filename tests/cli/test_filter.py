"""`seqmodel filter`: the lines that fit pass byte for byte, and which they are agrees with `seqmodel score`."""

from __future__ import annotations

import io
import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import seqmodel
from seqmodel.console.filter_view import LineOutput
from seqmodel.scoring.filtering import Pair, scored_by_both
from seqmodel.text.corpus import Line
from tests.cli.command import Result, command, environment, run, run_here, told
from tests.cli.test_score import NASTY, lines_of_text
from tests.conftest import little_text

LINES = b"cat dog\nxqz\n\nanna boil the kite\n   \nZ\xc3\xbcrich 12\ncat\n"
EVERYTHING = ("--above", "-1", "--keep-blank", "-q")


@pytest.fixture(scope="module")
def model(train_little: Callable[..., Path]) -> Path:
    return train_little()


@pytest.fixture(scope="module")
def ranking(train_little: Callable[..., Path]) -> Path:
    """A model that knows how held-out lines scored."""
    return train_little(little_text(2000), steps=20, width=16)


@pytest.fixture(scope="module")
def other(train_little: Callable[..., Path]) -> Path:
    """A model of other text, in other units."""
    return train_little("xqz zqx 12 21 xx\n" * 300, unit="word", steps=20, width=16)


def rates(model: Path, data: bytes, *options: str) -> list[float]:
    """Bits per char of each line of a file, or NaN, as `score` tells them."""
    rows = run_here("score", "-q", "-m", model, "--format", "jsonl", *options, stdin=data).lines
    return [json.loads(row)["bits_per_char"] or float("nan") for row in rows]


def passed(model: Path, *options: str | Path, data: bytes = LINES) -> list[bytes]:
    result = run_here("filter", "-q", "-m", model, *options, stdin=data)
    assert (result.code, result.err) == (0, "")
    return result.out.splitlines(keepends=True)


# What passes is what was read


@settings(deadline=None, max_examples=25)
@given(lines=lines_of_text, ends=st.sampled_from(["\n", "\r\n", "\r\r\n"]), last=st.booleans())
@example(lines=[line.decode() for line in NASTY], ends="\r\n", last=False)
def test_what_passes_is_what_was_read(model: Path, lines: list[str], ends: str, last: bool) -> None:
    data = (ends.join(lines) + ends * last).encode().removeprefix(b"\xef\xbb\xbf")
    assert run_here("filter", "-m", model, *EVERYTHING, stdin=data).out == data


@settings(deadline=None, max_examples=15)
@given(lines=lines_of_text, last=st.booleans(), bound=st.floats(1, 12))
def test_lines_pass_that_score_below_the_bound_and_the_others_when_inverted(
    model: Path, lines: list[str], last: bool, bound: float
) -> None:
    data = ("\n".join(lines) + "\n" * last).encode()
    scores = rates(model, data)
    raw = data.removeprefix(b"\xef\xbb\xbf").split(b"\n")
    found: dict[bool, list[bytes]] = {}
    for inverted in (False, True):
        out = run_here(
            "filter", "-q", "-m", model, "--below", str(bound), *["--invert"] * inverted, stdin=data
        ).out.split(b"\n")
        found[inverted] = [line for line in out if line]
        expected = [
            line
            for line, score in zip(raw, scores, strict=False)
            if line.decode().strip() and (score < bound) is not inverted
        ]
        assert found[inverted] == expected
    assert len(found[True]) + len(found[False]) == sum(bool(line.decode().strip()) for line in raw)


def test_the_byte_unit_passes_any_bytes(train_little: Callable[..., Path]) -> None:
    model = train_little(unit="byte", steps=20, width=16)
    data = b"\xef\xbb\xbf\xff\xfe\x00\n\xc3\r\n" + bytes(range(256))
    assert run_here("filter", "-m", model, *EVERYTHING, stdin=data).out == data


def test_bytes_that_are_replaced_for_scoring_pass_as_they_were(model: Path) -> None:
    data = b"\xef\xbb\xbfcat \xff\xe2\x82\nreal \xef\xbf\xbd\ndog\n\xff"
    told(run_here("filter", "-m", model, *EVERYTHING, stdin=data), 3, "line 1", "invalid UTF-8")
    result = run_here("filter", "-m", model, *EVERYTHING, "--errors", "replace", stdin=data)
    assert result.out == data[3:]
    table = b"n\ttext\n1\tcat \xff\r\n"
    options = ("--column", "text", "--errors", "replace")
    assert run_here("filter", "-m", model, *EVERYTHING, *options, stdin=table).out == table


def test_a_mark_at_the_start_of_a_file_is_left_out(model: Path, tmp_path: Path) -> None:
    for name in ("a.txt", "b.txt"):
        (tmp_path / name).write_bytes(b"\xef\xbb\xbfcat\n")
    assert passed(model, tmp_path / "a.txt", tmp_path / "b.txt", "--above", "0") == [b"cat\n"] * 2


def test_a_missing_newline_stays_missing_unless_a_line_follows(model: Path, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"cat\r\ndog")
    (tmp_path / "b.txt").write_bytes(b"\n")
    (tmp_path / "c.txt").write_bytes(b"anna")
    files = [tmp_path / name for name in ("a.txt", "b.txt", "c.txt")]
    assert run_here("filter", "-m", model, *EVERYTHING, *files).out == b"cat\r\ndog\n\nanna"
    assert b"".join(passed(model, *files, "--above", "0")) == b"cat\r\ndog\nanna"


def test_a_long_line_and_no_line_pass(model: Path) -> None:
    data = b"cat dog " * (1 << 13) + b"\ncat"
    assert run_here("filter", "-m", model, *EVERYTHING, stdin=data).out == data
    assert run_here("filter", "-m", model, *EVERYTHING).out == b""


def test_on_a_terminal_control_characters_are_shown() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    output = LineOutput(terminal)
    output.write([Line(1, "\x1b[31mred\x1b[0m\tcat", True), Line(2, "é\r", True)])
    output.write([Line(1, "\udcff", False)])
    assert terminal.getvalue() == "\\x1b[31mred\\x1b[0m\tcat\né\\r\n\\xff"


# Which lines pass


def test_bounds_are_of_bits_per_char_token_or_line(model: Path) -> None:
    lines = [line for line in LINES.splitlines() if line.strip()]
    scores = seqmodel.load(model).score([line.decode() for line in lines])
    for per, score in {
        "char": [one.bits / len(one.text) for one in scores],
        "token": [one.bits / len(one.ids) for one in scores],
        "line": [one.bits for one in scores],
    }.items():
        above, below = sorted(score)[0] + 1e-3, sorted(score)[3] + 1e-3
        expected = [line + b"\n" for line, own in zip(lines, score, strict=True) if above < own < below]
        assert len(expected) == 3
        assert passed(model, "--per", per, "--above", str(above), "--below", str(below)) == expected


def test_blank_lines_have_no_score_and_a_rule_of_their_own(train_little: Callable[..., Path]) -> None:
    for sequence in ("line", "paragraph", "stream"):
        model = train_little(sequence=sequence, steps=5, width=16)
        for bound in (("--above", "-1"), ("--below", "-1", "--invert")):
            assert passed(model, *bound) == [line for line in LINES.splitlines(keepends=True) if line.strip()]
            assert passed(model, *bound, "--keep-blank") == LINES.splitlines(keepends=True)
        assert passed(model, "--below", "-1", "--keep-blank") == [b"\n", b"   \n"]


def test_percentiles_are_those_that_score_tells(ranking: Path) -> None:
    data = little_text(200, seed=9).encode()
    rows = run_here("score", "-q", "-m", ranking, "--percentile", stdin=data).rows
    own = [float(row["percentile"]) for row in rows]
    assert len(set(own)) > 50
    edge = sorted(own)[60]
    for asked, least, most in ((f"{edge}..80", edge, 80.0), ("..20", 0.0, 20.0), (f"{edge}..", edge, 100.0)):
        lines = zip(data.splitlines(keepends=True), own, strict=True)
        expected = [line for line, rank in lines if least <= rank <= most]
        assert passed(ranking, "--percentiles", asked, data=data) == expected
        assert 5 < len(expected) < 200
    both = passed(ranking, "--percentiles", "..50", "--above", "2", data=data)
    assert set(both) == set(passed(ranking, "--percentiles", "..50", data=data)) & set(
        passed(ranking, "--above", "2", data=data)
    )


def test_against_another_model_the_difference_counts(model: Path, other: Path) -> None:
    lines = [line for line in LINES.splitlines() if line.strip()]
    texts = [line.decode() for line in lines]
    pairs = zip(seqmodel.load(model).score(texts), seqmodel.load(other).score(texts), strict=True)
    differences = [(mine.bits - its.bits) / len(mine.text) for mine, its in pairs]
    expected = [line + b"\n" for line, difference in zip(lines, differences, strict=True) if difference < 0]
    assert b"xqz\n" not in expected and b"cat dog\n" in expected
    assert passed(model, "--against", other, "--below", "0") == expected
    assert passed(model, "--against", model, "--above", "0") == []
    told(run_here("filter", "-m", model, "--against", other, "--below", "0", "--per", "token"), 2, "different tokens")


@pytest.mark.parametrize("kinds", [("line", "paragraph"), ("document", "stream"), ("paragraph", "document")])
def test_models_of_different_sequences_are_asked_for_the_same_lines(
    kinds: tuple[str, str], train_little: Callable[..., Path]
) -> None:
    """What both have goes on before more is read."""
    one, two = (seqmodel.load(train_little(sequence=kind, steps=5, width=16)) for kind in kinds)
    whole = [Line(number, text, True) for number, text in enumerate(LINES.decode().split("\n")[:-1], start=1)]
    done: list[Pair] = []

    def batches() -> Iterator[list[Line]]:
        for begin, end in ((0, 1), (1, 4), (4, 7)):
            assert len(done) >= begin - 1
            yield whole[begin:end]

    for pairs in scored_by_both(one, two, batches(), restart=False):
        done += pairs
    assert [(row.line, its.line if its else None) for row, its in done] == [(line, line) for line in whole]
    alone = [row for rows in two.score_lines([whole]) for row in rows]
    assert [its.bits for _, its in done if its] == pytest.approx([row.bits for row in alone], abs=1e-3)


def test_context_is_carried_over_lines_that_do_not_pass_or_not_at_all(train_little: Callable[..., Path]) -> None:
    model = train_little(sequence="stream", steps=20, width=16)
    for context in ("carry", "none"):
        scores = rates(model, LINES, "--context", context)
        bound = sorted(scores[i] for i in (0, 1, 3, 5, 6))[2]
        lines = zip(LINES.splitlines(keepends=True), scores, strict=True)
        expected = [line for line, score in lines if line.strip() and score < bound - 1e-5]
        assert passed(model, "--below", str(bound - 1e-5), "--context", context) == expected


def test_a_closed_vocabulary_is_measured_per_token(train_little: Callable[..., Path]) -> None:
    model = train_little(unit="word", closed_vocab=True, steps=20, width=16)
    known, unknown = (one.bits / len(one.ids) for one in seqmodel.load(model).score(["cat dog", "xqz xqz xqz"]))
    assert known < unknown
    for options in ((), ("--per", "token")):
        bound = ("--below", str((known + unknown) / 2), *options)
        assert passed(model, *bound, data=b"cat dog\nxqz xqz xqz\n") == [b"cat dog\n"]
    told(run_here("filter", "-m", model, "--below", "1", "--per", "char", stdin=LINES), 2, "closed vocabulary")


def test_a_closed_vocabulary_goes_against_the_same_one_only(train_little: Callable[..., Path], other: Path) -> None:
    closed = train_little(unit="word", closed_vocab=True, steps=20, width=16)
    more = train_little("cat cat dog\n" * 30, unit="word", closed_vocab=True, steps=2, width=16)
    rule = ("--below", "1", "--per", "line")
    for pair in ((closed, other), (other, closed), (closed, more)):
        told(run_here("filter", "-m", pair[0], "--against", pair[1], *rule, stdin=LINES), 2, "a closed vocabulary")
    assert run_here("filter", "-m", closed, "--against", closed, *rule, stdin=LINES).code == 0


# Tables

CSV = b'n,text,note\r\n1,cat dog,"a ""quoted""\r\nnote"\r\n2,xqz12, \r\n3,"cat\r\ndog",x\r\n4,,blank'
TSV = b"text\tnote\r\ncat\\tdog\tx\r\nxqz12\t\\x y\n\tblank\ncat dog\tz"
JSONL = b'{"text":"cat dog",  "n": 1.50}\n{"n":2,"text":"xqz12"}\r\n { "text" : "c\\u0061t dog" }\n'


@pytest.mark.parametrize(("kind", "data"), [("csv", CSV), ("tsv", TSV), ("jsonl", JSONL)])
def test_whole_rows_of_tables_pass_and_the_header_stays(kind: str, data: bytes, model: Path) -> None:
    options = ("--input", kind, "--column", "text")
    assert run_here("filter", "-m", model, *EVERYTHING, *options, stdin=data).out == data
    bound = rates(model, b"xqz12\n")[0] - 1
    rows = run_here("filter", "-q", "-m", model, "--above", str(bound), *options, stdin=data).out
    expected = {
        "csv": b"n,text,note\r\n2,xqz12, \r\n",
        "tsv": b"text\tnote\r\nxqz12\t\\x y\n",
        "jsonl": b'{"n":2,"text":"xqz12"}\r\n',
    }
    assert rows == expected[kind]


def test_the_header_of_several_tables_stays_once_even_without_rows(model: Path, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"text\r\ncat")
    (tmp_path / "b.csv").write_bytes(b"text\ndog\n")
    files = (tmp_path / "a.csv", tmp_path / "b.csv", "--column", "text")
    assert b"".join(passed(model, *files, "--above", "0")) == b"text\r\ncat\ndog\n"
    assert b"".join(passed(model, *files, "--below", "0")) == b"text\r\n"
    assert b"".join(passed(model, "--column", "2", "--above", "0", data=b"1\tcat\n2\t\n")) == b"1\tcat\n"


# Counting, the summary, pipes and failures


def test_the_count_alone_and_the_summary(model: Path) -> None:
    result = run_here("filter", "-m", model, "--above", "0", "--count", stdin=LINES)
    assert (result.code, result.text, result.err) == (0, "5\n", "kept 5 of 7 lines\n")
    nothing = run_here("filter", "-m", model, "--below", "0", stdin=b"cat\n")
    assert (nothing.code, nothing.out, nothing.err) == (0, b"", "kept 0 of 1 line\n")
    assert run_here("filter", "-q", "-m", model, "--below", "0", "-c", stdin=b"cat\n") == Result(0, b"0\n", "")


def test_a_co_process_passes_a_line_on_before_the_next_is_given(model: Path) -> None:
    with subprocess.Popen(
        command("filter", "-q", "-m", model, "--below", "6"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment(),
    ) as process:
        assert process.stdin is not None and process.stdout is not None
        for line in (b"cat dog\r\n", b"anna boil\n", b"cat\n"):
            process.stdin.write(b"\nqqqqqqqqqq\n" + line)
            process.stdin.flush()
            assert process.stdout.readline() == line
        process.stdin.close()
        assert process.wait(timeout=60) == 0


def test_a_reader_that_has_had_enough_and_a_full_disk(model: Path) -> None:
    process = subprocess.Popen(
        command("filter", "-m", model, "--above", "0"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(),
    )
    assert process.stdin and process.stdout and process.stderr
    process.stdin.write(b"cat\n")
    process.stdin.flush()
    assert process.stdout.readline() == b"cat\n"
    process.stdout.close()
    process.stdin.write(b"cat\n")
    process.stdin.close()
    assert (process.stderr.read(), process.wait(timeout=60)) == (b"", 141)
    process.stderr.close()
    if Path("/dev/full").exists():
        with Path("/dev/full").open("wb") as full:
            done = subprocess.run(
                command("filter", "-m", model, "--above", "0"), input=b"cat\n", stdout=full, stderr=subprocess.PIPE
            )
        assert done.returncode == 5 and done.stderr.count(b"\n") == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "nothing says which lines pass"),
        (["--invert"], "nothing says which lines pass"),
        (["--below", "nan"], "--below takes a number, not nan"),
        (["--below", "much"], "--below takes a number, not much"),
        (["--below", "2", "--above", "3"], "no score is above 3 and below 2"),
        (["--percentiles", "95"], "--percentiles takes a range within 0..100"),
        (["--percentiles", "60..40"], "--percentiles takes a range within 0..100"),
        (["--percentiles", "5..101"], "--percentiles takes a range within 0..100"),
    ],
)
def test_rules_that_make_no_sense_are_refused_before_anything_is_read(
    options: list[str], message: str, model: Path
) -> None:
    told(run_here("filter", "-m", model, *options, "missing.txt"), 2, message)


def test_what_a_model_cannot_tell_is_told(model: Path, other: Path, tmp_path: Path) -> None:
    told(run_here("filter", "-m", model, "--percentiles", "..5", stdin=LINES), 4, "too few held-out lines")
    told(run_here("filter", "-m", model, "--against", other, stdin=LINES), 2, "nothing says")
    ranged = run_here("filter", "-m", model, "--percentiles", "5..95", "--against", other, stdin=LINES)
    told(ranged, 2, "--against needs --below or --above")
    told(run_here("filter", "-m", model, "--against", tmp_path / "no.seqmodel", "--below", "0"), 4, "no.seqmodel")
    table = run("filter", "-m", model, "--above", "0", "--column", "text", stdin=b"n\n1\n")
    told(table, 3, "header does not name the column")
