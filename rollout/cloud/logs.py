"""Cloud Logging, to read: entries by a filter, the newest first."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from rollout.cloud.document import Document
from rollout.cloud.errors import CloudError
from rollout.cloud.service import Answer, Service

PAGE_SIZE: Final = 1000
MOST_PAGES: Final = 200
"""A page may be empty though more follow."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A log entry."""

    insert_id: str
    """Unique among entries of the same log and time."""
    timestamp: float
    severity: str
    payload: Mapping[str, Any]
    """Its jsonPayload; {"message": TEXT} of an entry that is text."""
    labels: Mapping[str, str]
    resource_labels: Mapping[str, str]
    """Of the monitored resource, such as instance_id and zone."""


class Logs:
    """The log entries of a project."""

    def __init__(self, logging: Service, project: str) -> None:
        self._logging = logging
        self._project = project

    async def entries(self, query: str, *, most: int = PAGE_SIZE) -> tuple[Entry, ...]:
        """The newest `most` entries that a filter finds. As many as that may mean that there are more.

        A filter without a timestamp makes Cloud Logging look through all that it keeps. Raises CloudError.
        """
        asked = f"log entries of {self._project}"
        found: list[Entry] = []
        token = ""
        for _ in range(MOST_PAGES):
            body: dict[str, Any] = {
                "resourceNames": [f"projects/{self._project}"],
                "filter": query,
                "orderBy": "timestamp desc",
                "pageSize": min(PAGE_SIZE, most - len(found)),
                **({"pageToken": token} if token else {}),
            }
            page, token = await self._logging.read("/v2/entries:list", asked, _page, method="POST", body=body)
            found += page
            if not token or len(found) >= most:
                return tuple(found[:most])
        text = f"has not come to an end after {MOST_PAGES} pages"
        raise CloudError(self._logging.name, 200, asked, error_class="unavailable", text=text)


def _page(answer: Answer) -> tuple[list[Entry], str]:
    value = answer.document()
    return [_entry(each) for each in value.list("entries")], value.text("nextPageToken", "")


def _entry(value: Document) -> Entry:
    payload = value.mapping("jsonPayload") if value.has("jsonPayload") else {"message": value.text("textPayload", "")}
    return Entry(
        insert_id=value.text("insertId", ""),
        timestamp=value.time("timestamp"),
        severity=value.text("severity", "DEFAULT"),
        payload=payload,
        labels=value.labels("labels"),
        resource_labels=value.inner("resource").labels("labels"),
    )
