"""Compute Engine's calls for single VMs: listed, made, stopped, deleted, their metadata, their serial port.

After the same documents as `compute_rest`. Our guesses: a VM that cannot be had fails its operation and is nowhere; one
whose time is up is deleted as if by hand. Not played: start, reset, suspend, and any filter but labels and the name.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final

from emulators.google.caller import ZONE, Caller, part, parts
from emulators.google.disk import Disk
from emulators.google.instance import Instance
from emulators.google.operation import OperationError
from emulators.google.reply import refuse
from emulators.route import Call, Reply, Route, json_reply

if TYPE_CHECKING:
    from emulators.google.cloud import Google

INSTANCE: Final = ZONE + "/instances/{instance}"
NAME: Final = re.compile(r"[a-z](?:[-a-z0-9]{0,61}[a-z0-9])?")
SERIAL_BYTES: Final = 1 << 20
"""So much is kept of a serial port's output."""
_TERM: Final = re.compile(r"\(?\s*(name|labels\.[a-z0-9_-]+)\s*(?:=|eq)\s*\"?([a-z0-9_-]*)\"?\s*\)?")


def routes(google: Google) -> Iterable[Route]:
    """All of them need a token."""
    calls = InstanceRest(google)
    table = {
        "instance": ("GET", INSTANCE, calls.instance),
        "instances": ("GET", ZONE + "/instances", calls.instances),
        "insert_instance": ("POST", ZONE + "/instances", calls.once(calls.insert)),
        "stop_instance": ("POST", INSTANCE + "/stop", calls.once(calls.stop)),
        "delete_instance": ("DELETE", INSTANCE, calls.once(calls.delete)),
        "set_metadata": ("POST", INSTANCE + "/setMetadata", calls.once(calls.set_metadata)),
        "serial_port": ("GET", INSTANCE + "/serialPort", calls.serial_port),
    }
    for name, (method, path, handler) in table.items():
        yield Route(name=f"compute.{name}", method=method, path=path, handler=handler)


class InstanceRest(Caller):
    """The handlers."""

    def instance(self, call: Call) -> Reply:
        """instances.get"""
        return json_reply(200, self._known(call).document())

    def instances(self, call: Call) -> Reply:
        """instances.list, by pages of maxResults"""
        zone, wanted = call.parameters["zone"], _filter(call.query.get("filter", ""))
        found = [
            vm for vm in self._compute.everywhere() if vm.zone == zone and vm.project == call.parameters["project"]
        ]
        found = [vm for vm in found if not vm.errors and all(_has(vm, *term) for term in wanted)]
        shown, more = self.page(call, found)
        return json_reply(200, {"kind": "compute#instanceList", "items": [vm.document() for vm in shown], **more})

    def insert(self, call: Call) -> Reply:
        """instances.insert"""
        body, zone = self.fields(call), call.parameters["zone"]
        name = str(body.get("name", ""))
        if not NAME.fullmatch(name):
            raise refuse("compute", 400, f"Invalid value for field 'resource.name': '{name}'.")
        path = f"projects/{call.parameters['project']}/zones/{zone}/instances/{name}"
        if self._compute.instance(zone, name) is not None:
            raise refuse("compute", 409, f"The resource '{path}' already exists", reason="alreadyExists")
        error = None
        if zone in self._compute.stocked_out:
            text = f"The zone 'projects/{call.parameters['project']}/zones/{zone}' does not have enough resources"
            error = OperationError(message=f"{text} available to fulfill the request.")
        vm = self._made(call, body)
        operation = self.operate(
            call, "insert_instance", "insert", f"zones/{zone}", target=path, target_id=vm.id, error=error
        )
        if operation.error is None:
            self._compute.add_loose(vm, self._disks(call, body, vm))
        return json_reply(200, operation.document())

    def stop(self, call: Call) -> Reply:
        """instances.stop"""
        vm = self._known(call)
        operation = self._operated(call, "stop_instance", "stop", vm)
        if operation.error is None:
            self._compute.stop(vm)
        return json_reply(200, operation.document())

    def delete(self, call: Call) -> Reply:
        """instances.delete"""
        vm = self._known(call)
        operation = self._operated(call, "delete_instance", "delete", vm)
        if operation.error is None:
            self._compute.delete_instance(vm)
        return json_reply(200, operation.document())

    def set_metadata(self, call: Call) -> Reply:
        """instances.setMetadata: all of it, and only for who knows what it was"""
        vm, body = self._known(call), self.fields(call)
        if body.get("fingerprint") != vm.fingerprint:
            text = "Supplied fingerprint does not match current metadata fingerprint."
            raise refuse("compute", 412, text)
        items = parts(body, "items")
        keys = [str(item.get("key")) for item in items]
        if len(set(keys)) < len(keys):
            raise refuse("compute", 400, "Invalid value for field 'metadata.items': duplicate keys.")
        operation = self._operated(call, "set_metadata", "setMetadata", vm)
        if operation.error is None:
            vm.metadata = {str(item["key"]): str(item.get("value", "")) for item in items}
            vm.revision += 1
            self._compute.changed += 1
        return json_reply(200, operation.document())

    def serial_port(self, call: Call) -> Reply:
        """instances.getSerialPortOutput of the first port: the last MiB, from `start` on"""
        vm = self._known(call)
        if call.query.get("port", "1") != "1":
            return json_reply(200, {"kind": "compute#serialPortOutput", "contents": "", "start": "0", "next": "0"})
        kept = max(len(vm.serial) - SERIAL_BYTES, 0)
        start = max(int(call.query.get("start") or 0), kept)
        text = vm.serial[start:].decode(errors="replace")
        value = {"kind": "compute#serialPortOutput", "contents": text, "start": str(start), "next": str(len(vm.serial))}
        return json_reply(200, {**value, "selfLink": f"{vm.link}/serialPort"})

    def _known(self, call: Call) -> Instance:
        vm = self._compute.instance(call.parameters["zone"], call.parameters["instance"])
        if vm is None or vm.project != call.parameters["project"]:
            raise self.missing(call)
        return vm

    def _operated(self, call: Call, route: str, kind: str, vm: Instance) -> Any:
        path = f"projects/{vm.project}/zones/{vm.zone}/instances/{vm.name}"
        return self.operate(call, route, kind, f"zones/{vm.zone}", target=path, target_id=vm.id)

    def _made(self, call: Call, body: dict[str, Any]) -> Instance:
        scheduling = part(body, "scheduling")
        seconds: Any = part(scheduling, "maxRunDuration").get("seconds")
        accounts = parts(body, "serviceAccounts")
        items = parts(part(body, "metadata"), "items")
        return Instance(
            id=self._compute.number(),
            name=str(body["name"]),
            zone=call.parameters["zone"],
            project=call.parameters["project"],
            project_number=self._google.project_number,
            service_account=str(accounts[0].get("email", "")) if accounts else "",
            created=self._compute.clock.now(),
            metadata={str(item["key"]): str(item.get("value", "")) for item in items},
            labels={str(key): str(value) for key, value in part(body, "labels").items()},
            machine_type=str(body.get("machineType", "")).rpartition("/")[2] or "n2-standard-16",
            max_run_seconds=None if seconds is None else int(seconds),
            stops=scheduling.get("instanceTerminationAction") == "STOP",
        )

    def _disks(self, call: Call, body: dict[str, Any], vm: Instance) -> list[Disk]:
        given = parts(body, "disks") or [{}]
        made: list[Disk] = []
        for number, each in enumerate(given):
            parameters = part(each, "initializeParams")
            made.append(
                Disk(
                    id=self._compute.number(),
                    name=str(parameters.get("diskName") or (vm.name if not number else f"{vm.name}-{number}")),
                    zone=vm.zone,
                    project=call.parameters["project"],
                    created=vm.created,
                    size_gb=int(parameters.get("diskSizeGb") or 10),
                    user=vm.name,
                    auto_delete=bool(each.get("autoDelete", False)),
                    source=str(parameters.get("sourceImage") or parameters.get("sourceSnapshot") or ""),
                )
            )
        return made


def _filter(text: str) -> list[tuple[str, str]]:
    terms = [term for term in re.split(r"\s+AND\s+|(?<=\))\s+(?=\()", text.strip()) if term]
    found = [_TERM.fullmatch(term) for term in terms]
    if not all(found):
        raise refuse("compute", 400, f"Invalid value for field 'filter': '{text}'.")
    return [(match[1], match[2]) for match in found if match]


def _has(vm: Instance, field: str, value: str) -> bool:
    return (vm.name if field == "name" else vm.labels.get(field.removeprefix("labels."))) == value
