"""The sample corpora are what their scripts write, and the known source is a probability distribution."""

from __future__ import annotations

import importlib.util
import itertools
import math
import random
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

FOLDER = Path(__file__).resolve().parent.parent / "sample_corpora"


def script(name: str) -> ModuleType:
    """A script of the folder as a module; it is registered, since its data classes look themselves up."""
    spec = importlib.util.spec_from_file_location(f"sample_corpora_{name}", FOLDER / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def visits() -> ModuleType:
    return script("visits")


def test_names_are_regenerated_byte_for_byte() -> None:
    module = script("names")
    text = "".join(f"{name}\n" for name in module.names(module.COUNT, module.SEED))
    assert text.encode() == (FOLDER / "names.txt").read_bytes()


def test_visits_are_regenerated_byte_for_byte(visits: ModuleType) -> None:
    rng = random.Random(1)
    text = "".join(" ".join(visits.sample(rng)) + "\n" for _ in range(20_000))
    assert text.encode() == (FOLDER / "visits.txt").read_bytes()


@pytest.mark.parametrize(("name", "options"), [("names", []), ("visits", ["--count", "300", "--seed", "1"])])
def test_the_scripts_print_what_the_files_hold(name: str, options: list[str]) -> None:
    command = [sys.executable, str(FOLDER / f"{name}.py"), *options]
    out = subprocess.run(command, capture_output=True, check=True, timeout=60).stdout
    assert (FOLDER / f"{name}.txt").read_bytes().startswith(out) and out.count(b"\n") >= 300


def test_names_are_distinct_and_stand_one_a_line() -> None:
    lines = (FOLDER / "names.txt").read_bytes().decode().split("\n")
    assert lines.pop() == "" and len(lines) == len(set(lines)) == 2000
    assert all(line == line.strip() and line for line in lines)


def enumerated(visits: ModuleType, least: float) -> dict[tuple[str, ...], float]:
    """Every visit whose prefix has at least this probability, with its probability: a walk of our own."""
    found: dict[tuple[str, ...], float] = {}
    waiting: list[tuple[tuple[str, ...], object, float]] = [((), visits.START, 1.0)]
    while waiting:
        events, state, mass = waiting.pop()
        for event, arrow in visits.arrows(state).items():
            probability = mass * arrow.probability
            if event == visits.END:
                found[events] = found.get(events, 0.0) + probability
            elif probability >= least:
                waiting.append(((*events, event), arrow.target, probability))
    return found


def test_the_probabilities_of_visits_are_their_walks(visits: ModuleType) -> None:
    found = enumerated(visits, 2e-5)
    assert 0.4 < sum(found.values()) < 1.0
    assert len(found) > 1000
    for events, probability in found.items():
        assert visits.log2_probability(events) == pytest.approx(math.log2(probability), abs=1e-9)


def test_short_visits_and_the_tail_make_one(visits: ModuleType) -> None:
    lengths = visits.walk_lengths()
    assert math.fsum(lengths) == pytest.approx(1.0, abs=1e-9)
    shortest = next(length for length, mass in enumerate(lengths) if mass > 0)
    alphabet = sorted({event for state in reachable(visits) for event in visits.arrows(state)} - {visits.END})
    assert len(alphabet) == 33
    # All sequences of the first lengths, impossible ones too: only those that can begin so are followed.
    total = 0.0
    prefixes: list[tuple[str, ...]] = [()]
    tails: list[float] = []
    for length in range(shortest + 2):
        scores = [2 ** visits.log2_probability(events) for events in prefixes]
        total += math.fsum(scores)
        tails.append(math.fsum(lengths[length + 1 :]))
        assert total + tails[-1] == pytest.approx(1.0, abs=1e-9)
        longer = ((*events, event) for events, event in itertools.product(prefixes, alphabet))
        prefixes = [events for events in longer if can_begin(visits, events)]
    assert total > 0 and tails[-1] < 1


def can_begin(visits: ModuleType, events: tuple[str, ...]) -> bool:
    state = visits.START
    for event in events:
        arrow = visits.arrows(state).get(event)
        if arrow is None:
            return False
        state = arrow.target
    return True


def reachable(visits: ModuleType) -> set[object]:
    found, waiting = set[object](), [visits.START]
    while waiting:
        state = waiting.pop()
        if state not in found:
            found.add(state)
            waiting += [arrow.target for arrow in visits.arrows(state).values()]
    return found


def test_every_line_of_the_file_is_possible_and_as_likely_as_the_source_says(visits: ModuleType) -> None:
    bits = visits.bits_of_lines(FOLDER / "visits.txt")
    assert all(math.isfinite(value) and value > 0 for value in bits)
    mean = math.fsum(bits) / len(bits)
    error = math.sqrt(math.fsum((value - mean) ** 2 for value in bits) / len(bits) / (len(bits) - 1))
    assert abs(mean - visits.entropy()) < 4 * error


def test_what_the_source_cannot_produce_has_no_probability(visits: ModuleType) -> None:
    line = (FOLDER / "visits.txt").read_text(encoding="utf-8").split("\n")[0].split()
    assert math.isfinite(visits.log2_probability(line))
    for wrong in ([], line[:-1], [*line, line[-1]], line[::-1], ["nonsense"], [*line, visits.END]):
        assert visits.log2_probability(wrong) == -math.inf


def test_the_figures_of_the_readme_are_the_sources_own(visits: ModuleType) -> None:
    text = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert f"{visits.entropy():.6f} bits per line" in text
    assert visits.best_bits_with_context(1) == pytest.approx(17.57, abs=0.005)
    assert f"{(FOLDER / 'harbour.txt').stat().st_size:,} bytes" in text
    assert f"{(FOLDER / 'visits.txt').stat().st_size:,} bytes" in text


def test_the_story_is_text_of_some_length() -> None:
    data = (FOLDER / "harbour.txt").read_bytes()
    text = data.decode("utf-8", "strict")
    assert len(data) >= 40_000
    assert text.endswith("\n") and "\r" not in text and "\ufeff" not in text and "\ufffd" not in text
    assert all(char.isprintable() or char == "\n" for char in text)
    assert max(map(len, text.split("\n"))) <= 80
