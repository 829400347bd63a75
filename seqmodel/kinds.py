"""The words that settings and options take. Apart from `config`, so that `--help` need not load its validation."""

from __future__ import annotations

from typing import Literal

Unit = Literal["char", "word", "subword", "byte"]
SequenceKind = Literal["line", "paragraph", "document", "stream"]
CellKind = Literal["mingru", "lstm", "gru", "rnn"]
SubwordMethod = Literal["unigram", "bpe"]
Size = Literal["s", "m", "l"]
TextErrors = Literal["strict", "replace"]
