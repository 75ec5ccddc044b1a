"""GitHub's runner scale set API for one config URL: scale sets, their runners, and their message sessions.

Paths, bodies and statuses are those of GitHub's own client in Go (actions/scaleset v0.4.0), which is the only published
description. Every call raises ScaleSetError of a class that says what to do about it, and nothing else but ValueError
for arguments that can never do.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from .config_url import ConfigUrl, Scope
from .connection import VERSION, Agent, Connection, text_in
from .credentials import AppCredentials, PersonalToken
from .errors import (
    ForbiddenError,
    NotFoundError,
    RateLimitedError,
    RunnerExistsError,
    ScaleSetError,
    ScaleSetExistsError,
    UnauthorizedError,
    UnavailableError,
    UnreadableAnswerError,
)
from .messages import (
    JitConfig,
    Runner,
    RunnerGroup,
    ScaleSet,
    ScaleSetSpec,
    decode,
    decode_list,
)
from .retry import Retry
from .session import NO_SESSION, SETS, MessageSession, is_session_id, session_answer
from .transport import Response, Transport

__all__ = ["Ensured", "MessageSession", "ScaleSetClient"]

_GROUPS: Final = "_apis/runtime/runnergroups/"
_AGENTS: Final = "_apis/distributedtask/pools/0/agents"
_DEFAULT_GROUP: Final = RunnerGroup(id=1, name="default", is_default=True)
"""GitHub's own programs take id 1 for it and do not look it up."""
_NO_TIME: Final = "0001-01-01T00:00:00Z"
_FORCE_ENTERPRISE_SERVER: Final = "GITHUB_ACTIONS_FORCE_GHES"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ensured:
    """A scale set that is there, and how it came."""

    scale_set: ScaleSet
    made: bool
    labels_missing: tuple[str, ...]
    """What was asked for and the server left out. GitHub Enterprise Server 3.18-3.20 drops all labels but the name
    without a word, unless a feature flag is set."""
    update_refused: bool = False
    """The set differs from what was asked for, and the server does not change it."""


class ScaleSetClient:
    """The API for one config URL. For all tasks of one event loop: nothing but a token's refresh waits for another.

    The transport is the caller's, who closes it.
    """

    def __init__(
        self,
        transport: Transport,
        *,
        config_url: str,
        credentials: AppCredentials | PersonalToken,
        system: str = "runner-fleet",
        version: str = VERSION,
        now: Callable[[], float] = time.time,
        retry: Retry = Retry(),  # noqa: B008 - frozen
    ) -> None:
        """`system` and `version` say to GitHub who calls; `now` is the wall clock, in seconds since 1970.

        As for GitHub's own client, the variable GITHUB_ACTIONS_FORCE_GHES makes any host a GitHub Enterprise Server.
        Raises ValueError for a config URL that names nothing, or that such credentials cannot serve.
        """
        config = ConfigUrl.parse(config_url, enterprise_server=_FORCE_ENTERPRISE_SERVER in os.environ)
        agent = Agent(system=system, version=version)
        self._connection = Connection(
            transport, config=config, credentials=credentials, agent=agent, now=now, rules=retry
        )

    @property
    def retry(self) -> Retry:
        """When requests are tried again."""
        return self._connection.rules

    # Runner groups and scale sets.

    async def runner_group(self, name: str) -> RunnerGroup:
        """A runner group by its name. `default` has id 1 without a look-up. Raises NotFoundError."""
        if name.lower() == _DEFAULT_GROUP.name:
            return _DEFAULT_GROUP
        if self._connection.scope is Scope.REPOSITORY:
            raise NotFoundError(f"looking for runner group {name!r}: a repository has only 'default'")
        doing = f"looking for runner group {name!r}"
        response = await self._connection.call("GET", _GROUPS, doing=doing, query={"groupName": name})
        groups = decode_list(RunnerGroup, self._connection.check(response, doing, 200).json(), doing)
        found = next((group for group in groups if group.name.lower() == name.lower()), None)
        if found is None:
            raise NotFoundError(f"{doing}: there is none, or these credentials do not see it", status=response.status)
        return found

    async def find(self, runner_group_id: int, name: str) -> ScaleSet | None:
        """The group's scale set of that name; None where it has none."""
        doing = f"looking for scale set {name!r}"
        query = {"runnerGroupId": str(runner_group_id), "name": name}
        response = await self._connection.call("GET", SETS, doing=doing, query=query)
        sets = decode_list(ScaleSet, self._connection.check(response, doing, 200).json(), doing)
        return next((each for each in sets if each.name.lower() == name.lower()), None)

    async def get(self, scale_set_id: int) -> ScaleSet:
        """A scale set by its id. Raises NotFoundError. Never trust an id that was kept: GitHub deletes unused sets."""
        doing = f"reading scale set {scale_set_id}"
        return await self._set_call("GET", f"{SETS}/{scale_set_id}", doing, scale_set_id)

    async def create(self, spec: ScaleSetSpec, runner_group_id: int) -> ScaleSet:
        """Make a scale set. Raises ScaleSetExistsError, also where a lost try made it: `ensure` settles that."""
        return await self._set_call(
            "POST", SETS, f"making scale set {spec.name!r}", 0, _document(spec, runner_group_id)
        )

    async def update(self, scale_set_id: int, spec: ScaleSetSpec, runner_group_id: int) -> ScaleSet:
        """Change a scale set. What GitHub makes of changed labels is not certain: look at the answer."""
        body = _document(spec, runner_group_id)
        doing = f"changing scale set {scale_set_id}"
        return await self._set_call("PATCH", f"{SETS}/{scale_set_id}", doing, scale_set_id, body)

    async def delete(self, scale_set_id: int) -> None:
        """Delete a scale set; one that is gone is done. Raises JobStillRunningError while a runner of it has a job."""
        doing = f"deleting scale set {scale_set_id}"
        response = await self._connection.call(
            "DELETE", f"{SETS}/{scale_set_id}", doing=doing, scale_set_id=scale_set_id
        )
        self._connection.check(response, doing, 204, 404)

    async def ensure(self, spec: ScaleSetSpec) -> Ensured:
        """The scale set as it is described: found, else made, and changed where it differs.

        A create whose answer was lost is settled by looking again. A change that the server refuses is no error: the
        set serves as it is, and `update_refused` and `labels_missing` tell. Raises NotFoundError for a runner group
        that is not there.
        """
        group = await self.runner_group(spec.runner_group)
        found = await self.find(group.id, spec.name)
        made = found is None
        if found is None:
            try:
                found = await self.create(spec, group.id)
            except ScaleSetExistsError:
                found = await self._made_meanwhile(spec, group.id)
            except (UnavailableError, UnreadableAnswerError) as error:
                if isinstance(error, UnavailableError) and not error.sent:
                    raise
                found = await self.find(group.id, spec.name)
                if found is None:
                    raise
        refused = False
        if not made and _differs(found, spec):
            try:
                found = await self.update(found.id, spec, group.id)
            except (UnavailableError, RateLimitedError, UnauthorizedError, ForbiddenError, NotFoundError):
                raise
            except ScaleSetError:
                refused = True
        missing = tuple(label for label in spec.labels if label.lower() not in _lower(found.labels))
        return Ensured(scale_set=found, made=made, labels_missing=missing, update_refused=refused)

    async def _made_meanwhile(self, spec: ScaleSetSpec, runner_group_id: int) -> ScaleSet:
        found = await self.find(runner_group_id, spec.name)
        if found is None:
            raise ScaleSetExistsError(f"making scale set {spec.name!r}: it exists, but is not found in its group")
        return found

    async def _set_call(
        self, method: str, path: str, doing: str, scale_set_id: int, body: dict[str, Any] | None = None
    ) -> ScaleSet:
        response = await self._connection.call(method, path, doing=doing, body=body, scale_set_id=scale_set_id)
        return decode(ScaleSet, self._connection.check(response, doing, 200).json(), doing)

    # Runners.

    async def jit_config(
        self, scale_set_id: int, name: str, work_folder: str = "", *, replace: bool = False
    ) -> JitConfig:
        """Register a runner of that name and get its just-in-time configuration: a secret, bound to no job.

        Raises RunnerExistsError for a name that is taken, also where an earlier try's answer was lost: a try that gets
        no answer is repeated. With `replace`, a runner of that name that belongs to this scale set is removed first,
        and the configuration asked for once more; JobStillRunningError where it has a job.
        """
        try:
            return await self._jit(scale_set_id, name, work_folder)
        except RunnerExistsError:
            if not replace:
                raise
            leftover = await self.runner_named(name)
            if leftover is not None and leftover.scale_set_id != scale_set_id:
                raise
        if leftover is not None:
            await self.remove_runner(leftover.id)
        return await self._jit(scale_set_id, name, work_folder)

    async def _jit(self, scale_set_id: int, name: str, work_folder: str) -> JitConfig:
        doing = f"getting a configuration for runner {name!r}"
        response = await self._connection.call(
            "POST",
            f"{SETS}/{scale_set_id}/generatejitconfig",
            doing=doing,
            body={"name": name, "workFolder": work_folder},
            scale_set_id=scale_set_id,
        )
        return decode(JitConfig, self._connection.check(response, doing, 200).json(), doing)

    async def runner_named(self, name: str) -> Runner | None:
        """The runner of that name; None where there is none."""
        doing = f"looking for runner {name!r}"
        response = await self._connection.call("GET", _AGENTS, doing=doing, query={"agentName": name})
        runners = decode_list(Runner, self._connection.check(response, doing, 200).json(), doing)
        return next((runner for runner in runners if runner.name == name), None)

    async def remove_runner(self, runner_id: int) -> None:
        """Remove a runner; one that is gone is done. Raises JobStillRunningError: then keep its machine."""
        doing = f"removing runner {runner_id}"
        response = await self._connection.call("DELETE", f"{_AGENTS}/{runner_id}", doing=doing)
        self._connection.check(response, doing, 204, 404)

    # Sessions.

    async def open_session(self, scale_set_id: int, owner: str) -> MessageSession:
        """Open the scale set's only message session.

        Raises SessionConflictError while it has one, even of the same owner, and also where an earlier try's answer was
        lost; NotFoundError where there is no such set. A session that came without what belongs to it is closed again.
        """
        doing = f"opening a session of scale set {scale_set_id}"
        response = await self._connection.call(
            "POST",
            f"{SETS}/{scale_set_id}/sessions",
            doing=doing,
            body={"sessionId": NO_SESSION, "ownerName": owner},
            scale_set_id=scale_set_id,
        )
        self._connection.check(response, doing, 200)
        try:
            return self._opened(scale_set_id, response, doing)
        except UnreadableAnswerError:
            await self._discard(scale_set_id, text_in(response, "sessionId"))
            raise

    def _opened(self, scale_set_id: int, response: Response, doing: str) -> MessageSession:
        answer = session_answer(self._connection, response, doing)
        if answer.statistics is None:
            raise UnreadableAnswerError(f"{doing}: no statistics", status=response.status)
        return MessageSession(self._connection, scale_set_id, answer, answer.statistics)

    async def _discard(self, scale_set_id: int, session_id: str) -> None:
        """Close a session of which nothing but the id may be good: it would keep every other one out."""
        if is_session_id(session_id):
            path = f"{SETS}/{scale_set_id}/sessions/{session_id}"
            with contextlib.suppress(ScaleSetError):
                await self._connection.call("DELETE", path, doing="closing a session", scale_set_id=scale_set_id)

    async def list(self, runner_group_id: int) -> Sequence[ScaleSet]:
        """All scale sets of a runner group."""
        doing = f"listing the scale sets of runner group {runner_group_id}"
        response = await self._connection.call("GET", SETS, doing=doing, query={"runnerGroupId": str(runner_group_id)})
        return decode_list(ScaleSet, self._connection.check(response, doing, 200).json(), doing)


def _document(spec: ScaleSetSpec, runner_group_id: int) -> dict[str, Any]:
    """A scale set in a request, its keys in the order of GitHub's own client. The server ignores `createdOn`."""
    return {
        "name": spec.name,
        "runnerGroupId": runner_group_id,
        "labels": [{"type": "System", "name": label} for label in spec.labels],
        "RunnerSetting": {"disableUpdate": spec.disable_update},
        "createdOn": _NO_TIME,
    }


def _lower(labels: Sequence[str]) -> set[str]:
    return {label.lower() for label in labels}


def _differs(scale_set: ScaleSet, spec: ScaleSetSpec) -> bool:
    """Labels are compared as `runs-on` is matched: without regard to order and case."""
    return scale_set.disable_update != spec.disable_update or _lower(scale_set.labels) != _lower(spec.labels)
