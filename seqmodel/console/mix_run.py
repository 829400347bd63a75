"""The scorer of `seqmodel score`: one model, or several as one, with weights given or fitted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from seqmodel.api.model import Model, mix
from seqmodel.api.verbs import load
from seqmodel.console.score_run import ScoreRequest, line_inputs, reading_of
from seqmodel.console.terminal import say
from seqmodel.errors import UsageError
from seqmodel.scoring.line_mixture import LineMixture, LineScorer, MixtureFit, fit_mixture
from seqmodel.scoring.tokens import PLAIN
from seqmodel.settings import CorpusSettings
from seqmodel.text.sources import STDIN
from seqmodel.text.visible import visible

AUTO = "auto"


def scorer(
    paths: Sequence[Path], weights: str | None, tune: str | None, request: ScoreRequest, settings: CorpusSettings
) -> LineScorer:
    """The model of a path, or the mixture of those of several.

    Raises:
        UsageError: if the options contradict each other or the models cannot be mixed.
    """
    if (weights == AUTO) != (tune is not None):
        raise UsageError("--mix auto and --tune belong together", "Give both, or neither.")
    if tune == STDIN:
        raise UsageError("--tune cannot be standard input", "Name a file.")
    if len(paths) < 2:
        if weights is not None:
            raise UsageError("--mix needs two models or more", "Give -m once for each model.")
        return load(*paths)
    if request.percentile or request.worst:
        raise UsageError("--percentile and --worst need one model", "Leave them out, or give one -m.")
    models = [load(path) for path in paths]
    mixture = mix(models, () if weights is None or weights == AUTO else _numbers(weights))
    by_token = request.level in ("token", "word") or request.style in ("kenlm", "lmzoo") or request.pictures.wanted
    if isinstance(mixture, LineMixture) and by_token:
        raise UsageError(
            "models of different vocabularies have no tokens in common", "Use --by line, document or corpus."
        )
    if tune is not None:
        fit = _fitted(models, mixture, tune, request, settings)
        if not request.quiet:
            _tell(paths, fit, mixture)
        mixture = mix(models, fit.weights)
    return mixture


def _numbers(text: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise UsageError("takes weights such as 0.3,0.7, or auto", setting="mix") from None


def _fitted(
    models: Sequence[Model], mixture: LineScorer, tune: str, request: ScoreRequest, settings: CorpusSettings
) -> MixtureFit:
    inputs = line_inputs(mixture, replace(request, inputs=(tune,), texts=(), shard=None), settings)
    reading = replace(reading_of(mixture, request, settings), fields=PLAIN)
    return fit_mixture(models, inputs, reading, by_tokens=isinstance(mixture, Model))


def _tell(paths: Sequence[Path], fit: MixtureFit, mixture: LineScorer) -> None:
    """The weights, and what each model and all together make of the text that they were fitted on."""
    shown = ",".join(f"{weight:.4g}" for weight in fit.weights)
    say(f"--mix {shown}, fitted on {fit.events:,} {'tokens' if isinstance(mixture, Model) else 'lines'}")
    per, amount = ("token", fit.tokens) if mixture.header.closed else ("char", fit.chars)
    each = [f"{visible(str(path))} {bits / amount:.4f}" for path, bits in zip(paths, fit.bits, strict=True)]
    say(f"bits per {per} there: {', '.join(each)}, together {fit.mixture_bits / amount:.4f}")
