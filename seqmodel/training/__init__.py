"""Training: a loop that yields what happens, and what it needs: optimizers, a plan, checkpoints."""
