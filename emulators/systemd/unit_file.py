"""Reads systemd unit files strictly: what a unit says is played, knowingly left out, or refused.

`IGNORED` is what the stand-in leaves out and why. A directive in neither table, a specifier other than %i, a variable
in a command or a line continued by a backslash raises UnplayedError, so that no unit relies on something unplayed.
"""

from __future__ import annotations

import re
import shlex
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Final

PLAYED: Final = {
    "Unit": set(
        "Description Documentation After Requires Wants BindsTo PartOf OnFailure FailureAction ConditionPathExists "
        "StartLimitIntervalSec StartLimitBurst".split()
    ),
    "Service": set(
        "Type RemainAfterExit ExecCondition ExecStartPre ExecStart ExecStopPost Restart RestartSec KillMode KillSignal "
        "SuccessExitStatus TimeoutStartSec TimeoutStopSec".split()
    ),
    "Path": {"PathExists"},
    "Timer": set("OnActiveSec OnUnitInactiveSec RandomizedDelaySec AccuracySec".split()),  # fired by hand
    "Install": {"WantedBy"},
}
IGNORED: Final = {
    **dict.fromkeys(
        (
            "DynamicUser NoNewPrivileges ProtectSystem ProtectHome PrivateDevices ProtectKernelTunables "
            "ProtectKernelModules ProtectControlGroups RestrictAddressFamilies RestrictNamespaces "
            "CapabilityBoundingSet"
        ).split(),
        "hardening: takes rights away that the stand-in's processes may keep",
    ),
    **dict.fromkeys("MemoryMax TasksMax LimitNOFILE".split(), "limits that no test reaches"),
    **dict.fromkeys("OOMPolicy OOMScoreAdjust".split(), "no test runs the machine out of memory"),
    **dict.fromkeys("Nice IOSchedulingClass CPUWeight IOWeight".split(), "order of service by the kernel"),
    **dict.fromkeys("StandardOutput StandardError SyslogIdentifier".split(), "all output goes to the unit's journal"),
}
_SECONDS: Final = {"": 1, "s": 1, "sec": 1, "ms": 0.001, "min": 60, "m": 60, "h": 3600, "d": 86400}
_SECTION: Final = re.compile(r"\[([A-Za-z]+)\]")
_TIME: Final = re.compile(r"(\d+)\s*([a-z]*)")


class UnplayedError(Exception):
    """A unit says something that the stand-in neither plays nor knowingly ignores."""


@dataclass(frozen=True, kw_only=True)
class Command:
    """A line of Exec…=. `+` (full rights) makes no difference here and is dropped."""

    argv: tuple[str, ...]
    may_fail: bool


@dataclass(frozen=True, kw_only=True)
class Unit:
    """One unit; every value as written, in order. `base` is the template's name for an instance."""

    name: str
    values: dict[str, list[str]]

    @property
    def kind(self) -> str:
        """What it is: service, target, path or timer."""
        return self.name.rpartition(".")[2]

    def words(self, key: str) -> tuple[str, ...]:
        """The words of a list that may be written over several lines; an empty line starts it anew."""
        found: list[str] = []
        for value in self.values.get(key, []):
            found = [*found, *value.split()] if value else []
        return tuple(found)

    def text(self, key: str, default: str = "") -> str:
        """The last value."""
        return self.values.get(key, [default])[-1]

    def flag(self, key: str) -> bool:
        """Whether a boolean is on."""
        return self.text(key) in ("yes", "true", "on", "1")

    def seconds(self, key: str, default: float) -> float:
        """A time span; infinity where it says so."""
        given = self.text(key)
        return span_seconds(given) if given else default

    def commands(self, key: str) -> tuple[Command, ...]:
        """The lines of Exec…=."""
        return tuple(_command(line) for line in self.values.get(key, []) if line)


def span_seconds(text: str) -> float:
    """A time span as systemd.time(7) has it, in seconds."""
    if text == "infinity":
        return float("inf")
    parts = _TIME.findall(text)
    if not parts or "".join(f"{number}{unit}" for number, unit in parts) != text.replace(" ", ""):
        raise UnplayedError(f"{text!r} is no time span")
    return sum(int(number) * _SECONDS[unit] for number, unit in parts)


def load(folder: Path, name: str) -> Unit | None:
    """The unit of that name in a folder; an instance from its template. None where there is none."""
    path, instance = folder / name, ""
    if not path.exists() and "@" in name:
        prefix, _, rest = name.partition("@")
        instance, _, kind = rest.rpartition(".")
        path = folder / f"{prefix}@.{kind}"
    return parse(name, path.read_text(encoding="utf-8"), instance) if path.exists() else None


def parse(name: str, text: str, instance: str = "") -> Unit:
    """A unit out of its text. Raises UnplayedError."""
    values: defaultdict[str, list[str]] = defaultdict(list)
    section = ""
    for number, line in enumerate(text.splitlines(), start=1):
        stripped = line.strip()
        where = f"{name}:{number}"
        if not stripped or stripped[0] in "#;":
            continue
        if match := _SECTION.fullmatch(stripped):
            section = match[1]
            if section not in PLAYED:
                raise UnplayedError(f"{where}: section [{section}] is not played")
            continue
        key, equals, value = (part.strip() for part in stripped.partition("="))
        if key in IGNORED:
            continue
        if not equals or key not in PLAYED.get(section, ()) or stripped.endswith("\\"):
            raise UnplayedError(f"{where}: {stripped!r} in [{section}] is neither played nor knowingly ignored")
        value = value.replace("%i", instance)
        if "%" in value or (key.startswith("Exec") and "$" in value):
            raise UnplayedError(f"{where}: {value!r} has a specifier or a variable that is not played")
        values[key].append(value)
    return Unit(name=name, values=dict(values))


def _command(line: str) -> Command:
    prefix = re.match(r"[-+]*", line)
    marks = prefix[0] if prefix else ""
    argv = tuple(shlex.split(line[len(marks) :]))
    if not argv or not argv[0].startswith("/"):
        raise UnplayedError(f"{line!r}: a command is an absolute path; other prefixes than - and + are not played")
    return Command(argv=argv, may_fail="-" in marks)
