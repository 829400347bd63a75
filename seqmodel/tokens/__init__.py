"""Tokens: the vocabulary, the store of token ids, and the batches that training reads from it."""
