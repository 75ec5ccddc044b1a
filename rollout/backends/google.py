"""Steps that are Compute Engine's operations, or waits for what Compute Engine shows.

params: {"project": P, "call": NAME, "arguments": {…}} with a call of `rollout.cloud.calls.CALLS` or `change_metadata`
({zone, instance, changes}), and "missing_ok": true where a deletion may find nothing; or {"project": P, "wait":
{"for": WHAT, …}} with one of `rollout.backends.waits.TAKES`.

A call's request id is in the journal before it is sent, and the operation's name once there is one. So a run that died
in between asks again under the same id, and Google does it once; and since every call names what it makes, changes or
deletes, an id that Google has forgotten cannot make two either. Google ends no operation that it has begun: a graceful
end waits for it, a hard one leaves it behind, and only a compensation undoes it.
"""

from __future__ import annotations

import asyncio
import os
import uuid
from collections.abc import Mapping
from contextlib import AsyncExitStack
from typing import Any, Final, cast

from rollout.backends import waits
from rollout.backends.looks import SharedLooks
from rollout.cloud import calls
from rollout.cloud.errors import CloudError, OperationFailedError
from rollout.cloud.google import Google
from rollout.cloud.operations import Operation
from rollout.engine.backend import Attempt, Failed, Outcome, Passed
from rollout.engine.polling import Waiting, until

METADATA: Final = "change_metadata"
REQUEST: Final = "request/"
"""How the name of a call begins that may not have been sent yet."""
FIRST_SECONDS: Final = 2.0
MOST_SECONDS: Final = 30.0
"""Between two looks of a wait. Chosen: a VM boots in a minute or two."""


class GoogleOperations:
    """The backend `google`: one session per project for all steps of a run."""

    def __init__(
        self,
        *,
        environ: Mapping[str, str] | None = None,
        first_seconds: float = FIRST_SECONDS,
        most_seconds: float = MOST_SECONDS,
    ) -> None:
        self._environ = os.environ if environ is None else environ
        self._first_seconds = first_seconds
        self._most_seconds = most_seconds
        self._looks = SharedLooks()
        self._clients: dict[str, Google] = {}
        self._open = AsyncExitStack()
        self._opening = asyncio.Lock()

    async def run(self, attempt: Attempt) -> Outcome:
        """Make the call and wait for its operation, or wait for what is to be so."""
        try:
            self._check(attempt.params)
            google = await self._client(attempt.params)
            if "wait" in attempt.params:
                return await self._wait(attempt, google)
            if attempt.params["call"] == METADATA:
                return await self._metadata(attempt, google)
            request_id = str(uuid.uuid4())
            await attempt.attach(f"{REQUEST}{request_id}")
            return await self._start(attempt, google, request_id)
        except CloudError as error:
            return _failed(error)
        except ValueError as error:
            return Failed(code="arguments", message=str(error))

    async def reattach(self, attempt: Attempt, external_id: str) -> Outcome:
        """Wait for an operation that was begun, or ask for it again under its id."""
        try:
            google = await self._client(attempt.params)
            if external_id.startswith(REQUEST):
                return await self._start(attempt, google, external_id.removeprefix(REQUEST))
            if await google.operations.get(external_id) is None:
                return Failed(code="lost", message=f"Google knows no {external_id} any more", error_class="lost")
            return await self._end(attempt, google, external_id)
        except CloudError as error:
            return _failed(error)

    async def cancel(self, attempt: Attempt) -> None:
        """Nothing: a wait notices by itself, an operation that has begun goes on to its end."""
        if "call" in attempt.params:
            attempt.progress("Google ends no operation that it has begun; waiting for its end")

    async def close(self) -> None:
        """Close the sessions."""
        await self._looks.close()
        await self._open.aclose()
        self._clients.clear()

    @staticmethod
    def _check(params: Mapping[str, Any]) -> None:
        if ("call" in params) == ("wait" in params):
            raise calls.ArgumentsError("params need exactly one of `call` and `wait`")
        if "wait" in params:
            waits.check(params["wait"])
        elif params["call"] == METADATA:
            wanted = {"zone", "instance", "changes"}
            if set(_arguments(params)) != wanted:
                raise calls.ArgumentsError(f"call {METADATA}: it takes {', '.join(sorted(wanted))}")
        else:
            calls.request(params["call"], _arguments(params))

    async def _client(self, params: Mapping[str, Any]) -> Google:
        project = str(params.get("project", ""))
        async with self._opening:
            if project not in self._clients:
                self._clients[project] = await self._open.enter_async_context(Google(project, environ=self._environ))
        return self._clients[project]

    async def _start(self, attempt: Attempt, google: Google, request_id: str) -> Outcome:
        call, arguments = str(attempt.params["call"]), _arguments(attempt.params)
        try:
            operation = await google.operations.start(call, arguments, request_id=request_id)
        except CloudError as error:
            if error.status == 404 and attempt.params.get("missing_ok") and call.startswith("delete_"):
                return Passed(output={"missing": True}, message=f"there was nothing to do: {error.asked}")
            raise
        await attempt.attach(operation.ref, _link(google))
        return await self._end(attempt, google, operation)

    async def _end(self, attempt: Attempt, google: Google, started: Operation | str) -> Outcome:
        """Wait for an operation's end, also through times when Google does not answer."""
        ref = started if isinstance(started, str) else started.ref

        async def look() -> Waiting | Passed | Failed:
            try:
                done = await google.operations.wait(started)
            except OperationFailedError:
                raise
            except CloudError as error:
                if error.error_class not in waits.PASSING:
                    raise
                return Waiting(progress=f"{ref}: {error}", retry_after_seconds=error.retry_after_seconds)
            return Passed(output={"operation": ref}, message=f"{done.kind} is done", link=_link(google))

        return await until(look, attempt, first_seconds=self._first_seconds, most_seconds=self._most_seconds)

    async def _metadata(self, attempt: Attempt, google: Google) -> Outcome:
        """Of itself it can be done again: it changes only what is not so yet."""
        arguments = _arguments(attempt.params)
        zone, instance = str(arguments["zone"]), str(arguments["instance"])
        operation = await google.instances.change_metadata(zone, instance, arguments["changes"])
        if operation is None:
            return Passed(output={"changed": False}, message=f"{instance} has these attributes already")
        await google.operations.wait(operation)
        return Passed(output={"changed": True}, message=f"the attributes of {instance} are changed")

    async def _wait(self, attempt: Attempt, google: Google) -> Outcome:
        look = waits.look_for(attempt.params["wait"], attempt, google, self._looks)
        return await until(look, attempt, first_seconds=self._first_seconds, most_seconds=self._most_seconds)


def _arguments(params: Mapping[str, Any]) -> Mapping[str, Any]:
    given: Any = params.get("arguments", {})
    if not isinstance(given, Mapping):
        raise calls.ArgumentsError("`arguments` is not an object")
    arguments = cast("Mapping[str, Any]", given)
    if params.get("missing_ok") and params.get("call") == "delete_instances":
        return {**arguments, "skip": True}
    return arguments


def _failed(error: CloudError) -> Failed:
    return Failed(
        code=f"google-{error.error_class}",
        message=str(error),
        error_class=error.error_class,
        retry_after_seconds=error.retry_after_seconds,
    )


def _link(google: Google) -> str:
    return f"https://console.cloud.google.com/compute/operations?project={google.project}"
