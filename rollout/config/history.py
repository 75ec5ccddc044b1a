"""What the stack's file said before, as git knows it."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any, Final

from ruamel.yaml.error import YAMLError

from rollout.config.edit import plain
from rollout.config.pointers import SECTION, file_of
from rollout.config.yaml_text import HandError

_COMMITS: Final = 50


def stable_before(root: Path, stack: str, stable: str) -> str | None:
    """The version that was stable before this one; None where the last commits of the file, or git, do not tell."""
    name = file_of(stack)
    for commit in _git(root, "log", f"--max-count={_COMMITS}", "--format=%H", "--", name).split():
        found = _stable(_git(root, "show", f"{commit}:./{name}"))
        if found not in {None, stable}:
            return found
    return None


def _stable(text: str) -> str | None:
    try:
        found: Any = plain(text)[SECTION[0]][SECTION[1]]["stable"]
    except (HandError, YAMLError, KeyError, TypeError):
        return None
    return str(found)


def _git(root: Path, *words: str) -> str:
    try:
        done = subprocess.run(["git", "-C", str(root), *words], capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return done.stdout if done.returncode == 0 else ""
