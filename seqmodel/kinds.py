"""The words that settings and options take. Apart from `config`, so that `--help` need not load its validation."""

from __future__ import annotations

from typing import Literal

Unit = Literal["char", "word", "subword", "byte"]
SequenceKind = Literal["line", "paragraph", "document", "stream"]
CellKind = Literal["mingru", "lstm", "gru", "rnn"]
SubwordMethod = Literal["unigram", "bpe"]
Precision = Literal["fp32", "bf16"]
Device = Literal["auto", "cpu", "cuda", "mps"]
Size = Literal["s", "m", "l"]
HeldOutFrom = Literal["split", "file", ""]  # of the corpus, a file of its own, or none
TableFormat = Literal["tsv", "csv", "jsonl"]
Over = Literal["time", "tokens"]  # what the curves of runs are drawn over
TextErrors = Literal["strict", "replace"]

MAX_THREADS = 1024  # with many thousands, libraries crash
