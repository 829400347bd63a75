"""The front door: `seqmodel` and `python -m seqmodel`. Until all is loaded, Ctrl-C ends it without a word."""

from __future__ import annotations

import signal


def main() -> None:
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from seqmodel.cli.app import main as run

    run()


if __name__ == "__main__":
    main()
