"""Inference: the forward pass in NumPy, scoring, sampling and generation. No torch."""
