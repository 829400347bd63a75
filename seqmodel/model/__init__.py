"""The model: its cells and network, the count model, the index of n-grams, and the bundle file."""
