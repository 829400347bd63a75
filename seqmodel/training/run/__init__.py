"""One training run: options, request, start, checkpoints, log and the run itself."""
