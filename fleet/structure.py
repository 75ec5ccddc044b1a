"""Structural faults in words: turns what pydantic found into the one-line faults that operators read."""

from __future__ import annotations

import re
import types
from collections.abc import Iterator
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from fleet.errors import Fault, Path, nearest, one_of, show

_TEXT_WITH_NUMBER = re.compile(r"^\s*(-?\d+(?:\.\d+)?)\s*[A-Za-z%]*\s*$")


def structural_faults(error: ValidationError, annotation: Any, at: Path) -> list[Fault]:
    """Every fault of one validation, `at` being the key path of the value that was validated as `annotation`."""
    return [_fault(dict(item), annotation, at) for item in error.errors(include_url=False)]


def _fault(item: dict[str, Any], annotation: Any, at: Path) -> Fault:
    loc = tuple(part for part in item["loc"] if part != "[key]")
    kind: str = item["type"]
    if kind == "extra_forbidden":
        place = _walk(annotation, loc[:-1])
        key = str(loc[-1])
        known = sorted(place.keys())
        guess = nearest(key, known)
        fix = f"did you mean {guess}?" if guess else f"remove {key}"
        return Fault((*at, *place.path, key), f"the unknown key {key}", f"the keys {one_of(known)}", fix)
    place = _walk(annotation, loc)
    path = (*at, *place.path)
    if kind == "missing":
        return Fault(path, "nothing", place.description or "a value", f"add {path[-1]}")
    value = item["input"]
    choices = place.choices()
    allowed = place.description or (one_of(choices) if choices else str(item["msg"]))
    return Fault(path, show(value), allowed, _fix(kind, value, choices, allowed))


def _fix(kind: str, value: Any, choices: list[str], allowed: str) -> str:
    number = _TEXT_WITH_NUMBER.match(value) if isinstance(value, str) else None
    if number and kind in {"int_type", "float_type", "int_from_float"}:
        return f"write {number[1]}, a number without quotes or unit"
    if kind == "string_type" and isinstance(value, int | float) and not isinstance(value, bool):
        return f'put it in quotes: "{value}"'
    guess = nearest(value, choices) if isinstance(value, str) and choices else None
    if guess:
        return f"did you mean {guess}?"
    return f"write {allowed}"


class _Place:
    """Where a fault is: the annotations that may stand there, its path without union tags, and its description."""

    def __init__(self, annotation: Any) -> None:
        self.annotation = annotation
        self.path: Path = ()
        self.description = _described(annotation)

    def enter(self, part: Any) -> None:
        """Go one step down; a union's tag is no key of the file and leaves the place unchanged."""
        for candidate in _alternatives(self.annotation):
            if isinstance(candidate, type) and issubclass(candidate, BaseModel):
                if part in candidate.model_fields:
                    field = candidate.model_fields[str(part)]
                    self._descend(str(part), field.annotation, field.description)
                    return
            elif get_origin(candidate) is dict:
                self._descend(str(part), get_args(candidate)[1], None)
                return
            elif get_origin(candidate) is tuple and isinstance(part, int):
                self._descend(str(part), get_args(candidate)[0], self.description)
                return

    def _descend(self, part: str, annotation: Any, description: str | None) -> None:
        self.path = (*self.path, part)
        self.annotation = annotation
        self.description = description or _described(annotation)

    def keys(self) -> set[str]:
        """The keys that the models at this place have."""
        models = [c for c in _alternatives(self.annotation) if isinstance(c, type) and issubclass(c, BaseModel)]
        return {key for model in models for key in model.model_fields}

    def choices(self) -> list[str]:
        """The literal values allowed at this place."""
        literals = [c for c in _alternatives(self.annotation) if get_origin(c) is Literal]
        return [str(value) for literal in literals for value in get_args(literal)]


def _walk(annotation: Any, loc: tuple[Any, ...]) -> _Place:
    place = _Place(annotation)
    for part in loc:
        place.enter(part)
    return place


def _alternatives(annotation: Any) -> Iterator[Any]:
    origin = get_origin(annotation)
    if origin is Annotated:
        yield from _alternatives(get_args(annotation)[0])
    elif origin is Union or origin is types.UnionType:
        for option in get_args(annotation):
            yield from _alternatives(option)
    else:
        yield annotation


def _described(annotation: Any) -> str | None:
    if get_origin(annotation) is Annotated:
        for extra in get_args(annotation)[1:]:
            if isinstance(extra, FieldInfo) and extra.description:
                return extra.description
    return None
