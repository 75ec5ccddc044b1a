"""A run in a log of GitHub Actions: foldable groups, annotations, and a job summary.

The runner takes lines for commands that begin with `::`, and such that hold `##[` anywhere (actions/runner,
src/Runner.Common/ActionCommand.cs, read 2026-11-25). What steps and clouds say must never become one: it is on one
line, never at its beginning, and without the second mark. Annotations are escaped as that file unescapes them.
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import IO, Final

from rollout.engine.events import Event, Kind
from rollout.engine.states import BAD_ENDS, ENDS, State
from rollout.observers.lines import Line, Narrator, Outlet, Weight
from rollout.observers.summary import append, markdown
from rollout.observers.words import one_line

MOST_ANNOTATIONS: Final = 10
"""GitHub shows so many errors, and so many warnings, of one step of a job, and drops the others in silence (community
discussion 26680, read 2026-11-25). The last one says how many more there are."""
_GROUPED: Final = frozenset({Kind.STATE, Kind.PROGRESS, Kind.ATTACHED})
"""What is told of one step, and folded under its end; all else is told at once."""


class GithubLog:
    """An observer. A step's story is one group, written when it ends; what began is a line of its own."""

    def __init__(self, stream: IO[str], *, summary: Path | None = None) -> None:
        """`summary` is the file that GITHUB_STEP_SUMMARY names."""
        self._narrator = Narrator()
        self._outlet = Outlet(stream)
        self._summary = summary
        self._stories: defaultdict[str, list[Line]] = defaultdict(list)
        self._left = {Weight.ERROR: MOST_ANNOTATIONS - 1, Weight.WARNING: MOST_ANNOTATIONS - 1}
        self._over = dict.fromkeys(self._left, 0)

    async def on_event(self, event: Event) -> None:
        """Tell of it. Raises OSError where the stream is closed, or the summary cannot be written."""
        told = self._narrator.tell(event)
        if event.kind in _GROUPED:
            self._stories[event.step] += told
            if event.new in ENDS:
                await self._outlet.write(self._story(event))
            elif event.new is State.RUNNING:
                await self._outlet.write(_inert(line.text) for line in told)
        elif event.kind is Kind.RUN_ENDED:
            await self._outlet.write([_inert(line.text) for line in self._narrator.summary()] + self._rest())
            if self._summary:
                append(self._summary, markdown(self._narrator.board))
        else:
            await self._outlet.write(text for line in told for text in (_inert(line.text), *self._annotation(line)))

    async def close(self) -> None:
        """Nothing is held back: what a step has said without ending is told by nobody."""

    def _story(self, event: Event) -> list[str]:
        lines = self._stories.pop(event.step)
        last = lines[-1]
        if event.new not in BAD_ENDS and len(lines) <= 2 and not any(line.more for line in lines):
            return [_inert(last.text)]  # it ran and ended; there is nothing to fold
        told = [_inert(text) for line in lines for text in line.lines()]
        return [f"::group::{_data(_inert(last.text))}", *told, "::endgroup::", *self._annotation(last)]

    def _annotation(self, line: Line) -> list[str]:
        if line.weight not in self._left:
            return []
        if self._left[line.weight] == 0:
            self._over[line.weight] += 1
            return []
        self._left[line.weight] -= 1
        title = f" title={_property(line.step)}" if line.step else ""
        return [f"::{line.weight}{title}::{_data(_inert(line.said))}"]

    def _rest(self) -> list[str]:
        return [
            f"::{weight}::{count} more {weight}s; they are in this log and in the job's summary"
            for weight, count in self._over.items()
            if count
        ]


def _inert(text: str) -> str:
    """A line that is no command, whatever it says."""
    told = one_line(text) if text[:1] != " " else " " + one_line(text)
    told = told.replace("##[", "## [")
    return f"- {told}" if told.lstrip().startswith("::") else told


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
