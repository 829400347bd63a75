"""`seqmodel tokenize`: learn a vocabulary and write a token store, or filter text through a model's vocabulary."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from seqmodel.cli import options
from seqmodel.console.failures import guarded
from seqmodel.kinds import SubwordMethod

if TYPE_CHECKING:
    from seqmodel.config import CorpusSettings
    from seqmodel.tokens.store import TokenStore
    from seqmodel.tokens.tokenizer import Ids, Tokenizer


_ID = re.compile("[0-9]{1,9}")
_TOKENS_AT_ONCE = 1 << 14
_VOCABULARY = ("unit", "vocab_size", "subword", "closed_vocab")  # options that say how one is learned


@guarded
def command(
    context: typer.Context,
    inputs: options.Inputs = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            help="Write a token store, which train takes instead of text.",
            show_default=False,
        ),
    ] = None,
    model: Annotated[
        Path | None,
        typer.Option(
            "-m",
            "--model",
            help="Use this bundle's (or token store's) vocabulary: text to pieces, line by line.",
            show_default=False,
        ),
    ] = None,
    ids: Annotated[bool, typer.Option("--ids", help="With -m: numbers instead of pieces.")] = False,
    decode: Annotated[bool, typer.Option("--decode", help="With -m: pieces (or --ids) back to text.")] = False,
    unit: options.UnitOption = "char",
    sequence: options.SequenceOption = "line",
    vocab_size: options.VocabularyOption = None,
    subword: Annotated[
        SubwordMethod, typer.Option(help="How subwords are learned.", rich_help_panel="Text")
    ] = "unigram",
    closed_vocab: options.ClosedOption = False,
    keep_blank: options.KeepBlankOption = False,
    errors: options.ErrorsOption = "strict",
    max_line: options.MaxLineOption = 256,
    force: options.ForceOption = False,
    quiet: options.QuietOption = False,
    debug: options.DebugOption = False,
) -> None:
    """Learn a vocabulary and encode a corpus (-o), or filter text through a model's vocabulary (-m).

    With both, the corpus is encoded with the model's vocabulary. Statistics go to standard error.
    """
    from seqmodel.api import tokenize
    from seqmodel.config import CorpusSettings, TokenizerSettings, checked
    from seqmodel.console.rows import write_name
    from seqmodel.errors import UsageError

    fixed = [name for name in _VOCABULARY if getattr(context.get_parameter_source(name), "name", "") == "COMMANDLINE"]
    if model is not None and fixed:
        raise UsageError("-m has a vocabulary already", f"Leave out --{fixed[0].replace('_', '-')}, or -m.")
    corpus = CorpusSettings(sequence=sequence, keep_blank=keep_blank, errors=errors, max_line=max_line << 20)
    tokenizer = _vocabulary(model) if model else None
    if output is None:
        if tokenizer is None:
            raise UsageError(
                "neither -o nor -m is given", "Give -o STORE to encode a corpus, or -m MODEL to filter text."
            )
        _filter(tokenizer, inputs or ["-"], corpus, ids, decode)
        return
    if decode or ids:
        raise UsageError("--ids and --decode go with -m alone", "Leave out -o to filter text.")
    settings = checked(TokenizerSettings, unit=unit, vocabulary_size=vocab_size, subword=subword, closed=closed_vocab)
    store = tokenize(inputs or ["-"], output, tokenizer=settings, corpus=corpus, model=tokenizer, force=force)
    if not quiet:
        typer.echo(_statistics(store), err=True)
    write_name(output)


def _vocabulary(path: Path) -> Tokenizer:
    from seqmodel.model.bundle import read_bundle
    from seqmodel.tokens.store import is_store, open_store

    return open_store(path).tokenizer if is_store(path) else read_bundle(path).tokenizer


def _filter(tokenizer: Tokenizer, inputs: list[str], corpus: CorpusSettings, ids: bool, decode: bool) -> None:
    """Text to pieces or back, one output line per input line, flushed as it comes."""
    from seqmodel.console.rows import data_output
    from seqmodel.console.terminal import visible
    from seqmodel.errors import DataError
    from seqmodel.text.corpus import find_sources, read_lines

    out = data_output(tokenizer.unit)
    shown = visible if out.isatty() else str
    cuts = None if decode else tokenizer.cuts
    for source in find_sources(inputs):
        inside, written = False, 0  # what has come of a line in parts
        for batch in read_lines(source, corpus, any_bytes=tokenizer.unit == "byte", cuts=cuts):
            for line in batch:
                try:
                    if decode:
                        out.write(shown(_decoded(tokenizer, line.text, ids)))
                    else:
                        tokens = tokenizer.encode(line.text, inside)
                        out.writelines(map(shown, _pieces(tokenizer, tokens, ids, written)))
                        inside, written = line.open, line.open * (written + len(tokens))
                except DataError as error:
                    raise DataError(f"{source.name}, line {line.number}: {error.message}", error.hint) from None
                out.write("" if line.open else "\n")
            out.flush()


def _pieces(tokenizer: Tokenizer, tokens: Ids, ids: bool, before: int) -> Iterator[str]:
    """Tokens of a line, so many before them, a few at once: they have far more characters than its text."""
    for at in range(0, len(tokens), _TOKENS_AT_ONCE):
        part = tokens[at : at + _TOKENS_AT_ONCE].tolist()
        yield " " * bool(before + at) + " ".join(str(token) if ids else tokenizer.piece(token) for token in part)


def _decoded(tokenizer: Tokenizer, text: str, ids: bool) -> str:
    from seqmodel.errors import DataError

    if ids:
        text = text.removesuffix("\r")
    parts = text.split(" ") if text else []
    if not ids:
        return tokenizer.decode([tokenizer.id_of_piece(part) for part in parts])
    if not all(_ID.fullmatch(part) for part in parts):
        raise DataError("something that is no id", "Give the numbers that tokenize --ids wrote.")
    tokens = [int(part) for part in parts]
    if max(tokens, default=0) >= tokenizer.size:
        raise DataError(f"an id outside 0–{tokenizer.size - 1}", "Use the model that wrote them.")
    return tokenizer.decode(tokens)


def _statistics(store: TokenStore) -> str:
    header = store.header
    body = header.tokens - header.sequences
    unknown = f", {header.unknown_tokens / max(1, body):.2%} unknown" if header.closed else ""
    per_char, per_word = body / max(1, header.corpus_chars), body / max(1, header.corpus_words)
    return (
        f"{header.unit} vocabulary of {header.vocabulary:,}; {header.corpus_chars:,} chars, "
        f"{header.corpus_words:,} words, {header.sequences:,} sequences, {header.tokens:,} tokens: "
        f"{per_char:.3f} per char, {per_word:.3f} per word; "
        f"{header.byte_tokens / max(1, body):.2%} of the tokens spell bytes{unknown}"
    )
