"""What a command prints: read without limits on lines, kept within limits, and judged.

Everything read goes to the try's log as it is. What is kept in memory has a bound: the last lines, each cut, and the
line that is being printed, up to `LINE_BYTES`.
"""

from __future__ import annotations

import asyncio
import codecs
import contextlib
import os
import re
from collections import deque
from collections.abc import Callable
from typing import Final

TAIL_LINES: Final = 20
TAIL_CHARACTERS: Final = 500
"""Of each line of the tail."""
LINE_BYTES: Final = 4 * 1024 * 1024
"""Of a line, as far as patterns and typed output see it; the rest of it goes to the log alone."""
_CHUNK_BYTES: Final = 64 * 1024
"""What a pipe of Linux holds; one read for each turn of the loop, so that nobody's flood holds others up."""


class Output:
    """What was printed so far. It is told only that: the command line, which the log begins with, is not in it."""

    def __init__(self, *, fails: re.Pattern[str] | None = None, passes: re.Pattern[str] | None = None) -> None:
        self._fails = fails
        self._passes = passes
        self._tail: deque[str] = deque(maxlen=TAIL_LINES)
        self._decoder = codecs.getincrementaldecoder("utf-8")("backslashreplace")
        self._line: list[str] = []
        self._length = 0
        self.failing_line = ""
        """The first that matches what must not be printed."""
        self.passing = passes is None
        """Whether what must be printed was."""
        self.last_line = ""
        """The last that is not blank."""

    @property
    def tail(self) -> tuple[str, ...]:
        """The last lines."""
        return tuple(self._tail)

    def feed(self, data: bytes) -> None:
        """Take the next bytes, wherever they are cut."""
        first, *more = self._decoder.decode(data).split("\n")
        self._append(first)
        for text in more:
            self._end_line()
            self._append(text)

    def end(self) -> None:
        """No more will come: a last line without an end is one, and half a character is shown as its bytes."""
        self._append(self._decoder.decode(b"", final=True))
        if self._line:
            self._end_line()

    def _append(self, text: str) -> None:
        if text and self._length < LINE_BYTES:
            text = text[: LINE_BYTES - self._length]
            self._line.append(text)
            self._length += len(text)

    def _end_line(self) -> None:
        line = "".join(self._line).removesuffix("\r")
        self._line.clear()
        self._length = 0
        cut = len(line) > TAIL_CHARACTERS
        self._tail.append(f"{line[:TAIL_CHARACTERS]}… ({len(line)} characters)" if cut else line)
        if line.strip():
            self.last_line = line
        if self._fails and not self.failing_line and self._fails.search(line):
            self.failing_line = self._tail[-1]
        if self._passes and not self.passing and self._passes.search(line):
            self.passing = True


class Pipe:
    """Reads a descriptor until its end, as data comes, and hands each piece on. It owns the descriptor.

    It ends when the last process that holds the other side has closed it, which says nothing of the command's end.
    """

    def __init__(self, descriptor: int, take: Callable[[bytes], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._descriptor = descriptor
        self._take = take
        self._ended = asyncio.Event()
        os.set_blocking(descriptor, False)
        self._loop.add_reader(descriptor, self._read)

    async def drained(self, seconds: float) -> bool:
        """Wait for the end, no longer than that; whether it came."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._ended.wait(), seconds)
        return self._ended.is_set()

    def close(self) -> None:
        """Read no more. Whoever still writes gets SIGPIPE."""
        if not self._ended.is_set():
            self._loop.remove_reader(self._descriptor)
            self._ended.set()
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _read(self) -> None:
        try:
            data = os.read(self._descriptor, _CHUNK_BYTES)
        except BlockingIOError:
            return
        if data:
            self._take(data)
        else:
            self._loop.remove_reader(self._descriptor)
            self._ended.set()
