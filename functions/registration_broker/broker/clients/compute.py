"""Compute Engine, read only: the instance that calls, and whether another one is gone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from .session import Deadline, Session, UpstreamError


class Compute:
    """Instances of one project."""

    def __init__(self, session: Session, token: Callable[[Deadline], str], url: str, project: str) -> None:
        self._session = session
        self._token = token
        self._root = f"{url}/compute/v1/projects/{project}"

    def instance(self, zone: str, name: str, deadline: Deadline) -> dict[str, Any] | None:
        """The instance as it is now; None where there is none. Raises UpstreamError.

        Zone and name must have the form of such: they become part of the path.
        """
        answer = self._session.call(
            "compute",
            "GET",
            f"{self._root}/zones/{zone}/instances/{name}",
            deadline=deadline,
            try_seconds=5.0,
            headers={"Authorization": f"Bearer {self._token(deadline)}"},
        )
        if answer.status == 404:
            return None
        value = answer.json()
        if answer.status != 200 or not isinstance(value, dict):
            raise UpstreamError("compute", answer.status, passing=answer.status in {200, 409})
        return cast("dict[str, Any]", value)
