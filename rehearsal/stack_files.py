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
from ruamel.yaml.comments import CommentedBase, CommentedMap
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
        return {
            key.removeprefix(NAMESPACE): value for key, value in self.config.items() if key.startswith(NAMESPACE)
        }

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
    config = {key: _plain(node) for file in (project, own) for key, node in file.sections.items()}
    return StackFiles(stack, config, (project, own))


def _read(path: Path, *, project_level: bool) -> _File:
    try:
        document = YAML(typ="rt").load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise StackFileError(f"{path.name}: cannot be read: {error.strerror}; fix: restore the file") from error
    except MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        what = (error.problem or "not YAML").strip()
        raise StackFileError(f"{path.name}:{line}: invalid YAML: {what}; fix: correct that line") from error
    config = document.get("config") if isinstance(document, CommentedMap) else None
    if not isinstance(config, CommentedMap):
        raise StackFileError(f"{path.name}:1: no mapping `config:` at the top; fix: add one")
    sections: dict[str, Any] = {}
    lines: dict[str, int] = {}
    for key, node in config.items():
        name = str(key)
        lines[name] = config.lc.key(key)[0] + 1
        if project_level and isinstance(node, CommentedMap):
            if "value" not in node:
                where = f"{path.name}:{lines[name]}"
                raise StackFileError(f"{where}: {name} has no `value:`; fix: put the object under `value:`")
            node = node["value"]
        sections[name] = node
    return _File(path.name, sections, lines)


def _line(node: Any, path: tuple[str, ...], line: int) -> int:
    for part in path:
        if isinstance(node, CommentedMap):
            key = next((key for key in node if _text(key) == part), None)
            if key is None:
                break
            line = node.lc.key(key)[0] + 1
            node = node[key]
        elif isinstance(node, list) and part.isdigit() and int(part) < len(cast("list[Any]", node)):
            sequence = cast("Any", node)
            line = sequence.lc.item(int(part))[0] + 1 if isinstance(node, CommentedBase) else line
            node = sequence[int(part)]
        else:
            break
    return line


def _text(key: Any) -> str:
    return key.isoformat() if isinstance(key, datetime.date) else str(key)


def _plain(node: Any) -> Any:
    """Only what JSON has: the program gets its configuration as JSON, dates as text."""
    if isinstance(node, Mapping):
        return {_text(key): _plain(value) for key, value in cast("Mapping[Any, Any]", node).items()}
    if isinstance(node, list):
        return [_plain(item) for item in cast("list[Any]", node)]
    if isinstance(node, datetime.date | datetime.datetime):
        return node.isoformat()
    if isinstance(node, bool) or node is None:
        return node
    if isinstance(node, int):
        return int(node)
    if isinstance(node, float):
        return float(node)
    return str(node)
