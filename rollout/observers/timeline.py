"""The timing as one page that needs nothing else: no network, no framework, no other file."""

from __future__ import annotations

import asyncio
import base64
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from rollout.engine.events import Event, Kind
from rollout.engine.states import BAD_ENDS, State
from rollout.observers.masking import Secrets
from rollout.observers.run_folder import RunFolder, write_whole
from rollout.observers.timing import Clock, Span, StepTime, Timing
from rollout.observers.utilisation import Curve
from rollout.observers.words import clock_time, duration, one_line, steps, timestamp

MOST_ROWS: Final = 2_000
"""Steps that are drawn and listed; of more, those that took longest and the critical path. timing.json has them all."""
_TICKS: Final = (0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 28800, 86400)
_MOST_TICKS: Final = 8
_CLASSES: Final = {
    State.BLOCKED_ON_GATE: "gate",
    State.QUEUED: "wait",
    State.RUNNING: "run",
    State.RETRY_WAIT: "retry",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """A piece of a row, in percent of the run's length."""

    kind: str
    left: str
    width: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A step, written out; figures in seconds beside it for sorting."""

    step: StepTime
    title: str
    bars: tuple[Bar, ...]
    why: str
    link: str
    began: str
    gate: float
    wait: float
    run: float
    retry: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """A utilisation curve in a box of 1000 by 100."""

    name: str
    figures: str
    area: str
    allowed: str


def page(timing: Timing) -> str:
    """The page."""
    chosen = _chosen(timing.steps)
    rows = [_row(step, timing.seconds) for step in chosen]
    tick = next((each for each in _TICKS if timing.seconds / each <= _MOST_TICKS), timing.seconds / _MOST_TICKS)
    count = int(timing.seconds / tick) + 1 if timing.seconds else 1
    ticks = [(_percent(i * tick, timing.seconds), duration(i * tick) if i else "0") for i in range(count)]
    style = _asset("timeline.css").replace("100%/*tick*/", f"{_percent(tick, timing.seconds)}%")
    script = _asset("timeline.js")
    return _ENVIRONMENT.get_template("timeline.html.j2").render(
        timing=timing,
        name=one_line(timing.name),
        started=timestamp(timing.started_at) if timing.started_at else "",
        took=duration(timing.seconds),
        total=steps(len(timing.steps)),
        counts=_counts(timing.steps),
        left_out=len(timing.steps) - len(chosen),
        path=[_row(step, timing.seconds) for step in timing.path],
        parts=_parts(timing),
        rows=rows,
        drawn=[row for row in rows if row.bars],
        ticks=ticks,
        charts=[_chart(curve) for curve in timing.curves],
        duration=duration,
        style=style,
        script=script,
        style_hash=_csp_hash(style),
        script_hash=_csp_hash(script),
        data={row.step.id: _told(row) for row in rows},
    )


class TimingReport:
    """An observer: writes timing.json and report.html into the run's folder when the run is over."""

    def __init__(self, folder: RunFolder, *, secrets: Secrets | None = None) -> None:
        self._folder = folder
        self._secrets = secrets or Secrets()
        self._clock = Clock()

    async def on_event(self, event: Event) -> None:
        """Take it in."""
        if event.kind is not Kind.PROGRESS:
            self._clock.fold(self._secrets.event(event))

    async def close(self) -> None:
        """Write both. Raises OSError; neither is then there in part."""
        await asyncio.to_thread(self._write)

    def _write(self) -> None:
        timing = self._clock.timing(self._folder.run_id)
        write_whole(self._folder.timing, json.dumps(timing.as_json(), ensure_ascii=False) + "\n")
        write_whole(self._folder.page, page(timing))


def _chosen(found: Sequence[StepTime]) -> list[StepTime]:
    """By group in the plan's order, and within a group by when they were allowed to run."""
    kept = list(found)
    if len(kept) > MOST_ROWS:
        kept = sorted(kept, key=lambda step: (not step.is_on_path, -step.seconds))[:MOST_ROWS]
    groups = {name: i for i, name in enumerate(dict.fromkeys(step.group for step in found))}
    return sorted(kept, key=lambda step: (groups[step.group], step.allowed is None, step.allowed or 0.0))


def _row(step: StepTime, seconds: float) -> Row:
    reason = step.reason
    return Row(
        step=step,
        title=one_line(step.title),
        bars=tuple(
            Bar(kind=_kind(step, i), left=_percent(span.begin, seconds), width=_width(span, seconds))
            for i, span in enumerate(step.spans)
        ),
        why=one_line(f"{reason.code}: {reason.message}" + (f" ({reason.cause})" if reason.cause else ""))
        if reason
        else "",
        link=step.link if re.match(r"https?://", step.link) else "",
        began=clock_time(step.started_at) if step.started_at is not None else "",
        gate=step.seconds_in(State.BLOCKED_ON_GATE),
        wait=step.seconds_in(State.QUEUED),
        run=step.seconds_in(State.RUNNING),
        retry=step.seconds_in(State.RETRY_WAIT),
    )


def _width(span: Span, seconds: float) -> str:
    """At least a tenth of a percent, about a pixel: what is shorter would not be seen."""
    return _percent(max(span.seconds, seconds / 1000), seconds)


def _kind(step: StepTime, index: int) -> str:
    """What a bar is coloured by: a try that was not the last, and one that ended badly, are bad ones."""
    span: Span = step.spans[index]
    if span.state is not State.RUNNING:
        return _CLASSES[span.state]
    is_last = index == len(step.spans) - 1
    return "bad" if not is_last or step.state in BAD_ENDS else "run"


def _told(row: Row) -> str:
    """What a row says when it is chosen."""
    step = row.step
    parts = [f"{row.title}: {step.state}"]
    parts += [f"began {row.began}"] if row.began else ["never ran"]
    named = (("gate", row.gate), ("waited", row.wait), ("ran", row.run), ("between tries", row.retry))
    parts += [f"{name} {duration(seconds)}" for name, seconds in named if seconds]
    parts += [f"{step.attempts} tries"] if step.attempts > 1 else []
    parts += ["on the critical path"] if step.is_on_path else []
    return ", ".join(parts) + (f". {row.why}" if row.why else "")


def _parts(timing: Timing) -> list[tuple[str, str, str, str]]:
    """What the critical path's time was: a class, a name, how long, and percent of the run."""
    sums = {state: sum(step.seconds_in(state) for step in timing.path) for state in _CLASSES}
    rest = timing.seconds - sum(sums.values())
    names = {
        State.RUNNING: "running",
        State.QUEUED: "waiting for room",
        State.BLOCKED_ON_GATE: "waiting at gates",
        State.RETRY_WAIT: "between tries",
    }
    found = [(_CLASSES[state], name, sums[state]) for state, name in names.items()]
    found.append(("rest", "before, between and after them", max(rest, 0.0)))
    return [(kind, name, duration(each), _percent(each, timing.seconds)) for kind, name, each in found if each >= 0.05]


def _counts(found: Sequence[StepTime]) -> list[tuple[str, int]]:
    counted = {state: sum(step.state is state for step in found) for state in State}
    return [(state, count) for state, count in counted.items() if count]


def _chart(curve: Curve) -> Chart:
    highest = max([curve.most, *(units or 0 for _, units in curve.allowed)], default=0) or 1
    share = "" if curve.share is None else f", {curve.share:.0%} of what was allowed"
    unbounded = ", no limit" if not any(units is not None for _, units in curve.allowed) else ""
    return Chart(
        name=one_line(curve.name),
        figures=f"{curve.mean:.1f} on average, {curve.most:,} at most{share}{unbounded}",
        area=_steps(curve.used, curve.seconds, highest, closed=True),
        allowed=_steps([(at, highest if u is None else u) for at, u in curve.allowed], curve.seconds, highest)
        if not unbounded
        else "",
    )


def _steps(points: Sequence[tuple[float, int]], seconds: float, highest: int, *, closed: bool = False) -> str:
    """An SVG path that goes level, then up or down."""
    if not points or not seconds:
        return ""
    x = [f"{1000 * at / seconds:.1f}" for at, _ in points]
    y = [f"{100 - 98 * units / highest:.1f}" for _, units in points]
    start = f"M{x[0]} 100V{y[0]}" if closed else f"M{x[0]} {y[0]}"
    middle = "".join(f"H{a}V{b}" for a, b in zip(x[1:], y[1:], strict=True))
    return f"{start}{middle}H1000" + ("V100Z" if closed else "")


def _percent(part: float, whole: float) -> str:
    return f"{100 * part / whole:.3f}" if whole else "0"


def _asset(name: str) -> str:
    return Path(__file__).with_name(name).read_text(encoding="utf-8")


def _csp_hash(text: str) -> str:
    """What a content security policy calls this very text."""
    return "sha256-" + base64.b64encode(sha256(text.encode()).digest()).decode()


_ENVIRONMENT: Final[Any] = Environment(
    loader=FileSystemLoader(Path(__file__).parent),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
