"""Drawing for people and rows for programs: messages, the live view of a run, tables. The only importer of rich."""
