"""Which lines of the VM's scripts the tests ran: bash by its own trace, Python by coverage.py.

While RUNNER_FLEET_TRACE names a folder, every bash that a test starts writes there which line it is at
(`trace.sh`), and every Python of the boot bundle leaves coverage.py's data. This module reads both and makes a table.

A command over several lines counts once; bash reports it at one of them. Lines that only close or open something
(`fi`, `}`, `name() {`, a pattern of `case`) do nothing and do not count. Python is counted by coverage.py itself.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import coverage
import pytest

STARTUP = Path(__file__).parents[2] / "startup"
FLOOR_PERCENT = 90
MEASURED = pytest.StashKey[coverage.Coverage]()
"""Where a test run keeps the measurement of its own process."""

_MARK = re.compile(rb"^\++\|([^|]*)\|(\d+)\|", re.M)
_IN_BUNDLE = re.compile(r"/opt/runner-fleet/[^/]+/(.*)")
_NO_COMMAND = re.compile(
    r"""\s*(?:
        \#.* | \}.* | \)\s*(?:\#.*)? | fi | then | else | do | done.* | esac | ;; | [^\s()]+\)\s*;;
        | [\w-]+\(\)\s*[{(] | \{ | case\s.*\sin
        | [^()\s"'$]*(?:\s\|\s[^()\s]*)*\)\s*(?:\#.*)?   # a pattern of case, alone on its line
        | \)\s*;;.*
    )?\s*""",
    re.X,
)


@dataclass(frozen=True, kw_only=True)
class Script:
    """One script: how many of its commands ran, and the first lines of those that did not."""

    name: str
    commands: int
    missed: tuple[int, ...]

    @property
    def percent(self) -> float:
        return 100 * (self.commands - len(self.missed)) / self.commands if self.commands else 100.0


def bash_commands(text: str) -> list[range]:
    """The commands of a bash script, each as the range of its line numbers."""
    commands: list[range] = []
    first, joined, until = 0, "", ""
    for number, line in enumerate(text.splitlines(), 1):
        if until:  # the text that a command is given
            until = "" if line.strip() == until else until
            continue
        if match := re.search(r"(?<!<)<<-?'?(\w+)'?", line):
            until = match[1]
        if not joined and _NO_COMMAND.fullmatch(line):
            continue
        first = first if joined else number
        joined += line + "\n"
        if _complete(joined):
            commands.append(range(first, number + 1))
            joined = ""
    return commands


def _complete(text: str) -> bool:
    """Whether a command ends here: no open quote, and nothing at the end that asks for more."""
    stripped = re.sub(r"\s#\s.*$", "", text.rstrip("\n"), flags=re.M).rstrip()
    if stripped.endswith(("\\", "|", "&&", "||")):
        return False
    try:
        shlex.split(re.sub(r"\$\(\(|\)\)|[()]", " ", stripped), comments=False)
    except ValueError:
        return False
    return stripped.count("$(") <= stripped.count(")") and not re.search(r"=\([^)]*$", stripped)


def bash_hits(trace: Path) -> dict[str, set[int]]:
    """Script below startup/ to the lines that bash was at."""
    hits: dict[str, set[int]] = {}
    for file in trace.glob("*.trace"):
        for source, line in _MARK.findall(file.read_bytes()):
            if name := _name(source.decode(errors="replace")):
                hits.setdefault(name, set()).add(int(line))
    return hits


def _name(source: str) -> str | None:
    if match := _IN_BUNDLE.search(source):
        return os.path.normpath(match[1])
    if source.startswith("lib/"):  # sourced by a test from within the bundle
        return source
    return "bootstrap.sh.j2" if Path(source).name.startswith("bootstrap-") else None


def python_hits(trace: Path) -> dict[str, set[int]]:
    """Python file below startup/ to the lines that ran, in this process or another."""
    hits: dict[str, set[int]] = {}
    for file in trace.glob(".coverage*"):
        data = coverage.CoverageData(str(file))
        data.read()
        for measured in data.measured_files():
            hits.setdefault(f"lib/{Path(measured).name}", set()).update(data.lines(measured) or ())
    return hits


def scripts(trace: Path) -> list[Script]:
    """Every script that goes to a VM, with what was missed."""
    return [*_bash(bash_hits(trace)), *_python(python_hits(trace))]


def _bash(hits: Mapping[str, set[int]]) -> list[Script]:
    found: list[Script] = []
    for path in sorted(path for path in STARTUP.rglob("*") if path.is_file()):
        name = path.relative_to(STARTUP).as_posix()
        text = path.read_text(errors="replace")
        if not (text.startswith("#!/bin/bash") or path.suffix == ".sh" or name == "bootstrap.sh.j2"):
            continue
        commands = bash_commands(text)
        missed = [command[0] for command in commands if hits.get(name, set()).isdisjoint(command)]
        found.append(Script(name=name, commands=len(commands), missed=tuple(missed)))
    return found


def _python(hits: Mapping[str, set[int]]) -> list[Script]:
    found: list[Script] = []
    for path in sorted((STARTUP / "lib").glob("*.py")):
        name = f"lib/{path.name}"
        statements = coverage.Coverage(data_file=None).analysis2(str(path))[1]
        missed = [line for line in statements if line not in hits.get(name, set())]
        found.append(Script(name=name, commands=len(statements), missed=tuple(missed)))
    return found


def table(found: list[Script]) -> list[str]:
    """The table's lines; the last is the sum."""
    total = sum(script.commands for script in found)
    missed = sum(len(script.missed) for script in found)
    width = max(len(script.name) for script in found)
    lines = [
        f"{script.name:{width}} {script.commands:5} {script.percent:5.0f} %  {_ranges(script.missed)}"
        for script in found
    ]
    lines.append(f"{'all':{width}} {total:5} {100 * (total - missed) / total:5.1f} %  (at least {FLOOR_PERCENT} %)")
    return lines


def percent(found: list[Script]) -> float:
    """How much of all scripts ran."""
    total = sum(script.commands for script in found)
    return 100 * (total - sum(len(script.missed) for script in found)) / total


def _ranges(lines: tuple[int, ...]) -> str:
    shown = ", ".join(str(line) for line in lines[:12])
    return f"not run: {shown}{', …' if len(lines) > 12 else ''}" if lines else ""
