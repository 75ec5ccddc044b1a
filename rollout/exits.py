"""How commands end. The exit codes are stable: scripts go by them."""

from __future__ import annotations

from enum import IntEnum
from typing import Self


class Exit(IntEnum):
    """An exit code of scripts/rollout, with what it means to the one who reads it."""

    meaning: str

    def __new__(cls, code: int, meaning: str) -> Self:
        """A number with its meaning."""
        member = int.__new__(cls, code)
        member._value_ = code
        member.meaning = meaning
        return member

    DONE = 0, "All that was asked for is so; or, in a dry run, would be."
    FAILED = 1, "Something was tried and failed; what was done is said, and running it again goes on from there."
    FAULT = 2, "The command line or the configuration makes no sense; nothing was done."
    UNREACHABLE = 3, "Google or GitHub could not be asked, or answered strangely; nothing was concluded, nothing done."
    REFUSED = 4, "A rule of safety says no: too little evidence, one proof instead of two, in use. Nothing was done."
    DECLINED = 5, "The question was answered with no, or there was nobody to ask and no --yes. Nothing was done."
    INTERRUPTED = 130, "It was interrupted; running it again goes on."


class Problem(Exception):  # noqa: N818 - it says how a command ends, whatever the reason
    """The end of a command: its exit code, and a line for people that says what is wrong and what mends it."""

    def __init__(self, code: Exit, message: str) -> None:
        super().__init__(message)
        self.code = code
