"""Which observer shows a run, by what the output is and what the environment says."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import IO, Final

from rollout.engine.events import Observer
from rollout.observers.github_log import GithubLog
from rollout.observers.lines import Lines
from rollout.observers.masking import Masked, Secrets
from rollout.observers.table import LiveTable

NARROWEST: Final = 40
"""Cells. In less a table says nothing; lines wrap."""


class Form(StrEnum):
    """How a run is shown."""

    TABLE = "table"
    LINES = "lines"
    GITHUB = "github"


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """The form, and whether it may be coloured."""

    form: Form
    color: bool = False


def choose(env: Mapping[str, str], *, is_terminal: bool, columns: int | None = None) -> Choice:
    """Decide; pure.

    GITHUB_ACTIONS=true gets GitHub's log, terminal or not. CI, TERM=dumb, and what is no terminal get lines. NO_COLOR
    takes colours away, not the table (no-color.org, read 2026-11-25: any value that is not empty).
    """
    if env.get("GITHUB_ACTIONS") == "true":
        return Choice(form=Form.GITHUB)
    in_ci = env.get("CI", "").lower() not in {"", "0", "false"}
    is_dumb = env.get("TERM", "") in {"", "dumb", "unknown"}
    if not is_terminal or in_ci or is_dumb or (columns is not None and columns < NARROWEST):
        return Choice(form=Form.LINES)
    return Choice(form=Form.TABLE, color=not env.get("NO_COLOR"))


def renderer(stream: IO[str], env: Mapping[str, str], *, secrets: Secrets | None = None) -> Observer:
    """The observer for this stream."""
    is_terminal = stream.isatty()
    columns = os.get_terminal_size(stream.fileno()).columns if is_terminal else None
    # A pty that nobody sized has 0 columns.
    choice = choose(env, is_terminal=is_terminal, columns=columns or None)
    observer: Observer
    match choice.form:
        case Form.TABLE:
            observer = LiveTable(stream, color=choice.color)
        case Form.GITHUB:
            summary = env.get("GITHUB_STEP_SUMMARY")
            observer = GithubLog(stream, summary=Path(summary) if summary else None)
        case Form.LINES:
            observer = Lines(stream)
    return Masked(observer, secrets) if secrets else observer
