"""GitHub's REST API for one organisation: runner groups, just-in-time configurations, runners.

Source, read 2026-11-22: GitHub's REST reference for self-hosted runners.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, cast

from broker import decide
from broker.decide import Result

from .app_token import SERVICE, Installation
from .session import Deadline, NoAnswerError, UpstreamError

_GROUPS_FRESH_SECONDS: Final = 3600
_MOST_PAGES: Final = 20


class GitHub:
    """The API for one organisation. For many threads."""

    def __init__(
        self, installation: Installation, organization: str, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._installation = installation
        self._runners = f"/orgs/{organization}/actions/runners"
        self._runner_groups = f"/orgs/{organization}/actions/runner-groups"
        self._clock = clock
        self._lock = threading.Lock()
        """Held for moments."""
        self._groups: dict[str, int] = {}
        self._groups_until = 0.0

    def group_id(self, name: str, deadline: Deadline) -> int | None:
        """The id of the runner group of that name; None where the organisation has none. Kept for an hour.

        Raises UpstreamError and AppKeyError.
        """
        with self._lock:
            known = self._groups.get(name) if self._clock() < self._groups_until else None
        if known is not None:
            return known
        groups: dict[str, int] = {}
        for page in range(1, _MOST_PAGES + 1):
            entries = self._listed(self._runner_groups, "runner_groups", {"page": str(page)}, deadline)
            groups.update({entry["name"]: entry["id"] for entry in entries if isinstance(entry.get("id"), int)})
            if len(entries) < 100:
                break
        with self._lock:
            self._groups, self._groups_until = groups, self._clock() + _GROUPS_FRESH_SECONDS
        return groups.get(name)

    def forget_groups(self) -> None:
        """Look the groups up anew next time: GitHub has just refused what is known of them."""
        with self._lock:
            self._groups_until = 0.0

    def renew(self, deadline: Deadline) -> None:
        """Have a token, after one was dropped. Raises UpstreamError and AppKeyError."""
        self._installation.token(deadline)

    def create(
        self, name: str, group_id: int, labels: Sequence[str], deadline: Deadline
    ) -> tuple[Result, tuple[int, str] | None]:
        """One try to make a runner: how it ended, and where it did well the runner's id and configuration.

        It is never repeated here. Raises UpstreamError and AppKeyError for what failed before it was tried.
        """
        token = self._installation.token(deadline)
        body = {"name": name, "runner_group_id": group_id, "labels": list(labels), "work_folder": decide.WORK_FOLDER}
        if not self._installation.wait_for_limit(deadline):
            return Result.LIMITED, None
        try:
            answer = self._installation.once("POST", f"{self._runners}/generate-jitconfig", token, deadline, body=body)
        except NoAnswerError as error:
            return (Result.UNKNOWN if error.sent else Result.UNSENT), None
        created = decide.created_runner(answer.json(), name) if answer.status == 201 else None
        if created is not None:
            return Result.CREATED, created
        if self._installation.note_limit(answer):
            return Result.LIMITED, None
        if answer.status == 401:
            self._installation.drop_token(token)
            return Result.UNAUTHORISED, None
        if answer.status == 409:
            return Result.TAKEN, None
        return (Result.REFUSED if 300 <= answer.status < 500 and answer.status != 408 else Result.UNKNOWN), None

    def runners_named(self, name: str, deadline: Deadline) -> tuple[decide.Runner, ...]:
        """The runners of that name: one or none, unless GitHub is confused. Raises UpstreamError and AppKeyError."""
        listing = self._installation.call("GET", self._runners, deadline, params={"name": name, "per_page": "100"})
        found = decide.runners_named(listing.json(), name) if listing.status == 200 else None
        if found is None:
            raise UpstreamError(SERVICE, listing.status, passing=listing.status == 200)
        return found

    def remove(self, runner_id: int, deadline: Deadline) -> Result:
        """Remove a runner: DONE also where it was gone, ALIVE while it has a job.

        Raises UpstreamError and AppKeyError.
        """
        answer = self._installation.call("DELETE", f"{self._runners}/{runner_id}", deadline)
        if answer.status in {204, 404}:
            return Result.DONE
        if answer.status in {409, 422}:
            return Result.ALIVE
        raise UpstreamError(SERVICE, answer.status, passing=False)

    def _listed(self, path: str, key: str, params: Mapping[str, str], deadline: Deadline) -> list[dict[str, Any]]:
        answer = self._installation.call("GET", path, deadline, params={**params, "per_page": "100"})
        value = answer.json()
        entries: Any = cast("dict[str, Any]", value).get(key) if isinstance(value, dict) else None
        if answer.status != 200 or not isinstance(entries, list):
            raise UpstreamError(SERVICE, answer.status, passing=answer.status == 200)
        return [
            cast("dict[str, Any]", entry)
            for entry in cast("list[Any]", entries)
            if isinstance(entry, dict) and isinstance(cast("dict[str, Any]", entry).get("name"), str)
        ]
