"""GitHub, one organization of it: runners, jobs, runs, releases.

    async with GitHub("iree-org") as github:
        for runner in await github.runners():
            ...

Sources, read 2026-11-25: https://docs.github.com/en/rest/actions (self-hosted runners, runner groups, workflows,
workflow runs, workflow jobs), .../rest/releases, .../rest/using-the-rest-api/rate-limits-for-the-rest-api. Listings
shift while runners and runs come and go, so an entry may be skipped: one with fewer entries than it says there are is
none, and is asked for again.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from typing import Any, Final, Self, TypeVar
from urllib.parse import quote

from rollout.cloud.address import address
from rollout.cloud.credentials import GitHubCredentials
from rollout.cloud.document import Document, MalformedError
from rollout.cloud.errors import CloudError
from rollout.cloud.pace import Pace
from rollout.cloud.releases import Release, release
from rollout.cloud.runners import Runner, RunnerGroup, runner, runner_group
from rollout.cloud.service import MISSING, Answer, Service, session
from rollout.cloud.workflows import Job, WorkflowRun, job, job_url, workflow_run

API_VERSION: Final = "2022-11-28"
RUN_DETAILS_VERSION: Final = "2026-03-10"
"""From this version on a dispatch answers with its run without being asked to."""
POINTS_PER_MINUTE: Final = 900
CHANGE_POINTS: Final = 5
CONNECTIONS: Final = 50
"""GitHub allows 100 requests at a time; somebody else may use the same token."""
PER_PAGE: Final = 100
MOST_PAGES: Final = 100
LISTINGS: Final = 3
"""How often a listing that is not whole is asked for in all."""
MOST_RUNS: Final = 1000
"""GitHub shows no more of a repository's runs: its documentation of workflow runs."""
BUSY: Final = frozenset({409, 422})
_ORGANIZATION: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,38}")

T = TypeVar("T")


class GitHub:
    """An organization. Its session exists within `async with`."""

    _service: Service

    def __init__(
        self,
        organization: str,
        *,
        api_version: str = API_VERSION,
        environ: Mapping[str, str] | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if not _ORGANIZATION.fullmatch(organization):
            raise ValueError(f"{organization!r} is no name of an organization at GitHub")
        self.organization = organization
        self._api_version = api_version
        self._environ = os.environ if environ is None else environ
        self._sleep, self._clock = sleep, clock
        self._open = AsyncExitStack()

    async def __aenter__(self) -> Self:
        """Open the session; nothing is asked yet. Raises CredentialsError for an address that no token goes to."""
        url = address("ROLLOUT_GITHUB_URL", self._environ)
        http = await self._open.enter_async_context(session(connections=CONNECTIONS))
        headers = {"Accept": "application/vnd.github+json", "X-GitHub-Api-Version": self._api_version}
        self._service = Service(
            "GitHub",
            url,
            http,
            GitHubCredentials(self._environ, url),
            Pace(POINTS_PER_MINUTE, sleep=self._sleep, clock=self._clock),
            headers=headers,
            change_points=CHANGE_POINTS,
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._open.aclose()

    # Runners

    async def runners(self) -> tuple[Runner, ...]:
        """All runners of the organization. Raises CloudError, also where no listing of three was whole.

        One that leaves and one that comes between two pages hide a third, and the count is right nevertheless. So more
        than a page is listed twice, and what either shows is given: rather one that is gone than one too few. It is
        still one source: nothing may be deleted by it alone.
        """
        path, asked = f"{self._actions}/runners", "the organization's runners"
        found = await self._whole(path, asked, "runners", runner)
        if len(found) > PER_PAGE:
            again = await self._whole(path, asked, "runners", runner)
            found = tuple({each.id: each for each in (*found, *again)}.values())
        return found

    async def runner(self, runner_id: int) -> Runner | None:
        """A runner as it is now; None where there is none. Raises CloudError."""
        path = f"{self._actions}/runners/{runner_id}"
        return await self._service.read(path, f"runner {runner_id}", _or_none(runner), fine=MISSING)

    async def remove_runner(self, runner_id: int) -> bool:
        """Remove a registration; True also where it was gone, False where GitHub keeps it: it has a job."""
        path, fine = f"{self._actions}/runners/{runner_id}", MISSING | BUSY
        asked = f"removing runner {runner_id}"
        return await self._service.change("DELETE", path, asked, lambda answer: answer.status not in BUSY, fine=fine)

    async def runner_groups(self) -> tuple[RunnerGroup, ...]:
        """The organization's runner groups. Raises CloudError."""
        return await self._whole(f"{self._actions}/runner-groups", "the runner groups", "runner_groups", runner_group)

    async def group_repositories(self, group_id: int) -> tuple[str, ...]:
        """The names of the repositories that were selected for a runner group. Raises CloudError."""
        path, asked = f"{self._actions}/runner-groups/{group_id}/repositories", f"the repositories of group {group_id}"
        return await self._whole(path, asked, "repositories", lambda value: value.text("name"))

    # Runs and jobs

    async def run(self, repository: str, run_id: int) -> WorkflowRun | None:
        """A run as it is now; None where there is none. Raises CloudError."""
        path = f"{self._of(repository)}/actions/runs/{run_id}"
        parse = _or_none(lambda value: workflow_run(value, repository))
        return await self._service.read(path, f"run {run_id} of {repository}", parse, fine=MISSING)

    async def runs(self, repository: str, **query: str) -> tuple[WorkflowRun, ...]:
        """The newest runs, 1,000 at most, that GitHub's parameters (status, event, created, …) find."""
        path, asked = f"{self._of(repository)}/actions/runs", f"the runs of {repository}"

        def parse(value: Document) -> WorkflowRun:
            return workflow_run(value, repository)

        return await self._whole(path, asked, "workflow_runs", parse, query=query, most=MOST_RUNS)

    async def jobs(self, repository: str, run_id: int) -> tuple[Job, ...]:
        """The jobs of a run's latest attempt. Raises CloudError."""
        path, asked = f"{self._of(repository)}/actions/runs/{run_id}/jobs", f"the jobs of run {run_id} of {repository}"
        return await self._whole(path, asked, "jobs", lambda value: job(value, repository), query={"filter": "latest"})

    async def job(self, repository: str, job_id: int) -> Job | None:
        """A job as it is now; None where there is none. Raises CloudError."""
        path = f"{self._of(repository)}/actions/jobs/{job_id}"
        parse = _or_none(lambda value: job(value, repository))
        return await self._service.read(path, f"job {job_id} of {repository}", parse, fine=MISSING)

    async def job_at(self, url: str) -> Job | None:
        """The job whose page this is. Raises CloudError; ValueError for what is no page of one of this organization."""
        owner, repository, job_id = job_url(url)
        if owner.lower() != self.organization.lower():
            raise ValueError(f"{url!r} is a job of {owner}; this fleet is {self.organization}'s")
        return await self.job(repository, job_id)

    async def queued_jobs(self, repository: str) -> tuple[Job, ...]:
        """The jobs that wait for a runner: of runs that are queued, and of those under way. Raises CloudError.

        GitHub has no listing of them; this asks for every run that may have one.
        """
        found = await asyncio.gather(*(self.runs(repository, status=status) for status in ("queued", "in_progress")))
        numbers = dict.fromkeys(run.id for runs in found for run in runs)
        jobs = await asyncio.gather(*(self.jobs(repository, number) for number in numbers))
        return tuple(each for listed in jobs for each in listed if each.status == "queued")

    async def dispatch(self, repository: str, workflow: str, ref: str, inputs: Mapping[str, str]) -> int:
        """Start a workflow by its file's name; the id of its run. Asked once: GitHub would start it twice.

        Raises CloudError. A server that is too old to tell the run's id refuses the question (400), and starts nothing.
        """
        path = f"{self._of(repository)}/actions/workflows/{quote(workflow, safe='')}/dispatches"
        asking = {} if self._api_version >= RUN_DETAILS_VERSION else {"return_run_details": True}
        body = {"ref": ref, "inputs": dict(inputs), **asking}
        asked = f"starting {workflow} of {repository} at {ref}"
        run_id = await self._service.change("POST", path, asked, _run_id, body=body)
        if run_id is None:
            text = "has started a run and does not tell which"
            raise CloudError(self._service.name, 204, asked, error_class="permanent", text=text)
        return run_id

    async def cancel_run(self, repository: str, run_id: int) -> bool:
        """Ask for a run's end; False where it is over already. Raises CloudError."""
        path, fine = f"{self._of(repository)}/actions/runs/{run_id}/cancel", frozenset({409})
        asked = f"cancelling run {run_id} of {repository}"
        return await self._service.change("POST", path, asked, lambda answer: answer.status not in fine, fine=fine)

    # Releases

    async def releases(self, repository: str, *, most: int = PER_PAGE) -> tuple[Release, ...]:
        """The newest releases of any repository, OWNER/NAME, pre-releases and drafts included. Raises CloudError."""
        owner, _, name = repository.partition("/")
        path = f"/repos/{quote(owner, safe='')}/{quote(name, safe='')}/releases"
        found: list[Release] = []
        for page in range(1, MOST_PAGES + 1):
            query = {"per_page": str(min(PER_PAGE, most)), "page": str(page)}
            listed = await self._service.read(path, f"the releases of {repository}", _releases, query=query)
            found += listed
            if len(listed) < min(PER_PAGE, most) or len(found) >= most:
                break
        return tuple(found[:most])

    @property
    def _actions(self) -> str:
        return f"/orgs/{self.organization}/actions"

    def _of(self, repository: str) -> str:
        return f"/repos/{self.organization}/{quote(repository, safe='')}"

    async def _whole(
        self,
        path: str,
        asked: str,
        key: str,
        parse: Callable[[Document], T],
        *,
        query: Mapping[str, str] | None = None,
        most: int = MOST_PAGES * PER_PAGE,
    ) -> tuple[T, ...]:
        """All entries of a listing, or its first `most`."""
        for _ in range(LISTINGS):
            found: dict[Any, T] = {}
            total = 0
            for page in range(1, MOST_PAGES + 1):
                asking = {**(query or {}), "per_page": str(PER_PAGE), "page": str(page)}
                total, entries = await self._service.read(path, asked, lambda answer: _page(answer, key), query=asking)
                found |= {entry.whole("id"): parse(entry) for entry in entries}
                if len(entries) < PER_PAGE or len(found) >= most:
                    break
            if len(found) >= min(total, most):
                return tuple(found.values())
        text = "does not list as many entries as it says there are"
        raise CloudError(self._service.name, 200, asked, error_class="unavailable", text=text)


def _page(answer: Answer, key: str) -> tuple[int, list[Document]]:
    value = answer.document()
    return value.whole("total_count"), value.list(key, required=True)


def _or_none(parse: Callable[[Document], T]) -> Callable[[Answer], T | None]:
    return lambda answer: None if answer.status in MISSING else parse(answer.document())


def _run_id(answer: Answer) -> int | None:
    return None if answer.status == 204 else answer.document().whole("workflow_run_id")


def _releases(answer: Answer) -> list[Release]:
    try:
        value: Any = json.loads(answer.body)
    except ValueError:
        raise MalformedError("not JSON") from None
    return [release(each) for each in Document({"releases": value}).list("releases", required=True)]
