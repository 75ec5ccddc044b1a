"""The changes that we ask Compute Engine for: name and arguments in, HTTP request out. Nothing is sent here.

After the discovery document https://compute.googleapis.com/discovery/v1/apis/compute/v1/rest, as the descriptions in
google-cloud-compute 1.57.0 repeat it. Each takes a `requestId`: Google does it once, however often it is asked for. For
how long, Compute Engine's pages do not say; other Google APIs with the same words say 60 minutes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, cast

_NAME: Final = re.compile(r"[a-z](?:[-a-z0-9]{0,61}[a-z0-9])?")
_MEMBER: Final = re.compile(r"(?:.*/)?(zones/[a-z0-9-]+/instances/[a-z0-9-]+)")
_PLACES: Final = frozenset({"region", "zone", "group", "instance", "disk", "snapshot", "image"})

_GROUP: Final = "/regions/{region}/instanceGroupManagers/{group}"
_INSTANCES: Final = "/zones/{zone}/instances"


class ArgumentsError(ValueError):
    """The arguments are not what the call takes. The text says which ones are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A request as it would be sent, below the project's path."""

    method: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict[str, str])
    body: Any = None
    asked: str
    """In words."""


@dataclass(frozen=True, slots=True)
class _Call:
    method: str
    path: str
    words: str
    takes: tuple[str, ...] = ()
    """Arguments besides those in the path. `body` is sent as it is."""


CALLS: Final[Mapping[str, _Call]] = {
    "delete_instances": _Call(
        "POST", f"{_GROUP}/deleteInstances", "deleting members of {group} in {region}", ("instances", "skip?")
    ),
    "recreate_instances": _Call(
        "POST", f"{_GROUP}/recreateInstances", "making members of {group} in {region} anew", ("instances",)
    ),
    "resize": _Call("POST", f"{_GROUP}/resize", "resizing {group} in {region}", ("size",)),
    "patch_group": _Call("PATCH", _GROUP, "changing {group} in {region}", ("body",)),
    "insert_instance": _Call("POST", _INSTANCES, "making a VM in {zone}", ("body",)),
    "stop_instance": _Call("POST", f"{_INSTANCES}/{{instance}}/stop", "stopping {instance} in {zone}"),
    "delete_instance": _Call("DELETE", f"{_INSTANCES}/{{instance}}", "deleting {instance} in {zone}"),
    "set_metadata": _Call(
        "POST", f"{_INSTANCES}/{{instance}}/setMetadata", "changing the metadata of {instance} in {zone}", ("body",)
    ),
    "create_snapshot": _Call(
        "POST", "/zones/{zone}/disks/{disk}/createSnapshot", "a snapshot of disk {disk} in {zone}", ("body",)
    ),
    "delete_snapshot": _Call("DELETE", "/global/snapshots/{snapshot}", "deleting snapshot {snapshot}"),
    "delete_disk": _Call("DELETE", "/zones/{zone}/disks/{disk}", "deleting disk {disk} in {zone}"),
    "create_image": _Call("POST", "/global/images", "making an image", ("body",)),
    "delete_image": _Call("DELETE", "/global/images/{image}", "deleting image {image}"),
}
"""Name to what it does."""


def request(call: str, arguments: Mapping[str, Any]) -> Request:
    """The request of a call. Raises ArgumentsError."""
    made = CALLS.get(call)
    if made is None:
        raise ArgumentsError(f"call {call!r}: there is none; there are {', '.join(CALLS)}")
    places = re.findall(r"\{(\w+)\}", made.path)
    required = [*places, *(name for name in made.takes if not name.endswith("?"))]
    allowed = {*places, *(name.removesuffix("?") for name in made.takes)}
    faults = [f"`{name}` is missing" for name in required if name not in arguments]
    faults += [f"`{name}` is not known" for name in arguments if name not in allowed]
    faults += [fault for name, value in arguments.items() if (fault := _fault(name, value))]
    if faults:
        raise ArgumentsError(f"call {call}: {'; '.join(faults)}; it takes {', '.join([*places, *made.takes])}")
    where = {name: str(arguments[name]) for name in places}
    return Request(
        method=made.method,
        path=made.path.format(**where),
        query={"size": str(arguments["size"])} if "size" in arguments else {},
        body=_body(arguments),
        asked=made.words.format(**where),
    )


def _fault(name: str, value: Any) -> str:
    if name in _PLACES and not (isinstance(value, str) and _NAME.fullmatch(value)):
        return f"`{name}` is {value!r}, which is no name"
    if name == "size" and (not isinstance(value, int) or isinstance(value, bool) or value < 0):
        return f"`size` is {value!r}, not a number from 0"
    if name == "skip" and not isinstance(value, bool):
        return f"`skip` is {value!r}, not true or false"
    if name == "body" and not isinstance(value, Mapping):
        return "`body` is not an object"
    if name == "instances" and not _members(value):
        return "`instances` is not a list of zones/ZONE/instances/NAME"
    return ""


def _members(value: Any) -> list[str]:
    """The references in the one form that is sent; empty where any is none."""
    if not isinstance(value, Sequence) or isinstance(value, str):
        return []
    found = [_MEMBER.fullmatch(str(each)) for each in cast("Sequence[Any]", value)]
    return [match[1] for match in found if match] if all(found) else []


def _body(arguments: Mapping[str, Any]) -> Any:
    if "body" in arguments:
        return dict(arguments["body"])
    if "instances" in arguments:
        skip = {"skipInstancesOnValidationError": True} if arguments.get("skip") else {}
        return {"instances": _members(arguments["instances"]), **skip}
    return None
