"""Steps that are runs of a GitHub workflow.

params: {"organization", "repository", "workflow" (its file), "ref", "inputs" (texts), "correlation"}. The last may be
left out; it names an input that gets a number of ours, and that the workflow's `run-name` shows. GitHub has no request
ids: without it, a run of ours that dies between the dispatch and GitHub's answer cannot find what it started, and says
`lost` instead of starting it twice.
"""

from __future__ import annotations

import asyncio
import datetime
import os
import time
import uuid
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from typing import Any, Final

from pydantic import BaseModel

from rollout.cloud.errors import CloudError
from rollout.cloud.github import API_VERSION, GitHub
from rollout.cloud.workflows import WorkflowRun
from rollout.engine.backend import Attempt, Failed, Outcome, Passed
from rollout.engine.polling import Waiting, until

FIRST_SECONDS: Final = 5.0
MOST_SECONDS: Final = 60.0
"""Between two looks at a run. Chosen: of 5,000 requests an hour one run takes 60 at most."""
CLOSING_SECONDS: Final = 2.0
"""Between two looks at a run that was cancelled."""
SHIELD_SECONDS: Final = 10.0
"""How long a hard end waits for a dispatch under way, and then for the run's cancellation, each."""
FINDING_LOOKS: Final = 3
"""How often a run is looked for whose dispatch was not answered."""
DISPATCH: Final = "dispatch/"
PASSING: Final = frozenset({"unavailable", "rate-limited"})
ERROR_CLASSES: Final = {"timed_out": "timeout", "startup_failure": "unavailable", "stale": "unavailable"}
"""By a run's conclusion; every other is permanent."""
REQUIRED: Final = ("organization", "repository", "workflow", "ref")


class EndedRun(BaseModel):
    """The output of a step that passed, for those that refer to it."""

    run_id: int
    conclusion: str
    url: str


class GitHubWorkflows:
    """The backend `github`: one session per organization for all steps of a run."""

    def __init__(
        self,
        *,
        environ: Mapping[str, str] | None = None,
        api_version: str = API_VERSION,
        first_seconds: float = FIRST_SECONDS,
        most_seconds: float = MOST_SECONDS,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._environ = os.environ if environ is None else environ
        self._api_version = api_version
        self._first_seconds = first_seconds
        self._most_seconds = most_seconds
        self._now = now
        self._clients: dict[str, GitHub] = {}
        self._open = AsyncExitStack()
        self._opening = asyncio.Lock()

    async def run(self, attempt: Attempt) -> Outcome:
        """Start the workflow and wait for the end of its run."""
        missing = [name for name in REQUIRED if not attempt.params.get(name)]
        if missing:
            text = f"params: {', '.join(missing)} missing; it takes {', '.join(REQUIRED)}, inputs?, correlation?"
            return Failed(code="arguments", message=text)
        try:
            github = await self._client(attempt.params)
            run_id = await self._dispatch(attempt, github)
            return await self._follow(attempt, github, run_id)
        except CloudError as error:
            return _failed(error)
        except ValueError as error:
            return Failed(code="arguments", message=str(error))

    async def reattach(self, attempt: Attempt, external_id: str) -> Outcome:
        """Wait for the run that was started; find it first where only the dispatch is known."""
        try:
            github = await self._client(attempt.params)
            if not external_id.startswith(DISPATCH):
                return await self._follow(attempt, github, int(external_id.rpartition("/")[2]))
            _, number, since = external_id.split("/")
            run_id = await self._find(attempt, github, number, float(since))
            if run_id is None:
                text = f"{attempt.params['workflow']} may have been started, or not; look at the repository's runs"
                return Failed(code="lost", message=text, error_class="lost", link=_link(attempt.params))
            return await self._follow(attempt, github, run_id)
        except CloudError as error:
            return _failed(error)

    async def cancel(self, attempt: Attempt) -> None:
        """Nothing more: whoever waits for the run notices, cancels it at GitHub, and waits for how it ends."""

    async def close(self) -> None:
        """Close the sessions."""
        await self._open.aclose()
        self._clients.clear()

    async def _client(self, params: Mapping[str, Any]) -> GitHub:
        organization = str(params["organization"])
        async with self._opening:
            if organization not in self._clients:
                github = GitHub(organization, api_version=self._api_version, environ=self._environ)
                self._clients[organization] = await self._open.enter_async_context(github)
        return self._clients[organization]

    async def _dispatch(self, attempt: Attempt, github: GitHub) -> int:
        """Start it, and have its number in the journal. A hard end in between leaves no run that nobody knows."""
        params, number = attempt.params, str(uuid.uuid4())
        inputs = {str(name): str(value) for name, value in dict(params.get("inputs") or {}).items()}
        if params.get("correlation"):
            inputs[str(params["correlation"])] = number
        await attempt.attach(f"{DISPATCH}{number}/{self._now():.0f}")
        repository = str(params["repository"])
        starting = asyncio.ensure_future(
            github.dispatch(repository, str(params["workflow"]), str(params["ref"]), inputs)
        )
        try:
            return await asyncio.shield(starting)
        except asyncio.CancelledError:
            await self._take_back(github, repository, starting)
            raise

    async def _follow(self, attempt: Attempt, github: GitHub, run_id: int) -> Outcome:
        repository = str(attempt.params["repository"])
        ended = False

        async def look() -> Waiting | Passed | Failed:
            nonlocal ended
            try:
                found = await github.run(repository, run_id)
            except CloudError as error:
                if error.error_class not in PASSING:
                    raise
                return Waiting(progress=str(error), retry_after_seconds=error.retry_after_seconds)
            outcome = _judge(found, run_id)
            ended = not isinstance(outcome, Waiting)
            return outcome

        try:
            await attempt.attach(f"{github.organization}/{repository}/runs/{run_id}", _link(attempt.params, run_id))
            outcome = await until(look, attempt, first_seconds=self._first_seconds, most_seconds=self._most_seconds)
            cancelled = False
            while not ended:  # a graceful end: the run is cancelled, and how it ends counts
                cancelled = cancelled or await self._cancelled(github, repository, run_id)
                outcome = await look()
                if not ended:
                    await asyncio.sleep(min(CLOSING_SECONDS, self._first_seconds))
        except asyncio.CancelledError:
            await self._take_back(github, repository, _known(run_id))
            raise
        assert not isinstance(outcome, Waiting)
        return outcome

    @staticmethod
    async def _cancelled(github: GitHub, repository: str, run_id: int) -> bool:
        """Whether GitHub has heard that the run is to end."""
        try:
            await github.cancel_run(repository, run_id)
        except CloudError as error:
            if error.error_class not in PASSING:
                raise
            return False
        return True

    async def _find(self, attempt: Attempt, github: GitHub, number: str, since: float) -> int | None:
        """The run whose title shows our number."""
        if not attempt.params.get("correlation"):
            return None
        created = datetime.datetime.fromtimestamp(since - 60, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        for look in range(FINDING_LOOKS):
            if look:
                await asyncio.sleep(self._first_seconds)
            query = {"event": "workflow_dispatch", "created": f">={created}"}
            for found in await github.runs(str(attempt.params["repository"]), **query):
                if number in found.title:
                    return found.id
        return None

    @staticmethod
    async def _take_back(github: GitHub, repository: str, run_id: asyncio.Future[int]) -> None:
        """Cancel a run while our own task is being cancelled; what does not answer in time is left."""

        async def cancel() -> None:
            async with asyncio.timeout(SHIELD_SECONDS):
                number = await run_id
            async with asyncio.timeout(SHIELD_SECONDS):
                await github.cancel_run(repository, number)

        try:
            await asyncio.shield(asyncio.ensure_future(cancel()))
        except (CloudError, TimeoutError):
            return


def _known(run_id: int) -> asyncio.Future[int]:
    future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    future.set_result(run_id)
    return future


def _judge(run: WorkflowRun | None, run_id: int) -> Waiting | Passed | Failed:
    if run is None:
        return Failed(code="lost", message=f"GitHub knows no run {run_id} any more", error_class="lost")
    if run.status != "completed":
        return Waiting(progress=f"run {run_id} is {run.status.replace('_', ' ')}")
    output = EndedRun(run_id=run.id, conclusion=run.conclusion, url=run.url).model_dump()
    if run.conclusion == "success":
        return Passed(output=output, message=f"run {run_id} succeeded", link=run.url)
    code = "cancelled" if run.conclusion == "cancelled" else f"conclusion-{run.conclusion.replace('_', '-')}"
    error_class = ERROR_CLASSES.get(run.conclusion, "permanent")
    return Failed(code=code, message=f"run {run_id} ended: {run.conclusion}", error_class=error_class, link=run.url)


def _failed(error: CloudError) -> Failed:
    return Failed(
        code=f"github-{error.error_class}",
        message=str(error),
        error_class=error.error_class,
        retry_after_seconds=error.retry_after_seconds,
    )


def _link(params: Mapping[str, Any], run_id: int | None = None) -> str:
    """Where people look at github.com."""
    where = f"https://github.com/{params['organization']}/{params['repository']}/actions"
    return f"{where}/runs/{run_id}" if run_id else f"{where}/workflows/{params['workflow']}"
