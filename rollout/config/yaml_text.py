"""Edits of YAML as text: what is named changes, and not one other byte.

What an edit means is for the caller to compare as data: YAML can be written in more ways than these functions know, and
one that they cannot edit comes out wrong, or raises HandError.
"""

from __future__ import annotations

import datetime
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, cast

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

Path = tuple[str, ...]
"""Keys from the top of the document, as they are written but for quotes."""

_PLAIN: Final = re.compile(r"[A-Za-z]([\w./:-]*\w)?|[0-9a-f]{64}", re.ASCII)
_NOT_PLAIN: Final = re.compile(r"(?i)(null|true|false|yes|no|on|off|y|n)|[0-9]+(e[0-9]+)?")
"""What YAML, of one version or another, would not read as text."""


class HandError(Exception):
    """The file is written in a way that these edits do not know. A person has to edit it."""


def has(text: str, path: Path) -> bool:
    """Whether a key is there."""
    return _pair(text, path) is not None


def set_value(text: str, path: Path, value: Any) -> str:
    """Give a key another value; a key that is not there is added as the last one of its mapping.

    What stands there must be on one line, as a scalar or in brackets.
    """
    found = _pair(text, path)
    if found is None:
        return _add(text, path, value)
    start, end = _span(text, *found)
    if "\n" in text[start:end]:
        raise HandError
    space = " " if start == end else ""
    return text[:start] + space + written(value, _quote(found[1])) + text[end:]


def remove(text: str, path: Path) -> str:
    """Take a key out with its value, and with the comments inside it. Comments above it stay."""
    mapping = _mapping(text, path[:-1])
    pairs: list[tuple[Any, Any]] = mapping.value
    index = next((i for i, (key, _) in enumerate(pairs) if key.value == path[-1]), None)
    if index is None:
        return text
    if len(pairs) == 1:
        raise HandError  # nothing would be left of the mapping
    key, node = pairs[index]
    if mapping.flow_style:
        start, end = (
            (pairs[index - 1][1].end_mark.index, node.end_mark.index)
            if index
            else (key.start_mark.index, pairs[1][0].start_mark.index)
        )
        if "#" in text[start : key.start_mark.index] or (not index and "#" in text[node.end_mark.index : end]):
            raise HandError
        return text[:start] + text[end:]
    start, end = _lines(text, key, node)
    return text[:start] + text[end:]


def entry(text: str, path: Path) -> str:
    """The whole lines of one entry of a block mapping, comments inside it included."""
    start, end = _lines(text, *_found(text, path))
    return text[start:end]


def insert_after(text: str, path: Path, lines: str) -> str:
    """Put whole lines below an entry of a block mapping."""
    _, end = _lines(text, *_found(text, path))
    return _insert(text, end, lines)


def rename(text: str, path: Path, key: str) -> str:
    """Give an entry another key, its quotes kept."""
    old, _ = _found(text, path)
    return text[: old.start_mark.index] + written(key, _quote(old)) + text[old.end_mark.index :]


def indentation(text: str, path: Path) -> str:
    """What stands before a key on its line."""
    key, _ = _found(text, path)
    return " " * key.start_mark.column


def written(value: Any, quote: str = "") -> str:
    """A value as this project writes it on one line: plain where that is safe, else in double quotes."""
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case str() if quote == "'" and "'" not in value:
            return f"'{value}'"
        case str() if not quote and _is_plain(value):
            return value
        case Mapping():
            pairs = cast("Mapping[str, Any]", value).items()
            return f"{{ {', '.join(f'{written(key)}: {written(item)}' for key, item in pairs)} }}"
        case datetime.date():
            return value.isoformat()
        case str() | int() | float():
            return json.dumps(value, ensure_ascii=False)
        case Sequence():
            return f"[{', '.join(written(item) for item in cast('Sequence[Any]', value))}]"
        case _:
            raise TypeError(f"no YAML for {type(value).__name__}")


def _is_plain(value: str) -> bool:
    return bool(_PLAIN.fullmatch(value)) and not _NOT_PLAIN.fullmatch(value)


def _add(text: str, path: Path, value: Any) -> str:
    mapping = _mapping(text, path[:-1])
    added = f"{written(path[-1])}: {written(value)}"
    if not mapping.value:
        raise HandError
    key, node = mapping.value[-1]
    if mapping.flow_style:
        end = node.end_mark.index
        return f"{text[:end]}, {added}{text[end:]}"
    _, end = _lines(text, key, node)
    return _insert(text, end, " " * key.start_mark.column + added)


def _insert(text: str, at: int, lines: str) -> str:
    """Put lines where a line begins. A file whose last line has no break keeps it so."""
    lines, line_break = lines.rstrip("\r\n"), "\r\n" if "\r\n" in text else "\n"
    if text[at - 1] != "\n":
        return text[:at] + line_break + lines
    return text[:at] + lines + line_break + text[at:]


def _lines(text: str, key: Any, node: Any) -> tuple[int, int]:
    """The whole lines of a block mapping's entry: from its key's to the last deeper one that is not blank."""
    start = key.start_mark.index - key.start_mark.column
    if text[start : key.start_mark.index].strip():
        raise HandError  # the key does not begin its line
    end = _line_end(text, _content_end(text, key, node))
    position = end
    for line in text[end:].splitlines(keepends=True):
        position += len(line)
        if line.strip():
            if len(line) - len(line.lstrip(" ")) <= key.start_mark.column:
                break
            end = position
    return start, end


def _span(text: str, key: Any, node: Any) -> tuple[int, int]:
    """Where a value stands; the place right behind the colon for one that is left out, whose own mark is anywhere."""
    start, end = node.start_mark.index, node.end_mark.index
    if start != end:
        return start, end
    colon = text.find(":", key.end_mark.index)
    if colon < 0 or text[key.end_mark.index : colon].strip():
        raise HandError
    return colon + 1, colon + 1


def _quote(node: Any) -> str:
    return node.style if node.id == "scalar" and node.style in {"'", '"'} else ""


def _content_end(text: str, key: Any, node: Any) -> int:
    """Where the last word of a value ends: a block's own mark is behind the comments that follow it."""
    inside: list[Any] = [] if node.id == "scalar" or node.flow_style else node.value
    if not inside:
        return _span(text, key, node)[1]
    return _content_end(text, *(inside[-1] if node.id == "mapping" else (inside[-1], inside[-1])))


def _line_end(text: str, position: int) -> int:
    if text[position - 1 : position] == "\n":
        return position  # a text in lines of its own, which ends with its last one
    return text.find("\n", position) + 1 or len(text)


def _mapping(text: str, path: Path) -> Any:
    node = _root(text) if not path else _found(text, path)[1]
    if node.id != "mapping":
        raise HandError
    return node


def _found(text: str, path: Path) -> tuple[Any, Any]:
    found = _pair(text, path)
    if found is None:
        raise HandError
    return found


def _pair(text: str, path: Path) -> tuple[Any, Any] | None:
    """The nodes of a key and of its value."""
    found: tuple[Any, Any] | None = None
    node = _root(text)
    for part in path:
        pairs: list[tuple[Any, Any]] = node.value if node.id == "mapping" else []
        found = next((pair for pair in pairs if pair[0].value == part), None)
        if found is None:
            return None
        node = found[1]
    return found


def _root(text: str) -> Any:
    yaml: Any = YAML(typ="safe", pure=True)
    try:
        node = yaml.compose(text)
    except YAMLError:
        raise HandError from None
    if node is None:
        raise HandError
    return node
