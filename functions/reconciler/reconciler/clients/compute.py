"""Compute Engine: groups, all that they list, single instances, and how a member goes.

Names become part of paths, so they come from the fleet's table or have been checked. Links are never followed.
"""

from __future__ import annotations

import datetime
import json
import re
from collections.abc import Callable, Mapping
from typing import Any, Final, cast

from reconciler import marks
from reconciler.fleet_table import Group
from reconciler.observation import Facts, GroupLook, Vm

from .session import Answer, Deadline, Session, UpstreamError

_SERVICE: Final = "compute"
_TRY_SECONDS: Final = 8.0
_MOST_PAGES: Final = 20
"""Of 500 members each: more than a regional group can have (4,000 VMs at most, Google's quotas, read 2026-11-22)."""

_MEMBER: Final = re.compile(r".*/zones/([a-z0-9-]+)/instances/([a-z0-9-]+)")
_ZONE: Final = re.compile(r"[a-z]+-[a-z]+[0-9]+-[a-z0-9]{1,8}")
_NAME: Final = re.compile(r"[a-z](?:[-a-z0-9]{0,61}[a-z0-9])?")
_MOST_RUN_ATTRIBUTE: Final = "runner-max-run-seconds"


class Compute:
    """The groups and instances of one project."""

    def __init__(self, session: Session, token: Callable[[Deadline], str], url: str, project: str) -> None:
        self._session = session
        self._token = token
        self._root = f"{url}/compute/v1/projects/{project}"

    def look(self, group: Group, deadline: Deadline) -> GroupLook | None:
        """A group and all its members; None where there is no such group. Raises UpstreamError.

        Members before the size: whoever leaves in between is then missing from both, or from neither.
        """
        members = self.members(group, deadline)
        answer = self._call("GET", _group(group), deadline)
        if members is None or answer.status == 404:
            return None
        value = _object(answer)
        target: Any = value.get("targetSize")
        if not isinstance(target, int) or isinstance(target, bool):
            raise UpstreamError(_SERVICE, 200, passing=True)
        reserve = any(value.get(key) for key in ("targetSuspendedSize", "targetStoppedSize"))
        policy: Any = value.get("standbyPolicy")
        mode: Any = cast("dict[str, Any]", policy).get("mode") if isinstance(policy, dict) else None
        return GroupLook(
            base=str(value.get("baseInstanceName") or ""),
            target=target,
            keeps_reserve=reserve or mode == "SCALE_OUT_POOL",
            members=tuple(members),
        )

    def members(self, group: Group, deadline: Deadline) -> list[Vm] | None:
        """All that the group lists; None where there is no such group. Raises UpstreamError; never a part of them."""
        found: list[Vm] = []
        params = {"maxResults": "500"}
        for _ in range(_MOST_PAGES):
            answer = self._call("POST", f"{_group(group)}/listManagedInstances", deadline, params)
            if answer.status == 404:
                return None
            page = _object(answer)
            listed: Any = page.get("managedInstances", [])
            if not isinstance(listed, list):
                raise UpstreamError(_SERVICE, 200, passing=True)
            found += [_vm(entry) for entry in cast("list[Any]", listed)]
            more: Any = page.get("nextPageToken")
            if not more:
                return found
            params = {**params, "pageToken": str(more)}
        raise UpstreamError(_SERVICE, 200, passing=False)

    def instance(self, zone: str, name: str, deadline: Deadline) -> Facts | None:
        """An instance as it is now; None where there is none. Raises UpstreamError; ValueError for what is no name."""
        if not _ZONE.fullmatch(zone) or not _NAME.fullmatch(name):
            raise ValueError("not an instance's zone and name")
        answer = self._call("GET", f"zones/{zone}/instances/{name}", deadline)
        if answer.status == 404:
            return None
        value = _object(answer)
        if not value.get("id"):
            raise UpstreamError(_SERVICE, 200, passing=True)
        return Facts(
            id=str(value["id"]),
            started=_started(value),
            most_seconds=_most_seconds(value),
            held_until=marks.held_until(value),
        )

    def order(self, group: Group, verb: str, zone: str, name: str, request_id: str, deadline: Deadline) -> Answer:
        """Have the group delete or recreate one member (`deleteInstances`, `recreateInstances`). One try.

        Raises NoAnswerError, after which nobody knows whether it does.
        """
        return self._session.once(
            _SERVICE,
            "POST",
            f"{self._root}/{_group(group)}/{verb}",
            deadline=deadline,
            try_seconds=_TRY_SECONDS,
            headers={"Authorization": f"Bearer {self._token(deadline)}", "Content-Type": "application/json"},
            params={"requestId": request_id},
            body=json.dumps({"instances": [f"zones/{zone}/instances/{name}"]}).encode(),
        )

    def _call(self, method: str, path: str, deadline: Deadline, params: Mapping[str, str] | None = None) -> Answer:
        return self._session.call(
            _SERVICE,
            method,
            f"{self._root}/{path}",
            deadline=deadline,
            try_seconds=_TRY_SECONDS,
            headers={"Authorization": f"Bearer {self._token(deadline)}"},
            params=params,
        )


def _group(group: Group) -> str:
    return f"regions/{group.region}/instanceGroupManagers/{group.name}"


def _object(answer: Answer) -> dict[str, Any]:
    """What an answer says. Raises UpstreamError where it is no success, or no object."""
    value = answer.json()
    if answer.status != 200 or not isinstance(value, dict):
        raise UpstreamError(_SERVICE, answer.status, passing=answer.status in {200, 409})
    return cast("dict[str, Any]", value)


def _fields(value: Any) -> dict[str, Any]:
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def _entries(value: Any) -> list[dict[str, Any]]:
    return [_fields(entry) for entry in cast("list[Any]", value)] if isinstance(value, list) else []


def _vm(entry: Any) -> Vm:
    """One entry of a listing. An entry that cannot be read fails the whole: it may be anybody."""
    said = _fields(entry)
    where = _MEMBER.fullmatch(str(said.get("instance", "")))
    action: Any = said.get("currentAction")
    if where is None or not isinstance(action, str):
        raise UpstreamError(_SERVICE, 200, passing=True)
    errors = _entries(_fields(_fields(said.get("lastAttempt")).get("errors")).get("errors"))
    health = _entries(said.get("instanceHealth"))
    return Vm(
        id=str(said.get("id") or ""),
        name=where[2],
        zone=where[1],
        status=str(said.get("instanceStatus") or ""),
        action=action,
        meant_to_run=said.get("targetStatus", "RUNNING") == "RUNNING",
        errors=tuple(str(error.get("code", "")) for error in errors),
        health=",".join(str(check.get("detailedHealthState", "")) for check in health),
    )


def _started(instance: Mapping[str, Any]) -> float | None:
    """When an instance began to run. Of one that was ever suspended nobody knows: resuming leaves no time."""
    if instance.get("lastSuspendedTimestamp"):
        return None
    texts = [instance.get("creationTimestamp"), instance.get("lastStartTimestamp")]
    try:
        return max(datetime.datetime.fromisoformat(str(text)).timestamp() for text in texts if text)
    except (ValueError, OverflowError):
        return None


def _most_seconds(instance: Mapping[str, Any]) -> int:
    """The longest that a VM may run by its own word: its template may be older than today's settings."""
    items = _entries(_fields(instance.get("metadata")).get("items"))
    texts = [item.get("value") for item in items if item.get("key") == _MOST_RUN_ATTRIBUTE]
    texts.append(_fields(_fields(instance.get("scheduling")).get("maxRunDuration")).get("seconds"))
    return max((int(text) for text in map(str, texts) if text.isascii() and text.isdigit()), default=0)
