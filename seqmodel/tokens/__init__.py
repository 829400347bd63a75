"""Tokens: the vocabulary, the memory-mapped store of ids, and the batches that training reads from it."""
