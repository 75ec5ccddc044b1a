"""The ledger of grants: one object per instance in a bucket, made at most once.

`grants/INSTANCE_ID.json` is made with the precondition that there is none of its name, which Cloud Storage decides for
all callers at once; it is changed and deleted only in the generation that was seen. An answer that got lost is no
riddle: every claim writes a mark of its own, so the object tells whose it is.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, cast
from urllib.parse import quote

from .session import Answer, Deadline, NoAnswerError, Session, UpstreamError

_SERVICE: Final = "storage"
_TRY_SECONDS: Final = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """A grant as it was seen."""

    instance_id: str
    generation: str
    record: Mapping[str, Any]

    @property
    def runner_id(self) -> int | None:
        """The runner that it led to; None where that was never written down."""
        value = self.record.get("runner_id")
        return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None

    @property
    def in_scale_set(self) -> bool:
        """Whether its runner was made in a scale set, whatever its pool does today."""
        return "scale_set_id" in self.record


class Grants:
    """The ledger."""

    def __init__(self, session: Session, token: Callable[[Deadline], str], url: str, bucket: str) -> None:
        self._session = session
        self._token = token
        self._objects = f"{url}/storage/v1/b/{bucket}/o"
        self._uploads = f"{url}/upload/storage/v1/b/{bucket}/o"

    def claim(self, instance_id: str, record: Mapping[str, Any], deadline: Deadline) -> Grant | None:
        """Make the grant of an instance; None where it has one already. Raises UpstreamError.

        Where it raises, a grant may have been made: then the instance is refused from now on.
        """
        marked = {**record, "mark": secrets.token_hex(16)}
        attempt = 0
        doubt = False
        while True:
            status = 0
            wait = None
            try:
                answer = self._write(instance_id, marked, "0", deadline)
                status = answer.status
                generation = _generation(answer)
                if status == 200 and generation:
                    return Grant(instance_id=instance_id, generation=generation, record=marked)
                if status == 412:
                    return self._own(instance_id, marked["mark"], deadline) if doubt else None
                doubt = doubt or status == 200 or status >= 500
                if status not in {200, 409} and not answer.passing:
                    raise UpstreamError(_SERVICE, status, passing=False)
                wait = self._session.retry_after_seconds(answer)
            except NoAnswerError as error:
                doubt = doubt or error.sent
            if not self._session.pause(attempt, deadline, at_least=wait):
                raise UpstreamError(_SERVICE, status, passing=True, retry_after_seconds=wait)
            attempt += 1

    def _own(self, instance_id: str, mark: str, deadline: Deadline) -> Grant | None:
        """The grant, if it is the one that bears the mark."""
        grant = self.read(instance_id, deadline)
        return grant if grant is not None and grant.record.get("mark") == mark else None

    def read(self, instance_id: str, deadline: Deadline) -> Grant | None:
        """The grant of an instance; None where it has none. Raises UpstreamError."""
        answer = self._call("GET", instance_id, {"alt": "media"}, deadline)
        if answer.status == 404:
            return None
        generation = answer.headers.get("x-goog-generation", "")
        value = answer.json()
        if answer.status != 200 or not generation.isdigit() or not isinstance(value, dict):
            raise UpstreamError(_SERVICE, answer.status, passing=answer.status in {200, 409})
        return Grant(instance_id=instance_id, generation=generation, record=cast("dict[str, Any]", value))

    def amend(self, grant: Grant, record: Mapping[str, Any], deadline: Deadline) -> None:
        """Write a grant's record anew, unless somebody else has changed it. Raises UpstreamError."""
        attempt = 0
        while True:
            status = 0
            try:
                answer = self._write(grant.instance_id, {**grant.record, **record}, grant.generation, deadline)
                status = answer.status
                if status in {200, 412}:  # 412 also follows a write whose answer was lost
                    return
                if status != 409 and not answer.passing:
                    raise UpstreamError(_SERVICE, status, passing=False)
            except NoAnswerError:
                pass
            if not self._session.pause(attempt, deadline):
                raise UpstreamError(_SERVICE, status, passing=True)
            attempt += 1

    def free(self, grant: Grant, deadline: Deadline) -> None:
        """Delete a grant as it was seen, so that its instance may ask again. Raises UpstreamError."""
        attempt = 0
        while True:
            answer = self._call("DELETE", grant.instance_id, {"ifGenerationMatch": grant.generation}, deadline)
            if answer.status in {200, 204, 404, 412}:
                return
            passing = answer.status == 409
            if not passing or not self._session.pause(attempt, deadline):
                raise UpstreamError(_SERVICE, answer.status, passing=passing)
            attempt += 1

    def _write(self, instance_id: str, record: Mapping[str, Any], generation: str, deadline: Deadline) -> Answer:
        return self._session.once(
            _SERVICE,
            "POST",
            self._uploads,
            deadline=deadline,
            try_seconds=_TRY_SECONDS,
            headers={"Authorization": f"Bearer {self._token(deadline)}", "Content-Type": "application/json"},
            params={"uploadType": "media", "name": _name(instance_id), "ifGenerationMatch": generation},
            body=json.dumps(record, sort_keys=True).encode(),
        )

    def _call(self, method: str, instance_id: str, params: Mapping[str, str], deadline: Deadline) -> Answer:
        return self._session.call(
            _SERVICE,
            method,
            f"{self._objects}/{quote(_name(instance_id), safe='')}",
            deadline=deadline,
            try_seconds=_TRY_SECONDS,
            headers={"Authorization": f"Bearer {self._token(deadline)}"},
            params=params,
        )


def _name(instance_id: str) -> str:
    return f"grants/{instance_id}.json"


def _generation(answer: Answer) -> str:
    value = answer.json()
    generation: Any = cast("dict[str, Any]", value).get("generation") if isinstance(value, dict) else None
    return generation if isinstance(generation, str) and generation.isdigit() else ""
