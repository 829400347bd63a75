"""What a person sees: messages, the live view of a run, rows of scores. The only importer of rich."""
