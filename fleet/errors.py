"""How a mistake in a stack's YAML is said: one line per fault, all faults at once, never a traceback."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

Path = tuple[str, ...]
"""Where in the configuration: ("pools", "presubmit-cpu", "regions", "us-west1", "max")."""

_SEEN_LIMIT = 100


@dataclass(frozen=True, slots=True)
class Fault:
    """One mistake: where it is, what is there, what may be there, and what to do about it."""

    path: Path
    seen: str
    allowed: str
    fix: str

    def __str__(self) -> str:
        line = f"{dotted(self.path)}: saw {self.seen}; allowed: {self.allowed}; fix: {self.fix}"
        return " ".join(line.split())  # a key may hold a line break; a fault is one line


class ConfigError(Exception):
    """A configuration that declares no fleet. Carries every fault found: those of shape first, then those of rules."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        super().__init__("\n".join(str(fault) for fault in faults))
        self.faults = tuple(faults)


def dotted(path: Path) -> str:
    """The path as people write it: pools.presubmit-cpu.regions.us-west1.max"""
    return ".".join(path)


def show(value: Any) -> str:
    """A value as it stands in the file, on one line, shortened to about 100 characters."""
    text = json.dumps(value, default=str, ensure_ascii=False)
    return text if len(text) <= _SEEN_LIMIT else f"{text[: _SEEN_LIMIT - 1]}…"


def one_of(names: Iterable[str]) -> str:
    """The allowed names as a sorted list, for the `allowed` part of a fault."""
    return ", ".join(sorted(names)) or "nothing (none is declared)"


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word a typo most likely meant; None when nothing is close."""
    matches = difflib.get_close_matches(word, sorted(known), n=1, cutoff=0.6)
    return matches[0] if matches else None


def did_you_mean(word: str, known: Iterable[str], otherwise: str) -> str:
    """The fix of a typo: the nearest known word, or what to do when nothing is close."""
    guess = nearest(word, known)
    return f"did you mean {guess}?" if guess else otherwise


def unknown_key(at: Path, key: str, known: Iterable[str]) -> Fault:
    """The fault of a key that the place `at` does not have."""
    names = sorted(known)
    fix = did_you_mean(key, names, f"remove {key}")
    return Fault((*at, key), f"the unknown key {key}", f"the keys {one_of(names)}", fix)


def unknown_name(path: Path, seen: str, known: Iterable[str], noun: str) -> Fault:
    """The fault of a reference that points at nothing declared, with the nearest known name as its fix."""
    names = sorted(known)
    fix = did_you_mean(seen, names, f"name an existing {noun}, or declare {show(seen)} first")
    return Fault(path, show(seen), f"a declared {noun}: {one_of(names)}", fix)


def not_in_the_world(path: Path, seen: str, known: Iterable[str], noun: str) -> Fault:
    """The fault of a name that somebody else makes, and did not; the list is too long for a line."""
    return Fault(path, show(seen), noun, did_you_mean(seen, known, f"name {noun}"))
