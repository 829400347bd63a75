"""`python -m seqmodel`."""

from seqmodel.cli.app import main

main()
