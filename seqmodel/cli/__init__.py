"""The command line: one thin file per command. The only importer of typer."""
