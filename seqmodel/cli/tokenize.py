"""`seqmodel tokenize`: learn a vocabulary and write a token store, or filter text through a model's vocabulary."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from seqmodel.choices import SubwordMethod
from seqmodel.cli import options
from seqmodel.console.failures import guarded

if TYPE_CHECKING:
    from seqmodel.arrays import EncodedIds
    from seqmodel.settings import CorpusSettings
    from seqmodel.text.sources import Source
    from seqmodel.tokens.store import TokenStore
    from seqmodel.tokens.tokenizer import Tokenizer


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
            help="Write a token store, which train reads instead of text.",
            show_default=False,
        ),
    ] = None,
    model: Annotated[
        Path | None,
        typer.Option(
            "-m",
            "--model",
            help="Use the vocabulary of this model or token store.",
            show_default=False,
        ),
    ] = None,
    ids: Annotated[bool, typer.Option("--ids", help="With -m: write (or read) ids instead of pieces.")] = False,
    decode: Annotated[bool, typer.Option("--decode", help="With -m: turn pieces (or --ids) back into text.")] = False,
    unit: options.UnitOption = "char",
    sequence: options.SequenceOption = "line",
    vocab_size: options.VocabularyOption = None,
    subword: Annotated[
        SubwordMethod, typer.Option(help="Method that learns subwords.", rich_help_panel="Text")
    ] = "unigram",
    closed_vocab: options.ClosedOption = False,
    keep_blank: options.KeepBlankOption = False,
    errors: options.ErrorsOption = "strict",
    max_line: options.MaxLineOption = 256,
    column: options.ColumnOption = None,
    table: options.TableOption = None,
    record_separator: options.RecordOption = None,
    include: options.IncludeOption = None,
    exclude: options.ExcludeOption = None,
    force: options.ForceOption = False,
    quiet: options.QuietOption = False,
    debug: options.DebugOption = False,
) -> None:
    """Encode a corpus into a token store (-o), or show text as tokens (-m).

    -o alone learns a vocabulary; -o with -m uses the model's. -m alone turns text into tokens, line by line, or back
    (--decode). Statistics go to standard error.
    """
    from seqmodel.api.verbs import tokenize
    from seqmodel.console.rows import write_name
    from seqmodel.console.terminal import notes
    from seqmodel.errors import UsageError
    from seqmodel.settings import CorpusSettings, TokenizerSettings, checked
    from seqmodel.text.sources import find_sources

    fixed = [name for name in _VOCABULARY if _given(context, name)]
    if model is not None and fixed:
        raise UsageError("-m has a vocabulary already", f"Leave out --{fixed[0].replace('_', '-')}, or -m.")
    if table is not None and column is None:
        raise UsageError("--input without --column", "Name the column that holds the text.")
    if record_separator is not None and not _given(context, "sequence"):
        sequence = "document"
    corpus = checked(
        CorpusSettings,
        sequence=sequence,
        keep_blank=keep_blank,
        errors=errors,
        max_line=max_line << 20,
        include=tuple(include) if include else None,
        exclude=tuple(exclude) if exclude else None,
        column=column,
        table=table,
        record_separator=record_separator,
    )
    tokenizer = _vocabulary(model) if model else None
    note = notes(quiet)
    if output is None:
        if column is not None or record_separator is not None:
            raise UsageError("--column and --record-separator go with -o", "Give -o STORE to encode a corpus.")
        if tokenizer is None:
            raise UsageError(
                "neither -o nor -m is given", "Give -o STORE to encode a corpus, or -m MODEL to filter text."
            )
        _filter(tokenizer, find_sources(inputs or ["-"], corpus, note), corpus, ids, decode)
        return
    if decode or ids:
        raise UsageError("--ids and --decode go with -m alone", "Leave out -o to filter text.")
    settings = checked(TokenizerSettings, unit=unit, vocabulary_size=vocab_size, subword=subword, closed=closed_vocab)
    store = tokenize(
        inputs or ["-"], output, tokenizer=settings, corpus=corpus, model=tokenizer, force=force, on_note=note
    )
    if not quiet:
        typer.echo("\n".join([_statistics(store), *_notes(store)]), err=True)
    write_name(output)


def _given(context: typer.Context, name: str) -> bool:
    return getattr(context.get_parameter_source(name), "name", "") == "COMMANDLINE"


def _vocabulary(path: Path) -> Tokenizer:
    from seqmodel.model.bundle import read_bundle
    from seqmodel.tokens.store import is_store, open_store

    return open_store(path).tokenizer if is_store(path) else read_bundle(path).tokenizer


def _filter(tokenizer: Tokenizer, sources: list[Source], corpus: CorpusSettings, ids: bool, decode: bool) -> None:
    """Text to pieces or back, one output line per input line, flushed as it comes."""
    from seqmodel.console.rows import data_output
    from seqmodel.console.terminal import visible_on
    from seqmodel.errors import DataError
    from seqmodel.text.corpus import read_lines

    out = data_output(tokenizer.unit)
    shown = visible_on(out)
    cuts = None if decode else tokenizer.cuts
    for source in sources:
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


def _pieces(tokenizer: Tokenizer, tokens: EncodedIds, ids: bool, before: int) -> Iterator[str]:
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


def _notes(store: TokenStore) -> list[str]:
    from seqmodel.tokens.vocabulary_notes import vocabulary_notes

    return [f"note: {note}" for note in vocabulary_notes(store, store.held_out)] if store.held_out is not None else []


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
