"""Compute Engine's REST API, as far as a fleet asks it.

After the discovery document https://compute.googleapis.com/discovery/v1/apis/compute/v1/rest, as the descriptions in
google-cloud-compute 1.57.0 repeat it: an operation of a group is DONE once it is *accepted* by the group; how its VMs
fare is told by listManagedInstances. A VM that is no member, or is being deleted, makes the operation fail, unless
skipInstancesOnValidationError is set; a malformed or foreign reference always does. Which code that failure has, and
that it comes late for the former and at once for the latter, is our guess.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final, TypeVar

from emulators.google.group import Group
from emulators.google.instance import Instance
from emulators.google.operation import Operation, OperationError
from emulators.google.reply import refuse
from emulators.route import Call, Reply, Route, json_reply

if TYPE_CHECKING:
    from emulators.google.cloud import Google

PROJECT: Final = "/compute/v1/projects/{project}"
REGION: Final = PROJECT + "/regions/{region}"
GROUP: Final = REGION + "/instanceGroupManagers/{group}"
WAIT_SECONDS: Final = 120
"""After which operations.wait answers, done or not."""
MAX_RESULTS: Final = 500
_INSTANCE: Final = re.compile(
    r"(?:https?://[^/]+/compute/v1/)?(?:projects/[^/]+/)?zones/([a-z0-9-]+)/instances/([a-z0-9-]+)"
)

T = TypeVar("T")


def routes(google: Google) -> Iterable[Route]:
    """All of them need a token."""
    calls = ComputeRest(google)
    table = {
        "instance": ("GET", PROJECT + "/zones/{zone}/instances/{instance}", calls.instance),
        "group": ("GET", GROUP, calls.group),
        "managed_instances": ("POST", GROUP + "/listManagedInstances", calls.managed_instances),
        "errors": ("GET", GROUP + "/listErrors", calls.errors),
        "delete_instances": ("POST", GROUP + "/deleteInstances", calls.delete_instances),
        "recreate_instances": ("POST", GROUP + "/recreateInstances", calls.recreate_instances),
        "resize": ("POST", GROUP + "/resize", calls.resize),
        "autoscaler": ("GET", REGION + "/autoscalers/{autoscaler}", calls.autoscaler),
        "operation": ("GET", REGION + "/operations/{operation}", calls.operation),
        "wait_operation": ("POST", REGION + "/operations/{operation}/wait", calls.wait_operation),
    }
    for name, (method, path, handler) in table.items():
        yield Route(name=f"compute.{name}", method=method, path=path, handler=handler)


class ComputeRest:
    """The handlers."""

    def __init__(self, google: Google) -> None:
        self._google = google
        self._compute = google.compute

    def instance(self, call: Call) -> Reply:
        """instances.get"""
        vm = self._compute.instance(call.parameters["zone"], call.parameters["instance"])
        if vm is None or vm.project != call.parameters["project"]:
            raise _missing(call)
        return json_reply(200, vm.document())

    def group(self, call: Call) -> Reply:
        """regionInstanceGroupManagers.get"""
        return json_reply(200, self._group(call).document(autofill=self._compute.autofill))

    def autoscaler(self, call: Call) -> Reply:
        """regionAutoscalers.get"""
        where = call.parameters["project"], call.parameters["region"]
        for group in self._compute.groups.values():
            scaler = group.autoscaler
            if scaler and scaler.name == call.parameters["autoscaler"] and (group.project, group.region) == where:
                return json_reply(200, group.autoscaler_document(scaler))
        raise _missing(call)

    def managed_instances(self, call: Call) -> Reply:
        """regionInstanceGroupManagers.listManagedInstances, by pages of maxResults"""
        group = self._group(call)
        shown, more = _page(call, group.instances)
        documents = [group.managed_document(vm) for vm in shown]
        return json_reply(200, {"managedInstances": documents, **more} if shown else {})

    def errors(self, call: Call) -> Reply:
        """regionInstanceGroupManagers.listErrors, by pages of maxResults"""
        shown, more = _page(call, list(self._group(call).errors))
        return json_reply(200, {"items": shown, **more} if shown else {})

    def delete_instances(self, call: Call) -> Reply:
        """regionInstanceGroupManagers.deleteInstances"""
        group = self._group(call)
        vms, error = self._members(call, group)
        operation = self._operate(call, "delete_instances", "delete", group, error)
        if operation.error is None:
            self._compute.delete(group, vms)
        return json_reply(200, operation.document())

    def recreate_instances(self, call: Call) -> Reply:
        """regionInstanceGroupManagers.recreateInstances"""
        group = self._group(call)
        vms, error = self._members(call, group)
        operation = self._operate(call, "recreate_instances", "recreate", group, error)
        if operation.error is None:
            self._compute.recreate(group, vms)
        return json_reply(200, operation.document())

    def resize(self, call: Call) -> Reply:
        """regionInstanceGroupManagers.resize"""
        group = self._group(call)
        size = call.query.get("size", "")
        if not size.isdecimal():
            raise refuse("compute", 400, f"Invalid value for field 'size': '{size}'.")
        if group.quota is not None and int(size) > max(group.quota, group.target_size):
            text = f"Quota 'INSTANCES' exceeded. Limit: {group.quota}.0 in region {group.region}."
            raise refuse("compute", 403, text, reason="quotaExceeded")
        operation = self._operate(call, "resize", "resize", group, None)
        if operation.error is None:
            self._compute.resize(group, int(size))
        return json_reply(200, operation.document())

    def operation(self, call: Call) -> Reply:
        """regionOperations.get"""
        return self._shown(self._operation(call))

    def wait_operation(self, call: Call) -> Reply | None:
        """regionOperations.wait"""
        operation = self._operation(call)
        until = call.notes["until"] = min(operation.done, call.at + WAIT_SECONDS)
        return self._shown(operation) if self._compute.clock.now() >= until else None

    def _shown(self, operation: Operation) -> Reply:
        return json_reply(200, operation.document(self._compute.clock.now()))

    def _operation(self, call: Call) -> Operation:
        operation = self._compute.operations.get(call.parameters["operation"])
        where = call.parameters["project"], call.parameters["region"]
        if operation is None or (operation.project, operation.region) != where:
            raise _missing(call)
        return operation

    def _group(self, call: Call) -> Group:
        group = self._compute.groups.get(call.parameters["group"])
        if group is None or (group.project, group.region) != (call.parameters["project"], call.parameters["region"]):
            raise _missing(call)
        return group

    def _operate(self, call: Call, route: str, kind: str, group: Group, error: OperationError | None) -> Operation:
        user = self._google.tokens.account(call, self._compute.clock.now()) or ""
        operation = self._compute.operate(f"compute.{route}", kind, group, user)
        operation.error = operation.error or error
        return operation

    def _members(self, call: Call, group: Group) -> tuple[list[Instance], OperationError | None]:
        body: Any = call.json()
        links: Any = body.get("instances") if isinstance(body, dict) else None  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
        if not isinstance(links, list) or not links:
            raise refuse("compute", 400, "Required field 'instances' not specified", reason="required")
        skip = body.get("skipInstancesOnValidationError") is True  # pyright: ignore[reportUnknownMemberType]
        found: list[Instance] = []
        for number, link in enumerate(links):  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
            match = _INSTANCE.fullmatch(str(link))  # pyright: ignore[reportUnknownArgumentType]
            if not match or match[1] not in group.zones:
                text = f"Invalid value for field 'instances[{number}]': '{link}'. The URL is malformed."
                raise refuse("compute", 400, text)
            vm = next((vm for vm in group.instances if (vm.zone, vm.name) == (match[1], match[2])), None)
            if vm is not None and vm.action not in {"DELETING", "ABANDONING"}:
                found.append(vm)
            elif not skip:
                text = f"Instance '{match[2]}' is not a member of '{group.path}', or is being deleted."
                return [], OperationError(
                    code="INVALID_USAGE", message=text, http_status=400, http_message="BAD REQUEST"
                )
        return found, None


def _page(call: Call, items: list[T]) -> tuple[list[T], dict[str, str]]:
    size = min(int(call.query.get("maxResults", MAX_RESULTS)), MAX_RESULTS)
    start = int(call.query.get("pageToken") or 0)
    more = {"nextPageToken": str(start + size)} if start + size < len(items) else {}
    return items[start : start + size], more


def _missing(call: Call) -> Exception:
    return refuse("compute", 404, f"The resource '{call.path.removeprefix('/compute/v1/')}' was not found")
