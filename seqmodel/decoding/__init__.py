"""Sampling, beams, best-first search and completion: from a model to new text."""
