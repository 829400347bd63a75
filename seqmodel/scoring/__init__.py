"""Scores of tokens, words, lines and corpora, and what is made of them."""
