"""Listings of Google's, page by page: all of it, or an error; never a part."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeVar

from rollout.cloud.document import Document
from rollout.cloud.errors import CloudError
from rollout.cloud.service import MISSING, Answer, Service

MOST_PAGES: Final = 100
PAGE_SIZE: Final = 500
"""The most that Compute Engine gives at once: its documentation, read 2026-11-25."""

T = TypeVar("T")


async def whole(
    service: Service,
    path: str,
    asked: str,
    parse: Callable[[Document], list[T]],
    *,
    method: str = "GET",
    query: dict[str, str] | None = None,
    size_key: str = "maxResults",
    size: int | None = None,
) -> list[T] | None:
    """All that is listed; None where the first page is a 404. Raises CloudError."""
    found: list[T] = []
    token = ""
    for _ in range(MOST_PAGES):
        asking = {**(query or {}), size_key: str(size or PAGE_SIZE), **({"pageToken": token} if token else {})}
        fine = MISSING if not token else frozenset[int]()
        page = await service.read(
            path, asked, lambda answer: _page(answer, parse), method=method, query=asking, fine=fine
        )
        if page is None:
            return None
        items, token = page
        found += items
        if not token:
            return found
    raise CloudError(service.name, 200, asked, error_class="permanent", text=f"lists more than {MOST_PAGES} pages")


def _page(answer: Answer, parse: Callable[[Document], list[T]]) -> tuple[list[T], str] | None:
    if answer.status in MISSING:
        return None
    value = answer.document()
    return parse(value), value.text("nextPageToken", "")
