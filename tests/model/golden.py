"""The bundles in tests/data, which stay readable for ever, and the bits that they gave when they were made.

`python -m tests.model.golden` adds those that are missing. One that is there is never made again: it stands for the
bundles that users have. A new format, or a new kind of content, gets a new name.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import seqmodel
from seqmodel.api.model import Model
from tests.conftest import little_text

FOLDER = Path(__file__).parents[1] / "data"
FIGURES = FOLDER / "golden.json"
LINES = ["cat dog", "", "boil the ñandú 🙂", "far good hill into jam kite long eat", " two  blanks ", "x\\y"]

# Format 1. Together they have every cell, unit and kind of sequence, and every part that a bundle may have or lack.
RECIPES: dict[str, dict[str, Any]] = {
    "networks": {"networks": 2},
    "words_closed": {
        "unit": "word",
        "closed_vocab": True,
        "sequence": "stream",
        "cell": "lstm",
        "fingerprint": 1024,
    },
    "subwords_no_ngram": {
        "unit": "subword",
        "sequence": "paragraph",
        "cell": "gru",
        "feed_forward": 3,
        "ngram": "off",
    },
    "bytes": {"unit": "byte", "sequence": "document", "cell": "rnn", "ngram_embeddings": False},
}


def golden(name: str) -> Path:
    return FOLDER / f"{name}.seqmodel"


def bits(model: Model) -> list[float]:
    """Of the text alone in a stream, since the figures were made before the newline after it counted."""
    rows = model.score(LINES)
    return [row.bits if model.header.model.ends else row.without_end().bits for row in rows]


def make(name: str, folder: Path) -> None:
    """Train a bundle that is as small as can be."""
    corpus, valid = folder / "corpus.txt", folder / "valid.txt"
    corpus.write_text(little_text(2))
    valid.write_text(little_text(60, seed=4))
    shape = {"width": 2, "layers": 1, "steps": 60, "lanes": 2, "segment": 16, "threads": 1}
    seqmodel.train(corpus, golden(name), valid=str(valid), **(shape | RECIPES[name]))
    golden(name).with_suffix(".jsonl").unlink()


def main() -> None:
    figures = json.loads(FIGURES.read_text()) if FIGURES.exists() else {}
    for name in [name for name in RECIPES if not golden(name).exists()]:
        with tempfile.TemporaryDirectory() as folder:
            make(name, Path(folder))
        figures[name] = bits(seqmodel.load(golden(name)))
        FIGURES.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
