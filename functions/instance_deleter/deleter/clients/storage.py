"""Cloud Storage: one small object read with its generation, and written on the condition that it still has that."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote

from .session import Deadline, NoAnswerError, Session, UpstreamError

_SERVICE: Final = "storage"
_TRY_SECONDS: Final = 5.0
NOTHING: Final = "0"
"""The generation of an object that is not there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """An object as it was seen; `data` is None where there was none."""

    generation: str
    data: bytes | None


class Storage:
    """The objects of one bucket."""

    def __init__(self, session: Session, token: Callable[[Deadline], str], url: str, bucket: str) -> None:
        self._session = session
        self._token = token
        self._objects = f"{url}/storage/v1/b/{bucket}/o"
        self._uploads = f"{url}/upload/storage/v1/b/{bucket}/o"

    def read(self, name: str, deadline: Deadline) -> Stored:
        """An object, or that there is none. Raises UpstreamError."""
        answer = self._session.call(
            _SERVICE,
            "GET",
            f"{self._objects}/{quote(name, safe='')}",
            deadline=deadline,
            try_seconds=_TRY_SECONDS,
            headers={"Authorization": f"Bearer {self._token(deadline)}"},
            params={"alt": "media"},
        )
        if answer.status == 404:
            return Stored(generation=NOTHING, data=None)
        generation = answer.headers.get("x-goog-generation", "")
        if answer.status != 200 or not (generation.isascii() and generation.isdigit()):
            raise UpstreamError(_SERVICE, answer.status, passing=answer.status in {200, 409})
        return Stored(generation=generation, data=answer.body)

    def write(self, name: str, data: bytes, generation: str, deadline: Deadline) -> bool:
        """Write an object that still has a generation. True: it is written. False: it is not, or nobody knows; read.

        One try, for a second would find the first one's generation. Raises UpstreamError for a refusal.
        """
        try:
            answer = self._session.once(
                _SERVICE,
                "POST",
                self._uploads,
                deadline=deadline,
                try_seconds=_TRY_SECONDS,
                headers={"Authorization": f"Bearer {self._token(deadline)}", "Content-Type": "application/json"},
                params={"uploadType": "media", "name": name, "ifGenerationMatch": generation},
                body=data,
            )
        except NoAnswerError:
            return False
        if answer.status in {409, 412} or answer.passing:
            return False
        if answer.status != 200:
            raise UpstreamError(_SERVICE, answer.status, passing=False)
        return isinstance(answer.json(), dict)
