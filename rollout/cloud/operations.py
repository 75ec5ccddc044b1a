"""Compute Engine's long operations: started once, looked at, waited for.

An operation of a group is DONE once the group accepted the change; how its VMs fare, the group and its members tell.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from rollout.cloud import calls
from rollout.cloud.document import Document, MalformedError
from rollout.cloud.errors import OperationFailedError
from rollout.cloud.service import MISSING, Answer, Service

WAIT_SECONDS: Final = 120.0
"""After which operations.wait answers, done or not: its documentation, read 2026-11-25."""
_REF: Final = re.compile(r"(?:zones/[a-z0-9-]+|regions/[a-z0-9-]+|global)/operations/[A-Za-z0-9-]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """A change that was accepted."""

    ref: str
    """SCOPE/operations/NAME, where the scope is zones/Z, regions/R or global."""
    kind: str
    done: bool
    errors: tuple[str, ...] = ()
    """Codes; empty while it runs, and where it ended well."""
    status: int = 0
    """The HTTP status that goes with the errors."""


class Operations:
    """The operations of a project."""

    def __init__(self, compute: Service, root: str) -> None:
        self._compute = compute
        self._root = root

    async def start(self, call: str, arguments: Mapping[str, Any], *, request_id: str = "") -> Operation:
        """Ask for a change of `calls.CALLS`. Without a request id it gets one for this call.

        Raises CloudError, and ArgumentsError before anything is sent.
        """
        request = calls.request(call, arguments)
        query = {**request.query, "requestId": request_id or str(uuid.uuid4())}
        path = self._root + request.path
        return await self._compute.change(
            request.method, path, request.asked, operation, query=query, body=request.body, once=True
        )

    async def get(self, ref: str) -> Operation | None:
        """An operation as it is now; None where Google knows none of that name. Raises CloudError."""
        path = f"{self._root}/{_checked(ref)}"
        return await self._compute.read(path, f"how {ref} goes", _operation_or_none, fine=MISSING)

    async def wait(self, started: Operation | str) -> Operation:
        """The operation once it is done. Raises CloudError; OperationFailedError where it ended badly.

        Its time is the caller's to limit.
        """
        ref = started if isinstance(started, str) else started.ref
        found = None if isinstance(started, str) else started
        while found is None or not found.done:
            path = f"{self._root}/{_checked(ref)}/wait"
            found = await self._compute.read(
                path, f"the end of {ref}", operation, method="POST", seconds=WAIT_SECONDS + 30
            )
        if found.errors:
            raise OperationFailedError(self._compute.name, found.status, f"{found.kind}, {ref}", found.errors)
        return found


def operation(answer: Answer) -> Operation:
    """An operation from its resource. Raises MalformedError."""
    value = answer.document()
    if value.has("zone"):
        scope = f"zones/{value.name('zone')}"
    elif value.has("region"):
        scope = f"regions/{value.name('region')}"
    else:
        scope = "global"
    done = value.text("status") == "DONE"
    return Operation(
        ref=_checked(f"{scope}/operations/{value.text('name')}"),
        kind=value.text("operationType", ""),
        done=done,
        errors=_codes(value) if done else (),
        status=value.whole("httpErrorStatusCode", 0),
    )


def _operation_or_none(answer: Answer) -> Operation | None:
    return None if answer.status in MISSING else operation(answer)


def _codes(value: Document) -> tuple[str, ...]:
    if not value.has("error"):
        return ()
    return tuple(each.text("code", "UNKNOWN") for each in value.inner("error").list("errors")) or ("UNKNOWN",)


def _checked(ref: str) -> str:
    if not _REF.fullmatch(ref):
        raise MalformedError("name of an operation")
    return ref
