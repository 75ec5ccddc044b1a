"""What all handlers of Compute Engine share: pages, what is not found, operations, and that one request acts once."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any, Final, TypeVar

from emulators.google.operation import Operation, OperationError
from emulators.google.reply import refuse
from emulators.route import Call, Handler, Reply, json_reply

if TYPE_CHECKING:
    from emulators.google.cloud import Google

PROJECT: Final = "/compute/v1/projects/{project}"
REGION: Final = PROJECT + "/regions/{region}"
ZONE: Final = PROJECT + "/zones/{zone}"
MAX_RESULTS: Final = 500

T = TypeVar("T")


class Caller:
    """The project's Compute Engine, to be asked by handlers."""

    def __init__(self, google: Google) -> None:
        self._google = google
        self._compute = google.compute

    def once(self, handler: Handler) -> Handler:
        """The handler, but for a `requestId` that was executed before: that is answered with the same operation."""

        def answer(call: Call) -> Reply | None:
            given = call.query.get("requestId")
            if given is None:
                return handler(call)
            try:
                number = uuid.UUID(given)
            except ValueError:
                number = uuid.UUID(int=0)
            if not number.int:
                raise refuse("compute", 400, f"Invalid value for field 'requestId': '{given}'.")
            key = f"{call.method} {call.path} {number}"
            known = self._compute.requested.get(key)
            if known is None:
                before = self._compute.accepted
                reply = handler(call)
                if self._compute.accepted is not None and self._compute.accepted is not before:
                    self._compute.requested[key] = self._compute.accepted
                return reply
            return self.shown(known)

        return answer

    def operate(
        self,
        call: Call,
        route: str,
        kind: str,
        scope: str,
        *,
        target: str,
        target_id: str,
        error: OperationError | None = None,
    ) -> Operation:
        """Accept a change; `error` is how it will end, unless a test said so before."""
        user = self._google.tokens.account(call, self._compute.clock.now()) or ""
        operation = self._compute.operate(
            f"compute.{route}",
            kind,
            scope=scope,
            project=call.parameters["project"],
            target=target,
            target_id=target_id,
            user=user,
        )
        operation.error = operation.error or error
        return operation

    def shown(self, operation: Operation) -> Reply:
        """An operation as it is now."""
        return json_reply(200, operation.document(self._compute.clock.now()))

    @staticmethod
    def fields(call: Call) -> dict[str, Any]:
        """The body's JSON object. Raises Refusal."""
        body: Any = call.json()
        if not isinstance(body, dict):
            raise refuse("compute", 400, "Parse Error", reason="parseError")
        return body  # pyright: ignore[reportUnknownVariableType]

    @staticmethod
    def page(call: Call, items: list[T]) -> tuple[list[T], dict[str, str]]:
        """The items of a page, and the field that names the next one."""
        size = min(int(call.query.get("maxResults", MAX_RESULTS)), MAX_RESULTS)
        start = int(call.query.get("pageToken") or 0)
        more = {"nextPageToken": str(start + size)} if start + size < len(items) else {}
        return items[start : start + size], more

    @staticmethod
    def missing(call: Call) -> Exception:
        """404, to be raised."""
        return refuse("compute", 404, f"The resource '{call.path.removeprefix('/compute/v1/')}' was not found")


def part(value: dict[str, Any], key: str) -> dict[str, Any]:
    """An object within one; empty where there is none."""
    return value.get(key) or {}


def parts(value: dict[str, Any], key: str) -> list[dict[str, Any]]:
    """A list of objects within one; empty where there is none."""
    return value.get(key) or []
