"""The errors that seqmodel raises, each with a message, a hint and the exit code that the command line ends with.

    SeqmodelError                1  anything that failed
    ├── UsageError               2  options that contradict each other or have an impossible value
    ├── DataError                3  text, or a file of text, that cannot be used
    ├── ModelError               4  a bundle, checkpoint or token store that is missing, damaged or of another kind
    ├── ResourceError            5  out of disk or memory
    └── StoppedElsewhere         …  the first process of a distributed run has failed; its exit code

A message says what is wrong and where; the hint says what to do next. Neither quotes the user's text, except the column
names of a table that lacks a column.
"""

from __future__ import annotations

import os


class SeqmodelError(Exception):
    """Base class of the errors that seqmodel raises on purpose."""

    exit_code = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(SeqmodelError):
    """Options that contradict each other, or a value that an option does not take.

    `setting` is the option's name in Python, with which the message then begins; the command line writes `--top-p` for
    `top_p`. Example: UsageError("takes a number above 0", setting="top_p").message == "top_p takes a number above 0".
    """

    exit_code = 2

    def __init__(self, message: str, hint: str = "", setting: str = "") -> None:
        super().__init__(f"{setting} {message}" if setting else message, hint)
        self.reason = message
        self.setting = setting


class DataError(SeqmodelError):
    exit_code = 3


class ModelError(SeqmodelError):
    exit_code = 4


class ResourceError(SeqmodelError):
    exit_code = 5


class StoppedElsewhere(SeqmodelError):
    def __init__(self, exit_code: int) -> None:
        super().__init__("the first process of this run has failed", "See what it says.")
        self.exit_code = exit_code


def system_reason(error: Exception) -> str:
    """The operating system's reason for a failure, or the error's type if it gives none.

    Example: FileNotFoundError gives "No such file or directory".
    """
    return os.strerror(error.errno) if isinstance(error, OSError) and error.errno else type(error).__name__
