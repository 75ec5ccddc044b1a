"""Structural faults in words: turns what pydantic found into the one-line faults that operators read."""

from __future__ import annotations

import re
import types
from collections.abc import Iterator
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, Tag, ValidationError
from pydantic.fields import FieldInfo

from fleet.errors import Fault, Path, did_you_mean, one_of, show, unknown_key

_TEXT_WITH_NUMBER = re.compile(r"^\s*(-?\d+(?:\.\d+)?)\s*[A-Za-z%]*\s*$")


def structural_faults(error: ValidationError, annotation: Any, at: Path) -> list[Fault]:
    """Every fault of one validation, `at` being the key path of the value that was validated as `annotation`.

    Where a value may have several forms, pydantic reports it once for each; here it is one fault, the deepest.
    """
    found: dict[Path, Fault] = {}
    for item in error.errors(include_url=False):
        fault = _fault(dict(item), annotation, at)
        found.setdefault(fault.path, fault)
    return [
        fault
        for path, fault in found.items()
        if not any(other[: len(path)] == path and len(other) > len(path) for other in found)
    ]


def _fault(item: dict[str, Any], annotation: Any, at: Path) -> Fault:
    loc = tuple(part for part in item["loc"] if part != "[key]")
    kind: str = item["type"]
    context: dict[str, Any] = item.get("ctx", {})
    if kind == "extra_forbidden":
        place = _walk(annotation, loc[:-1])
        return unknown_key((*at, *place.path), str(loc[-1]), place.keys())
    place = _walk(annotation, loc)
    path = (*at, *place.path)
    if kind == "union_tag_invalid":
        allowed = str(context["expected_tags"]).replace("'", "")
        seen = str(context["tag"])
        path = (*path, str(context["discriminator"]).strip("'"))
        return Fault(path, show(seen), allowed, _fix(kind, seen, allowed.split(", "), f"one of {allowed}"))
    if kind == "missing":
        return Fault(path, "nothing", place.description or "a value", f"add {path[-1]}")
    choices = place.choices()
    allowed = place.description or (one_of(choices) if choices else _kind_of(kind, place, str(item["msg"])))
    return Fault(path, show(item["input"]), allowed, _fix(kind, item["input"], choices, allowed))


def _kind_of(kind: str, place: _Place, message: str) -> str:
    """What may stand in a place that has no description of its own."""
    if kind in {"model_type", "dict_type", "model_attributes_type"}:
        return f"a mapping with the keys {one_of(place.keys())}" if place.keys() else "a mapping of names to values"
    words = {"string_type": "text", "int_type": "a whole number", "bool_type": "true or false", "tuple_type": "a list"}
    if kind == "too_short":
        return "at least one entry"
    return words.get(kind, message)


def _fix(kind: str, value: Any, choices: list[str], allowed: str) -> str:
    number = _TEXT_WITH_NUMBER.match(value) if isinstance(value, str) else None
    if number and kind in {"int_type", "float_type", "int_from_float"}:
        return f"write {number[1]}, a number without quotes or unit"
    if kind == "string_type" and isinstance(value, int | float) and not isinstance(value, bool):
        return f'put it in quotes: "{value}"'
    return did_you_mean(value if isinstance(value, str) else "", choices, f"write {allowed}")


class _Place:
    """Where a fault is: the annotations that may stand there, its path without union tags, and its description."""

    def __init__(self, annotation: Any) -> None:
        self.annotation = annotation
        self.path: Path = ()
        self.description = _described(annotation)

    def enter(self, part: Any) -> None:
        """Go one step down. A union's tag is no key of the file: it picks a form and leaves the path unchanged."""
        for candidate in _alternatives(self.annotation):
            if _is_model(candidate):
                if part in candidate.model_fields:
                    field = candidate.model_fields[str(part)]
                    # pydantic moves what stands beside a type into the field.
                    annotation = Annotated[(field.annotation, *field.metadata)] if field.metadata else field.annotation
                    self._descend(str(part), annotation, field.description)
                    return
            elif get_origin(candidate) is dict:
                self._descend(str(part), get_args(candidate)[1], None)
                return
            elif get_origin(candidate) is tuple and isinstance(part, int):
                self._descend(str(part), get_args(candidate)[0], self.description)
                return
        self.annotation = _tagged(self.annotation, part) or self.annotation

    def _descend(self, part: str, annotation: Any, description: str | None) -> None:
        self.path = (*self.path, part)
        self.annotation = annotation
        self.description = description or _described(annotation)

    def keys(self) -> set[str]:
        """The keys that the models at this place have."""
        return {key for model in _alternatives(self.annotation) if _is_model(model) for key in model.model_fields}

    def choices(self) -> list[str]:
        """The literal values allowed at this place."""
        literals = [c for c in _alternatives(self.annotation) if get_origin(c) is Literal]
        return [str(value) for literal in literals for value in get_args(literal)]


def _walk(annotation: Any, loc: tuple[Any, ...]) -> _Place:
    place = _Place(annotation)
    for part in loc:
        place.enter(part)
    return place


def _is_model(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _is_union(annotation: Any) -> bool:
    return get_origin(annotation) in {Union, types.UnionType}


def _alternatives(annotation: Any) -> Iterator[Any]:
    """The forms that a value may have, unwrapped."""
    if get_origin(annotation) is Annotated:
        yield from _alternatives(get_args(annotation)[0])
    elif _is_union(annotation):
        for option in get_args(annotation):
            yield from _alternatives(option)
    else:
        yield annotation


def _tagged(annotation: Any, tag: Any) -> Any:
    """The form of a union that a tag picks: marked with it, or with a field that can only hold it."""
    if get_origin(annotation) is Annotated:
        inner, *extras = get_args(annotation)
        marked = any(isinstance(extra, Tag) and extra.tag == tag for extra in extras)
        return inner if marked else _tagged(inner, tag)
    if _is_union(annotation):
        return next((found for option in get_args(annotation) if (found := _tagged(option, tag))), None)
    if _is_model(annotation):
        kinds = [field.annotation for field in annotation.model_fields.values()]
        picked = any(get_origin(kind) is Literal and get_args(kind) == (tag,) for kind in kinds)
        return annotation if picked else None
    return None


def _described(annotation: Any) -> str | None:
    """The description beside a type, or beside the first form of a union that has one."""
    if get_origin(annotation) is Annotated:
        inner, *extras = get_args(annotation)
        beside = (extra.description for extra in extras if isinstance(extra, FieldInfo) and extra.description)
        return next(beside, None) or _described(inner)
    if _is_union(annotation):
        return next((found for option in get_args(annotation) if (found := _described(option))), None)
    return None
