"""A run as lines of text, one for each change that matters: for logs, pipes and terminals that cannot do more."""

from __future__ import annotations

import asyncio
import select
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import IO, Final

from rollout.engine.events import Event, Kind
from rollout.engine.states import BAD_ENDS, ENDS, State
from rollout.observers.board import UNDOING, Board, StepLine
from rollout.observers.words import clock_time, duration, one_line, steps, timestamp

PROGRESS_SECONDS: Final = 30.0
"""A step's progress is told no more often, and only when it has changed."""
_QUIET: Final = frozenset({State.SCHEDULED, State.QUEUED})
"""Neither is news: the one is how all begin, the other passes by itself."""


class Weight(StrEnum):
    """How much a line matters."""

    NEWS = "news"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One thing that is told."""

    said: str
    when: str = ""
    weight: Weight = Weight.NEWS
    step: str = ""
    more: tuple[str, ...] = ()
    """What belongs under it: the last lines of a step that failed."""

    @property
    def text(self) -> str:
        """The line itself."""
        return f"{self.when} {self.said}" if self.when else self.said

    def lines(self) -> list[str]:
        """As it is printed."""
        return [self.text, *(f"    | {line}" for line in self.more)]


class Narrator:
    """Folds events into a board, and tells of each what is worth a line. Pure; its lines hold no control characters."""

    def __init__(self) -> None:
        self.board = Board()
        self._told: dict[str, tuple[float, str]] = {}
        self._states: dict[str, State] = {}

    def tell(self, event: Event) -> list[Line]:
        """Nothing, a line, or at the run's end several."""
        self.board.fold(event)
        when = f"{clock_time(event.at)} +{duration(event.elapsed_seconds)}"
        match event.kind:
            case Kind.RUN_STARTED:
                again = "goes on" if event.data.get("resumed") else "begins"
                count = steps(len(self.board.steps))
                return [Line(when=timestamp(event.at), said=f"{one_line(self.board.name)} {again}, {count}")]
            case Kind.STATE:
                return self._state(event, when)
            case Kind.PROGRESS:
                return self._progress(event, when)
            case _:
                return [Line(when=when, said=text, weight=w, step=event.step) for text, w in self._other(event)]

    def summary(self) -> list[Line]:
        """How it went: a line for each step that ended badly, and one for all."""
        view = self.board.view()
        bad = [
            Line(said=f"  {line.state}: {_named(line)}  {_reason(line)}".rstrip(), weight=Weight.ERROR, step=line.id)
            for line in self.board.failures.values()
        ]
        counted = ", ".join(f"{count:,} {state}" for state in State if (count := view.counts.get(state, 0)))
        weight = Weight.NEWS if view.verdict == "passed" else Weight.ERROR
        took = duration(view.elapsed_seconds)
        last = Line(said=f"{one_line(view.name)} {view.verdict} after {took}: {counted or 'no steps'}", weight=weight)
        return [*bad, last]

    def _state(self, event: Event, when: str) -> list[Line]:
        line, new = self.board.line(event.step), event.new
        assert new
        # Where the event before was missed, this is the last state that was told.
        old = self._states.get(event.step, event.old or State.SCHEDULED)
        self._states[event.step] = new
        if new in _QUIET:
            return []
        if new in ENDS:
            when += f" [{self.board.ended}/{len(self.board.steps)}]"
        tries = f" (try {line.attempt})" if line.attempt > 1 else ""
        parts = [f"{_named(line)}: {old} -> {new}{tries}"]
        took = line.ran_seconds() if new in ENDS else None
        parts += [f"after {duration(took)}"] if took is not None else []
        parts += [text for text in (_reason(line), one_line(line.link)) if text]
        weight = Weight.ERROR if new in BAD_ENDS else Weight.WARNING if new is State.RETRY_WAIT else Weight.NEWS
        more = tuple(map(one_line, line.tail)) if new in BAD_ENDS else ()
        return [Line(when=when, said="  ".join(parts), weight=weight, step=line.id, more=more)]

    def _progress(self, event: Event, when: str) -> list[Line]:
        text = one_line(event.data.get("text", ""))
        at, last = self._told.get(event.step, (float("-inf"), ""))
        if text == last or event.elapsed_seconds - at < PROGRESS_SECONDS:
            return []
        self._told[event.step] = event.elapsed_seconds, text
        return [Line(when=when, said=f"{_named(self.board.line(event.step))}: {text}", step=event.step)]

    def _other(self, event: Event) -> Iterable[tuple[str, Weight]]:
        named = _named(self.board.line(event.step)) if event.step else ""
        data = event.data
        match event.kind:
            case Kind.STEPS_ADDED:
                yield f"{named}: adds {steps(len(data.get('steps', ())))}", Weight.NEWS
            case Kind.ATTACHED:
                link = one_line(data.get("link", ""))
                yield f"{named}: is {one_line(str(data.get('external_id', '')))}  {link}".rstrip(), Weight.NEWS
            case Kind.LIMIT:
                units = data.get("units")
                yield f"limit {one_line(data['name'])}: {'none' if units is None else units}", Weight.NEWS
            case Kind.STOPPING:
                yield one_line(self.board.stopping), Weight.WARNING
            case Kind.COMPENSATING:
                outcome, said = data.get("outcome", ""), one_line(data.get("message", ""))
                weight = Weight.ERROR if outcome == "failed" else Weight.NEWS
                yield f"{named}: {UNDOING.get(outcome, one_line(outcome))}  {said}".rstrip(), weight
            case Kind.MISSED:
                yield f"MISSED {data.get('count', 0)} events: they came faster than they could be told", Weight.WARNING
            case _:
                pass


class Lines:
    """An observer: writes the narrator's lines. Plain ASCII but for what others wrote; never an escape sequence.

    A reader that is slow holds up this observer alone. Raises OSError where the stream is closed.
    """

    def __init__(self, stream: IO[str]) -> None:
        self._narrator = Narrator()
        self._outlet = Outlet(stream)

    async def on_event(self, event: Event) -> None:
        """Tell of it."""
        told = self._narrator.tell(event)
        if event.kind is Kind.RUN_ENDED:
            told += self._narrator.summary()
        await self._outlet.write(text for line in told for text in line.lines())

    async def close(self) -> None:
        """Nothing is held back."""


class Outlet:
    """Writes lines to a stream: at once where that cannot block, else from a thread, so that the loop goes on."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream
        self._encoding = getattr(stream, "encoding", None) or "utf-8"
        self._room = select.poll()
        try:
            self._room.register(stream.fileno(), select.POLLOUT)
            self._is_file = True
        except (OSError, ValueError):
            self._is_file = False  # a stream in memory

    async def write(self, lines: Iterable[str]) -> None:
        """Write and flush them."""
        text = "".join(f"{line}\n" for line in lines)
        if text:
            shown = text.encode(self._encoding, "backslashreplace")
            if self._is_at_once(len(shown)):
                self._write(shown.decode(self._encoding))
            else:
                await asyncio.to_thread(self._write, shown.decode(self._encoding))

    def _is_at_once(self, size: int) -> bool:
        """A pipe that has room has it for PIPE_BUF bytes (pipe(7), poll(2))."""
        if not self._is_file:
            return True
        return size <= select.PIPE_BUF and any(event == select.POLLOUT for _, event in self._room.poll(0))

    def _write(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()


def _named(line: StepLine) -> str:
    title = one_line(line.title)
    return line.id if title == line.id else f"{line.id} ({title})"


def _reason(line: StepLine) -> str:
    if not line.reason:
        return ""
    cause = f" (because of {line.reason.cause})" if line.reason.cause else ""
    return one_line(f"{line.reason.code}: {line.reason.message}{cause}")
