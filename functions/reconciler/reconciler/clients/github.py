"""GitHub's REST API for one organisation: all runners, one runner, its removal, the names of the runner groups.

Sources, read 2026-11-25: GitHub's REST reference for self-hosted runners and runner groups. Pages shift while runners
come and go, so an entry may be skipped: a listing with fewer entries than it says there are is no listing.
"""

from __future__ import annotations

from enum import Enum
from typing import Any, Final, cast

from reconciler import naming
from reconciler.observation import Runner

from .app_token import SERVICE, Installation
from .session import Deadline, UpstreamError

_PER_PAGE: Final = 100
_MOST_PAGES: Final = 100
"""Of 100 runners each: as many as a runner group can have (10,000, GitHub's documentation)."""
_TRIES: Final = 3


class Removed(Enum):
    """How a removal ended."""

    DONE = "done"
    BUSY = "busy"
    """GitHub keeps it: it has a job (422)."""


class GitHub:
    """The API for one organisation."""

    def __init__(self, installation: Installation, organization: str) -> None:
        self._installation = installation
        self._runners = f"/orgs/{organization}/actions/runners"
        self._runner_groups = f"/orgs/{organization}/actions/runner-groups"

    def runners(self, deadline: Deadline) -> dict[int, Runner]:
        """All runners, by id. Raises UpstreamError and AppKeyError, also where no listing of three was whole."""
        for _ in range(_TRIES):
            total, entries = self._listed(self._runners, "runners", deadline)
            found = {runner.id: runner for runner in map(_runner, entries)}
            if len(found) >= total:
                return found
        raise UpstreamError(SERVICE, 200, passing=True)

    def runner_groups(self, deadline: Deadline) -> frozenset[str]:
        """The names of the runner groups. Raises UpstreamError and AppKeyError."""
        total, entries = self._listed(self._runner_groups, "runner_groups", deadline)
        names = frozenset(str(entry.get("name")) for entry in entries)
        if len(entries) < total:
            raise UpstreamError(SERVICE, 200, passing=True)
        return names

    def runner(self, runner_id: int, deadline: Deadline) -> Runner | None:
        """One runner as it is now; None where there is none. Raises UpstreamError and AppKeyError."""
        answer = self._installation.call("GET", f"{self._runners}/{runner_id}", deadline)
        if answer.status == 404:
            return None
        value = answer.json()
        if answer.status != 200 or not isinstance(value, dict):
            raise UpstreamError(SERVICE, answer.status, passing=answer.status == 200)
        return _runner(cast("dict[str, Any]", value))

    def remove(self, runner_id: int, deadline: Deadline) -> Removed:
        """Remove a runner; DONE also where it was gone. Raises UpstreamError and AppKeyError."""
        answer = self._installation.call("DELETE", f"{self._runners}/{runner_id}", deadline)
        if answer.status in {204, 404}:
            return Removed.DONE
        if answer.status in {409, 422}:
            return Removed.BUSY
        raise UpstreamError(SERVICE, answer.status, passing=False)

    def _listed(self, path: str, key: str, deadline: Deadline) -> tuple[int, list[dict[str, Any]]]:
        """How many entries there are by the last page's word, and those that were seen."""
        found: list[dict[str, Any]] = []
        for page in range(1, _MOST_PAGES + 1):
            params = {"per_page": str(_PER_PAGE), "page": str(page)}
            answer = self._installation.call("GET", path, deadline, params=params)
            value = answer.json()
            fields = cast("dict[str, Any]", value) if isinstance(value, dict) else {}
            total, entries = fields.get("total_count"), fields.get(key)
            if answer.status != 200 or not isinstance(total, int) or not isinstance(entries, list):
                raise UpstreamError(SERVICE, answer.status, passing=answer.status == 200)
            listed = cast("list[Any]", entries)
            if not all(isinstance(entry, dict) for entry in listed):
                raise UpstreamError(SERVICE, 200, passing=True)
            found += cast("list[dict[str, Any]]", listed)
            if len(listed) < _PER_PAGE:
                return total, found
        raise UpstreamError(SERVICE, 200, passing=False)


def _runner(entry: dict[str, Any]) -> Runner:
    """A runner of GitHub's. One that cannot be read fails the whole: it may be anybody's."""
    runner_id, name, status, busy = (entry.get(key) for key in ("id", "name", "status", "busy"))
    if not isinstance(runner_id, int) or isinstance(runner_id, bool) or not isinstance(name, str):
        raise UpstreamError(SERVICE, 200, passing=True)
    if not isinstance(status, str) or not isinstance(busy, bool):
        raise UpstreamError(SERVICE, 200, passing=True)
    labels = _label_names(entry.get("labels"))
    labelled = naming.labelled_id(labels)
    version: Any = entry.get("version")
    return Runner(
        id=runner_id,
        name=name,
        online=status != "offline",
        busy=busy,
        labelled=bool(labelled),
        instance_id=labelled or naming.suffixed_id(name.lower()),
        zone=naming.labelled_zone(labels),
        version=version if isinstance(version, str) else "",
    )


def _label_names(labels: Any) -> list[str]:
    entries = cast("list[Any]", labels) if isinstance(labels, list) else []
    names = [cast("dict[str, Any]", entry).get("name") for entry in entries if isinstance(entry, dict)]
    return [name for name in names if isinstance(name, str)]
