"""Cloud Storage, to read: what the services leave there for others."""

from __future__ import annotations

import email.utils
from dataclasses import dataclass, field
from urllib.parse import quote

from rollout.cloud.document import Document, MalformedError
from rollout.cloud.errors import CloudError
from rollout.cloud.pages import whole
from rollout.cloud.service import MISSING, Answer, Service


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """An object with its content."""

    name: str
    generation: int
    updated: float
    data: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """An object as a listing shows it."""

    name: str
    generation: int
    updated: float
    size: int


class Storage:
    """Every bucket that one may read."""

    def __init__(self, storage: Service) -> None:
        self._storage = storage

    def clock(self) -> float | None:
        """What Cloud Storage's own clock said in its last answer, to the second; None where it did not say."""
        try:
            return email.utils.parsedate_to_datetime(self._storage.date).timestamp()
        except ValueError:
            return None

    async def read(self, bucket: str, name: str) -> Stored | None:
        """An object; None where there is no such object, or no such bucket. Raises CloudError."""
        path = f"/storage/v1/b/{quote(bucket, safe='')}/o/{quote(name, safe='')}"

        def parse(answer: Answer) -> Stored | None:
            if answer.status in MISSING:
                return None
            generation = answer.headers.get("X-Goog-Generation", "")
            if not generation.isdecimal():
                raise MalformedError("X-Goog-Generation")
            return Stored(name=name, generation=int(generation), updated=_date(answer), data=answer.body)

        return await self._storage.read(path, f"{bucket}/{name}", parse, query={"alt": "media"}, fine=MISSING)

    async def list(self, bucket: str, prefix: str = "") -> tuple[Listed, ...]:
        """The objects whose names begin so. Raises CloudError, also where there is no such bucket: class not-found."""
        path, asked = f"/storage/v1/b/{quote(bucket, safe='')}/o", f"the objects below {bucket}/{prefix}"
        found = await whole(self._storage, path, asked, _listed, query={"prefix": prefix}, size=1000)
        if found is None:
            raise CloudError(self._storage.name, 404, asked)
        return tuple(found)


def _listed(page: Document) -> list[Listed]:
    return [
        Listed(
            name=each.text("name"),
            generation=each.whole("generation"),
            updated=each.time("updated"),
            size=each.whole("size", 0),
        )
        for each in page.list("items")
    ]


def _date(answer: Answer) -> float:
    """When this generation was written, to the second."""
    try:
        return email.utils.parsedate_to_datetime(answer.headers.get("Last-Modified", "")).timestamp()
    except ValueError:
        raise MalformedError("Last-Modified") from None
