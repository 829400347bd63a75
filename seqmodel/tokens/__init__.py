"""Tokens: the vocabulary, the store of ids, and the batches that training reads from it."""
