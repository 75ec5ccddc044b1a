"""Reads the project's YAML as the engine would: project-level values, and the stack's own on top of them.

Keeps the line of every key, so that a fault can say where it is. Plain scalars are read as YAML 1.2 does.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError

from fleet.errors import nearest, one_of

NAMESPACE: Final = "runner-fleet:"


class StackFileError(Exception):
    """A file that cannot be read as configuration. Its text is one line for people."""


@dataclass(frozen=True, slots=True)
class _File:
    name: str
    sections: Mapping[str, Any]
    """Namespaced key to its node, which knows its lines."""
    lines: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class StackFiles:
    """The configuration of one stack."""

    stack: str
    config: Mapping[str, Any]
    """Namespaced key to plain value, as the program will see it."""
    files: tuple[_File, ...]

    @property
    def sections(self) -> dict[str, Any]:
        """The project's own sections, without their namespace: what `fleet.settings.load` takes."""
        return {key.removeprefix(NAMESPACE): value for key, value in self.config.items() if key.startswith(NAMESPACE)}

    def locate(self, path: tuple[str, ...]) -> str:
        """Where a key path stands, as file:line; the nearest parent's line for a key that is missing."""
        section = NAMESPACE + path[0]
        for file in reversed(self.files):
            if section in file.sections:
                return f"{file.name}:{_line(file.sections[section], path[1:], file.lines[section])}"
        return self.files[-1].name


def stacks(root: Path) -> tuple[str, ...]:
    """The names of all stacks that have a file, sorted."""
    return tuple(sorted(path.name.split(".")[1] for path in root.glob("Pulumi.*.yaml")))


def read(root: Path, stack: str) -> StackFiles:
    """Read one stack. Raises StackFileError for an unknown stack or invalid YAML."""
    known = stacks(root)
    if stack not in known:
        guess = nearest(stack, known)
        hint = f"; did you mean {guess}?" if guess else ""
        raise StackFileError(f"stack {stack}: no file Pulumi.{stack}.yaml; the stacks are: {one_of(known)}{hint}")
    project = _read(root / "Pulumi.yaml", project_level=True)
    own = _read(root / f"Pulumi.{stack}.yaml", project_level=False)
    config = {key: _plain(node, project_level=True) for key, node in project.sections.items()}
    config |= {key: _plain(node, project_level=False) for key, node in own.sections.items()}
    return StackFiles(stack, config, (project, own))


def _read(path: Path, *, project_level: bool) -> _File:
    try:
        yaml: Any = YAML(typ="rt")
        document: Any = yaml.load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise StackFileError(f"{path.name}: cannot be read: {error.strerror}; fix: restore the file") from error
    except MarkedYAMLError as error:
        untyped: Any = error
        where = f"{path.name}:{untyped.problem_mark.line + 1 if untyped.problem_mark else 1}"
        what = str(untyped.problem or "not YAML").strip().splitlines()[0]
        raise StackFileError(f"{where}: invalid YAML: {what}; fix: correct that line") from error
    config = cast("dict[str, Any]", document).get("config") if isinstance(document, dict) else None
    if not isinstance(config, dict):
        raise StackFileError(f"{path.name}:1: no mapping `config:` at the top; fix: add one")
    sections: dict[str, Any] = {}
    lines: dict[str, int] = {}
    positions = cast("Any", config).lc
    for key, node in cast("dict[Any, Any]", config).items():
        name = str(key)
        lines[name] = positions.key(key)[0] + 1
        if not project_level or not isinstance(node, dict):
            sections[name] = node
        elif "value" in node:
            sections[name] = node["value"]
        else:
            where = f"{path.name}:{lines[name]}"
            raise StackFileError(f"{where}: {name} has no `value:`; fix: put the object under `value:`")
    return _File(path.name, sections, lines)


def _line(node: Any, path: tuple[str, ...], line: int) -> int:
    """The line of the last part of a path that exists below a node, which stands at `line`."""
    for part in path:
        if isinstance(node, dict):
            key = next((key for key in cast("dict[Any, Any]", node) if _text(key) == part), None)
            if key is None:
                break
            line = int(cast("Any", node).lc.key(key)[0]) + 1
        elif isinstance(node, list) and part.isdigit() and int(part) < len(cast("list[Any]", node)):
            key = int(part)
            line = int(cast("Any", node).lc.item(key)[0]) + 1
        else:
            break
        node = cast("Any", node)[key]
    return line


def _text(key: Any) -> str:
    return key.isoformat() if isinstance(key, datetime.date) else str(key)


def _plain(node: Any, *, project_level: bool) -> Any:
    """Only what JSON has, since the program gets its configuration as JSON."""
    match node:
        case Mapping():
            pairs = cast("Mapping[Any, Any]", node).items()
            return {_text(key): _plain(value, project_level=project_level) for key, value in pairs}
        case list():
            return [_plain(item, project_level=project_level) for item in cast("list[Any]", node)]
        case datetime.date():
            # As the engine hands an unquoted date on (seen with CLI 3.260.0): one way for each kind of file.
            day = node.isoformat()[:10]
            return f"{day}T00:00:00Z" if project_level else f"{day} 00:00:00 +0000 UTC"
        case bool() | None:
            return node
        case int():
            return int(node)
        case float():
            return float(node)
        case _:
            return str(node)
