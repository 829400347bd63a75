"""The model: its cells, the network, the index of its n-grams, and the file that holds it."""
