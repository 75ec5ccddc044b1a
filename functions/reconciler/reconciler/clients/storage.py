"""Cloud Storage: small objects read with their generation, listed, and changed only in the generation that was seen."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, cast
from urllib.parse import quote

from .session import Answer, Deadline, NoAnswerError, Session, UpstreamError

_SERVICE: Final = "storage"
_TRY_SECONDS: Final = 5.0
_MOST_PAGES: Final = 100
"""Of 1,000 objects each."""
NOTHING: Final = "0"
"""The generation of an object that is not there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """An object as it was seen; `data` is None where there was none."""

    generation: str
    data: bytes | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """An object as Cloud Storage has just written it."""

    generation: str
    at: float
    """Seconds since 1970, by Cloud Storage's clock."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """An object as a listing shows it."""

    name: str
    generation: str
    updated: float
    """Seconds since 1970."""


class Storage:
    """The objects of one bucket."""

    def __init__(self, session: Session, token: Callable[[Deadline], str], url: str, bucket: str) -> None:
        self._session = session
        self._token = token
        self._objects = f"{url}/storage/v1/b/{bucket}/o"
        self._uploads = f"{url}/upload/storage/v1/b/{bucket}/o"

    def read(self, name: str, deadline: Deadline) -> Stored:
        """An object, or that there is none. Raises UpstreamError."""
        answer = self._call("GET", self._object(name), {"alt": "media"}, deadline)
        if answer.status == 404:
            return Stored(generation=NOTHING, data=None)
        generation = answer.headers.get("x-goog-generation", "")
        if answer.status != 200 or not (generation.isascii() and generation.isdigit()):
            raise UpstreamError(_SERVICE, answer.status, passing=answer.status in {200, 409})
        return Stored(generation=generation, data=answer.body)

    def listed(self, prefix: str, deadline: Deadline) -> list[Entry]:
        """All objects whose names begin so. Raises UpstreamError; never a part of them."""
        found: list[Entry] = []
        params = {"prefix": prefix, "fields": "items(name,generation,updated),nextPageToken"}
        for _ in range(_MOST_PAGES):
            answer = self._call("GET", self._objects, params, deadline)
            value = answer.json()
            if answer.status != 200 or not isinstance(value, dict):
                raise UpstreamError(_SERVICE, answer.status, passing=answer.status == 200)
            page = cast("dict[str, Any]", value)
            items: Any = page.get("items", [])
            if not isinstance(items, list):
                raise UpstreamError(_SERVICE, 200, passing=True)
            found += [_entry(item) for item in cast("list[Any]", items)]
            more: Any = page.get("nextPageToken")
            if not more:
                return found
            params = {**params, "pageToken": str(more)}
        raise UpstreamError(_SERVICE, 200, passing=False)

    def write(self, name: str, data: bytes, generation: str, deadline: Deadline) -> Written | None:
        """Write an object that still has a generation. None: it is not written, or nobody knows; read.

        One try, for a second would find the first one's generation. Raises UpstreamError for a refusal.
        """
        try:
            answer = self._put(name, data, {"ifGenerationMatch": generation}, deadline)
        except NoAnswerError:
            return None
        if answer.status in {409, 412} or answer.passing:
            return None
        if answer.status != 200:
            raise UpstreamError(_SERVICE, answer.status, passing=False)
        try:
            made = _entry(answer.json())
        except UpstreamError:
            return None
        return Written(generation=made.generation, at=made.updated)

    def replace(self, name: str, data: bytes, deadline: Deadline) -> bool:
        """Write an object whatever there is; whether that is certain. For what nobody decides by."""
        try:
            return self._put(name, data, {}, deadline).status == 200
        except NoAnswerError:
            return False

    def delete(self, name: str, generation: str, deadline: Deadline) -> bool:
        """Delete an object in the generation that was seen; False where it has another by now. Raises UpstreamError."""
        answer = self._call("DELETE", self._object(name), {"ifGenerationMatch": generation}, deadline)
        if answer.status in {200, 204, 404}:
            return True
        if answer.status == 412:
            return False
        raise UpstreamError(_SERVICE, answer.status, passing=answer.status == 409)

    def _object(self, name: str) -> str:
        return f"{self._objects}/{quote(name, safe='')}"

    def _put(self, name: str, data: bytes, params: Mapping[str, str], deadline: Deadline) -> Answer:
        return self._session.once(
            _SERVICE,
            "POST",
            self._uploads,
            deadline=deadline,
            try_seconds=_TRY_SECONDS,
            headers={"Authorization": f"Bearer {self._token(deadline)}", "Content-Type": "application/json"},
            params={"uploadType": "media", "name": name, **params},
            body=data,
        )

    def _call(self, method: str, url: str, params: Mapping[str, str], deadline: Deadline) -> Answer:
        return self._session.call(
            _SERVICE,
            method,
            url,
            deadline=deadline,
            try_seconds=_TRY_SECONDS,
            headers={"Authorization": f"Bearer {self._token(deadline)}"},
            params=params,
        )


def _entry(item: Any) -> Entry:
    """One entry of a listing. One that cannot be read fails the whole: it may be anybody's."""
    said = cast("dict[str, Any]", item) if isinstance(item, dict) else {}
    name, generation = said.get("name"), said.get("generation")
    try:
        updated = datetime.datetime.fromisoformat(str(said.get("updated"))).timestamp()
    except (ValueError, OverflowError):
        raise UpstreamError(_SERVICE, 200, passing=True) from None
    if not isinstance(name, str) or not isinstance(generation, str):
        raise UpstreamError(_SERVICE, 200, passing=True)
    return Entry(name=name, generation=generation, updated=updated)
