"""Write the place names of four invented languages: `python names.py > names.txt`.

What this file knows: how each language builds a root out of syllables (onset, nucleus, coda), which
endings it likes, and how a name of two parts is put together. Nothing is read from anywhere; the seed
below and this text determine every byte of the output.

Only `random.Random(seed).random()` is called. Python promises that this method gives the same numbers in
every later version for the same integer seed; it does not promise so for `choice`, `shuffle` or `sample`.
"""

import argparse
import io
import random
import sys
from collections.abc import Sequence
from dataclasses import dataclass

SEED = 349
COUNT = 2000
SHORTEST, LONGEST = 4, 22


@dataclass(frozen=True)
class Language:
    """One invented language. A sound that stands twice in a tuple is twice as likely."""

    onsets: tuple[str, ...]
    nuclei: tuple[str, ...]
    codas: tuple[str, ...]  # of the root's last syllable, before the ending; earlier syllables are open
    endings: tuple[str, ...]
    joined: tuple[str, ...]  # patterns of a two-part name: {a} and {b} are names, {r} is a bare root
    long_roots: float  # how often a root has two syllables and not one
    joined_share: float  # how often a name is of two parts


HILLFOLK = Language(
    onsets=("b", "br", "c", "d", "dr", "f", "h", "h", "l", "m", "p", "r", "s", "sk", "st", "t", "th", "w"),
    nuclei=("a", "a", "e", "e", "i", "o", "o", "u", "ea", "ay"),
    codas=("d", "g", "lk", "l", "ll", "m", "n", "n", "nd", "r", "rn", "rk", "rrow", "ster", "ttle", "x"),
    endings=("wick", "wick", "ham", "combe", "ley", "mere", "stow", "thorpe", "ford", "by", ""),
    joined=("{a}-on-{r}", "{a}-under-{r}", "Upper {a}", "Nether {a}", "Long {a}", "{a} Cross"),
    long_roots=0.15,
    joined_share=0.2,
)

FJORDERS = Language(
    onsets=("b", "bj", "f", "fl", "g", "h", "hv", "j", "k", "kv", "l", "n", "r", "sk", "sv", "t", "v"),
    nuclei=("a", "å", "ä", "e", "i", "o", "ö", "u", "y"),
    codas=("l", "ll", "ls", "m", "n", "nd", "ng", "nk", "r", "rs", "rn", "st", "gg", "lv"),
    endings=("dal", "dal", "ström", "vik", "fors", "holm", "näs", "sund", "åsen", "a"),
    joined=("Stora {a}", "Lilla {a}", "{a}-{b}", "Gamla {a}"),
    long_roots=0.2,
    joined_share=0.15,
)

ISLANDERS = Language(
    onsets=("k", "k", "l", "m", "n", "p", "r", "s", "t", "v", "w", "h", "ng", "fa", "lo"),
    nuclei=("a", "a", "e", "i", "o", "u", "ai", "ao", "ei"),
    codas=("k", "l", "m", "n", "r", "t", "v", "s"),
    endings=("ou", "ou", "ao", "ika", "ane", "ulu", "eki", "ahi"),
    joined=("{a}-{b}", "Ona {a}", "{a} i ha {r}"),
    long_roots=0.75,
    joined_share=0.2,
)

TERRACERS = Language(
    onsets=("b", "c", "d", "f", "g", "gr", "l", "m", "p", "qu", "s", "t", "tr", "v", "z"),
    nuclei=("a", "a", "e", "e", "i", "o", "o", "ia", "ue"),
    codas=("l", "ll", "m", "n", "nt", "r", "rr", "rd", "s", "st", "zz", "v"),
    endings=("ella", "ella", "anza", "ero", "ino", "osa", "ejo", "ías", "agna", "ón"),
    joined=("San {a}", "{a} of the {thing}", "{a} of the {thing}", "{a} del {r}", "Monte {a}"),
    long_roots=0.45,
    joined_share=0.25,
)

LANGUAGES = (HILLFOLK, FJORDERS, ISLANDERS, TERRACERS)

THINGS = ("Bees", "Bells", "Figs", "Goats", "Owls", "Reeds", "Salt", "Saints", "Snow", "Wells", "Winds")

VOWELS = frozenset("aeiouyåäöíó")


def pick(rng: random.Random, options: Sequence[str]) -> str:
    """One of the options, each as likely as the others."""
    return options[int(rng.random() * len(options))]


def root(rng: random.Random, language: Language) -> str:
    """A root without its ending, in lower case."""
    opening = ""
    if rng.random() < language.long_roots:
        opening = pick(rng, language.onsets) + pick(rng, language.nuclei)
    return opening + pick(rng, language.onsets) + pick(rng, language.nuclei) + pick(rng, language.codas)


def simple_name(rng: random.Random, language: Language) -> str:
    """A root with an ending, with its initial capital."""
    name = root(rng, language) + pick(rng, language.endings)
    return name[0].upper() + name[1:]


def any_name(rng: random.Random, language: Language) -> str:
    """A name of one part or, at the language's own rate, of two."""
    if rng.random() >= language.joined_share:
        return simple_name(rng, language)
    pattern = pick(rng, language.joined)
    # All four are drawn whichever the pattern uses, so that a new pattern leaves later names alone.
    first, second = simple_name(rng, language), simple_name(rng, language)
    bare = root(rng, language)
    thing = pick(rng, THINGS)
    return pattern.format(a=first, b=second, r=bare[0].upper() + bare[1:], thing=thing)


def is_speakable(name: str) -> bool:
    """Whether the name has a reasonable length and no pile of vowels, of consonants or of one letter."""
    if not SHORTEST <= len(name) <= LONGEST:
        return False
    letters = name.lower()
    if any(a == b == c for a, b, c in zip(letters, letters[1:], letters[2:], strict=False)):
        return False
    return longest_run(letters, vowels=True) <= 3 and longest_run(letters, vowels=False) <= 4


def longest_run(letters: str, *, vowels: bool) -> int:
    """The length of the longest run of vowels (or of consonants) that nothing interrupts."""
    longest = run = 0
    for letter in letters:
        run = run + 1 if letter.isalpha() and (letter in VOWELS) == vowels else 0
        longest = max(longest, run)
    return longest


def names(count: int, seed: int) -> list[str]:
    """The first `count` distinct names of this seed, in the order in which they were drawn."""
    rng = random.Random(seed)
    found: dict[str, None] = {}  # a dict and not a set: it keeps the order
    while len(found) < count:
        name = any_name(rng, LANGUAGES[int(rng.random() * len(LANGUAGES))])
        if is_speakable(name):
            found.setdefault(name)
    return list(found)


def main() -> None:
    """Print the names, one a line, as UTF-8 with plain line feeds on every system."""
    parser = argparse.ArgumentParser(description="Print invented place names, one a line.")
    parser.add_argument("--count", type=int, default=COUNT, help="how many names (default %(default)s)")
    parser.add_argument("--seed", type=int, default=SEED, help="of the random numbers (default %(default)s)")
    arguments = parser.parse_args()
    if not 0 <= arguments.count <= 100_000:
        parser.error("--count must lie between 0 and 100000: the languages do not hold many more")
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8", newline="\n")
    for name in names(arguments.count, arguments.seed):
        print(name)


if __name__ == "__main__":
    main()
