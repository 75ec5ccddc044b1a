"""Workflow runs and their jobs, as GitHub shows them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from rollout.cloud.document import Document

_JOB_URL: Final = re.compile(
    r"https?://[^/]+/([A-Za-z0-9-]+)/([A-Za-z0-9._-]+)/actions/runs/[0-9]+(?:/attempts/[0-9]+)?/jobs?/([0-9]+)(?:[?#].*)?"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkflowRun:
    """A run of a workflow."""

    id: int
    repository: str
    status: str
    """queued, in_progress, completed, waiting, …"""
    conclusion: str
    """Empty until it is completed; success, failure, cancelled, …"""
    event: str
    head_branch: str
    head_sha: str
    title: str
    path: str
    """The workflow's file."""
    attempt: int
    created: float
    updated: float
    url: str
    """The page for people."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A job of a run."""

    id: int
    run_id: int
    repository: str
    name: str
    workflow: str
    status: str
    conclusion: str
    labels: tuple[str, ...]
    """What it asks a runner for."""
    runner_id: int | None
    runner_name: str
    runner_group: str
    head_branch: str
    head_sha: str
    created: float
    started: float | None
    completed: float | None
    url: str


def job_url(url: str) -> tuple[str, str, int]:
    """Owner, repository and id of a job by its page's address. Raises ValueError, whose text says what is allowed."""
    found = _JOB_URL.fullmatch(url)
    if found is None:
        allowed = "https://github.com/OWNER/REPOSITORY/actions/runs/RUN/job/JOB"
        raise ValueError(f"{url!r} is no address of a job; allowed is {allowed}, as the job's page has it")
    return found[1], found[2], int(found[3])


def workflow_run(value: Document, repository: str) -> WorkflowRun:
    """A run from its resource."""
    return WorkflowRun(
        id=value.whole("id"),
        repository=repository,
        status=value.text("status"),
        conclusion=value.text("conclusion", ""),
        event=value.text("event"),
        head_branch=value.text("head_branch", ""),
        head_sha=value.text("head_sha", ""),
        title=value.text("display_title", ""),
        path=value.text("path", "").partition("@")[0],
        attempt=value.whole("run_attempt", 1),
        created=value.time("created_at"),
        updated=value.time("updated_at"),
        url=value.text("html_url", ""),
    )


def job(value: Document, repository: str) -> Job:
    """A job from its resource."""
    return Job(
        id=value.whole("id"),
        run_id=value.whole("run_id"),
        repository=repository,
        name=value.text("name"),
        workflow=value.text("workflow_name", ""),
        status=value.text("status"),
        conclusion=value.text("conclusion", ""),
        labels=value.texts("labels"),
        runner_id=value.whole_or_none("runner_id"),
        runner_name=value.text("runner_name", ""),
        runner_group=value.text("runner_group_name", ""),
        head_branch=value.text("head_branch", ""),
        head_sha=value.text("head_sha", ""),
        created=value.time("created_at"),
        started=value.time_or_none("started_at"),
        completed=value.time_or_none("completed_at"),
        url=value.text("html_url", ""),
    )
