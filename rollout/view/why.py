"""Why a job waits: one pure decision from the job and a snapshot of the fleet.

A job that waits has at least one cause, one that does not has none. Causes stand in the order of `causes.Code`: those
for which the job would never run come first, those that pass by themselves last. What a source did not say is never
taken for "no": a cause that only that source could show is then named as unknown.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, Literal

from fleet.job_policy import JobPolicy, job_policy
from fleet.settings import Settings
from fleet.versions import deadline, deadline_state
from rollout.view.causes import Cause, Code
from rollout.view.pool_causes import pool_causes
from rollout.view.seen import Known
from rollout.view.snapshot import Snapshot
from rollout.view.waiting_job import JobSeen, closest, for_hosted_runners, matching

Standing = Literal["waits", "held", "runs", "over"]

HELD: Final = frozenset({"waiting", "pending", "requested", "action_required"})
"""While a job has one of these states, no runner is asked for it ("Workflow runs", GitHub REST API, 2026)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolAnswer:
    """One pool that the job asks for."""

    pool: str
    causes: tuple[Cause, ...]
    later: tuple[str, ...] = ()
    """What will happen to the job once it has a VM, where that is not that it runs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """Why one job waits, or that it does not."""

    job: JobSeen
    standing: Standing
    waited: datetime.timedelta
    causes: tuple[Cause, ...] = ()
    """Those that are of no pool."""
    pools: tuple[PoolAnswer, ...] = ()
    """The pools that have all its labels; any of them may take it."""

    @property
    def all_causes(self) -> tuple[Cause, ...]:
        """Of no pool, and of each."""
        return (*self.causes, *(cause for pool in self.pools for cause in pool.causes))

    @property
    def complete(self) -> bool:
        """Whether no cause had to be left open."""
        return all(cause.code is not Code.UNKNOWN for cause in self.all_causes)

    def to_json(self) -> dict[str, Any]:
        """As JSON has it."""
        return {
            "job": {"id": self.job.id, "name": self.job.name, "url": self.job.url, "labels": list(self.job.labels)},
            "repository": self.job.repository,
            "status": self.job.status,
            "standing": self.standing,
            "waited_seconds": round(self.waited.total_seconds()),
            "runner": self.job.runner or None,
            "complete": self.complete,
            "causes": [cause.to_json() for cause in self.causes],
            "pools": [
                {"pool": each.pool, "causes": [c.to_json() for c in each.causes], "later": list(each.later)}
                for each in self.pools
            ],
        }


def why(settings: Settings, seen: Snapshot, job: JobSeen) -> Answer:
    """The answer for one job."""
    waited = max(seen.at - job.created, datetime.timedelta(0))
    if job.status == "completed":
        return Answer(job=job, standing="over", waited=waited)
    if job.status == "in_progress":
        return Answer(job=job, standing="runs", waited=waited)
    if job.status in HELD:
        return Answer(job=job, standing="held", waited=waited, causes=(_held(job),))
    if for_hosted_runners(job.labels):
        return Answer(job=job, standing="waits", waited=waited, causes=(_hosted(job),))
    pools = matching(settings, job.labels)
    if not pools:
        return Answer(job=job, standing="waits", waited=waited, causes=(_labels(settings, job),))
    return Answer(
        job=job,
        standing="waits",
        waited=waited,
        pools=tuple(_pool(settings, seen, job, pool, waited) for pool in pools),
    )


def _held(job: JobSeen) -> Cause:
    return Cause(
        code=Code.HELD,
        says=f"GitHub holds it back ({job.status}) and asks no runner for it yet",
        fix="approve the run or its environment, or wait for the job before it in its concurrency group; "
        "the run's page says which",
    )


def _hosted(job: JobSeen) -> Cause:
    return Cause(
        code=Code.HOSTED,
        says=f"it asks for GitHub's own runners ({', '.join(job.labels)}), not for this fleet's",
        fix="see https://www.githubstatus.com and the organisation's limit of concurrent jobs",
    )


def _labels(settings: Settings, job: JobSeen) -> Cause:
    near = closest(settings, job.labels)
    meant = [f"{label} (meant: {guess})" if guess else label for label, guess in zip(near.off, near.meant, strict=True)]
    wanted = ", ".join(settings.addressable_labels(near.pool))
    version = any(label.lower().startswith(("template-version=", "runner-version=")) for label in near.off)
    hint = "; runners of a pool that follows jobs have no labels of their version" if version else ""
    return Cause(
        code=Code.LABELS,
        says=f"no pool of {settings.environment} has all its labels; nearest is {near.pool}, "
        f"which has not: {', '.join(meant)}{hint}",
        fix=f"correct runs-on in the workflow; {near.pool} has: {wanted}",
    )


def _pool(settings: Settings, seen: Snapshot, job: JobSeen, pool: str, waited: datetime.timedelta) -> PoolAnswer:
    level = settings.pools[pool].trust
    policy = job_policy(level, settings.trust_levels[level], settings.github.organization)
    never = [*_access(settings, seen, job, pool, policy), *_release(settings, seen, pool)]
    causes = sorted(
        [*never, *pool_causes(settings, seen, pool, waited)], key=lambda cause: list(Code).index(cause.code)
    )
    return PoolAnswer(pool=pool, causes=tuple(causes), later=tuple(_refusals(job, policy)))


def _access(settings: Settings, seen: Snapshot, job: JobSeen, pool: str, policy: JobPolicy) -> Iterator[Cause]:
    """Whether GitHub lets the job have the pool's runners at all."""
    level = settings.pools[pool].trust
    trust = settings.trust_levels[level]
    names = {name.lower() for name in trust.repositories}
    if job.repository.lower() not in names:
        yield Cause(
            code=Code.REPOSITORY,
            says=f"trust level {level} serves {', '.join(sorted(trust.repositories))}, not {job.repository}",
            fix=f"add it under trust_levels.{level}.repositories in Pulumi.{settings.environment}.yaml, with its id",
        )
    elif isinstance(seen.runner_groups, Known):
        there = seen.runner_groups.value.get(trust.runner_group.lower())
        wrong = ""
        if there is None:
            wrong = f"GitHub has no runner group {trust.runner_group}"
        elif there.repositories is not None and job.repository.lower() not in {n.lower() for n in there.repositories}:
            wrong = f"the runner group {trust.runner_group} at GitHub does not list {job.repository}, the stack does"
        elif trust.public_repositories and not there.public_repositories:
            wrong = (
                f"the runner group {trust.runner_group} at GitHub refuses public repositories, the stack allows them"
            )
        if wrong:
            yield Cause(code=Code.RUNNER_GROUP, says=wrong, fix=f"deploy: pulumi up --stack {settings.environment}")
    if policy.workflows and job.workflow and not _listed(settings, job, policy):
        yield Cause(
            code=Code.WORKFLOW,
            says=f"trust level {level} runs {', '.join(policy.workflows)}; the job is of {job.workflow} "
            f"on {' or '.join(job.refs) or 'a ref that GitHub does not tell'}",
            fix=f"ask for another pool, or list the file and ref under trust_levels.{level}.workflows",
        )


def _release(settings: Settings, seen: Snapshot, pool: str) -> Iterator[Cause]:
    """Past its deadline GitHub gives a runner no jobs, or does not let it register."""
    running = {each for group in settings.groups(pool) for each in (group.stable, group.canary) if each}
    for version in sorted(running):
        release = settings.versions[version].runner
        due = deadline(release, settings.runner_releases)
        if due is not None and deadline_state(due, seen.at.date()) == "past":
            yield Cause(
                code=Code.RUNNER_RELEASE,
                says=f"version {version} has runner {release}, whose time at GitHub was over on {due}",
                fix="docs/runbooks/runner-deadline.md: scripts/rollout bump-runner, cut, canary, promote",
            )


def _refusals(job: JobSeen, policy: JobPolicy) -> Iterator[str]:
    """What the VM itself will refuse, before any step of the job."""
    if job.event and job.event not in policy.events:
        yield f"its VM will refuse it: event {job.event} is not allowed there; allowed: {', '.join(policy.events)}"
    if job.refs and not any(_matches(pattern, ref) for pattern in policy.refs for ref in job.refs):
        yield f"its VM will refuse it: {job.refs[0]} is not allowed there; allowed: {', '.join(policy.refs)}"


def _listed(settings: Settings, job: JobSeen, policy: JobPolicy) -> bool:
    path = f"{settings.github.organization}/{job.repository}/{job.workflow.partition('@')[0]}"
    return not job.refs or any(f"{path}@{ref}".lower() in {w.lower() for w in policy.workflows} for ref in job.refs)


def _matches(pattern: str, text: str) -> bool:
    return re.fullmatch(".*".join(map(re.escape, pattern.split("*"))), text) is not None
