"""The rules that every component keeps, each a function that lists the breaches it finds."""

from __future__ import annotations

import ast
import collections.abc
import dataclasses
import importlib
import inspect
import pkgutil
import re
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pulumi
from pulumi import _types as sdk_types

import components
from rehearsal.inventory import Inventory, Resource
from rehearsal.monitor import UNKNOWN

REQUIRED_LABELS = {"fleet", "stack", "managed-by"}
DEAF_TO = {
    "pulumi.Config",
    "pulumi.export",
    "pulumi.get_stack",
    "pulumi.get_project",
    "os.environ",
    "os.getenv",
    "open",
    "datetime",
    "time",
    "random",
    "uuid",
    "secrets",
    "subprocess",
    "requests",
    "urllib",
}


def component_classes() -> list[type[pulumi.ComponentResource]]:
    """Every component of the package, found by looking."""
    found = []
    for module_info in pkgutil.iter_modules(components.__path__):
        module = importlib.import_module(f"components.{module_info.name}")
        found += [
            cls
            for _, cls in inspect.getmembers(module, inspect.isclass)
            if issubclass(cls, pulumi.ComponentResource) and cls.__module__ == module.__name__
        ]
    return found


def sources() -> dict[str, str]:
    folder = Path(components.__file__).parent
    return {path.name: path.read_text(encoding="utf-8") for path in sorted(folder.glob("*.py"))}


# Rules about classes


def token_is_derived_from_the_class(cls: type) -> Iterator[str]:
    expected = f"runner-fleet:index:{cls.__name__}"
    if f'"{expected}"' not in inspect.getsource(cls):
        yield f"{cls.__name__} does not register as {expected}"


def file_is_named_after_the_class(cls: type) -> Iterator[str]:
    snake = re.sub(r"(?<!^)(?=[A-Z])", "_", cls.__name__).lower()
    if cls.__module__ != f"components.{snake}":
        yield f"{cls.__name__} lives in {cls.__module__}, not in components.{snake}"


def args_are_frozen_and_keyword_only(cls: type) -> Iterator[str]:
    args: Any = getattr(inspect.getmodule(cls), f"{cls.__name__}Args", None)
    if args is None or not dataclasses.is_dataclass(args):
        yield f"{cls.__name__} has no dataclass {cls.__name__}Args beside it"
        return
    args = cast("Any", args)
    if not args.__dataclass_params__.frozen:
        yield f"{args.__name__} is not frozen"
    if not all(field.kw_only for field in dataclasses.fields(args)):
        yield f"{args.__name__} takes positional arguments"
    if not hasattr(args, "__slots__"):
        yield f"{args.__name__} has no slots"


def outputs_are_registered_once_and_last(cls: type) -> Iterator[str]:
    tree = ast.parse(inspect.cleandoc("\n" + inspect.getsource(cls)))
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and _name(node) == "self.register_outputs"]
    if len(calls) != 1:
        yield f"{cls.__name__} calls register_outputs {len(calls)} times"
    init = next((n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef) and n.name == "__init__"), None)
    last = init.body[-1] if init else None
    if not (isinstance(last, ast.Expr) and isinstance(last.value, ast.Call) and last.value in calls):
        yield f"{cls.__name__}.__init__ does not end with register_outputs"


# Rules about what was registered


def attributes_are_the_registered_outputs(cls: type, inventory: Inventory) -> Iterator[str]:
    public = {name for name in inspect.get_annotations(cls) if not name.startswith("_")}
    for resource in inventory.of_type(f"runner-fleet:index:{cls.__name__}"):
        registered = set(resource.outputs or {})
        # An attribute that is None for this instance is registered as nothing.
        optional = {name for name, hint in inspect.get_annotations(cls).items() if "None" in str(hint)}
        if not public - optional <= registered <= public:
            yield f"{resource.short} registers {sorted(registered)} and has {sorted(public)}"


def components_register_outputs(inventory: Inventory) -> Iterator[str]:
    for resource in inventory.resources:
        if not resource.custom and resource.outputs is None:
            yield f"{resource.short} never registered its outputs"


def children_have_a_component_as_parent(inventory: Inventory) -> Iterator[str]:
    by_urn = {resource.urn: resource for resource in inventory.resources}
    for resource in _real(inventory):
        parent = by_urn.get(resource.parent)
        if parent is None or parent.custom:
            yield f"{resource.short} has no component as parent"


def children_are_named_after_their_component(inventory: Inventory) -> Iterator[str]:
    by_urn = {resource.urn: resource for resource in inventory.resources}
    for resource in _real(inventory):
        parent = by_urn.get(resource.parent)
        if parent and not parent.custom and not resource.name.startswith(f"{parent.name}-"):
            yield f"{resource.short} is not named {parent.name}-…"


def nothing_uses_a_default_provider(inventory: Inventory) -> Iterator[str]:
    explicit = {resource.urn for resource in inventory.resources if resource.type.startswith("pulumi:providers:")}
    for resource in _real(inventory):
        if resource.provider not in explicit:
            yield f"{resource.short} relies on a default provider"


def labels_are_on_everything_that_takes_them(inventory: Inventory) -> Iterator[str]:
    for resource in _real(inventory):
        if _takes_labels(resource) and not set(resource.inputs.get("labels", {})) >= REQUIRED_LABELS:
            yield f"{resource.short} lacks labels out of {sorted(REQUIRED_LABELS)}"


def grants_are_additive(inventory: Inventory) -> Iterator[str]:
    for resource in _real(inventory):
        if re.search(r"I(AM|am)(Binding|Policy|AuditConfig)", resource.type) or resource.type.endswith("Key"):
            yield f"{resource.short} is authoritative, or a key"


def every_value_is_known_before_deployment_or_a_reference(inventory: Inventory) -> Iterator[str]:
    for resource in inventory.resources:
        if UNKNOWN in repr((resource.inputs, resource.outputs)):
            yield f"{resource.short} has an input that no reader could make sense of"


def short_names_are_unique(inventory: Inventory) -> Iterator[str]:
    seen: set[str] = set()
    for resource in inventory.resources:
        if resource.short in seen:
            yield f"two resources read as {resource.short}"
        seen.add(resource.short)


# Rules about source text


def components_are_deaf(name: str, source: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        spoken = _name(node)
        if spoken in DEAF_TO or spoken.partition(".")[0] in {"random", "uuid", "secrets", "subprocess"}:
            yield f"{name}:{getattr(node, 'lineno', 0)} uses {spoken}"
        if isinstance(node, ast.Import | ast.ImportFrom):
            modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            yield from (f"{name}:{node.lineno} imports {m}" for m in modules if m.partition(".")[0] in DEAF_TO)


def callers_options_are_never_merged_into_children(name: str, source: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and _name(node).endswith(".merge"):
            yield f"{name}:{node.lineno} merges options"


def nothing_is_made_inside_an_apply(name: str, source: str) -> Iterator[str]:
    """What an apply makes is missing from a preview whose value is unknown. No component needs one at all."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and _name(node).endswith(".apply"):
            yield f"{name}:{node.lineno} calls {_name(node)}"


def names_are_made_elsewhere(name: str, source: str) -> Iterator[str]:
    """A physical name written in a component would escape the limits that `fleet.naming` keeps."""
    for node in ast.walk(ast.parse(source)):
        # A version's name is within its group, and an alias is a former name of the engine's.
        if not isinstance(node, ast.Call) or _name(node).endswith("VersionArgs") or _name(node) == "pulumi.Alias":
            continue
        for keyword in node.keywords:
            if keyword.arg in {"name", "account_id", "secret_id"} and isinstance(
                keyword.value, ast.Constant | ast.JoinedStr
            ):
                yield f"{name}:{node.lineno} makes the name of a resource"


def nested_inputs_are_typed(name: str, source: str) -> Iterator[str]:
    """A dict takes any key at run time, and a misspelled one vanishes; the SDK's Args classes refuse it."""
    maps = {"labels", "metadata"}
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and _name(node) != "self.register_outputs":
            for keyword in node.keywords:
                if isinstance(keyword.value, ast.Dict) and keyword.arg and keyword.arg not in maps:
                    yield f"{name}:{node.lineno} passes a dict as {keyword.arg}"


def _real(inventory: Inventory) -> Iterator[Resource]:
    for resource in inventory.resources:
        if resource.custom and not resource.type.startswith("pulumi:providers:"):
            yield resource


def _takes_labels(resource: Resource) -> bool:
    """Whether it takes Google's labels; a metric's, which are a list, say by what its values are told apart."""
    return any(
        typing.get_origin(sdk_types.resource_types(cls).get("labels")) is collections.abc.Mapping
        for cls in _subclasses(pulumi.CustomResource)
        if getattr(cls, "pulumi_type", None) == resource.type
    )


def _subclasses(cls: type) -> Iterator[type]:
    for child in cls.__subclasses__():
        yield child
        yield from _subclasses(child)


def _name(node: ast.AST) -> str:
    if isinstance(node, ast.Call):
        return _name(node.func)
    if isinstance(node, ast.Attribute):
        return f"{_name(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


CLASS_RULES = (
    token_is_derived_from_the_class,
    file_is_named_after_the_class,
    args_are_frozen_and_keyword_only,
    outputs_are_registered_once_and_last,
)
INVENTORY_RULES = (
    components_register_outputs,
    children_have_a_component_as_parent,
    children_are_named_after_their_component,
    nothing_uses_a_default_provider,
    labels_are_on_everything_that_takes_them,
    grants_are_additive,
    every_value_is_known_before_deployment_or_a_reference,
    short_names_are_unique,
)
SOURCE_RULES = (
    components_are_deaf,
    callers_options_are_never_merged_into_children,
    nothing_is_made_inside_an_apply,
    names_are_made_elsewhere,
    nested_inputs_are_typed,
)
