"""A resource monitor that records. It answers registrations with readable references instead of a cloud's values.

`${minimal-account.email}` stands for what the resource minimal-account will have as its email. Only text has such
references; anything else that a cloud computes stays unknown, as it is in a real preview. Look-ups are refused: a
program that makes none runs the same with and without an engine.
"""

from __future__ import annotations

import dataclasses
import functools
import threading
from collections.abc import Callable, Iterator
from typing import Any, Final, cast

import pulumi
from google.protobuf import empty_pb2, struct_pb2
from pulumi import _types as sdk_types  # pyright: ignore[reportPrivateUsage] - the SDK's only map of output types
from pulumi.runtime.mocks import MockMonitor
from pulumi.runtime.proto import resource_pb2

from rehearsal.inventory import Inventory, Plain, Resource

STACK_TYPE: Final = "pulumi:pulumi:Stack"
UNKNOWN: Final = "04da6b54-80e4-46f7-96ec-b56ff0331ba9"
"""How the SDK writes a value that only a deployment knows."""

_SIGNATURE: Final = "4dabf18193072939515e22adb298388d"
_SECRET: Final = "1b47061264138c4ac30d75fd1eb44270"  # noqa: S105 - how the SDK marks a secret, itself none
_ASSET: Final = "c44067f5952c0a294b673a41bacd8c17"


class LookupRefusedError(Exception):
    """The program asked a provider for something. Whatever it wanted to know belongs into configuration."""


class RecordingMonitor(MockMonitor):
    """Records every registration of one program run."""

    def __init__(self, project: str, stack: str, on_register: Callable[[int], None] | None = None) -> None:
        super().__init__(mocks=cast("Any", None))
        self._urn_prefix = f"urn:pulumi:{stack}::{project}::"
        self._stack = stack
        self._on_register = on_register
        self._lock = threading.Lock()
        self._recorded: dict[str, Resource] = {}
        self._outputs: dict[str, dict[str, Plain]] = {}
        self.duplicates: list[str] = []
        """URNs that were registered twice, which the SDK's own mocks let pass."""

    def inventory(self) -> Inventory:
        """What was recorded. Call it only when the program has ended and every registration has drained."""
        resources = (
            _with_outputs(resource, self._outputs.get(urn)) for urn, resource in sorted(self._recorded.items())
        )
        exports = self._outputs.get(self._root, {})
        return Inventory(stack=self._stack, resources=tuple(resources), exports=exports)

    @property
    def _root(self) -> str:
        project = self._urn_prefix.split("::")[1]
        return f"{self._urn_prefix}{STACK_TYPE}::{project}-{self._stack}"

    # The methods below are the engine's side of the protocol; their names are its own.

    def RegisterResource(self, request: Any) -> Any:
        """Record one resource and answer with what it would become."""
        urn = self._urn(request)
        if request.type == STACK_TYPE:
            return resource_pb2.RegisterResourceResponse(urn=urn)
        with self._lock:
            if urn in self._recorded:
                self.duplicates.append(urn)
            self._recorded[urn] = _resource(urn, request)
            count = len(self._recorded)
        if self._on_register:
            self._on_register(count)
        if not request.custom:
            return resource_pb2.RegisterResourceResponse(urn=urn)
        return resource_pb2.RegisterResourceResponse(
            urn=urn, id=_reference(request.name, "id"), object=_answer(request)
        )

    def RegisterResourceOutputs(self, request: Any) -> Any:
        """Record what a component, or the stack, says of itself."""
        with self._lock:
            self._outputs[request.urn] = _plain_struct(request.outputs)
        return empty_pb2.Empty()

    def Invoke(self, request: Any) -> Any:
        """Refuse a look-up."""
        raise LookupRefusedError(f"the program looked up {request.tok}; a preview must need no provider")

    def Call(self, request: Any) -> Any:
        """Refuse a method call on a provider."""
        raise LookupRefusedError(f"the program called {request.tok}; a preview must need no provider")

    def ReadResource(self, request: Any) -> Any:
        """Refuse to read a resource that is not ours."""
        raise LookupRefusedError(f"the program read {request.type} {request.name}; a preview must need no provider")

    def _urn(self, request: Any) -> str:
        type_ = request.type
        if request.parent:
            parent_type = request.parent.split("::")[2]
            if parent_type != STACK_TYPE:
                type_ = f"{parent_type}${type_}"
        return f"{self._urn_prefix}{type_}::{request.name}"


def _resource(urn: str, request: Any) -> Resource:
    return Resource(
        type=request.type,
        name=request.name,
        urn=urn,
        parent=request.parent,
        custom=request.custom,
        inputs=_plain_struct(request.object),
        options=dict(_options(request)),
        provider=request.provider.rpartition("::")[0],
        dependencies=tuple(sorted(request.dependencies)),
        property_dependencies={
            key: tuple(sorted(value.urns)) for key, value in sorted(request.propertyDependencies.items()) if value.urns
        },
    )


def _options(request: Any) -> Iterator[tuple[str, Plain]]:
    if request.protect:
        yield "protect", True
    if request.retainOnDelete:
        yield "retain_on_delete", True
    if request.deleteBeforeReplaceDefined:
        yield "delete_before_replace", request.deleteBeforeReplace
    if request.ignoreChanges:
        yield "ignore_changes", sorted(request.ignoreChanges)
    if request.replaceOnChanges:
        yield "replace_on_changes", sorted(request.replaceOnChanges)
    if request.aliases:
        yield "aliases", [alias.urn or f"{alias.spec.type}::{alias.spec.name}" for alias in request.aliases]
    if request.deletedWith:
        yield "deleted_with", request.deletedWith
    if request.importId:
        yield "import", request.importId


def _with_outputs(resource: Resource, outputs: dict[str, Plain] | None) -> Resource:
    if outputs is None or resource.custom:
        return resource
    return dataclasses.replace(resource, outputs=outputs)


def _reference(name: str, prop: str) -> str:
    return f"${{{name}.{prop}}}"


def _answer(request: Any) -> struct_pb2.Struct:
    """Text that was put in comes back as it is; other text of the resource comes back as a reference."""
    answer = struct_pb2.Struct()
    given = request.object.fields
    for prop, python_name in _text_outputs(request.type).items():
        value = given.get(prop)
        if value is not None and value.HasField("string_value"):
            answer.fields[prop].string_value = value.string_value
        elif value is None:
            answer.fields[prop].string_value = _reference(request.name, python_name)
    return answer


@functools.cache
def _text_outputs(type_token: str) -> dict[str, str]:
    """The text properties of a resource type: the engine's name to Python's."""
    for cls in _subclasses(pulumi.CustomResource):
        if getattr(cls, "pulumi_type", None) == type_token:
            names = sdk_types.resource_pulumi_to_py_names(cls)
            return {prop: names.get(prop, prop) for prop, kind in sdk_types.resource_types(cls).items() if kind is str}
    return {}


def _subclasses(cls: type) -> Iterator[type]:
    for child in cls.__subclasses__():
        yield child
        yield from _subclasses(child)


def _plain_struct(struct: struct_pb2.Struct) -> dict[str, Plain]:
    return {key: _plain(struct.fields[key]) for key in sorted(struct.fields)}


def _plain(value: struct_pb2.Value) -> Plain:
    match value.WhichOneof("kind"):
        case "struct_value":
            return _special(_plain_struct(value.struct_value))
        case "list_value":
            return [_plain(item) for item in value.list_value.values]
        case "number_value":
            number = value.number_value
            return int(number) if number.is_integer() else number
        case "string_value":
            return value.string_value
        case "bool_value":
            return value.bool_value
        case _:
            return None


def _special(data: dict[str, Plain]) -> Plain:
    """Secrets are never shown; an asset is its path."""
    match data.get(_SIGNATURE):
        case None:
            return data
        case signature if signature == _SECRET:
            return "[secret]"
        case signature if signature == _ASSET:
            return {"asset": data.get("path") or data.get("uri") or "text"}
        case _:
            return {key: value for key, value in data.items() if key != _SIGNATURE}
