"""A run as Markdown, for the summary page of a GitHub job."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from rollout.engine.states import State
from rollout.observers.board import Board, StepLine
from rollout.observers.words import duration, one_line, steps

MOST_BYTES: Final = 1024 * 1024
"""Above that GitHub shows nothing at all: "upload aborted, supports content up to a size of 1024k", for each step of a
job (docs.github.com, workflow commands, adding a job summary, read 2026-11-25)."""
_SPARE_BYTES: Final = 1024
_MARKS: Final = {"passed": "✅", "failed": "❌", "stopped": "🛑"}
_MARKUP: Final = re.compile(r"([\\`*_\[\]|~$#])")


def markdown(board: Board) -> list[str]:
    """Blocks of Markdown, the most important first."""
    view = board.view()
    counted = ", ".join(f"{count:,} {state}" for state in State if (count := view.counts.get(state, 0)))
    mark = _MARKS.get(view.verdict, "")
    took = f"{steps(view.total)} in {duration(view.elapsed_seconds)}: {counted}"
    blocks = [f"## {mark} {_text(view.name)} {view.verdict}\n\n{took}"]
    if view.stopping:
        blocks.append(f"\n🛑 {_text(view.stopping)}")
    if view.missed:
        blocks.append(f"\n⚠️ {view.missed:,} events came too fast to be told here; figures may lag behind.")
    if board.failures:
        blocks += _table("### What went wrong", ("step", "end", "why", "link"), map(_failure, board.failures.values()))
    rows = [
        (
            _text(group.name) or "-",
            f"{group.counts[State.PASSED]:,}",
            f"{group.bad:,}",
            f"{group.counts[State.SKIPPED] + group.counts[State.CANCELLED]:,}",
            f"{group.total:,}",
            duration(group.elapsed_seconds(view.elapsed_seconds)) if group.started_seconds is not None else "-",
        )
        for group in view.groups
    ]
    blocks += _table("### Groups", ("group", "passed", "bad", "never ran", "all", "time"), rows)
    return blocks


def append(path: Path, blocks: Iterable[str]) -> None:
    """Add blocks to a summary so long as they fit, and say what did not. Raises OSError."""
    room = MOST_BYTES - _SPARE_BYTES - (path.stat().st_size if path.exists() else 0)
    taken: list[str] = []
    left = 0
    for block in blocks:
        size = len(block.encode()) + 2
        if size <= room and not left:
            room -= size
            taken.append(block)
        else:
            left += 1
    if left:
        taken.append(f"\n{left:,} more lines are left out: GitHub shows no summary above 1 MiB.")
    with path.open("a", encoding="utf-8") as file:
        file.write("\n".join(taken) + "\n\n")


def _table(title: str, columns: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> list[str]:
    """A block for the head, and one for each row: a table may be cut anywhere."""
    head = f"\n{title}\n\n| {' | '.join(columns)} |\n|{' --- |' * len(columns)}"
    return [head, *(f"| {' | '.join(row)} |" for row in rows)]


def _failure(line: StepLine) -> tuple[str, ...]:
    why = f"{line.reason.code}: {line.reason.message}" if line.reason else ""
    return f"{_text(line.title)}", line.state, _text(why), _link(line.link)


def _link(link: str) -> str:
    """A link only where it is one that a browser may open without harm."""
    shown = one_line(link)
    if not re.fullmatch(r"https?://[^\s<>()|\"'`]+", shown):
        return _text(shown)
    return f"[open]({shown})"


def _text(text: str) -> str:
    """The words of others: no markup, no HTML."""
    escaped = one_line(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _MARKUP.sub(r"\\\1", escaped)
