"""How a board looks on a terminal of a given size: lines that fit it, whatever the run is like."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from rich.cells import cell_len
from rich.table import Table
from rich.text import Text

from rollout.engine.states import State
from rollout.observers.board import UNDOING, GroupLine, StepLine, View
from rollout.observers.words import duration, one_line, steps

STYLES: Final = {
    State.RUNNING: "cyan",
    State.RETRY_WAIT: "yellow",
    State.BLOCKED_ON_GATE: "magenta",
    State.PASSED: "green",
    State.FAILED: "bold red",
    State.TIMED_OUT: "bold red",
    State.KILLED: "red",
}
_VERDICTS: Final = {"passed": "bold green", "failed": "bold red", "stopped": "bold yellow"}
_BAR_CELLS: Final = 12
_GAP: Final = 2
"""Blank cells between two columns."""
_SMALLEST_NAME: Final = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class _Column:
    head: str
    cell: Callable[[GroupLine, float], Text]
    dispensable: int
    """Narrow terminals drop the highest first; 0 stays."""


def _figure(*counted: State, style: str = "") -> Callable[[GroupLine, float], Text]:
    def cell(group: GroupLine, _now: float) -> Text:
        count = sum(group.counts[state] for state in counted)
        return Text(str(count) if count else "-", style=style if count else "dim", justify="right")

    return cell


def _bar(group: GroupLine, _now: float) -> Text:
    total = group.total or 1
    good = group.counts[State.PASSED] * _BAR_CELLS // total
    bad = min(-(-group.bad * _BAR_CELLS // total), _BAR_CELLS - good)
    rest = (group.ended * _BAR_CELLS // total) - good - bad
    # Shades differ as well, for who has no colours.
    drawn = Text.assemble(("█" * good, "green"), ("▓" * bad, "red"), ("▒" * max(rest, 0), "yellow"))
    return drawn.append("░" * (_BAR_CELLS - drawn.cell_len), "bright_black")


_COLUMNS: Final = (
    _Column(head="", cell=_bar, dispensable=6),
    _Column(head="ended", cell=lambda group, _: Text(f"{group.ended}/{group.total}", justify="right"), dispensable=0),
    _Column(head="run", cell=_figure(State.RUNNING, State.RETRY_WAIT, style="cyan"), dispensable=1),
    _Column(head="wait", cell=_figure(State.SCHEDULED, State.QUEUED), dispensable=4),
    _Column(head="gate", cell=_figure(State.BLOCKED_ON_GATE, style="magenta"), dispensable=2),
    _Column(head="bad", cell=_figure(State.FAILED, State.TIMED_OUT, State.KILLED, style="bold red"), dispensable=0),
    _Column(head="never ran", cell=_figure(State.SKIPPED, State.CANCELLED, style="yellow"), dispensable=5),
    _Column(
        head="time",
        cell=lambda group, now: Text(
            "-" if group.started_seconds is None else duration(group.elapsed_seconds(now)), justify="right"
        ),
        dispensable=3,
    ),
)


def frame(view: View, width: int, height: int) -> list[Text]:
    """The board in at most `height` lines of at most `width` cells; what is left out is counted on a line."""
    head = [_head(view, width), *_notes(view)]
    gates = [_pinned("◷", line, view, "waits") for line in view.gates]
    failures = [_pinned("✗", line, view, line.state) for line in view.failures]
    undone = [_undone(title, outcome) for title, outcome in view.undoing]
    running = [_running(line, view.elapsed_seconds, width) for line in view.running]
    hidden = view.counts.get(State.RUNNING, 0) + view.counts.get(State.RETRY_WAIT, 0) - len(running)
    groups = sorted(view.groups, key=_interest)
    blocks = [gates, failures, undone, running]
    fair = shares(height - len(head), [*(len(block) for block in blocks), len(groups) + 1 if groups else 0])
    lines = list(head)
    if fair[-1] > 1:
        lines += _table(view, groups, fair[-1], width)
    for block, room, what in zip(blocks, fair, ("gates", "failures", "undone", "running"), strict=False):
        lines += _cut(block, room, what, hidden if what == "running" else 0)
    for line in lines:
        line.no_wrap = True
        line.truncate(width, overflow="ellipsis")
    return lines[:height]


def shares(room: int, wanted: Sequence[int]) -> list[int]:
    """Divides lines: all get what they want where it fits; else the small wishes are met, and the rest share evenly."""
    given = [0] * len(wanted)
    open_wishes = [i for i, wish in enumerate(wanted) if wish]
    while room > 0 and open_wishes:
        each = max(room // len(open_wishes), 1)
        for i in list(open_wishes):
            more = min(each, wanted[i] - given[i], room)
            given[i] += more
            room -= more
            if given[i] == wanted[i]:
                open_wishes.remove(i)
    return given


def _head(view: View, width: int) -> Text:
    ran = view.counts.get(State.RUNNING, 0) + view.counts.get(State.RETRY_WAIT, 0)
    bad = sum(view.counts.get(state, 0) for state in (State.FAILED, State.TIMED_OUT, State.KILLED))
    parts = [
        (duration(view.elapsed_seconds), ""),
        (f"{view.ended:,} of {view.total:,} ended", ""),
        (f"{ran:,} running" if ran else "", "cyan"),
        (f"{bad:,} bad" if bad else "", "bold red"),
    ]
    verdict = (f"  {view.verdict}", _VERDICTS.get(view.verdict, "bold")) if view.verdict else ("", "")
    name = Text(one_line(view.name), style="bold")
    name.truncate(max(width // 2, 10), overflow="ellipsis")
    line = Text.assemble(name, verdict)
    for text, style in parts:
        if text:
            line.append("  ").append(text, style)
    return line


def _notes(view: View) -> Iterable[Text]:
    """Lines under the head. No time of arrival is among them: nobody knows how long steps will really take."""
    if (left := view.longest_left) and not view.verdict:
        planned = f", {duration(left.seconds)} by the plan's weights" if view.is_weighed else ""
        yield Text(f"longest way left: {steps(left.steps)}{planned}", style="dim")
    if view.stopping and not view.verdict:
        yield Text(one_line(view.stopping), style="bold yellow")
    if view.missed:
        yield Text(f"{view.missed:,} events came too fast to be shown; figures may lag", style="yellow")


def _interest(group: GroupLine) -> int:
    """Groups that something happens in go first, those that are over last; otherwise the plan's order stays."""
    if group.ended == group.total:
        return 1 if group.bad else 3
    return 0 if group.started_seconds is not None else 2


def _table(view: View, groups: Sequence[GroupLine], room: int, width: int) -> list[Text]:
    """A header and a line for each group, as many as there is room for, then what the others come to."""
    shown = groups if len(groups) + 1 <= room else groups[: room - 2]
    columns = _fitting(shown, view.elapsed_seconds, width)
    names = [one_line(group.name) or "-" for group in shown]
    rows = [[column.cell(group, view.elapsed_seconds) for column in columns] for group in shown]
    heads = [column.head for column in columns]
    widths = [
        max(cell_len(head), *(row[i].cell_len for row in rows)) if rows else cell_len(head)
        for i, head in enumerate(heads)
    ]
    room_for_name = width - sum(widths) - _GAP * len(widths)
    first = min(max([cell_len(name) for name in names] + [len("group")]), max(room_for_name, 1))
    lines = [_row(Text("group"), first, [Text(head, justify="right") for head in heads], widths)]
    lines[0].stylize("bold")
    lines += [_row(Text(name), first, row, widths) for name, row in zip(names, rows, strict=True)]
    if others := groups[len(shown) :]:
        ended = sum(group.ended for group in others)
        total = sum(group.total for group in others)
        lines.append(Text(f"… and {len(others)} more groups, {ended:,} of {steps(total)} ended", style="dim"))
    return lines


def _fitting(groups: Sequence[GroupLine], now: float, width: int) -> list[_Column]:
    columns = list(_COLUMNS)
    longest = max([len("group"), *(cell_len(one_line(group.name)) for group in groups)])
    while len(columns) > 2:
        taken = sum(
            _GAP + max([cell_len(column.head), *(column.cell(group, now).cell_len for group in groups)])
            for column in columns
        )
        if taken + min(longest, _SMALLEST_NAME) <= width:
            break
        columns.remove(max(columns, key=lambda column: column.dispensable))
    return columns


def _row(name: Text, first: int, cells: Sequence[Text], widths: Sequence[int]) -> Text:
    name.truncate(first, overflow="ellipsis", pad=True)
    line = name
    for cell, width in zip(cells, widths, strict=True):
        line.append(" " * (_GAP + width - cell.cell_len)).append_text(cell)
    return line


def _pinned(mark: str, line: StepLine, view: View, what: str) -> Text:
    style = STYLES.get(line.state, "")
    said = f"{line.reason.code}: {line.reason.message}" if line.reason else ""
    tries = f" (try {line.attempt})" if line.attempt > 1 else ""
    text = Text.assemble((f"{mark} ", style), (one_line(line.title), "bold"), f"  {what}{tries}  ", one_line(said))
    if line.state is State.BLOCKED_ON_GATE:
        text.append(f"  for {duration(view.elapsed_seconds - line.since_seconds)}")
    return text.append(f"  {one_line(line.link)}", "dim") if line.link else text


def _undone(title: str, outcome: str) -> Text:
    style = {"passed": "green", "failed": "bold red"}.get(outcome, "yellow")
    return Text.assemble(("↶ ", style), one_line(title), f"  {UNDOING.get(outcome, outcome)}")


def _running(line: StepLine, now: float, width: int) -> Text:
    title = Text(one_line(line.title))
    title.truncate(max(width // 2, 8), overflow="ellipsis")
    since = duration(now - line.since_seconds)
    what = f"waits for its next try, {since}" if line.state is State.RETRY_WAIT else since
    tries = f"  try {line.attempt}" if line.attempt > 1 else ""
    said = line.text if line.state is State.RUNNING or not line.reason else line.reason.message
    text = Text.assemble(("▸ ", STYLES.get(line.state, "")), title, f"  {what}{tries}")
    return text.append(f"  {one_line(said)}", "dim") if said else text


def _cut(block: list[Text], room: int, what: str, hidden: int) -> list[Text]:
    """The block's first lines, and how many more there are."""
    if len(block) <= room and not hidden:
        return block
    if room < 1:
        return []
    shown = block[: room - 1]
    return [*shown, Text(f"… and {len(block) - len(shown) + hidden:,} more {what}", style="dim")]


def as_grid(lines: Iterable[Text]) -> Table:
    """The lines as one renderable that rich does not wrap."""
    grid = Table.grid()
    grid.add_column(no_wrap=True, overflow="crop")
    for line in lines:
        grid.add_row(line)
    return grid
