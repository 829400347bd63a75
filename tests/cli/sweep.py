"""Every command on an input, for tests of what holds for all of them."""

from __future__ import annotations

from pathlib import Path

from tests.cli.command import Result

QUICK = ("--steps", "2", "--width", "8", "--layers", "1", "--lanes", "4", "--segment", "8", "--threads", "1", "-q")

# Command lines that read INPUT in some way; MODEL is a bundle.
READING: dict[str, tuple[str, ...]] = {
    "train": ("train", "INPUT", "-o", "out.seqmodel", *QUICK),
    "train --valid": ("train", "corpus.txt", "--valid", "INPUT", "-o", "out.seqmodel", *QUICK),
    "train --config": ("train", "corpus.txt", "--config", "INPUT", "-o", "out.seqmodel", *QUICK),
    "tokenize -o": ("tokenize", "INPUT", "-o", "out.tokens"),
    "tokenize -m": ("tokenize", "INPUT", "-m", "MODEL"),
    "tokenize --decode": ("tokenize", "INPUT", "-m", "MODEL", "--decode"),
    "tokenize --decode --ids": ("tokenize", "INPUT", "-m", "MODEL", "--decode", "--ids"),
    "score": ("score", "INPUT", "-m", "MODEL"),
    "score tsv": ("score", "INPUT", "-m", "MODEL", "--column", "1", "--input", "tsv"),
    "score csv": ("score", "INPUT", "-m", "MODEL", "--column", "text", "--input", "csv"),
    "score jsonl": ("score", "INPUT", "-m", "MODEL", "--column", "text", "--input", "jsonl"),
    "score --by word": ("score", "INPUT", "-m", "MODEL", "--by", "word", "--words", "unicode"),
    "score --by token": ("score", "INPUT", "-m", "MODEL", "--by", "token", "--format", "jsonl"),
    "score kenlm": ("score", "INPUT", "-m", "MODEL", "--format", "kenlm"),
    "score --html": ("score", "INPUT", "-m", "MODEL", "--html", "-"),
    "score --explain": ("score", "INPUT", "-m", "MODEL", "--explain"),
    "score --context": ("score", "-t", "cat", "--context", "INPUT", "-m", "MODEL"),
    "score --worst": ("score", "INPUT", "-m", "MODEL", "--worst"),
    "score --shard": ("score", "INPUT", "-m", "MODEL", "--shard", "2/3"),
    "compare": ("compare", "MODEL", "MODEL", "INPUT", "--resamples", "100"),
    "rescore": ("rescore", "INPUT", "-m", "MODEL"),
    "rescore --scores": ("rescore", "lists.txt", "--scores", "INPUT", "-m", "MODEL"),
    "rescore jsonl": (
        "rescore",
        "INPUT",
        "-m",
        "MODEL",
        "--utterance",
        "id",
        "--hypothesis",
        "text",
        "--input",
        "jsonl",
    ),
    "filter": ("filter", "INPUT", "-m", "MODEL", "--above", "2"),
    "generate": ("generate", "--prefix-file", "INPUT", "-m", "MODEL", "--max-tokens", "2", "--seed", "1"),
    "filter a table": ("filter", "INPUT", "-m", "MODEL", "--below", "9", "--column", "text"),
    "rescore --tune": ("rescore", "lists.txt", "--tune", "INPUT", "-m", "MODEL"),
    "score --tune": ("score", "-t", "cat", "-m", "MODEL", "-m", "MODEL", "--mix", "auto", "--tune", "INPUT"),
    "train --init": ("train", "corpus.txt", "--init", "INPUT", "-o", "out.seqmodel", "--steps", "2"),
    "compare -m": ("compare", "MODEL", "INPUT", "corpus.txt"),
    "plot": ("plot", "INPUT"),
    "plot -o": ("plot", "INPUT", "-o", "out.svg"),
    "info": ("info", "INPUT"),
    "score -m": ("score", "-t", "cat", "-m", "INPUT"),
}


def arguments(name: str, given: str | Path, model: str | Path) -> list[str]:
    """A command line of `READING`."""
    return [{"INPUT": str(given), "MODEL": str(model)}.get(part, part) for part in READING[name]]


def result_or_one_line(result: Result) -> None:
    """Assert that a command came to an end that users can work with."""
    failures = [line for line in result.err.splitlines() if line.startswith("seqmodel: error: ")]
    assert "Traceback" not in result.err and "internal error" not in result.err, result.err
    assert result.code in (0, 2, 3, 4, 5), (result.code, result.err)
    assert len(failures) == (result.code != 0), (result.code, result.err)
    assert not failures or result.err.splitlines()[-1] == failures[0], result.err
