"""Draw and score visits to an invented hospital, from a source whose every probability is known.

What this file knows: one probabilistic automaton over events such as `triage-2` or `lab-blood`. A line of
the corpus is one visit, the events of one walk from the first state to the end, separated by blanks.

The automaton has memory. How the patient arrived (the first event), the complaint (the second) and the
triage level (the third) are kept in the state; they decide the tests, the treatment, the ward and, as the
very last event, the way home. Between cause and effect lie stretches of any length that say nothing of
them, so a model that sees only the last few events cannot reach the entropy; `--context K` says how near
one that sees exactly K of them can come.

No two arrows out of a state carry the same event, so a sequence has at most one walk: its probability is a
plain product, and the entropy, the mean length and the total mass follow from the expected number of
times each arrow is taken. All of them are computed here, none estimated.

    python visits.py --count 20000 --seed 1 > visits.txt
    python visits.py --score visits.txt
    python visits.py --entropy
    python visits.py --context 2
    python visits.py --verify visits.txt
"""

import argparse
import functools
import io
import math
import os
import random
import sys
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import Enum, auto
from pathlib import Path

END = ""  # stands for the end of the line; no event can be the empty word

# Walking stops when less than this is left unfinished. The mass left shrinks by a fixed factor every few
# steps, so what is cut off is far below the rounding of the sums themselves.
NEGLIGIBLE = 1e-18


class Stage(Enum):
    """What the visit has come to: what kind of event is due next."""

    ARRIVAL = auto()
    COMPLAINT = auto()
    TRIAGE = auto()
    WAITING = auto()
    TEST = auto()
    RESULT = auto()
    TREATMENT = auto()
    PLACE = auto()
    STAY = auto()
    WAY_HOME = auto()
    OVER = auto()


@dataclass(frozen=True)
class State:
    """A state of the automaton: the stage and whatever of the past still matters."""

    stage: Stage
    arrival: str = ""
    complaint: str = ""
    triage: str = ""
    result: str = ""


@dataclass(frozen=True)
class Arrow:
    """One way out of a state: the probability, and the state it leads to."""

    probability: float
    target: State


Weights = dict[str, int]  # from event to parts in a hundred

START = State(Stage.ARRIVAL)

ARRIVAL: Weights = {"register": 65, "ambulance": 35}

COMPLAINT: dict[str, Weights] = {
    "register": {"chest-pain": 10, "fever": 35, "fracture": 25, "rash": 30},
    "ambulance": {"chest-pain": 40, "fever": 20, "fracture": 35, "rash": 5},
}

TRIAGE: dict[str, Weights] = {
    "chest-pain": {"triage-1": 60, "triage-2": 30, "triage-3": 10},
    "fever": {"triage-1": 10, "triage-2": 45, "triage-3": 45},
    "fracture": {"triage-1": 15, "triage-2": 60, "triage-3": 25},
    "rash": {"triage-1": 5, "triage-2": 15, "triage-3": 80},
}

# The same for everybody, so that nothing here repeats what the line said before.
WAITING: Weights = {"wait": 35, "vitals": 20}
WAITING_ENDS_WITH_DOCTOR = 45

TEST: dict[str, Weights] = {
    "chest-pain": {"ecg": 75, "lab-blood": 20, "x-ray": 5},
    "fever": {"lab-blood": 60, "lab-urine": 35, "x-ray": 5},
    "fracture": {"x-ray": 95, "lab-blood": 5},
    "rash": {"lab-blood": 50, "lab-urine": 50},
}

# The result depends on the triage level alone: the test does not betray it.
RESULT: dict[str, Weights] = {
    "triage-1": {"result-high": 65, "result-ok": 15, "result-unclear": 20},
    "triage-2": {"result-high": 40, "result-ok": 40, "result-unclear": 20},
    "triage-3": {"result-high": 15, "result-ok": 65, "result-unclear": 20},
}

TREATMENT: dict[tuple[str, str], Weights] = {
    ("chest-pain", "result-high"): {"aspirin": 90, "fluids": 10},
    ("chest-pain", "result-ok"): {"rest": 70, "aspirin": 30},
    ("fever", "result-high"): {"antibiotic": 85, "fluids": 15},
    ("fever", "result-ok"): {"fluids": 60, "rest": 40},
    ("fracture", "result-high"): {"plaster": 95, "aspirin": 5},
    ("fracture", "result-ok"): {"rest": 75, "plaster": 25},
    ("rash", "result-high"): {"ointment": 70, "antibiotic": 30},
    ("rash", "result-ok"): {"ointment": 60, "rest": 40},
}

PLACE: dict[tuple[str, str], Weights] = {
    ("triage-1", "result-high"): {"intensive": 80, "ward-a": 20},
    ("triage-1", "result-ok"): {"ward-a": 90, "discharge": 10},
    ("triage-2", "result-high"): {"ward-a": 75, "ward-b": 20, "discharge": 5},
    ("triage-2", "result-ok"): {"ward-b": 50, "discharge": 50},
    ("triage-3", "result-high"): {"ward-b": 80, "discharge": 20},
    ("triage-3", "result-ok"): {"discharge": 98, "ward-b": 2},
}

STAY: Weights = {"round": 45}
STAY_ENDS_WITH_DISCHARGE = 55

WAY_HOME: dict[str, Weights] = {
    "register": {"walk": 75, "taxi": 20, "transport": 5},
    "ambulance": {"transport": 85, "taxi": 15},
}


@functools.cache
def arrows(state: State) -> dict[str, Arrow]:
    """The ways out of a state, by event. Callers must not change what they get: it is kept."""
    parts = _parts(state)
    total = sum(weight for weight, _ in parts.values())
    if total != 100:
        raise ValueError(f"the weights out of {state} add up to {total}, not to 100")
    return {event: Arrow(weight / 100, target) for event, (weight, target) in parts.items()}


def _parts(state: State) -> dict[str, tuple[int, State]]:
    """The ways out of a state, by event: parts in a hundred, and where each leads.

    Should a change give two arrows one event, the sum that `arrows` checks falls short of a hundred.
    """
    match state.stage:
        case Stage.ARRIVAL:
            return {e: (w, State(Stage.COMPLAINT, arrival=e)) for e, w in ARRIVAL.items()}
        case Stage.COMPLAINT:
            weights = COMPLAINT[state.arrival]
            return {e: (w, replace(state, stage=Stage.TRIAGE, complaint=e)) for e, w in weights.items()}
        case Stage.TRIAGE:
            weights = TRIAGE[state.complaint]
            return {e: (w, replace(state, stage=Stage.WAITING, triage=e)) for e, w in weights.items()}
        case Stage.WAITING:
            again = {e: (w, state) for e, w in WAITING.items()}
            return again | {"doctor": (WAITING_ENDS_WITH_DOCTOR, replace(state, stage=Stage.TEST))}
        case Stage.TEST:
            return _leading(TEST[state.complaint], replace(state, stage=Stage.RESULT))
        case Stage.RESULT:
            return {e: (w, _after_result(state, e)) for e, w in RESULT[state.triage].items()}
        case Stage.TREATMENT:
            treated = replace(state, stage=Stage.PLACE, complaint="")
            return _leading(TREATMENT[state.complaint, state.result], treated)
        case Stage.PLACE:
            return {e: (w, _after_place(state, e)) for e, w in PLACE[state.triage, state.result].items()}
        case Stage.STAY:
            home = State(Stage.WAY_HOME, arrival=state.arrival)
            return _leading(STAY, state) | {"discharge": (STAY_ENDS_WITH_DISCHARGE, home)}
        case Stage.WAY_HOME:
            return _leading(WAY_HOME[state.arrival], State(Stage.OVER))
        case Stage.OVER:
            return {END: (100, state)}


def _leading(weights: Weights, target: State) -> dict[str, tuple[int, State]]:
    """The events of a table, all of which lead to one state."""
    return {event: (weight, target) for event, weight in weights.items()}


def _after_result(state: State, event: str) -> State:
    """An unclear result sends the patient to another test; a clear one is kept for the treatment."""
    if event == "result-unclear":
        return replace(state, stage=Stage.TEST)
    return replace(state, stage=Stage.TREATMENT, result=event)


def _after_place(state: State, event: str) -> State:
    """From here on only the arrival matters, for the way home; a ward keeps the patient for a while."""
    stage = Stage.WAY_HOME if event == "discharge" else Stage.STAY
    return State(stage, arrival=state.arrival)


def sample(rng: random.Random) -> list[str]:
    """Draw one visit. Only `rng.random()` is called, whose numbers are the same in every Python."""
    events: list[str] = []
    state = START
    while True:
        event, arrow = _draw(arrows(state), rng.random())
        if event == END:
            return events
        events.append(event)
        state = arrow.target


def _draw(choices: dict[str, Arrow], number: float) -> tuple[str, Arrow]:
    """The choice in whose share of the unit interval the number falls."""
    bound = 0.0
    for event, arrow in choices.items():
        bound += arrow.probability
        if number < bound:
            return event, arrow
    # Rounding may leave the last bound a hair below 1; the number then belongs to the last choice.
    return event, arrow


def log2_probability(events: Sequence[str]) -> float:
    """The exact base-2 logarithm of the probability of a whole visit; minus infinity if it cannot occur."""
    state = START
    total = 0.0
    for event in events:
        arrow = arrows(state).get(event)
        # END is no event: a sequence that holds the empty word is not one of this source's.
        if arrow is None or event == END:
            return -math.inf
        total += math.log2(arrow.probability)
        state = arrow.target
    end = arrows(state).get(END)
    return -math.inf if end is None else total + math.log2(end.probability)


def walk_lengths() -> list[float]:
    """The probability of each length in events, from 0 on, until what is left is negligible."""
    lengths: list[float] = []
    present: dict[State, float] = {START: 1.0}
    while sum(present.values()) > NEGLIGIBLE:
        following: defaultdict[State, float] = defaultdict(float)
        ended = 0.0
        for state, mass in present.items():
            for event, arrow in arrows(state).items():
                if event == END:
                    ended += mass * arrow.probability
                else:
                    following[arrow.target] += mass * arrow.probability
        lengths.append(ended)
        present = following
    return lengths


def entropy() -> float:
    """The source's entropy in bits per visit, the end of the line included.

    The walk is a product of arrows, so its mean bits are the sum over all arrows of the expected number of
    times they are taken, each times its own bits.
    """
    bits = 0.0
    present: dict[State, float] = {START: 1.0}
    while sum(present.values()) > NEGLIGIBLE:
        following: defaultdict[State, float] = defaultdict(float)
        for state, mass in present.items():
            for event, arrow in arrows(state).items():
                bits -= mass * arrow.probability * math.log2(arrow.probability)
                if event != END:
                    following[arrow.target] += mass * arrow.probability
        present = following
    return bits


def best_bits_with_context(size: int) -> float:
    """The fewest mean bits per visit of any model that sees only the last `size` events.

    Such a model does best when it gives each next event its share among the expected occurrences after
    that context. At the head of the line the context is shorter, and so tells that the line has begun.
    """
    counts: defaultdict[tuple[str, ...], defaultdict[str, float]] = defaultdict(lambda: defaultdict(float))
    present: dict[tuple[State, tuple[str, ...]], float] = {(START, (END,) * size): 1.0}
    while sum(present.values()) > NEGLIGIBLE:
        following: defaultdict[tuple[State, tuple[str, ...]], float] = defaultdict(float)
        for (state, context), mass in present.items():
            for event, arrow in arrows(state).items():
                counts[context][event] += mass * arrow.probability
                if event != END:
                    following[arrow.target, (*context, event)[1:]] += mass * arrow.probability
        present = following
    return sum(_bits_of_shares(after.values()) for after in counts.values())


def _bits_of_shares(counts: Iterable[float]) -> float:
    """The bits spent on these expected occurrences when each event is coded by its share of them."""
    present = [count for count in counts if count > 0.0]
    total = sum(present)
    return -sum(count * math.log2(count / total) for count in present)


def print_sample(count: int, seed: int) -> None:
    """Print `count` visits, one a line."""
    rng = random.Random(seed)
    for _ in range(count):
        print(" ".join(sample(rng)))


def print_scores(path: Path) -> None:
    """Print each line's number and bits; on stderr their total."""
    all_bits = []
    for number, bits in enumerate(bits_of_lines(path), start=1):
        print(f"{number}\t{bits:.6f}")
        all_bits.append(bits)
    total = math.fsum(all_bits)
    print(f"total: {total:.6f} bits over {len(all_bits)} lines", file=sys.stderr)


def bits_of_lines(path: Path) -> list[float]:
    """The bits of every line of a file; infinite where the source cannot produce the line."""
    with path.open(encoding="utf-8") as lines:
        return [-log2_probability(line.split()) for line in lines]


def print_verification(path: Path) -> None:
    """Print what must hold of the source and of a file drawn from it, for a reader to compare."""
    lengths = walk_lengths()
    mass = math.fsum(lengths)
    mean_length = math.fsum(n * p for n, p in enumerate(lengths))
    print(f"mass of all visits of at most {len(lengths) - 1} events: {mass:.15f}")
    print(f"mean length: {mean_length:.4f} events")
    expected = entropy()
    print(f"entropy: {expected:.6f} bits per visit")
    bits = bits_of_lines(path)
    if len(bits) < 2:
        raise SystemExit(f"{path}: too few lines to compare with the entropy")
    mean = math.fsum(bits) / len(bits)
    if math.isinf(mean):
        raise SystemExit(f"{path}: line {bits.index(math.inf) + 1} cannot come from this source")
    error = math.sqrt(math.fsum((b - mean) ** 2 for b in bits) / (len(bits) - 1) / len(bits))
    away = (mean - expected) / error
    print(f"mean of {path.name}: {mean:.6f} bits per line, standard error {error:.6f} ({away:+.2f} of them)")


def whole_number(text: str) -> int:
    """A command-line argument that must not be negative."""
    number = int(text)
    if number < 0:
        raise argparse.ArgumentTypeError("must not be negative")
    return number


def main() -> None:
    """Do the one thing the command line asks for."""
    parser = argparse.ArgumentParser(description="A known source of event sequences: hospital visits.")
    action = parser.add_mutually_exclusive_group(required=True)
    action.add_argument("--count", type=whole_number, metavar="N", help="print N visits, one a line")
    action.add_argument("--score", type=Path, metavar="FILE", help="print the bits of each line")
    action.add_argument("--entropy", action="store_true", help="print the entropy, in bits per visit")
    action.add_argument(
        "--context", type=whole_number, metavar="K", help="print the best bits of a model that sees K events"
    )
    action.add_argument("--verify", type=Path, metavar="FILE", help="compare a file with the source")
    parser.add_argument("--seed", type=int, default=1, help="for --count (default %(default)s)")
    arguments = parser.parse_args()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8", newline="\n")
    if arguments.count is not None:
        print_sample(arguments.count, arguments.seed)
    elif arguments.score is not None:
        print_scores(arguments.score)
    elif arguments.entropy:
        print(f"{entropy():.6f}")
    elif arguments.context is not None:
        print(f"{best_bits_with_context(arguments.context):.6f}")
    else:
        print_verification(arguments.verify)


if __name__ == "__main__":
    try:
        main()
    except BrokenPipeError:
        # The reader (`head`, say) has had enough. Without this, closing stdout at exit would complain again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except (OSError, UnicodeDecodeError) as error:
        sys.exit(f"visits.py: {error}")
