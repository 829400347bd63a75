"""Lines that read on across their ends are told from lines that stand alone, in texts of many kinds."""

from __future__ import annotations

import random
import string
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from seqmodel.settings import CorpusSettings, TokenizerSettings
from seqmodel.tokens.store import make_store, open_store
from seqmodel.training.running_text import lines_run_on, looks_like_running_text

NOUNS = "harbour boat keeper lamp gull rope widow letter storm window captain bread".split()
VERBS = "watched followed carried forgot mended called found left painted counted".split()
WHEN = ("in the morning", "before the tide", "as ever", "without a word", "that winter", "at last")
PEOPLE = "Anna Boris Clara Dmitri Edda Farid Greta Hugo".split()
HAN = "山水月風花雲夜春江樹雨雪人心天日光影路門"

Draw = random.Random


def phrase(draw: Draw) -> str:
    return f"the {draw.choice(NOUNS)} {draw.choice(VERBS)} the {draw.choice(NOUNS)}"


def sentence(draw: Draw) -> str:
    joints = (", and ", "; ", ", though ", " while ", ", ")
    text = draw.choice(joints).join(phrase(draw) for _ in range(draw.randint(1, 3)))
    return (draw.choice(WHEN) + ", " + text if draw.random() < 0.4 else text).capitalize() + draw.choice("....?!")


def prose(draw: Draw) -> str:
    return " ".join(sentence(draw) for _ in range(draw.randint(3, 7)))


def wrapped(draw: Draw, width: int = 72) -> str:
    return "\n\n".join(textwrap.fill(prose(draw), width) for _ in range(40))


def verse(draw: Draw) -> str:
    ends = (",", ",", "", "", ".", ";", ":")
    return "\n".join(phrase(draw).capitalize() + draw.choice(ends) for _ in range(200))


def play(draw: Draw) -> str:
    speeches = [f"{draw.choice(PEOPLE).upper()}:\n{textwrap.fill(prose(draw), 45)}" for _ in range(40)]
    return "\n\n".join(speeches)


def speeches_on_their_speakers_line(draw: Draw) -> str:
    return "\n".join(textwrap.fill(f"{draw.choice(PEOPLE).upper()}. {prose(draw)}", 60) for _ in range(40))


def code(draw: Draw) -> str:
    names = [f"def {draw.choice(VERBS)}_{draw.choice(NOUNS)}({draw.choice(NOUNS)}):" for _ in range(40)]
    bodies = [f"    if {draw.choice(NOUNS)}:\n        return {draw.choice(NOUNS)}(1)\n    return None\n" for _ in names]
    return "\n".join(f"{name}\n{body}" for name, body in zip(names, bodies, strict=True))


def tunes(draw: Draw) -> str:
    def bars() -> str:
        return "|".join("".join(draw.choices("ABCDEFGabcdefg2", k=6)) for _ in range(4)) + "|"

    heads = "X:{}\nT:The {}\nS:Trad, arr {}\nM:6/8\nK:{}\n"
    parts = (n for n in range(1, 60))
    return "\n".join(
        heads.format(n, draw.choice(NOUNS).title(), draw.choice(PEOPLE), draw.choice("CDG"))
        + "\n".join(f"P:{part}\n{bars()}\n{bars()}" for part in "AB"[: draw.randint(1, 2)])
        + "\n"
        for n in parts
    )


def subtitles(draw: Draw) -> str:
    return "\n\n".join(
        f"{n}\n00:{n // 20:02}:{n % 60:02},000 --> 00:{n // 20:02}:{n % 60:02},900\n{sentence(draw)}"
        for n in range(1, 90)
    )


def fasta(draw: Draw) -> str:
    def body() -> str:
        return "\n".join("".join(draw.choices("ACGT", k=60)) for _ in range(draw.randint(2, 4)))

    return "\n".join(f">seq{n} {draw.choice(NOUNS)}\n{body()}" for n in range(100))


def games(draw: Draw) -> str:
    def one() -> str:
        tags = f'[Event "{draw.choice(NOUNS)}"]\n[White "{draw.choice(PEOPLE)}"]\n[Result "1-0"]'
        moves = " ".join(f"{n}. {move(draw)} {move(draw)}" for n in range(1, 25))
        return f"{tags}\n\n{textwrap.fill(moves, 72)}"

    return "\n\n".join(one() for _ in range(40))


def move(draw: Draw) -> str:
    return draw.choice(["", "N", "B", "Q"]) + draw.choice("abcdefgh") + draw.choice("345678")


def chinese_prose(draw: Draw) -> str:
    clauses = ["".join(draw.choices(HAN, k=draw.randint(4, 11))) + draw.choice("，，。；") for _ in range(600)]
    return "\n".join(textwrap.wrap("".join(clauses), 32))


def chinese_verse(draw: Draw) -> str:
    return "\n".join("".join(draw.choices(HAN, k=5)) + "，。"[n % 2] for n in range(200))


def chinese_poems(draw: Draw) -> str:
    def line(end: str) -> str:
        return "".join(draw.choices(HAN, k=5)) + end

    return "\n".join(f"{draw.choice(HAN)}詩:{line('，')}{line('。')}{line('，')}{line('。')}" for _ in range(200))


def many(one: Callable[[Draw], str], count: int = 200) -> Callable[[Draw], str]:
    return lambda draw: "\n".join(one(draw) for _ in range(count))


def name(draw: Draw) -> str:
    return draw.choice(PEOPLE) + draw.choice(["", " " + draw.choice(NOUNS).title(), "-" + draw.choice(PEOPLE)])


def address(draw: Draw) -> str:
    family, street = (draw.choice(NOUNS).title() for _ in range(2))
    return f"{family}, {draw.choice(PEOPLE)}, {draw.randint(1, 99)} {street} Street"


def title(draw: Draw) -> str:
    return f"The {draw.choice(NOUNS).title()} of the {draw.choice(NOUNS).title()}: A {draw.choice(NOUNS).title()}"


def molecule(draw: Draw) -> str:
    return "".join(draw.choices(["C", "c1ccccc1", "N", "O", "(=O)", "[C@H]", "Cl", "F"], k=draw.randint(4, 12)))


def password(draw: Draw) -> str:
    return "".join(draw.choices(string.ascii_letters + string.digits + ".,!:-", k=draw.randint(6, 12)))


def log(draw: Draw) -> str:
    level, at = draw.choice(["INFO", "WARN", "ERROR"]), f"{draw.randint(10, 23)}:{draw.randint(10, 59)}:07"
    return (
        f"2026-11-{draw.randint(10, 30)} {at} {level} {draw.choice(NOUNS)}: {phrase(draw)}, code={draw.randint(1, 99)}"
    )


def chat(draw: Draw) -> str:
    return f"[{draw.randint(10, 23)}:{draw.randint(10, 59)}] {draw.choice(PEOPLE)}: {phrase(draw)}, ok?"


def opening(draw: Draw) -> str:
    moves = " ".join(f"{n}. {move(draw)} {move(draw)}" for n in range(1, draw.randint(2, 6)))
    code = f"{draw.choice('ABC')}{draw.randint(10, 99)}"
    return f"{code}\t{draw.choice(PEOPLE)} Gambit: {draw.choice(NOUNS).title()}\t{moves}"


def row(draw: Draw) -> str:
    return f'{draw.randint(1, 99)},{draw.choice(PEOPLE)},"{phrase(draw)}"'


def record(draw: Draw) -> str:
    return f'{{"text": "{phrase(draw)}, and", "n": {draw.randint(1, 9)}}}'


RUN_ON = {
    "prose": wrapped,
    "narrow prose": lambda draw: wrapped(draw, 40),
    "verse": verse,
    "a play": play,
    "a play of prose": speeches_on_their_speakers_line,
    "code": code,
    "tunes": tunes,
    "subtitles": subtitles,
    "FASTA": fasta,
    "games of chess": games,
    "Chinese prose": chinese_prose,
    "Chinese verse": chinese_verse,
}
STAND_ALONE = {
    "sentences": many(sentence),
    "paragraphs": many(prose),
    "names": many(name),
    "addresses": many(address),
    "titles": many(title),
    "sorted titles": lambda draw: "\n".join(sorted(many(title)(draw).split("\n"))),
    "words": many(lambda draw: draw.choice(NOUNS)),
    "molecules": many(molecule),
    "sorted molecules": lambda draw: "\n".join(sorted(many(molecule)(draw).split("\n"))),
    "passwords": many(password),
    "sorted passwords": lambda draw: "\n".join(sorted(many(password)(draw).split("\n"))),
    "logs": many(log),
    "chats": many(chat),
    "openings": lambda draw: "\n".join(sorted(many(opening)(draw).split("\n"))),
    "moves alone": many(lambda draw: opening(draw).split("\t")[2]),
    "CSV": many(row),
    "JSON": many(record),
    "Chinese poems": chinese_poems,
    "Chinese names": many(lambda draw: "".join(draw.choices(HAN, k=3))),
}


@pytest.mark.parametrize("kind", RUN_ON)
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_lines_that_are_parts_of_something_longer_run_on(kind: str, seed: int) -> None:
    assert lines_run_on(RUN_ON[kind](Draw(seed)).split("\n"))


@pytest.mark.parametrize("kind", STAND_ALONE)
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_lines_that_stand_alone_do_not(kind: str, seed: int) -> None:
    assert not lines_run_on(STAND_ALONE[kind](Draw(seed)).split("\n"))


def test_a_few_lines_are_not_judged() -> None:
    assert not lines_run_on(wrapped(Draw(1)).split("\n")[:40])


@pytest.mark.parametrize(("kind", "expected"), [("prose", True), ("tunes", True), ("openings", False)])
def test_a_store_is_judged_by_its_middle(kind: str, expected: bool, tmp_path: Path) -> None:
    (tmp_path / "corpus.txt").write_text((RUN_ON | STAND_ALONE)[kind](Draw(1)) + "\n")
    path = tmp_path / "corpus.tokens"
    make_store(path, [str(tmp_path / "corpus.txt")], TokenizerSettings(), CorpusSettings())
    assert looks_like_running_text(open_store(path)) == expected
