"""What a step of the google backend may wait for: each is a look, and what it means. Reads only."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from pydantic import BaseModel

from rollout.backends.looks import SharedLooks
from rollout.cloud.disks import Snapshot
from rollout.cloud.errors import CloudError
from rollout.cloud.google import Google
from rollout.cloud.groups import Group, Member
from rollout.cloud.instances import Instance
from rollout.engine.backend import Attempt, Failed, Passed
from rollout.engine.polling import Waiting

Seen = Waiting | Passed | Failed
Look = Callable[[], Awaitable[Seen]]
PASSING: Final = frozenset({"unavailable", "rate-limited"})
"""What a wait sits out: it is no news about what is waited for."""
STOPPED: Final = frozenset({"STOPPED", "TERMINATED", "SUSPENDED"})
LINE_BYTES: Final = 1 << 16
"""Of a line of the serial port that has no end yet, more is not kept."""

TAKES: Final[Mapping[str, tuple[str, ...]]] = {
    "group-stable": ("region", "group"),
    "versions-reached": ("region", "group", "versions?"),
    "member-gone": ("region", "group", "instance", "id?"),
    "instance-running": ("zone", "instance"),
    "instance-stopped": ("zone", "instance"),
    "instance-gone": ("zone", "instance", "id?"),
    "serial-line": ("zone", "instance", "pattern", "fail_pattern?"),
    "snapshot-ready": ("snapshot",),
}
"""What can be waited for, and what it takes; `?` marks what may be left out."""


class Vm(BaseModel):
    """The output of a wait for a VM that runs, or is stopped, for those that refer to it."""

    id: str


class WaitError(ValueError):
    """The wait is not among those, or its arguments are not what it takes."""


def check(wait: Mapping[str, Any]) -> None:
    """Raise WaitError for what cannot be waited for."""
    name = str(wait.get("for", ""))
    if name not in TAKES:
        raise WaitError(f"wait for {name!r}: allowed is {', '.join(TAKES)}")
    allowed = {each.removesuffix("?") for each in TAKES[name]} | {"for"}
    faults = [f"`{each}` is missing" for each in TAKES[name] if not each.endswith("?") and each not in wait]
    faults += [f"`{each}` is not known" for each in wait if each not in allowed]
    for each in ("pattern", "fail_pattern"):
        try:
            re.compile(str(wait.get(each, "")))
        except re.error:
            faults.append(f"`{each}` is no regular expression")
    if faults:
        raise WaitError(f"wait for {name}: {'; '.join(faults)}; it takes {', '.join(TAKES[name])}")


def look_for(wait: Mapping[str, Any], attempt: Attempt, google: Google, looks: SharedLooks) -> Look:
    """The look of a wait that was checked. A service that does not answer is sat out."""
    look = _look(wait, attempt, google, looks)

    async def patient() -> Seen:
        try:
            return await look()
        except CloudError as error:
            if error.error_class not in PASSING:
                raise
            return Waiting(progress=str(error), retry_after_seconds=error.retry_after_seconds)

    return patient


def _look(wait: Mapping[str, Any], attempt: Attempt, google: Google, looks: SharedLooks) -> Look:
    name = wait["for"]
    if name == "serial-line":
        return _SerialLine(wait, attempt, google).look
    if name == "snapshot-ready":
        snapshot = str(wait["snapshot"])
        return _shared(
            looks, f"{google.project}/snapshot/{snapshot}", lambda: google.disks.snapshot(snapshot), _snapshot
        )
    if name in {"group-stable", "versions-reached"}:
        region, group = str(wait["region"]), str(wait["group"])
        judge = _stable if name == "group-stable" else _reached
        key = f"{google.project}/group/{region}/{group}"
        return _shared(looks, key, lambda: google.groups.get(region, group), lambda seen: judge(seen, wait))
    if name == "member-gone":
        region, group = str(wait["region"]), str(wait["group"])
        key = f"{google.project}/members/{region}/{group}"
        return _shared(looks, key, lambda: google.groups.members(region, group), lambda seen: _member(seen, wait))
    zone, instance = str(wait["zone"]), str(wait["instance"])
    judges = {"instance-running": _running, "instance-stopped": _stopped, "instance-gone": _gone}
    key = f"{google.project}/instance/{zone}/{instance}"
    return _shared(looks, key, lambda: google.instances.get(zone, instance), lambda seen: judges[name](seen, wait))


def _shared(looks: SharedLooks, key: str, ask: Callable[[], Awaitable[Any]], judge: Callable[[Any], Seen]) -> Look:
    known = looks.clock()

    async def look() -> Seen:
        nonlocal known
        known, seen = await looks.see(key, ask, after=known)
        return judge(seen)

    return look


def _missing(what: str) -> Failed:
    return Failed(code="not-found", message=f"there is no {what}", error_class="not-found")


def _stable(group: Group | None, wait: Mapping[str, Any]) -> Seen:
    if group is None:
        return _missing(f"group {wait['group']} in {wait['region']}")
    if group.stable:
        return Passed(output={"target_size": group.target_size}, message=f"{group.name} is stable")
    under_way = [f"{count} {action}" for action, count in group.actions.items() if count and action != "none"]
    return Waiting(progress=f"{group.name}: {', '.join(under_way) or 'VMs are missing'}")


def _reached(group: Group | None, wait: Mapping[str, Any]) -> Seen:
    if group is None:
        return _missing(f"group {wait['group']} in {wait['region']}")
    versions = {version.name: version.template for version in group.versions}
    if "versions" in wait and versions != wait["versions"]:
        return Waiting(progress=f"{group.name} still has {', '.join(sorted(versions.values()))}")
    if not group.versions_reached:
        sizes = ", ".join(f"{version.target} of {version.template}" for version in group.versions)
        return Waiting(progress=f"{group.name} is to have {sizes}")
    return Passed(output={"versions": versions}, message=f"{group.name} has its versions")


def _member(members: tuple[Member, ...] | None, wait: Mapping[str, Any]) -> Seen:
    for member in members or ():
        if member.name == wait["instance"] and member.id in {wait.get("id", member.id), ""}:
            return Waiting(progress=f"{member.name}: {member.action.lower()}")
    return Passed(message=f"{wait['instance']} is no member any more")


def _running(vm: Instance | None, wait: Mapping[str, Any]) -> Seen:
    if vm is None:
        return _missing(f"VM {wait['instance']} in {wait['zone']}")
    if vm.status in STOPPED:
        return Failed(code="stopped", message=f"{vm.name} is {vm.status}", error_class="preempted")
    if vm.status != "RUNNING":
        return Waiting(progress=f"{vm.name}: {vm.status.lower()}")
    return Passed(output=Vm(id=vm.id).model_dump(), message=f"{vm.name} runs")


def _stopped(vm: Instance | None, wait: Mapping[str, Any]) -> Seen:
    if vm is None:
        return _missing(f"VM {wait['instance']} in {wait['zone']}")
    if vm.status in STOPPED:
        return Passed(output=Vm(id=vm.id).model_dump(), message=f"{vm.name} is {vm.status}")
    return Waiting(progress=f"{vm.name}: {vm.status.lower()}")


def _gone(vm: Instance | None, wait: Mapping[str, Any]) -> Seen:
    if vm is None or vm.id != wait.get("id", vm.id):
        return Passed(message=f"{wait['instance']} is gone")
    return Waiting(progress=f"{vm.name}: {vm.status.lower()}")


def _snapshot(snapshot: Snapshot | None) -> Seen:
    if snapshot is None:
        return _missing("such snapshot")
    if snapshot.status == "FAILED":
        return Failed(code="snapshot-failed", message=f"{snapshot.name} is FAILED")
    if snapshot.status != "READY":
        return Waiting(progress=f"{snapshot.name}: {snapshot.status.lower()}")
    return Passed(output={"size_gb": snapshot.size_gb}, message=f"{snapshot.name} is ready")


class _SerialLine:
    """Reads on where it stopped, and looks at whole lines; all of them go to the step's log."""

    def __init__(self, wait: Mapping[str, Any], attempt: Attempt, google: Google) -> None:
        self._zone, self._name = str(wait["zone"]), str(wait["instance"])
        self._wanted = re.compile(str(wait["pattern"]))
        self._bad = re.compile(str(wait["fail_pattern"])) if "fail_pattern" in wait else None
        self._attempt, self._google = attempt, google
        self._next = 0
        self._rest = ""
        self._tail: list[str] = []

    async def look(self) -> Seen:
        vm = await self._google.instances.get(self._zone, self._name)
        if vm is None:
            return _missing(f"VM {self._name} in {self._zone}")
        serial = await self._google.instances.serial(self._zone, self._name, start=self._next)
        self._next = serial.next
        self._attempt.write(serial.text.encode())
        lines = (self._rest + serial.text).splitlines(keepends=True)
        whole = [line.rstrip("\r\n") for line in lines if line.endswith("\n")]
        self._rest = lines[-1][-LINE_BYTES:] if lines and not lines[-1].endswith("\n") else ""
        if vm.status in STOPPED:  # then nothing follows that would end the last line
            whole.append(self._rest)
        for line in whole:
            self._tail = [*self._tail, line][-20:]
            if self._bad and self._bad.search(line):
                return Failed(code="serial-line", message=line[:500], tail=tuple(self._tail))
            if found := self._wanted.search(line):
                return Passed(output={"line": line, **found.groupdict()}, message=line[:200])
        if vm.status in STOPPED:
            text = f"{self._name} is {vm.status} and never wrote the line"
            return Failed(code="stopped", message=text, tail=tuple(self._tail))
        return Waiting(progress=self._tail[-1][:200] if self._tail else f"{self._name}: {vm.status.lower()}")
