"""Compute Engine, read only: the instance that calls, what its group means it to be, whether another one is gone."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, Final, cast

from broker.fleet_table import Group

from .session import Answer, Deadline, Session, UpstreamError

FRESH_SECONDS: Final = 3.0
"""How old a group's list may be. Each VM in reserve asks every 5 s (startup/bin/register), and Compute Engine takes
1,500 reads a minute of a project and region (its page on rate quotas, read 2026-11-25): a list is shared."""
_MOST_PAGES: Final = 20
"""Of 500 members each: more than a regional group can have (4,000 VMs at most, Google's quotas, read 2026-11-22)."""


class Compute:
    """Instances and groups of one project."""

    def __init__(
        self,
        session: Session,
        token: Callable[[Deadline], str],
        url: str,
        project: str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._session = session
        self._token = token
        self._root = f"{url}/compute/v1/projects/{project}"
        self._clock = clock
        self._listed: dict[str, tuple[float, Mapping[str, str]]] = {}

    def instance(self, zone: str, name: str, deadline: Deadline) -> dict[str, Any] | None:
        """The instance as it is now; None where there is none. Raises UpstreamError.

        Zone and name must have the form of such: they become part of the path.
        """
        answer = self._call("GET", f"zones/{zone}/instances/{name}", deadline)
        return None if answer.status == 404 else _object(answer)

    def target(self, group: Group, instance_id: str, deadline: Deadline) -> str | None:
        """What the group means an instance to become (`targetStatus`); None where it does not list it.

        May be some seconds late for an instance that leaves its group's reserve; none is ever put into it that was
        meant to run. Raises UpstreamError.
        """
        read_at, targets = self._listed.get(group.name, (float("-inf"), {}))
        if self._clock() - read_at > FRESH_SECONDS or instance_id not in targets:
            read_at, targets = self._clock(), self._targets(group, deadline)
            self._listed[group.name] = read_at, targets
        return targets.get(instance_id)

    def _targets(self, group: Group, deadline: Deadline) -> Mapping[str, str]:
        """All that the group lists, by instance id; never a part of it."""
        found: dict[str, str] = {}
        path = f"regions/{group.region}/instanceGroupManagers/{group.name}/listManagedInstances"
        params = {"maxResults": "500"}
        for _ in range(_MOST_PAGES):
            page = _object(self._call("POST", path, deadline, params))
            listed: Any = page.get("managedInstances", [])
            if not isinstance(listed, list):
                raise UpstreamError("compute", 200, passing=True)
            for entry in cast("list[Any]", listed):
                member = cast("dict[str, Any]", entry) if isinstance(entry, dict) else {}
                found[str(member.get("id", ""))] = str(member.get("targetStatus") or "RUNNING")
            more: Any = page.get("nextPageToken")
            if not more:
                return found
            params = {**params, "pageToken": str(more)}
        raise UpstreamError("compute", 200, passing=False)

    def _call(self, method: str, path: str, deadline: Deadline, params: Mapping[str, str] | None = None) -> Answer:
        return self._session.call(
            "compute",
            method,
            f"{self._root}/{path}",
            deadline=deadline,
            try_seconds=5.0,
            headers={"Authorization": f"Bearer {self._token(deadline)}"},
            params=params,
        )


def _object(answer: Answer) -> dict[str, Any]:
    """What an answer says. Raises UpstreamError where it is no success, or no object."""
    value = answer.json()
    if answer.status != 200 or not isinstance(value, dict):
        raise UpstreamError("compute", answer.status, passing=answer.status in {200, 409})
    return cast("dict[str, Any]", value)
