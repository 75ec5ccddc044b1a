"""Cloud Logging's entries:list, over entries that tests put there.

After https://docs.cloud.google.com/logging/docs/reference/v2/rest/v2/entries/list (November 2026). A page may be empty
though more follow, and an entry is found only some time after it was written.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final

from emulators.clock import rfc3339
from emulators.google import log_filter
from emulators.google.reply import refuse
from emulators.route import Call, Reply, Route, json_reply

if TYPE_CHECKING:
    from emulators.google.cloud import Google

PAGE_SIZE: Final = 50
MOST: Final = 1000
ORDERS: Final = ("timestamp asc", "timestamp desc")


class Logging:
    """The entries, and the handler."""

    def __init__(self, google: Google) -> None:
        self._google = google
        self.entries: list[dict[str, Any]] = []
        self.lag_seconds = 0.0
        """After which an entry is found."""
        self.empty_pages = 0
        """How many empty pages come before the first full one."""

    def add(
        self, payload: Mapping[str, Any] | str, *, severity: str, at: float | None, labels: Mapping[str, str],
        resource: Mapping[str, str], log: str,
    ) -> None:  # fmt: skip
        """Write an entry."""
        now = self._google.clock.now()
        project = self._google.project
        text = isinstance(payload, str)
        self.entries.append(
            {
                "insertId": f"entry{len(self.entries)}",
                "logName": f"projects/{project}/logs/{log}",
                "timestamp": rfc3339(now if at is None else at),
                "receiveTimestamp": rfc3339(now),
                "severity": severity,
                "resource": {"type": "gce_instance", "labels": {"project_id": project, **resource}},
                **({"labels": dict(labels)} if labels else {}),
                **({"textPayload": payload} if text else {"jsonPayload": dict(payload)}),
            }
        )

    def routes(self) -> Iterable[Route]:
        """It needs a token."""
        yield Route(name="logging.list", method="POST", path="/v2/entries:list", handler=self.listed)

    def listed(self, call: Call) -> Reply:
        """entries.list"""
        body: Any = call.json()
        if not isinstance(body, dict):
            raise refuse("logging", 400, "Invalid JSON payload received.")
        fields: dict[str, Any] = body  # pyright: ignore[reportUnknownVariableType]
        if fields.get("resourceNames") != [f"projects/{self._google.project}"]:
            raise refuse("logging", 403, "The caller does not have permission")
        order = str(fields.get("orderBy") or ORDERS[0])
        if order not in ORDERS:
            raise refuse("logging", 400, f"Invalid order_by: {order}")
        try:
            test = log_filter.parse(str(fields.get("filter") or ""))
            seen = rfc3339(self._google.clock.now() - self.lag_seconds)
            found = [entry for entry in self.entries if entry["receiveTimestamp"] <= seen and test(entry)]
        except log_filter.FilterError as error:
            raise refuse("logging", 400, f"Unparseable filter: {error}") from None
        found.sort(key=lambda entry: entry["timestamp"], reverse=order == ORDERS[1])
        return self._page(found, str(fields.get("pageToken") or ""), int(fields.get("pageSize") or PAGE_SIZE))

    def _page(self, found: list[dict[str, Any]], token: str, size: int) -> Reply:
        empty, _, start = token.partition("/") if token else ("0", "", "0")
        if int(empty) < self.empty_pages:
            return json_reply(200, {"nextPageToken": f"{int(empty) + 1}/0"})
        first = int(start)
        last = first + min(size, MOST)
        value: dict[str, Any] = {"entries": found[first:last]} if found[first:last] else {}
        if last < len(found):
            value["nextPageToken"] = f"{empty}/{last}"
        return json_reply(200, value)
