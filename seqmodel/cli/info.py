"""`seqmodel info`: what is in a bundle, from its header alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from seqmodel.cli import options
from seqmodel.console.failures import guarded


@guarded
def command(
    path: Annotated[
        Path | None,
        typer.Argument(help="The model; default $SEQMODEL_MODEL, else ./model.seqmodel.", show_default=False),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Write the whole header as JSON.")] = False,
    config: Annotated[
        bool, typer.Option("--config", help="Write the settings of its run as TOML, for train --config.")
    ] = False,
    verify: Annotated[bool, typer.Option("--verify", help="Read the whole file and check its digest.")] = False,
    debug: options.DebugOption = False,
) -> None:
    """Show what is in a model: settings, vocabulary, provenance, held-out figures."""
    from seqmodel.api.verbs import model_path
    from seqmodel.console.held_out_view import held_out_lines
    from seqmodel.errors import UsageError
    from seqmodel.model.bundle import read_bundle, read_bundle_header
    from seqmodel.text.visible import visible
    from seqmodel.training.run.config_files import run_config

    name = model_path(path)
    header, file = read_bundle_header(name)
    while verify and read_bundle(name).digest != file.digest:  # it has just been replaced
        header, file = read_bundle_header(name)
    if config and as_json:
        raise UsageError("--config and --json are two ways of telling", "Give one of them.")
    if config:
        typer.echo(run_config(header), nl=False)
        return
    if as_json:
        typer.echo(json.dumps({**header.model_dump(mode="json"), "digest": file.digest}, indent=2))
        return
    model, made, training = header.model, header.provenance, header.training
    ngram_rows = sum(rows for _, rows in model.ngram_rows)
    corpus = f"{made.corpus_chars:,} chars, {made.sequences:,} sequences, {made.tokens:,} tokens"
    several = f"{model.networks} networks of " if model.networks > 1 else ""
    rows = {
        "bundle": f"{visible(str(name))}, {file.size / 1e6:.1f} MB, format {header.format}",
        "digest": file.digest + (" (verified)" if verify else ""),
        "model": f"{several}{model.layers} × {model.width} {model.cell}, {ngram_rows:,} n-gram rows",
        "unit": f"{header.unit}{' (closed vocabulary)' if header.closed else ''}, vocabulary {model.vocabulary:,}",
        "sequence": f"{header.sequence}, end: {'counted' if model.ends else 'none'}",
        "corpus": f"{corpus}, SHA-256 {made.corpus_digest[:16]}…",
        "training": f"{training.steps:,} steps, {training.epochs:g} epochs, budget {training.budget}, "
        f"seed {training.seed}{'' if training.annealed else ', interrupted'}",
    }
    if header.fingerprint is not None:
        longest = header.fingerprint.longest
        reach = "of an earlier kind" if longest is None else f"n-grams of up to {longest} characters"
        rows["copies"] = f"fingerprint of the training text, {reach}"
    if made.began_from is not None:
        rows["began from"] = f"the bundle with the digest {made.began_from[:16]}…"
    for label, value in rows.items():
        typer.echo(f"{label:<11}{visible(value)}")
    for number, line in enumerate(held_out_lines(header)):
        typer.echo(f"{'' if number else 'held-out':<11}{line}")
