"""Gathers what `why` decides by: the jobs, their runs, and the fleet. It only looks."""

from __future__ import annotations

import asyncio
import datetime
from collections.abc import Iterable
from contextlib import AsyncExitStack

from fleet.settings import Settings
from rollout.cloud.github import GitHub
from rollout.cloud.google import Google
from rollout.cloud.workflows import Job, WorkflowRun
from rollout.view.gather import gather, opened, seen
from rollout.view.seen import Known, Seen
from rollout.view.waiting_job import JobSeen
from rollout.view.why import Answer, why


async def answers(settings: Settings, job_url: str | None) -> tuple[Answer, ...]:
    """Why one job waits, or, without an address, each that waits, the one that waits longest first.

    Raises CloudError where the jobs themselves cannot be had, and ValueError for an address that is no job's.
    """
    async with AsyncExitStack() as stack:
        github = await stack.enter_async_context(GitHub(settings.github.organization))
        google = await opened(stack, Google(settings.google.project))
        jobs = await _jobs(settings, github, job_url)
        runs, snapshot = await asyncio.gather(_runs(github, jobs), gather(settings, google, github))
    told = sorted(
        (job_seen(job, runs[job.repository, job.run_id]) for job in jobs), key=lambda job: (job.created, job.id)
    )
    return tuple(why(settings, snapshot, job) for job in told)


def job_seen(job: Job, run: Seen[WorkflowRun | None]) -> JobSeen:
    """A job, with what its run adds where that could be read."""
    there = run.value if isinstance(run, Known) else None
    return JobSeen(
        id=job.id,
        name=job.name,
        url=job.url,
        repository=job.repository,
        status=job.status,
        labels=job.labels,
        created=datetime.datetime.fromtimestamp(job.created, datetime.UTC),
        runner=job.runner_name,
        event=there.event if there else "",
        branch=there.head_branch if there else "",
        workflow=there.path if there else "",
        conclusion=job.conclusion,
    )


async def _jobs(settings: Settings, github: GitHub, job_url: str | None) -> tuple[Job, ...]:
    if job_url is not None:
        job = await github.job_at(job_url)
        if job is None:
            raise ValueError(f"GitHub has no job at {job_url}, or shows it to nobody with this token")
        return (job,)
    repositories = {name for trust in settings.trust_levels.values() for name in trust.repositories}
    listed = await asyncio.gather(*(github.queued_jobs(name) for name in sorted(repositories)))
    return tuple(job for jobs in listed for job in jobs)


async def _runs(github: GitHub, jobs: Iterable[Job]) -> dict[tuple[str, int], Seen[WorkflowRun | None]]:
    wanted = list(dict.fromkeys((job.repository, job.run_id) for job in jobs))
    found = await asyncio.gather(*(seen(github.run(*key)) for key in wanted))
    return dict(zip(wanted, found, strict=True))
