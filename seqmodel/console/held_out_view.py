"""Held-out figures of the model and its parts as aligned lines, for the end of a run and for `info`."""

from __future__ import annotations

from collections.abc import Iterator

from seqmodel.model.bundle import BundleHeader, power


def held_out_lines(header: BundleHeader) -> Iterator[str]:
    """Yield a line for the model, then one for each baseline, from the weakest on; nothing if no text was held out.

    Bits are per character, or per token for a closed vocabulary, which has lost the characters of unknown words.
    """
    held_out = header.held_out
    if held_out is None:
        return
    per, amount = ("token", held_out.tokens) if header.closed else ("char", held_out.chars)
    end = "end symbols counted" if header.model.ends else "end: none"
    yield (
        f"{held_out.bits / max(1, amount):.4f} bits per {per}, perplexity {held_out.perplexity:.3f} per token, "
        f"{held_out.tokens:,} tokens ({end})"
    )
    two = held_out.recurrence_bits is not None
    parts = {
        "unigram": held_out.unigram_bits,
        "Kneser-Ney counts alone": held_out.counts_bits,
        "recurrence alone": held_out.recurrence_bits,
        "together" if two else "recurrence": held_out.bits,
    }
    found = {name: bits for name, bits in parts.items() if bits is not None}
    if len(found) == 1:
        return
    width = max(map(len, found))
    yield f"{'':{width}}  bits per {per}  perplexity per token"
    for name, bits in found.items():
        perplexity = power(bits / max(1, held_out.tokens))
        yield f"{name:<{width}}  {bits / max(1, amount):>{9 + len(per)}.4f}  {perplexity:>20,.3f}"
