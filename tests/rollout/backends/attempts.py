"""What a backend gets from the engine, without an engine; and who is alive, without the code that is tested."""

from __future__ import annotations

import asyncio
import os
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any


class OneTry:
    """Keeps what the backend says."""

    def __init__(self, step_id: str = "step", number: int = 1, **params: Any) -> None:
        self.step_id = step_id
        self.number = number
        self.params: Mapping[str, Any] = params
        self.cancelled = asyncio.Event()
        self.external_ids: list[str] = []
        self.progressed: list[str] = []
        self.log = b""
        self._written = asyncio.Event()

    async def attach(self, external_id: str, link: str = "") -> None:  # noqa: ARG002 - the protocol's name
        self.external_ids.append(external_id)

    def progress(self, text: str) -> None:
        self.progressed.append(text)

    def write(self, data: bytes) -> None:
        self.log += data
        self._written.set()

    @property
    def printed(self) -> bytes:
        """The log without the command line that it begins with."""
        return self.log.removeprefix(f"$ {shlex.join(self.params['argv'])}\n".encode())

    async def said(self, text: bytes) -> None:
        """Wait until it was printed."""
        while text not in self.printed:
            self._written.clear()
            await asyncio.wait_for(self._written.wait(), 30)


def living(folder: Path) -> list[int]:
    """Who works in that folder: every test's processes have one of their own. The dead are not counted."""
    found = []
    for process in Path("/proc").glob("[1-9]*"):
        try:
            if (process / "cwd").readlink() == folder:
                found.append(int(process.name))
        except OSError:  # it is gone, or dead, and then has no folder
            continue
    return found


def zombies() -> list[int]:
    """Our dead children that nobody has reaped."""
    found = []
    for process in Path("/proc").glob("[1-9]*"):
        try:
            state, parent = (process / "stat").read_text(errors="replace").rpartition(")")[2].split()[:2]
        except OSError:
            continue
        if state == "Z" and int(parent) == os.getpid():
            found.append(int(process.name))
    return found
