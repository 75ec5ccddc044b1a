"""What steps hand on: outputs checked against their type, and references replaced by what they refer to."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, cast

from pydantic import BaseModel, ValidationError

from rollout.engine.spec import Ref, Step


class OutputError(Exception):
    """An output is not what the step says. Its text is one line for people; the failure's code is `output`."""


class MissingOutputError(Exception):
    """A reference without a default leads to a step that did not pass. The failure's code is `missing-output`."""

    def __init__(self, ref: Ref, where: str) -> None:
        super().__init__(f"{where} refers to {ref.step}.{ref.field}, which is not there; give the reference a default")
        self.step = ref.step


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """A step's checked output."""

    value: Any
    """The model where the step names one, else the mapping: what `expand` is called with."""
    data: Mapping[str, Any]
    """The same as JSON values: what journals, reports and references take."""


def check_output(step: Step, raw: Mapping[str, Any]) -> Output:
    """A backend's (or a journal's) output as the step's type has it. Raises OutputError."""
    if wrong := next(not_json(raw, "output"), None):
        raise OutputError(wrong)
    if step.output is None:
        return Output(value=raw, data=raw)
    try:
        model = step.output.model_validate(raw)
    except ValidationError as error:
        raise OutputError(f"output is no {step.output.__name__}: {'; '.join(_told(error))}") from error
    return Output(value=model, data=model.model_dump(mode="json"))


def resolve(params: Mapping[str, Any], outputs: Mapping[str, Mapping[str, Any]], where: str = "params") -> Any:
    """The params with every reference replaced; `outputs` holds the data of the steps that passed.

    Raises MissingOutputError. Everything is copied, so that no backend changes the plan or another step's output.
    """

    def replaced(value: Any, path: str) -> Any:
        if isinstance(value, Ref):
            output = outputs.get(value.step, {})
            if value.field in output:
                return replaced(output[value.field], path)
            if value.default is ...:
                raise MissingOutputError(value, path)
            return replaced(value.default, path)
        if isinstance(value, Mapping):
            return {key: replaced(below, f"{path}.{key}") for key, below in cast("Mapping[str, Any]", value).items()}
        if isinstance(value, (list, tuple)):
            return [replaced(below, f"{path}[{n}]") for n, below in enumerate(cast("list[Any]", value))]
        return value

    return replaced(params, where)


def refs(value: Any, path: str) -> Iterator[tuple[str, Ref]]:
    """Every reference in a value, with the path to it."""
    if isinstance(value, Ref):
        yield path, value
    elif isinstance(value, Mapping):
        for key, below in cast("Mapping[str, Any]", value).items():
            yield from refs(below, f"{path}.{key}")
    elif isinstance(value, (list, tuple)):
        for n, below in enumerate(cast("list[Any]", value)):
            yield from refs(below, f"{path}[{n}]")


def not_json(value: Any, path: str) -> Iterator[str]:
    """What in a value a JSON text cannot carry, one line each. References pass: what they lead to is checked there."""
    match value:
        case None | bool() | int() | str():
            pass
        case float():
            if not math.isfinite(value):
                yield f"{path}: {value} has no place in JSON"
        case Ref():
            if value.default is not ...:
                yield from not_json(value.default, f"{path} (its default)")
        case list() | tuple():
            for n, below in enumerate(cast("list[Any]", value)):
                yield from not_json(below, f"{path}[{n}]")
        case Mapping():
            for key, below in cast("Mapping[Any, Any]", value).items():
                yield from (
                    not_json(below, f"{path}.{key}")
                    if isinstance(key, str)
                    else (f"{path}: the key {key!r} is no text",)
                )
        case _:
            yield f"{path}: a {type(value).__name__} has no place in JSON; use text, numbers, lists and mappings"


def has_field(model: type[BaseModel], name: str) -> bool:
    """Whether an output of this type has such a field, or may have any."""
    return (
        name in model.model_fields or name in model.model_computed_fields or model.model_config.get("extra") == "allow"
    )


def _told(error: ValidationError) -> Iterator[str]:
    for fault in error.errors(include_url=False, include_context=False):
        where = ".".join(str(part) for part in fault["loc"]) or "it"
        yield f"{where}: {fault['msg']}, not {repr(fault['input'])[:60]}"
