"""One training run: its options, request, plan, checkpoints and log."""
