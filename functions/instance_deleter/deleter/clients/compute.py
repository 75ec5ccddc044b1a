"""Compute Engine: the calling instance, its group, the group's members and autoscaler, and how a member goes.

Names become part of paths, so they come from the fleet's table or have been checked (`identity`). Links in answers are
never followed; of the autoscaler's only the last part is used, below the group's own region.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any, Final, cast

from deleter.decide import Member, Size
from deleter.fleet_table import Group

from .session import Answer, Deadline, Session, UpstreamError

_SERVICE: Final = "compute"
_TRY_SECONDS: Final = 5.0
_MOST_PAGES: Final = 20
"""Of 500 members each: more than a regional group can have (4,000 VMs at most, Google's quotas, read 2026-11-22)."""

_NAME: Final = re.compile(r"[a-z](?:[-a-z0-9]{0,61}[a-z0-9])?")
_OPERATION: Final = re.compile(r"[-a-z0-9]{1,200}")
_MEMBER: Final = re.compile(r".*/zones/([a-z0-9-]+)/instances/([a-z0-9-]+)")


class Compute:
    """The groups and instances of one project."""

    def __init__(self, session: Session, token: Callable[[Deadline], str], url: str, project: str) -> None:
        self._session = session
        self._token = token
        self._root = f"{url}/compute/v1/projects/{project}"

    def instance(self, zone: str, name: str, deadline: Deadline) -> dict[str, Any] | None:
        """The instance as it is now; None where there is none. Raises UpstreamError."""
        answer = self._call("GET", f"zones/{zone}/instances/{name}", deadline)
        return None if answer.status == 404 else _object(answer)

    def members(self, group: Group, deadline: Deadline) -> list[Member]:
        """All that the group lists, VMs in creation and in deletion too. Raises UpstreamError; never a part of them."""
        found: list[Member] = []
        params = {"maxResults": "500"}
        for _ in range(_MOST_PAGES):
            page = _object(self._call("POST", f"{_group(group)}/listManagedInstances", deadline, params))
            listed: Any = page.get("managedInstances", [])
            if not isinstance(listed, list):
                raise UpstreamError(_SERVICE, 200, passing=True)
            found += [_member(entry) for entry in cast("list[Any]", listed)]
            more: Any = page.get("nextPageToken")
            if not more:
                return found
            params = {**params, "pageToken": str(more)}
        raise UpstreamError(_SERVICE, 200, passing=False)

    def size(self, group: Group, deadline: Deadline) -> tuple[Size, str]:
        """The group's size, and its autoscaler's name; empty where it has none. Raises UpstreamError."""
        value = _object(self._call("GET", _group(group), deadline))
        target: Any = value.get("targetSize")
        said: Any = value.get("status")
        status = cast("dict[str, Any]", said) if isinstance(said, dict) else {}
        if not isinstance(target, int) or isinstance(target, bool):
            raise UpstreamError(_SERVICE, 200, passing=True)
        name = str(status.get("autoscaler") or "").rpartition("/autoscalers/")[2]
        size = Size(target=target, stable=status.get("isStable") is True)
        return size, name if _NAME.fullmatch(name) else ""

    def autoscaler(self, group: Group, name: str, deadline: Deadline) -> dict[str, Any]:
        """A regional autoscaler; empty where there is none. Raises UpstreamError."""
        answer = self._call("GET", f"regions/{group.region}/autoscalers/{name}", deadline)
        return {} if answer.status == 404 else _object(answer)

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

    def operation(self, group: Group, name: str, deadline: Deadline) -> dict[str, Any]:
        """An operation of the group's region. Raises UpstreamError."""
        if not _OPERATION.fullmatch(name):
            raise UpstreamError(_SERVICE, 200, passing=False)
        return _object(self._call("GET", f"regions/{group.region}/operations/{name}", deadline))

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


def _member(entry: Any) -> Member:
    """One entry of a listing. An entry that cannot be read fails the whole: it may be a holder."""
    said = cast("dict[str, Any]", entry) if isinstance(entry, dict) else {}
    where = _MEMBER.fullmatch(str(said.get("instance", "")))
    action: Any = said.get("currentAction")
    if where is None or not isinstance(action, str):
        raise UpstreamError(_SERVICE, 200, passing=True)
    runs = said.get("instanceStatus") == "RUNNING" and said.get("targetStatus", "RUNNING") == "RUNNING"
    return Member(id=str(said.get("id") or ""), name=where[2], zone=where[1], action=action, runs=runs)
